"""Rotary positions as a function of values, for attention that is written out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from mpcompile.functions.base import Function, OverAxes, place, without
from mpcompile.ir import Value
from mpcompile.ir.axes import CHANNEL
from mpcompile.layers.attention import turned
from mpcompile.layers.axes import ordered, over_channel
from mpcompile.layers.context import Context
from mpcompile.ranges import Positive


@dataclass(frozen=True)
class Rotary(OverAxes):
    """Pairs (i, i + E / 2) of the E channels turned by position base^(-2 i / E) along an axis (Su et al. 2024, eq. 34).

    A product of two such values over the channels knows distances alone.
    """

    keyword: ClassVar[str] = "rotary"
    base: Positive = field(default=10000.0, kw_only=True)

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,) = values
        self.one(ctx, x)
        if CHANNEL in self.over:
            raise over_channel(ctx, self.keyword)
        size = x.shape[place(ctx, self.keyword, x, CHANNEL)]
        if not isinstance(size, int) or size % 2:
            raise ctx.fail("MP201", f"rotary turns pairs of channels, and got {size} of them")
        axes = ctx.axes_of(x)
        last = ordered(ctx, x, (*without(axes, (*self.over, CHANNEL)), *self.over, CHANNEL))
        (y,) = turned(ctx, (last,), self.base)
        return ordered(ctx, ctx.name_axes(y, ctx.axes_of(last)), axes)


ROTARY: tuple[type[Function], ...] = (Rotary,)

__all__ = ["ROTARY"]
