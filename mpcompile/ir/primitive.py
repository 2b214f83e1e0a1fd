"""The base class of primitives: everything the compiler knows about one operation, in one class.

A primitive is a frozen dataclass; its fields are its attributes. A subclass states

* `infer`     the types of its results, or raises `TypeMismatch`;
* `evaluate`  what it means, in numpy (the oracle);
* `depend`    which elements of its inputs each output element can depend on (see `mpcompile.ir.facts`);
* `stencil`   the same relative to each element's own place, at every size (see `mpcompile.ir.stencils`);
* `over_field` what it is modulo a prime, where a dependence that shows is certain (see `mpcompile.ir.field`);
* `magnitude` what the roundings of its results are relative to;
* `vjp`       its gradient, as a graph of primitives;
* `examples`  small instances, on which the laws of every rule are tested;

and its traits, which passes ask for instead of names (`mpcompile.ops.traits` has those that several primitives share):

* `along`     which axes of its operands run along with which of its result; `reach`: what is read beside its place;
              `repeats`: along which axes the result has one element over and over; `mapped`: the primitive that runs
              over one more axis of its operands;
* `cost`      how many operations it takes;
* `aliases`   whether a result may lie in the memory of an operand, and `view`: whether it is that memory seen otherwise;
* `sign`      the sign of its result, and `grow`: whether it grows with its operands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from mpcompile.ir.size import Symbolic, substitute
from mpcompile.ir.traits import Along, Falls, Growth, Positivity, Reach, Size, Work
from mpcompile.ir.types import Shape, Type

if TYPE_CHECKING:
    from mpcompile.ir.facts import Abstract, Domain
    from mpcompile.ir.field import Field
    from mpcompile.ir.graph import Builder, Graph, Value
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


@dataclass(frozen=True, slots=True)
class Mapped:
    """A primitive on operands with one more axis, which it runs over: every place along it is a case of its own.

    op    the primitive
    at    where each operand has the axis; None where it does without
    out   where the first result has it
    full  whether an operand that is the same at all places has the axis in full length; else it has length one there
    """

    op: Primitive
    at: tuple[int | None, ...]
    out: int
    full: bool = False


@dataclass(frozen=True)
class Primitive:
    """Base of all primitives."""

    name: ClassVar[str]
    #: Whether `depend` may report more than the true support; exact unless said otherwise.
    conservative: ClassVar[bool] = False
    #: Whether it is constant but for steps, so that a change of an input need not show in the results.
    steps: ClassVar[bool] = False
    #: What it does to examples whose axis does not run along.
    mixes: ClassVar[str] = "acts along the examples"
    #: The number that an element is as good as not there with, along an axis of the first operand that it joins.
    absent: ClassVar[float | None] = None

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Result types. Raises `TypeMismatch` saying what was expected and found."""
        raise NotImplementedError

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Evaluate the primitive on arrays; attributes must be bound (`bind`).

        Raises `ValueError` for values that it does not take.
        """
        raise NotImplementedError

    def depend(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        """Return the facts of the results from facts of the inputs; attributes must be bound. Raises `NoRule`."""
        raise NoRule(self, "dependence")

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        """Return the offset sets of the results from those of the inputs; sizes stay symbolic. Raises `NoRule`."""
        raise NoRule(self, "stencil")

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        """Evaluate the primitive on arrays whose floats are elements of a prime field.

        Attributes must be bound. Raises `NoRule`.
        """
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
        """Emit the cotangents of the inputs through `b`; None for an input that no cotangent reaches. Raises `NoRule`."""
        raise NoRule(self, "gradient")

    # --- traits ---

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        """Return for each operand the axes that run along with one of the first result. Raises `NoRule`.

        Axis r of the result runs along with one axis of some operands where this holds: whichever elements along their
        axes are taken, all alike, the result has the same elements taken along r. Where the rule cannot tell, an axis is
        left out. `shapes` are those of the operands, `out` that of the first result.
        """
        raise NoRule(self, "along")

    def with_length(self, axis: int, size: Size) -> Self:
        """The same primitive for a result with another length of an axis that runs along: itself, or of other sizes."""
        return self

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        """Return the primitive that runs over one more axis of its operands, as `jax.vmap` has it; None unless said.

        `at` is where each operand has the axis, counted in its own shape with it; None for one that lacks it. `size` is
        the length of the axis; `shapes` and `out` are those without it. Taken at place p along the axis, the result is
        that of the operands taken at p.
        """
        return None

    def repeats(self, shapes: Sequence[Shape], out: Shape) -> frozenset[int]:
        """Axes along which all elements of the first result are alike, whatever the operands. None unless said."""
        return frozenset()

    def reach(self, shapes: Sequence[Shape]) -> Reach:
        """Axes along which element p of the result reads elements p + first .. p + last of the first operand.

        What a state carries up to p (a recurrence, a running sum) counts as read at p. None unless said otherwise.
        """
        return {}

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        """Operations that the results take: two for each multiply-add, none for moving elements. Raises `NoRule`."""
        raise NoRule(self, "cost")

    def aliases(self, operand: int) -> bool:
        """Whether a result may lie in the memory of an operand, on any backend. It may unless said otherwise."""
        return True

    def view(self, shapes: Sequence[Shape]) -> bool:
        """Whether the result is the memory of the first operand, seen otherwise, so that it costs nothing to read."""
        return False

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        """The sign of the first result from those of the operands, which may all be the `same` value."""
        return Positivity.UNKNOWN

    def grow(self, of: Sequence[Growth]) -> bool:
        """Whether the results are good (see `Growth`), and grow strictly with what reads the source.

        Raises `Falls` where they do not grow, which holds unless said otherwise.
        """
        raise Falls

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

    def bodies(self) -> tuple[Graph, ...]:
        """Attributes that are graphs: the bodies of a loop."""
        return ()

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
