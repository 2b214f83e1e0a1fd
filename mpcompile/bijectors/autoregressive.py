"""Masked autoregressive bijectors (Kingma et al. 2016; Papamakarios et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.bijectors import conditions
from mpcompile.bijectors.base import Bijector, Extent, channels
from mpcompile.bijectors.laws import AFFINE, Law
from mpcompile.ir import Array, Value
from mpcompile.layers.base import Context
from mpcompile.layers.dense import Dense
from mpcompile.layers.masks import Degrees, ranks
from mpcompile.ops import build as F
from mpcompile.ranges import Order, Seed, Widths


@dataclass(frozen=True)
class Autoregressive(Bijector):
    """y_i = f(x_i; parameters from the x before x_i in the order): MAF; `inverse(autoregressive(...))` is IAF.

    The parameters come from a MADE with `hidden` units a layer, relu and masks of degrees (Germain et al. 2015), so
    that density takes one pass. The inverse draws element after element; its loop is the reference from which
    `mpcompile.passes.incremental` derives one that computes each unit once. With law = affine this is MAF's eq. 4,
    exp(-alpha) and -mu exp(-alpha) called exp(s) and t. A `condition` enters every layer, unmasked.
    """

    keyword: ClassVar[str] = "autoregressive"
    function: ClassVar[bool] = True
    takes: ClassVar[Extent] = Extent("a vector: declare the variable flat, or use couplings", 1, 1)
    hidden: Widths
    order: Order = "natural"
    law: Law = AFFINE
    seed: Seed = 0
    condition: Value | None = None

    @property
    def reach(self) -> float | None:  # type: ignore[override]  # a class's there, that of the law here
        return self.law.reach

    def _ranks(self, ctx: Context, x: Value) -> Array:
        return ranks(self.order, channels(x), self.seed)

    def _raw(self, ctx: Context, x: Value, order: Array) -> Value:
        """Parameters of the law of every element, given those before it: [N, count * D]."""
        before, ctx.order = ctx.order, order
        ctx.degrees[ctx.b.here(x)] = order + 1
        given = None if self.condition is None else conditions.features(ctx, self.condition)
        try:
            h = x
            for i, units in enumerate(self.hidden):
                h = self._layer(ctx, f"hidden_{i}", h, given, Dense(units, Degrees(seed=self.seed)))
                h = ctx.b.emit(ops.Relu(), h)
            last = Dense(channels(x) * self.law.count(), Degrees(strict=True), init=self.law.start)
            return self._layer(ctx, "project", h, given, last)
        finally:
            ctx.order = before

    def _layer(self, ctx: Context, name: str, h: Value, given: Value | None, dense: Dense) -> Value:
        with ctx.frame(name, f"dense({dense.units}, mask = degrees)", ctx.span):
            y = dense.forward(ctx, h)
        if given is None:
            return y
        with ctx.frame(f"{name}_condition", f"dense({dense.units})", ctx.span):
            total = F.add(ctx.b, y, Dense(dense.units, bias=False, init=dense.init).forward(ctx, given))
        ctx.degrees[total] = ctx.degrees[y]
        return total

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        raw = self._raw(ctx, seen, self._ranks(ctx, x))
        y, log_slope = self.law.forward(ctx, x, raw, None)
        return y, None if log_slope is None else F.event_sum(ctx.b, log_slope)

    def inverse(self, ctx: Context, y: Value) -> Value:
        order = self._ranks(ctx, y)

        def step(state: list[Value], _: list[Value], t: Value) -> tuple[list[Value], list[Value]]:
            b, (x,) = ctx.b, state
            drawn = self.law.inverse(ctx, b.here(y), self._raw(ctx, x, order), None)
            now = b.emit(ops.Equal(), b.constant(order[None]), t)
            return [b.emit(ops.Where(), now, drawn, x)], []

        (x,), _ = ctx.scan(step, [ctx.zeros(y.shape)], [], length=order.size)
        return x
