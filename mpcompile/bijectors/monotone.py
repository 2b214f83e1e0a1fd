"""Increasing networks of one element (Huang et al. 2018, Neural autoregressive flows)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.bijectors.laws import Law
from mpcompile.bijectors.spline import LEAST, UNIT_SLOPE
from mpcompile.ir import Array, Value
from mpcompile.layers.base import Context
from mpcompile.layers.starts import DEFAULT, Start
from mpcompile.ops import build as F
from mpcompile.ranges import Components

#: Halvings of the bracket of an inverse: it is then 2^-60 of its width, or as narrow as numbers of its precision allow.
HALVINGS = 60


@dataclass(frozen=True)
class Monotone(Law):
    """y = e x + (1 - e) logit(sum_k w_k sigmoid(a_k x + b_k)), e = 1e-3: a sigmoidal flow (Huang et al. 2018, eq. 8).

    Parameters of an element: slopes a_k, positive through a softplus, offsets b_k, and weights w_k, positive and of sum 1
    through a softmax. Where they are zero y = x. A net starts them at random, since equal units would stay equal. The
    share e of x is not in the paper: without it the curve is flat, and its inverse lost, between units far apart.

    `inverse` bisects between the least and the largest root of the units alone, where y - f(x) changes its sign, and ends
    with one step of Newton's method. Gradients are those of that step, which are those of the implicit function. The
    error is the rounding of f over its slope, and at most 2^-60 of the bracket's width.
    """

    keyword: ClassVar[str] = "monotone"
    start: ClassVar[Start] = DEFAULT
    units: Components = 8

    def count(self) -> int:
        return 3 * self.units

    def forward(self, ctx: Context, x: Value, raw: Value, moved: Array | None) -> tuple[Value, Value | None]:
        y, log_slope = self._map(ctx, x, self._parameters(ctx, x, raw))
        return _kept(ctx, y, x, moved), _kept(ctx, log_slope, ctx.b.constant(0.0), moved)

    def inverse(self, ctx: Context, y: Value, raw: Value, moved: Array | None) -> Value:
        b, (log_weight, slope, offset) = ctx.b, self._parameters(ctx, y, raw)
        # where each unit alone would give y or less, so does their mixture
        rise = F.add(b, F.mul(b, slope, 1 - LEAST), LEAST)
        each = F.div(b, F.sub(b, _wide(ctx, y), F.mul(b, offset, 1 - LEAST)), rise)
        low, high = F.neg(b, b.emit(ops.Max((1,), False), F.neg(b, each))), b.emit(ops.Max((1,), False), each)

        def step(state: list[Value], _: list[Value], __: Value) -> tuple[list[Value], list[Value]]:
            b, (low, high) = ctx.b, state
            middle = F.add(b, F.mul(b, low, 0.5), F.mul(b, high, 0.5))
            inner = (b.here(log_weight), b.here(slope), b.here(offset))
            below = F.less(b, self._map(ctx, middle, inner)[0], b.here(y))
            return [F.where(b, below, middle, low), F.where(b, below, high, middle)], []

        (low, high), _ = ctx.scan(step, [low, high], [], length=HALVINGS)
        b = ctx.b
        x = b.emit(ops.StopGradient(), F.add(b, F.mul(b, low, 0.5), F.mul(b, high, 0.5)))
        found, log_slope = self._map(ctx, x, (log_weight, slope, offset))
        rise = b.emit(ops.StopGradient(), b.emit(ops.Exp(), log_slope))
        return _kept(ctx, F.sub(b, x, F.div(b, F.sub(b, found, y), rise)), y, moved)

    def _parameters(self, ctx: Context, x: Value, raw: Value) -> tuple[Value, Value, Value]:
        """log w, a and b, each [N, units, *elements of x]."""
        b, shape = ctx.b, (raw.shape[0], self.units, *x.shape[1:])
        slopes, offsets, weights = (F.reshape(b, part, shape) for part in F.split(b, raw, 1, 3))
        slopes = F.add(b, b.emit(ops.Softplus(), F.add(b, slopes, UNIT_SLOPE)), LEAST)
        return F.sub(b, weights, b.emit(ops.LogSumExp((1,), True), weights)), slopes, offsets

    def _map(self, ctx: Context, x: Value, parameters: tuple[Value, Value, Value]) -> tuple[Value, Value]:
        """y and log dy/dx, dy/dx = e + (1 - e) sum_k w_k a_k s(u_k) s(-u_k) / (p (1 - p)), where u_k = a_k x + b_k.

        p is the mixture and s the sigmoid.
        """
        b, (log_weight, slope, offset) = ctx.b, parameters
        u = F.add(b, F.mul(b, _wide(ctx, x), slope), offset)
        up, down = b.emit(ops.Softplus(), u), b.emit(ops.Softplus(), F.neg(b, u))  # -log s(-u), -log s(u)

        def total(logs: Value) -> Value:
            return b.emit(ops.LogSumExp((1,), False), F.add(b, log_weight, logs))

        log_p, log_q = total(F.neg(b, down)), total(F.neg(b, up))
        rise = total(F.sub(b, b.emit(ops.Log(), slope), F.add(b, up, down)))
        y = F.add(b, F.mul(b, x, LEAST), F.mul(b, F.sub(b, log_p, log_q), 1 - LEAST))
        above = F.add(b, F.sub(b, rise, F.add(b, log_p, log_q)), log(1 / LEAST - 1))
        return y, F.add(b, b.emit(ops.Softplus(), above), log(LEAST))


def _wide(ctx: Context, x: Value) -> Value:
    """x with an axis of units behind the batch."""
    return F.reshape(ctx.b, x, (x.shape[0], 1, *x.shape[1:]))


def _kept(ctx: Context, new: Value, old: Value, moved: Array | None) -> Value:
    """The new value where elements are moved: the condition is a constant, so that the analysis knows the others."""
    return new if moved is None else F.where(ctx.b, ctx.b.constant(np.asarray(moved)), new, old)
