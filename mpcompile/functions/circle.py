"""Features of angles."""

from __future__ import annotations

from typing import ClassVar

from mpcompile import ops
from mpcompile.functions.base import Function
from mpcompile.ir import Value
from mpcompile.ir.axes import CHANNEL
from mpcompile.layers.context import Context
from mpcompile.ops import build as F


class Circle(Function):
    """Return the cosine and the sine of angles, joined along the channels: no feature jumps at the end of a turn.

    [..., channel: C] -> [..., channel: 2 C]; without channels one is made.
    """

    keyword: ClassVar[str] = "circle"

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,) = values
        if CHANNEL not in ctx.axes_of(x):
            x = ctx.name_axes(F.reshape(ctx.b, x, (*x.shape, 1)), (*ctx.axes_of(x), CHANNEL))
        parts = [ctx.b.emit(op, x) for op in (ops.Cos(), ops.Sin())]
        return ctx.name_axes(F.concat(ctx.b, parts, ctx.axis(x, CHANNEL)), ctx.axes_of(x))


ANGULAR: tuple[type[Function], ...] = (Circle,)

__all__ = ["ANGULAR"]
