"""Primitives that make truth values, combine them, and choose by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from mpcompile.ir import (
    Abstract,
    Array,
    Builder,
    Domain,
    DType,
    Example,
    Falls,
    Growth,
    Positivity,
    Type,
    Value,
)
from mpcompile.ir.facts import shrink
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import Lattice, Linear, Region, Stencil
from mpcompile.ops._base import (
    Cotangents,
    broadcast,
    lift,
    mask,
    require,
    require_dtype,
    sample,
    unbroadcast,
)
from mpcompile.ops._stencil import half_plane, pointwise
from mpcompile.ops.pointwise import Binary, Known, Unary, summed
from mpcompile.ops.traits import Elementwise, Verbatim


class Comparison(Binary):
    """A truth value of two numbers. Its gradient is zero, but its value does depend on both."""

    steps: ClassVar[bool] = True
    result: ClassVar[DType | None] = DType.BOOL

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (out,) = super().flow(domain, *inputs)
        x, y = inputs
        decided = self.decided(lift(x.neginf, len(out.shape)), lift(y.neginf, len(out.shape)))
        facts = out.facts if decided is None else mask(~decided, out.facts)
        return (domain.make(out.shape, facts, out.zero),)

    def decided(self, x: Array, y: Array) -> Array | None:
        """Return where the answer is known whatever the other side is, from where each side is minus infinity.

        The other side may be minus infinity too when it runs, which an equality and most inequalities tell apart.
        """
        return None

    def band(self, difference: Linear) -> tuple[int, Offsets] | None:
        """Return where a linear x - y makes the comparison true, as `half_plane` does."""
        return None

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        difference = summed(self, lattice, inputs, -1)
        if difference is None or not difference.terms:
            return super().stencil(lattice, *inputs)
        (out,) = super().stencil(lattice, *inputs)
        found = self.band(difference)
        if found is None or any(a is not None and a.own != 1 for a in out.axes) or len(out.regions) > 1:
            return (replace(out, exact=False),)  # true at some places: whichever they are
        source, true = found
        shape = out.cell.shape
        regions = [
            Region(where, lattice.domain.constant(np.full(shape, value)))
            for where, value in ((true, True), (true.complement(), False))
            if where
        ]
        return (replace(out, regions=tuple(regions), band=source),)

    @classmethod
    def examples(cls) -> list[Example]:
        floats = [Example(e.op, e.inputs, False) for e in super().examples()]
        return [*floats, Example(cls(), (np.array([[1, 2, 3]]), np.array([[2], [3]])), False)]


class Less(Comparison):
    """z = x < y"""

    name: ClassVar[str] = "less"
    modular: ClassVar[str] = "less"

    def function(self, x: Array, y: Array) -> Array:
        return np.less(x, y)

    def band(self, difference: Linear) -> tuple[int, Offsets] | None:
        return half_plane(replace(difference, constant=difference.constant + 1))

    def known(self, x: Known, y: Known) -> tuple[Array | None, Array | None]:
        return (x.zero & y.zero) | y.neginf, None

    def decided(self, x: Array, y: Array) -> Array | None:
        return y  # nothing is below minus infinity


class LessEqual(Comparison):
    """z = x ≤ y"""

    name: ClassVar[str] = "less_equal"
    modular: ClassVar[str] = "less_equal"

    def function(self, x: Array, y: Array) -> Array:
        return np.less_equal(x, y)

    def band(self, difference: Linear) -> tuple[int, Offsets] | None:
        return half_plane(difference)

    def decided(self, x: Array, y: Array) -> Array | None:
        return x  # minus infinity is below everything


class Equal(Comparison):
    """z = (x = y)"""

    name: ClassVar[str] = "equal"
    modular: ClassVar[str] = "equal"
    allowed: ClassVar[tuple[DType, ...]] = (DType.FLOAT, DType.INT, DType.BOOL)

    def function(self, x: Array, y: Array) -> Array:
        return np.equal(x, y)


class Logical(Binary):
    """A truth value of two truth values."""

    allowed: ClassVar[tuple[DType, ...]] = (DType.BOOL,)

    @classmethod
    def examples(cls) -> list[Example]:
        x = np.array([[True, False, True], [False, False, True]])
        return [
            Example(cls(), (x, np.array([True, True, False])), False),
            Example(cls(), (x, np.array([[False], [True]])), False),
        ]


class LogicalAnd(Logical):
    """z = x and y; false where either side is known to be"""

    name: ClassVar[str] = "logical_and"

    def function(self, x: Array, y: Array) -> Array:
        return np.logical_and(x, y)

    def known(self, x: Known, y: Known) -> tuple[Array | None, Array | None]:
        return x.zero | y.zero, None


class LogicalOr(Logical):
    """z = x or y"""

    name: ClassVar[str] = "logical_or"

    def function(self, x: Array, y: Array) -> Array:
        return np.logical_or(x, y)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (out,) = super().flow(domain, *inputs)
        true = [lift(x.constant, len(out.shape)) for x in inputs if x.constant is not None]
        return (domain.make(out.shape, mask(~true[0], out.facts), out.zero),) if true else (out,)

    def known(self, x: Known, y: Known) -> tuple[Array | None, Array | None]:
        return x.zero & y.zero, None


class LogicalNot(Unary):
    """y = not x"""

    name: ClassVar[str] = "logical_not"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        require_dtype(inputs[0], DType.BOOL)
        return (inputs[0],)

    def function(self, x: Array) -> Array:
        return np.logical_not(x)

    @classmethod
    def examples(cls) -> list[Example]:
        return [Example(cls(), (np.array([[True, False, True], [False, False, True]]),), False)]


def _alike(u: Array, v: Array) -> bool:
    """Whether two marks are one truth value everywhere, and the same."""
    return u.size == v.size == 1 and bool(u.item() == v.item())


class Where(Elementwise, Verbatim):
    """y = a where the condition holds, b elsewhere. A known condition selects facts exactly.

    Operands broadcast to one shape.
    """

    name: ClassVar[str] = "where"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        c, x, y = inputs
        require_dtype(c, DType.BOOL)
        require(x.dtype == y.dtype, "the same kind of elements in both branches", f"{x} and {y}")
        return (Type(x.dtype, broadcast(c, x, y)),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.where(*inputs),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        c, x, y = inputs
        shape = np.broadcast_shapes(c.shape, x.shape, y.shape)
        rank = len(shape)
        cf, xf, yf = (lift(v.facts, rank + 1) for v in inputs)
        xz, yz, xn, yn = (lift(m, rank) for m in (x.zero, y.zero, x.neginf, y.neginf))
        if c.constant is not None:
            k = shrink(lift(c.constant, rank), rank)
            settled = not yf.any() and (not xf.any() or np.all(yz | yn))  # what is known has no facts anyway
            facts = xf if settled else np.where(k[..., None], xf, yf)
            zero, neginf = (u if _alike(u, v) else np.where(k, u, v) for u, v in ((xz, yz), (xn, yn)))
            return (domain.make(shape, facts, zero, neginf),)
        return (domain.make(shape, domain.union(cf, xf, yf), xz & yz, xn & yn),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        return pointwise(self, lattice, inputs)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return min(of[1:])

    def grow(self, of: Sequence[Growth]) -> bool:
        if not of[0].fixed:
            raise Falls  # a choice that constants make may be told; no other
        return of[1].good and of[2].good

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        c, x, y = inputs
        if ct is None or x.dtype is not DType.FLOAT:
            return None, None, None
        nothing = b.constant(0.0)
        return (
            None,
            unbroadcast(b, b.emit(Where(), c, ct, nothing), x.shape),
            unbroadcast(b, b.emit(Where(), c, nothing, ct), y.shape),
        )

    @classmethod
    def examples(cls) -> list[Example]:
        c = np.array([[True, False, True], [False, True, True]])
        return [
            Example(cls(), (c, sample(2, 3, seed=1), sample(2, 3, seed=2))),
            Example(cls(), (c, sample(4, 1, 3, seed=3), sample(seed=4))),
            Example(cls(), (c[0], sample(2, 1, seed=5), sample(2, 3, seed=6))),
            Example(cls(), (c, np.array([[1, 2, 3]]), np.array([[4], [5]])), False),
        ]
