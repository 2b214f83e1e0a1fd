"""Functions over axes that are named. Along an axis that states its length, what lies behind the end is skipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.functions.base import Function, OverAxes, count, place, real_only, without
from mpcompile.ir import Value
from mpcompile.layers.axes import beside, described
from mpcompile.layers.context import Context
from mpcompile.layers.relations import Places, Relation, attended, visible
from mpcompile.ops import build as F

#: Added to a sum of squares before its root, so that a vector of zeros has a gradient.
TINY_SQUARE = 1e-12


@dataclass(frozen=True)
class _Reduced(OverAxes):
    """A function whose result lacks the axes."""

    #: What stands in the place of what lies behind the end of a sequence.
    neutral: ClassVar[float]

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,) = values
        at = self.places(ctx, x)
        y = self.reduced(ctx, real_only(ctx, x, at, self.neutral), at)
        return ctx.name_axes(y, without(ctx.axes_of(x), self.over))

    def reduced(self, ctx: Context, x: Value, at: tuple[int, ...]) -> Value:
        """The result without the axes at these places."""
        raise NotImplementedError


class Sum(_Reduced):
    """The sum over axes."""

    keyword: ClassVar[str] = "sum"
    neutral: ClassVar[float] = 0.0

    def reduced(self, ctx: Context, x: Value, at: tuple[int, ...]) -> Value:
        return F.sum_axes(ctx.b, x, at)


class Mean(_Reduced):
    """The mean over axes."""

    keyword: ClassVar[str] = "mean"
    neutral: ClassVar[float] = 0.0

    def reduced(self, ctx: Context, x: Value, at: tuple[int, ...]) -> Value:
        b, total, size = ctx.b, F.sum_axes(ctx.b, x, at), count(ctx, x, at)
        if isinstance(size, float):
            return F.mul(b, total, 1.0 / size)
        kept = (*size.shape[:1], *(1,) * (total.type.rank - 1)) if size.type.rank else ()
        return F.div(b, total, F.reshape(b, size, kept))


class Max(_Reduced):
    """The largest element along axes."""

    keyword: ClassVar[str] = "max"
    neutral: ClassVar[float] = float("-inf")

    def reduced(self, ctx: Context, x: Value, at: tuple[int, ...]) -> Value:
        return ctx.b.emit(ops.Max(at), x)


class Min(_Reduced):
    """The smallest element along axes."""

    keyword: ClassVar[str] = "min"
    neutral: ClassVar[float] = float("inf")

    def reduced(self, ctx: Context, x: Value, at: tuple[int, ...]) -> Value:
        return F.neg(ctx.b, ctx.b.emit(ops.Max(at), F.neg(ctx.b, x)))


class LogSumExp(_Reduced):
    """The logarithm of the sum of e^x over axes."""

    keyword: ClassVar[str] = "logsumexp"
    neutral: ClassVar[float] = float("-inf")

    def reduced(self, ctx: Context, x: Value, at: tuple[int, ...]) -> Value:
        return ctx.b.emit(ops.LogSumExp(at), x)


@dataclass(frozen=True)
class ArgMax(OverAxes):
    """The place of the largest element along an axis, the first of equal ones: a category, without a gradient."""

    keyword: ClassVar[str] = "argmax"

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,), at = values, self.one(ctx, values[0])
        y = ctx.b.emit(ops.ArgMax(at), real_only(ctx, x, (at,), float("-inf")))
        size = x.shape[at]
        if isinstance(size, int):
            ctx.classes[y] = size
        return ctx.name_axes(y, without(ctx.axes_of(x), self.over))


@dataclass(frozen=True)
class CumSum(OverAxes):
    """The sum of all elements along an axis up to each, itself included."""

    keyword: ClassVar[str] = "cumsum"

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,), at = values, self.one(ctx, values[0])
        return ctx.name_axes(ctx.b.emit(ops.CumSum(at), x), ctx.axes_of(x))


@dataclass(frozen=True)
class Unit(OverAxes):
    """x / |x|, the length taken over axes: sqrt(sum(x^2) + 1e-12)."""

    keyword: ClassVar[str] = "unit"

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,), b, at = values, ctx.b, self.places(ctx, values[0])
        kept = real_only(ctx, x, at, 0.0)
        square = F.sum_axes(b, F.mul(b, kept, kept), at, keepdims=True)
        return ctx.name_axes(F.div(b, x, b.emit(ops.Sqrt(), F.add(b, square, TINY_SQUARE))), ctx.axes_of(x))


@dataclass(frozen=True)
class Softmax(OverAxes):
    """e^x / sum(e^x) along an axis.

    `mask` says which places a query sees, and names the axis of the queries: mask = causal(time). The others weigh
    nothing; a query that sees nothing gives zeros.
    """

    keyword: ClassVar[str] = "softmax"
    mask: Relation | None = None

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,), b, at = values, ctx.b, self.one(ctx, values[0])
        axes = ctx.axes_of(x)
        if self.mask is None:
            return ctx.name_axes(b.emit(ops.Softmax(at), real_only(ctx, x, (at,), float("-inf"))), axes)
        places = self._places(ctx, x, at, self.mask)
        seen = visible(ctx, self.mask, places)
        seen = beside(ctx, ctx.name_axes(seen, (*places.axes, *self.over)), axes)
        present = ctx.present_along(x.shape[at])
        always = self.mask.sees_itself and (present is None or self.mask.sees_first)
        if present is not None and always:
            x = real_only(ctx, x, (at,), float("-inf"))
        elif present is not None:
            real = F.reshape(b, present, tuple(s if i in (0, at) else 1 for i, s in enumerate(x.shape)))
            seen = b.emit(ops.LogicalAnd(), seen, real)
        return ctx.name_axes(attended(ctx, x, seen, at, always=always), axes)

    def _places(self, ctx: Context, x: Value, at: int, mask: Relation) -> Places:
        """The places of the queries: along the axis that the mask names, or the only other one of that size.

        Raises `SpecError`: MP213 where there are several, MP206 for another number of places.
        """
        sizes = dict(zip(ctx.axes_of(x), ctx.sizes_of(x), strict=True))
        names = mask.names or tuple(n for n, s in sizes.items() if s == x.shape[at] and n not in self.over)
        if len(names) != 1:
            raise ctx.fail("MP213", f"the queries of a mask lie along one axis of {described(ctx, x)}",
                           help="name it: mask = causal(time)")  # fmt: skip
        query = place(ctx, self.keyword, x, names[0])
        if x.shape[query] != x.shape[at]:
            raise ctx.fail("MP206", f"a mask compares {x.shape[query]} places with {x.shape[at]}")
        return Places(names, (x.shape[query],))


REDUCTIONS: tuple[type[Function], ...] = (Sum, Mean, Max, Min, LogSumExp, Softmax, ArgMax, CumSum, Unit)

__all__ = ["REDUCTIONS"]
