"""Functions that move elements and compute nothing: axes are split, merged, renamed, cut and repeated by their names."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Annotated, ClassVar

from mpcompile import ops
from mpcompile.functions.base import Function, place, without
from mpcompile.ir import DType, Value, product, symbol
from mpcompile.ir.axes import Axes
from mpcompile.layers.axes import ordered
from mpcompile.layers.context import Context
from mpcompile.ops import build as F
from mpcompile.ranges import AnyName, NamedSizes, Names, Offset, Renames, Steps

Name = Annotated[str, AnyName()]


@dataclass(frozen=True)
class _Shaping(Function):
    kind: ClassVar[DType | None] = None


@dataclass(frozen=True)
class Split(_Shaping):
    """One axis as several, the first of them outermost: split(channel, head = 8, channel = 64)."""

    keyword: ClassVar[str] = "split"
    axis: Name
    sizes: NamedSizes

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,), names = values, tuple(name for name, _ in self.sizes)
        at, axes, shape = (
            place(ctx, self.keyword, x, self.axis),
            ctx.axes_of(x),
            tuple(size for _, size in self.sizes),
        )
        if x.shape[at] != prod(shape):
            product_ = " * ".join(map(str, shape))
            raise ctx.fail(
                "MP201", f"split makes {product_} of `{self.axis}`, which has {x.shape[at]} elements"
            )
        i = axes.index(self.axis)
        made = (*axes[:i], *names, *axes[i + 1 :])
        _check_once(ctx, self.keyword, made)
        return ctx.name_axes(F.reshape(ctx.b, x, (*x.shape[:at], *shape, *x.shape[at + 1 :])), made)


@dataclass(frozen=True)
class Merge(_Shaping):
    """Several axes as one, the first of them outermost: merge([head, channel], into = channel)."""

    keyword: ClassVar[str] = "merge"
    axes: Names
    into: Name = field(kw_only=True)

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,) = values
        for name in self.axes:
            place(ctx, self.keyword, x, name)
        _check_once(ctx, self.keyword, self.axes)
        own, rest = ctx.axes_of(x), without(ctx.axes_of(x), self.axes)
        i = sum(n in rest for n in own[: own.index(self.axes[0])])
        x = ordered(ctx, x, (*rest[:i], *self.axes, *rest[i:]))
        made = (*rest[:i], self.into, *rest[i:])
        _check_once(ctx, self.keyword, made)
        at = ctx.axis(x, self.axes[0])
        end = at + len(self.axes)
        return ctx.name_axes(
            F.reshape(ctx.b, x, (*x.shape[:at], product(x.shape[at:end]), *x.shape[end:])), made
        )


@dataclass(frozen=True)
class Rename(_Shaping):
    """The same axes under other names: rename(time = key)."""

    keyword: ClassVar[str] = "rename"
    names: Renames

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,), new = values, dict(self.names)
        for name in new:
            place(ctx, self.keyword, x, name)
        made = tuple(new.get(n, n) for n in ctx.axes_of(x))
        _check_once(ctx, self.keyword, made)
        return ctx.name_axes(x, made)


@dataclass(frozen=True)
class At(_Shaping):
    """One element along an axis: at(token, 0)."""

    keyword: ClassVar[str] = "at"
    axis: Name
    index: Steps

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,) = values
        at = place(ctx, self.keyword, x, self.axis)
        _check_inside(ctx, self.keyword, self.axis, x.shape[at], self.index + 1)
        part = F.slice_axis(ctx.b, x, at, self.index, self.index + 1)
        return _dropped(ctx, ctx.name_axes(part, ctx.axes_of(x)), self.axis)


@dataclass(frozen=True)
class Slice(_Shaping):
    """The elements from `start` up to, not including, `stop` along an axis: slice(channel, 0, 4)."""

    keyword: ClassVar[str] = "slice"
    axis: Name
    start: Steps
    stop: Offset

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,) = values
        at = place(ctx, self.keyword, x, self.axis)
        _check_inside(ctx, self.keyword, self.axis, x.shape[at], self.stop)
        if self.stop <= self.start:
            raise ctx.fail("MP205", f"slice from {self.start} to {self.stop} has no element")
        return ctx.name_axes(F.slice_axis(ctx.b, x, at, self.start, self.stop), ctx.axes_of(x))


@dataclass(frozen=True)
class Spread(_Shaping):
    """A value repeated along an axis that it lacks, as often as `like` has elements there: spread(time, like = x)."""

    keyword: ClassVar[str] = "spread"
    axis: Name
    like: Value = field(kw_only=True)

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,), b = values, ctx.b
        axes = (self.axis, *ctx.axes_of(x))
        _check_once(ctx, self.keyword, axes)
        size = self.like.shape[place(ctx, self.keyword, self.like, self.axis)]
        batch = x.type.rank - len(ctx.axes_of(x))
        wide = F.reshape(b, x, (*x.shape[:batch], 1, *x.shape[batch:]))
        lead = x.shape[:batch] or (symbol("N"),)  # a length is one of a batch
        return ctx.name_axes(b.emit(ops.BroadcastTo((*lead, size, *x.shape[batch:])), wide), axes)


@dataclass(frozen=True)
class Drop(_Shaping):
    """A value without an axis of one element: drop(channel)."""

    keyword: ClassVar[str] = "drop"
    axis: Name

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,) = values
        at = place(ctx, self.keyword, x, self.axis)
        if x.shape[at] != 1:
            raise ctx.fail("MP201", f"drop takes an axis of one element, and `{self.axis}` has {x.shape[at]}",
                           help=f"at({self.axis}, 0) takes one of them")  # fmt: skip
        return _dropped(ctx, x, self.axis)


def _dropped(ctx: Context, x: Value, name: str) -> Value:
    """A value without an axis of one element."""
    at = ctx.axis(x, name)
    return ctx.name_axes(
        F.reshape(ctx.b, x, (*x.shape[:at], *x.shape[at + 1 :])), without(ctx.axes_of(x), (name,))
    )


def _check_once(ctx: Context, who: str, axes: Axes) -> None:
    for i, name in enumerate(axes):
        if name in axes[:i]:
            raise ctx.fail(
                "MP105", f"{who} would give two axes the name `{name}`", help="choose another name"
            )


def _check_inside(ctx: Context, who: str, name: str, size: object, end: int) -> None:
    """Raise MP201 unless an axis has at least `end` elements; one of symbolic length has one."""
    if end > (size if isinstance(size, int) else 1):
        raise ctx.fail("MP201", f"{who} reads {end} elements of `{name}`, which has {size}")


SHAPING: tuple[type[Function], ...] = (Split, Merge, Rename, At, Slice, Spread, Drop)

__all__ = ["SHAPING"]
