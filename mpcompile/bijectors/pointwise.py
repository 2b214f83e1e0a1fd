"""Increasing functions of one element."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar

from mpcompile import ops
from mpcompile.bijectors.base import POSITIVE, UNIT, Bijector, Interval
from mpcompile.ir import Init, Value, numbers
from mpcompile.layers.base import Context
from mpcompile.ops import build as F
from mpcompile.ranges import Positive


@dataclass(frozen=True)
class Sigmoid(Bijector):
    """y = 1 / (1 + e^-x): from the reals to (0, 1)."""

    keyword: ClassVar[str] = "sigmoid"
    fixed: ClassVar[bool] = True
    codomain: ClassVar[Interval | None] = UNIT

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b = ctx.b
        both = F.add(b, b.emit(ops.Softplus(), x), b.emit(ops.Softplus(), F.neg(b, x)))
        return b.emit(ops.Sigmoid(), x), F.event_sum(b, F.neg(b, both))

    def inverse(self, ctx: Context, y: Value) -> Value:
        b = ctx.b
        return F.sub(b, b.emit(ops.Log(), y), b.emit(ops.Log(), F.sub(b, 1.0, y)))


@dataclass(frozen=True)
class Tanh(Bijector):
    """y = tanh x: from the reals to (-1, 1)."""

    keyword: ClassVar[str] = "tanh"
    fixed: ClassVar[bool] = True
    codomain: ClassVar[Interval | None] = (-1.0, 1.0)

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b = ctx.b  # log(1 - tanh^2 x) = 2 (log 2 - x - softplus(-2 x)), which does not cancel
        folded = F.add(b, x, b.emit(ops.Softplus(), F.mul(b, x, -2.0)))
        return b.emit(ops.Tanh(), x), F.event_sum(b, F.mul(b, F.sub(b, log(2), folded), 2.0))

    def inverse(self, ctx: Context, y: Value) -> Value:
        b = ctx.b
        ratio = F.div(b, F.add(b, 1.0, y), F.sub(b, 1.0, y))
        return F.mul(b, b.emit(ops.Log(), ratio), 0.5)


@dataclass(frozen=True)
class Softplus(Bijector):
    """y = log(1 + e^x): from the reals to the positive numbers."""

    keyword: ClassVar[str] = "softplus"
    fixed: ClassVar[bool] = True
    codomain: ClassVar[Interval | None] = POSITIVE

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b = ctx.b
        return b.emit(ops.Softplus(), x), F.event_sum(b, F.neg(b, b.emit(ops.Softplus(), F.neg(b, x))))

    def inverse(self, ctx: Context, y: Value) -> Value:
        b = ctx.b  # x = y + log(1 - e^-y), and 1 - e^-y = 2 t / (1 + t) with t = tanh(y / 2) does not cancel
        t = b.emit(ops.Tanh(), F.mul(b, y, 0.5))
        share = F.div(b, F.mul(b, t, 2.0), F.add(b, t, 1.0))
        return F.add(b, y, b.emit(ops.Log(), share))


@dataclass(frozen=True)
class LeakyRelu(Bijector):
    """y = x where x > 0, else slope x."""

    keyword: ClassVar[str] = "leaky_relu"
    fixed: ClassVar[bool] = True
    slope: Positive = 0.01  # another is not injective

    def _bent(self, ctx: Context, x: Value, slope: float) -> Value:
        return F.where(ctx.b, F.less(ctx.b, x, 0.0), F.mul(ctx.b, x, slope), x)

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b = ctx.b
        negative = F.to_float(b, F.less(b, x, 0.0))
        return self._bent(ctx, x, self.slope), F.event_sum(b, F.mul(b, negative, log(self.slope)))

    def inverse(self, ctx: Context, y: Value) -> Value:
        return self._bent(ctx, y, 1 / self.slope)


class Scale(Bijector):
    """y = x exp(s), a learned s for each element (NICE's scaling layer, Dinh et al. 2015, section 3.3)."""

    keyword: ClassVar[str] = "scale"

    def _log_scale(self, ctx: Context, x: Value) -> Value:
        return ctx.param("log_scale", numbers(x.shape[1:]), Init("zeros"))

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b, s = ctx.b, self._log_scale(ctx, x)
        total = F.sum_axes(b, s, range(s.type.rank))
        return F.mul(b, x, b.emit(ops.Exp(), s)), F.add(b, ctx.zeros((x.shape[0],)), total)

    def inverse(self, ctx: Context, y: Value) -> Value:
        return F.mul(ctx.b, y, ctx.b.emit(ops.Exp(), F.neg(ctx.b, self._log_scale(ctx, y))))
