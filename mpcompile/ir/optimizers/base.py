"""The base class of optimisers: arguments, the arrays that each keeps, and its arithmetic, once for every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from mpcompile.ir.primitive import Primitive
from mpcompile.ranges import NonNegative


class Term(Protocol):
    """An operand of an update: an array of a weight's shape, or a scalar. Numbers stand for scalars.

    A scalar factor of an array is multiplied into the array as late as possible, so `a * 2.0 * b` takes one pass over
    `b` where `a` is a scalar.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __add__(self, other: Term | float, /) -> Term: ...
    def __radd__(self, other: float, /) -> Term: ...
    def __sub__(self, other: Term | float, /) -> Term: ...
    def __rsub__(self, other: float, /) -> Term: ...
    def __mul__(self, other: Term | float, /) -> Term: ...
    def __rmul__(self, other: float, /) -> Term: ...
    def __truediv__(self, other: Term | float, /) -> Term: ...
    def __rtruediv__(self, other: float, /) -> Term: ...

    def sqrt(self) -> Term: ...
    def sign(self) -> Term: ...
    def total(self) -> Term:
        """Return the sum of all elements, a scalar."""
        ...

    def matmul(self, other: Term, /) -> Term: ...
    def transposed(self) -> Term:
        """Return the transpose of a matrix."""
        ...

    def reshaped(self, shape: tuple[int, ...], /) -> Term: ...

    def apply(self, op: Primitive, /, *others: Term | float) -> Term:
        """Return the result of any primitive on this operand and others. Raises `SpecError` where types do not fit."""
        ...


class Moment(Protocol):
    """The scalars of one step."""

    @property
    def rate(self) -> Term: ...

    @property
    def number(self) -> Term:
        """The number of the step, counted from one."""
        ...

    def gathered(self, beta: float) -> Term:
        """Return `1 - beta ** number`, without cancellation: the weights of a running mean from zero sum to it."""
        ...


@dataclass(frozen=True)
class Optimizer:
    """An update rule. Its fields, in order, are its arguments in a spec: the rate is the first."""

    keyword: ClassVar[str]
    #: Names of the arrays that it keeps for each parameter, the same on every backend. They start at zero.
    slots: ClassVar[tuple[str, ...]] = ()
    #: Whether weight decay acts on the weight, and not on its gradient.
    decoupled: ClassVar[bool] = False
    #: Whether each element of a weight and of its slots is updated by itself, and zeros stay zeros: where weight,
    #: gradient and slots are zero before a step, weight and slots are after it.
    keeps_zeros: ClassVar[bool] = False
    #: Whether elements of a weight are updated together: no weight has a mask, and none lies in parts or in a stack.
    joint: ClassVar[bool] = False
    #: Weight decay where neither the rule nor the section states one.
    usual_decay: ClassVar[float] = 0.0
    rate: NonNegative = 1e-3

    @property
    def kept(self) -> tuple[str, ...]:
        """The slots that these arguments need."""
        return self.slots

    def kept_for(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the slots of `kept` that a weight of this shape needs."""
        return self.kept

    def change(
        self, weight: Term, gradient: Term, kept: Mapping[str, Term], now: Moment
    ) -> tuple[Term, dict[str, Term]]:
        """Return what is subtracted from a weight, and its slots after the step.

        weight    before the step
        gradient  clipped; with weight decay in it, unless the rule is `decoupled`
        kept      the arrays of `self.kept_for(weight.shape)`
        now       the rate and the number of the step
        """
        raise NotImplementedError


__all__ = ["Moment", "Optimizer", "Term"]
