"""The base class of primitives: everything the compiler knows about one operation, in one class.

A primitive is a frozen dataclass; its fields are its attributes. A subclass states

* `infer`     the types of its results, or raises `TypeMismatch`;
* `evaluate`  what it means, in numpy (the oracle);
* `depend`    which elements of its inputs each output element can depend on (see `mpcompile.ir.facts`);
* `stencil`   the same relative to each element's own place, at every size (see `mpcompile.ir.stencils`);
* `over_field` what it is modulo a prime, where a dependence that shows is certain (see `mpcompile.ir.field`);
* `magnitude` what the roundings of its results are relative to;
* `vjp`       its gradient, as a graph of primitives;
* `examples`  small instances, on which the laws of every rule are tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from mpcompile.ir.size import Symbolic, substitute
from mpcompile.ir.types import Type

if TYPE_CHECKING:
    from mpcompile.ir.facts import Abstract, Domain
    from mpcompile.ir.field import Field
    from mpcompile.ir.graph import Builder, Value
    from mpcompile.ir.stencils import Lattice, Stencil

Array = np.ndarray[Any, Any]


class NoRule(Exception):
    """A primitive was asked for a rule that it does not have. Nothing is guessed in its place."""

    def __init__(self, primitive: Primitive, rule: str) -> None:
        self.primitive, self.rule = primitive, rule
        super().__init__(f"primitive '{primitive.name}' has no {rule} rule")


@dataclass(frozen=True, slots=True)
class Example:
    """One instance of a primitive with concrete inputs. `smooth` inputs allow numeric derivatives."""

    op: Primitive
    inputs: tuple[Array, ...]
    differentiable: bool = True


@dataclass(frozen=True)
class Primitive:
    """Base of all primitives."""

    name: ClassVar[str]
    #: Whether `depend` may report more than the true support; exact unless said otherwise.
    conservative: ClassVar[bool] = False
    #: Whether it is constant but for steps, so that a change of an input need not show in the results.
    steps: ClassVar[bool] = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Result types. Raises `TypeMismatch` saying what was expected and found."""
        raise NotImplementedError

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Results on concrete arrays; attributes must be bound (`bind`)."""
        raise NotImplementedError

    def depend(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        """Facts of the results from facts of the inputs; attributes must be bound."""
        raise NoRule(self, "dependence")

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        """Offset sets of the results from those of the inputs; sizes stay symbolic."""
        raise NoRule(self, "stencil")

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        """Results on arrays whose floats are elements of a prime field; attributes must be bound."""
        raise NoRule(self, "field")

    def magnitude(self, results: Sequence[Array], *inputs: Array) -> tuple[Array, ...]:
        """Numbers that the roundings of the results are relative to, in the shapes of the results.

        By default their absolute values; of a sum that of its absolute terms (Higham 2002, section 3.1), which stays
        where the terms cancel; zero where nothing is rounded.
        """
        return tuple(np.abs(y) for y in results)

    def vjp(
        self,
        b: Builder,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        cotangents: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        """Cotangents of the inputs, as nodes emitted through `b`; None where nothing flows."""
        raise NoRule(self, "gradient")

    @classmethod
    def examples(cls) -> list[Example]:
        """Instances for the conformance tests; every primitive has at least one."""
        raise NotImplementedError

    def bind(self, env: Mapping[str, int]) -> Self:
        """The same primitive with numbers in place of symbolic sizes."""
        changed = {}
        for name in _attributes(type(self)):
            old = getattr(self, name)
            new = _bind(old, env)
            if new is not old:
                changed[name] = new
        return replace(self, **changed) if changed else self

    def attributes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _attributes(type(self))}


_ATTRIBUTES: dict[type[Any], tuple[str, ...]] = {}


def _attributes(kind: type[Any]) -> tuple[str, ...]:
    """Names of the attributes of a kind of primitive; `fields` filters them anew on every call."""
    if kind not in _ATTRIBUTES:
        _ATTRIBUTES[kind] = tuple(f.name for f in fields(kind))
    return _ATTRIBUTES[kind]


def _bind(attribute: Any, env: Mapping[str, int]) -> Any:
    if isinstance(attribute, Symbolic):
        return substitute(attribute, env)
    if isinstance(attribute, tuple) and any(isinstance(a, Symbolic | tuple) for a in attribute):
        new = tuple(_bind(a, env) for a in attribute)
        return attribute if all(a is b for a, b in zip(new, attribute, strict=True)) else new
    return attribute
