"""Recurrences over the rows and the diagonals of an image (van den Oord, Kalchbrenner and Kavukcuoglu 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import DType, Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context, Layer, fan_in_uniform
from mpcompile.layers.convolution import Conv
from mpcompile.layers.masks import Causal2d


@dataclass(frozen=True)
class RowLstm(Layer):
    """A long short-term memory that runs down the rows of an image, a whole row a step (section 3.1, eq. 3).

    o, f, i, g = K_ss * h_{r-1} + K_is * x_r; c_r = sigmoid(f) c_{r-1} + sigmoid(i) tanh(g); h_r = sigmoid(o) tanh(c_r).
    K_is is a convolution along the row, masked to the pixel and those left of it; K_ss one along the row above, not
    masked: a pixel sees a triangle above it. [N, C, H, W] -> [N, units, H, W].
    """

    keyword: ClassVar[str] = "row_lstm"
    units: int
    kernel: int = 3

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if x.type.rank != 4 or x.dtype != DType.FLOAT or not isinstance(x.shape[3], int):
            raise ctx.fail("MP201", f"row_lstm needs an image [channels, height, width], got {x.type}")
        if self.kernel % 2 == 0:
            raise ctx.fail("MP205", f"row_lstm needs an odd kernel, got {self.kernel}")
        units, side = self.units, self.kernel // 2
        with ctx.frame("input", "input to state", ctx.span):
            mask = Causal2d("horizontal")
            driven = Conv(4 * units, (1, self.kernel), pad="same", mask=mask).forward(ctx, x)
        shape = (4 * units, units, self.kernel)
        u = ctx.param("weight_hh", shape, fan_in_uniform(units * self.kernel))
        over = ops.Conv((1,), ((side, side),), (1,), 1)

        def step(state: list[Value], slices: list[Value], _: Value) -> tuple[list[Value], list[Value]]:
            b, (h, c) = ctx.b, state
            h, c = lstm_step(ctx, F.add(b, slices[0], b.emit(over, h, b.here(u))), c)
            return [h, c], [h]

        zero = ctx.zeros((x.shape[0], units, x.shape[3]))
        _, (ys,) = ctx.scan(step, [zero, zero], [driven], axis=2)
        return ys


def lstm_step(ctx: Context, gates: Value, c: Value) -> tuple[Value, Value]:
    """The next h and c from the sums of the gates o, f, i, g, stacked along axis 1."""
    b = ctx.b
    o, f, i, g = F.split(b, gates, 1, 4)
    kept = F.mul(b, b.emit(ops.Sigmoid(), f), c)
    c = F.add(b, kept, F.mul(b, b.emit(ops.Sigmoid(), i), b.emit(ops.Tanh(), g)))
    return F.mul(b, b.emit(ops.Sigmoid(), o), b.emit(ops.Tanh(), c)), c
