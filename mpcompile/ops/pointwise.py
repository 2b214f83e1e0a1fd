"""Base classes of primitives that act on one element at a time, with numpy's broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mpcompile.ir import Abstract, Array, Builder, Domain, DType, Example, NoRule, Type, TypeMismatch, Value
from mpcompile.ir.field import Field
from mpcompile.ir.stencils import Lattice, Linear, Stencil
from mpcompile.ops._base import Cotangents, broadcast, lift, require_dtype, sample, unbroadcast
from mpcompile.ops._stencil import align, linear, pointwise
from mpcompile.ops.traits import Elementwise


class Unary(Elementwise):
    """y = f(x), element by element, from float to float."""

    #: the method of `Field` that f is over a field
    modular: ClassVar[str] = ""
    #: f(0) = 0
    keeps_zero: ClassVar[bool] = False
    #: f(-inf) = 0
    zero_at_neginf: ClassVar[bool] = False
    #: f(-inf) = -inf
    keeps_neginf: ClassVar[bool] = False
    #: f(0) = -inf
    neginf_at_zero: ClassVar[bool] = False
    #: the examples stay where f is defined
    positive: ClassVar[bool] = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        (x,) = inputs
        require_dtype(x, DType.FLOAT)
        return (x,)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return (np.asarray(self.function(inputs[0])),)

    def function(self, x: Array) -> Array:
        """f on an array."""
        raise NotImplementedError

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        if x.dtype.kind != "f":
            return self.evaluate(x)
        if not self.modular:
            raise NoRule(self, "field")
        return (getattr(field, self.modular)(x),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        zero = neginf = None
        if self.keeps_zero:
            zero = x.zero
        if self.zero_at_neginf:
            zero = x.neginf if zero is None else zero | x.neginf
        if self.keeps_neginf:
            neginf = x.neginf
        if self.neginf_at_zero:
            neginf = x.zero if neginf is None else neginf | x.zero
        return (domain.make(x.shape, x.facts, zero, neginf),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        return pointwise(self, lattice, inputs)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        return (None,) if ct is None else (self.gradient(b, inputs[0], outputs[0], ct),)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        """Cotangent of x from that of y."""
        return None

    @classmethod
    def examples(cls) -> list[Example]:
        low = 0.3 if cls.positive else -1.7
        return [
            Example(cls(), (sample(2, 3, low=low, seed=1),)),
            Example(cls(), (sample(1, low=low, seed=2),)),
            Example(cls(), (sample(2, 1, 3, low=low, seed=3),)),
            Example(cls(), (sample(low=low, seed=4),)),
        ]


@dataclass(frozen=True, slots=True)
class Known:
    """The side lattice of one argument, at the rank of the result."""

    zero: Array
    neginf: Array
    constant: Array | None

    @property
    def positive(self) -> Array:
        """Elements known to be above zero (only constants are)."""
        if self.constant is None:
            return np.zeros((1,) * self.zero.ndim, bool)
        return lift(self.constant > 0, self.zero.ndim)


class Binary(Elementwise):
    """z = f(x, y), element by element, broadcasting."""

    allowed: ClassVar[tuple[DType, ...]] = (DType.FLOAT, DType.INT)
    result: ClassVar[DType | None] = None
    #: the method of `Field` that f is over a field
    modular: ClassVar[str] = ""

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        x, y = inputs
        for t in inputs:
            require_dtype(t, *self.allowed)
        if x.dtype != y.dtype:
            raise TypeMismatch(f"expected the same kind of elements on both sides, found {x} and {y}")
        return (Type(self.result or x.dtype, broadcast(x, y)),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return (np.asarray(self.function(*inputs)),)

    def function(self, x: Array, y: Array) -> Array:
        """f on two arrays."""
        raise NotImplementedError

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        x, y = inputs
        if x.dtype.kind != "f":
            return self.evaluate(x, y)
        if not self.modular:
            raise NoRule(self, "field")
        return (getattr(field, self.modular)(x, y),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        x, y = inputs
        shape = np.broadcast_shapes(x.shape, y.shape)
        rank = len(shape)
        x_facts, y_facts = lift(x.facts, rank + 1), lift(y.facts, rank + 1)
        zero, neginf = self.known(
            *(Known(lift(v.zero, rank), lift(v.neginf, rank), v.constant) for v in inputs)
        )
        return (domain.make(shape, domain.union(x_facts, y_facts), zero, neginf),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        (out,) = pointwise(self, lattice, inputs)
        return (replace(out, known=self.placed(lattice, inputs)),) if out.type.dtype is DType.INT else (out,)

    def placed(self, lattice: Lattice, inputs: Sequence[Stencil]) -> Linear | None:
        """The result as a linear function of the place, where both sides are."""
        return None

    def known(self, x: Known, y: Known) -> tuple[Array | None, Array | None]:
        """Return which results are exactly zero, and which are exactly minus infinity.

        None says that the rule cannot tell.
        """
        return None, None

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        x, y = inputs
        if ct is None or x.dtype is not DType.FLOAT:
            return None, None
        dx, dy = self.gradient(b, x, y, outputs[0], ct)
        return (
            None if dx is None else unbroadcast(b, dx, x.shape),
            None if dy is None else unbroadcast(b, dy, y.shape),
        )

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        """Cotangents of both sides, before they are summed back to their shapes."""
        return None, None

    @classmethod
    def examples(cls) -> list[Example]:
        pairs = [
            ((2, 3), (2, 3)),
            ((2, 3), (3,)),
            ((2, 1), (1, 3)),
            ((), (3, 2)),
            ((2, 1, 3), (4, 1)),
            ((1,), (1,)),
        ]
        return [
            Example(cls(), (sample(*s, seed=2 * i), sample(*t, seed=2 * i + 1)))
            for i, (s, t) in enumerate(pairs)
        ]


def summed(op: Binary, lattice: Lattice, inputs: Sequence[Stencil], sign: int) -> Linear | None:
    """Return the sum or the difference of two linear functions of the place; None where an operand is not linear."""
    if not any(isinstance(x.known, Linear) for x in inputs):
        return None
    shape = broadcast(*(x.type for x in inputs))
    x, y = (linear(v) for v in align(op, lattice, inputs, shape)[0])
    return None if x is None or y is None else x.plus(y, sign)
