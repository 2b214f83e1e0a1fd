"""Recurrences over the rows and the diagonals of an image (van den Oord, Kalchbrenner and Kavukcuoglu 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Builder, Shape, Value
from mpcompile.layers.base import IMAGE, Acting, Acts, Context, fan_in_uniform
from mpcompile.layers.convolution import Conv
from mpcompile.layers.masks import Causal2d
from mpcompile.layers.resampling import ShiftDown
from mpcompile.ops import build as F
from mpcompile.ranges import Width, Window


@dataclass(frozen=True)
class RowLstm(Acting):
    """A long short-term memory that runs down the rows of an image, a whole row a step (section 3.1, eq. 3).

    o, f, i, g = K_ss * h_{r-1} + K_is * x_r; c_r = sigmoid(f) c_{r-1} + sigmoid(i) tanh(g); h_r = sigmoid(o) tanh(c_r).
    K_is is a convolution along the row, masked to the pixel and those left of it; K_ss one along the row above, not
    masked: a pixel sees a triangle above it. [N, C, H, W] -> [N, units, H, W].
    """

    keyword: ClassVar[str] = "row_lstm"
    acts: ClassVar[Acts] = IMAGE
    units: Width
    kernel: Window = 3
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        if self.kernel % 2 == 0:
            raise ctx.fail("MP205", f"row_lstm needs an odd kernel, got {self.kernel}")
        units, side = self.units, self.kernel // 2
        with ctx.frame("input", "input to state", ctx.span):
            mask = Causal2d("horizontal")
            driven = Conv(4 * units, (1, self.kernel), pad="same", mask=mask, bias=self.bias).forward(ctx, x)
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


@dataclass(frozen=True)
class DiagonalBilstm(Acting):
    """Two long short-term memories along the diagonals of an image, from both upper corners (section 3.2).

    A pixel's state follows from those of its neighbours above and to the left (right). The second map is shifted down
    by a row, so that the sum has read every pixel before, its own included, and none after. [N, C, H, W] ->
    [N, units, H, W].
    """

    keyword: ClassVar[str] = "diagonal_bilstm"
    acts: ClassVar[Acts] = IMAGE
    units: Width
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        left = self._direction(ctx, "left", x)
        right = b.emit(ops.Flip(3), self._direction(ctx, "right", b.emit(ops.Flip(3), x)))
        return F.add(b, left, ShiftDown().forward(ctx, right))

    def _direction(self, ctx: Context, name: str, x: Value) -> Value:
        b, units = ctx.b, self.units
        with ctx.frame(name, f"diagonal_bilstm({units}), {name}", ctx.span):
            driven = Conv(4 * units, 1, bias=self.bias).forward(ctx, x)
            u = ctx.param("weight_hh", (4 * units, units, 2), fan_in_uniform(2 * units))
        over = ops.Conv((1,), ((1, 0),), (1,), 1)

        def step(state: list[Value], slices: list[Value], _: Value) -> tuple[list[Value], list[Value]]:
            b, (h, c) = ctx.b, state
            h, c = lstm_step(ctx, F.add(b, slices[0], b.emit(over, h, b.here(u))), c)
            return [h, c], [h]

        zero = ctx.zeros((x.shape[0], units, x.shape[2]))
        _, (ys,) = ctx.scan(step, [zero, zero], [skewed(b, driven)], axis=3)
        return unskewed(b, ys, x.shape)


def skewed(b: Builder, x: Value) -> Value:
    """Move row r by r places to the right, so that diagonals become columns: [N, C, H, W] -> [N, C, H, W + H - 1].

    Rows of W + H, read as rows of one element less, begin one place further to the right each.
    """
    n, channels, height, width = x.shape
    assert isinstance(height, int) and isinstance(width, int)
    wide = b.emit(ops.Pad((0, 0, 0, 0), (0, 0, 0, height)), x)
    flat = F.reshape(b, wide, (n, channels, height * (width + height)))
    kept = F.slice_axis(b, flat, 2, 0, height * (width + height - 1))
    return F.reshape(b, kept, (n, channels, height, width + height - 1))


def unskewed(b: Builder, x: Value, shape: Shape) -> Value:
    """Undo `skewed` for an image of the given height and width; channels stay those of x."""
    height, width = shape[2:]
    n, channels = x.shape[:2]
    assert isinstance(height, int) and isinstance(width, int)
    flat = F.reshape(b, x, (n, channels, height * (width + height - 1)))
    whole = b.emit(ops.Pad((0, 0, 0), (0, 0, height)), flat)
    rows = F.reshape(b, whole, (n, channels, height, width + height))
    return F.slice_axis(b, rows, 3, 0, width)


def lstm_step(ctx: Context, gates: Value, c: Value) -> tuple[Value, Value]:
    """Return the next h and c from the sums of the gates o, f, i, g, stacked along axis 1."""
    b = ctx.b
    o, f, i, g = F.split(b, gates, 1, 4)
    kept = F.mul(b, b.emit(ops.Sigmoid(), f), c)
    c = F.add(b, kept, F.mul(b, b.emit(ops.Sigmoid(), i), b.emit(ops.Tanh(), g)))
    return F.mul(b, b.emit(ops.Sigmoid(), o), b.emit(ops.Tanh(), c)), c
