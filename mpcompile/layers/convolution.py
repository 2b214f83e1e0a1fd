"""Convolutions, pooling and upsampling. Layouts are channels first: [N, C, L], [N, C, H, W], [N, C, D, H, W]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Init, Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context, Layer, Mask, MaskUse, fan_in_uniform
from mpcompile.layers.dense import mask_matrix

#: The largest kernel, stride, dilation, padding or upsampling factor.
MAX_WINDOW = 1 << 10

Pads = tuple[tuple[int, int], ...]


def paddings(ctx: Context, pad: str | int, kernel: int, dilation: int, dims: int) -> Pads:
    """Zero padding for each spatial axis, from `same`, `valid`, `causal` or a number."""
    reach = (kernel - 1) * dilation
    named = {"valid": (0, 0), "same": (reach // 2, reach - reach // 2), "causal": (reach, 0)}
    if isinstance(pad, str) and pad not in named:
        raise ctx.fail("MP205", f"no padding is named '{pad}'", help="same, valid, causal or a number")
    return (named[pad] if isinstance(pad, str) else (pad, pad),) * dims


@dataclass(frozen=True)
class Conv(Layer):
    """Discrete cross-correlation with a kernel of size `kernel` in every spatial axis (notes, section 2.1).

    `pad=same` keeps the size at stride 1; `causal` pads only before, so position t sees positions <= t. A mask of
    the kernel ([out, in, *kernel]) multiplies the weight.
    """

    keyword: ClassVar[str] = "conv"
    channels: int
    kernel: int
    stride: int = 1
    pad: str | int = "valid"
    dilation: int = 1
    groups: int = 1
    mask: Mask | None = None
    bias: bool = True
    init: str = "uniform"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        dims = x.type.rank - 2
        in_channels = x.shape[1] if x.type.rank > 2 else None
        if not isinstance(in_channels, int) or not 1 <= dims <= 3:
            raise ctx.fail("MP201", f"conv needs [channels, space...], got {x.type}")
        if (
            max(self.kernel, self.stride, self.dilation, abs(self.pad) if isinstance(self.pad, int) else 0)
            > MAX_WINDOW
        ):
            raise ctx.fail("MP112", f"a kernel, stride, dilation or padding is larger than {MAX_WINDOW}")
        if in_channels % self.groups or self.channels % self.groups:
            raise ctx.fail(
                "MP201", f"{self.groups} groups divide neither {in_channels} nor {self.channels} channels"
            )
        shape = (self.channels, in_channels // self.groups, *(self.kernel,) * dims)
        fan_in = int(np.prod(shape[1:]))
        start = Init("zeros") if self.init == "zeros" else fan_in_uniform(fan_in)
        if self.init == "he":
            start = Init("normal", (2.0 / fan_in) ** 0.5)
        weight = ctx.param("weight", shape, start)
        if self.mask is not None:
            array, _ = mask_matrix(ctx, self.mask, MaskUse("conv", shape, None, ctx.order))
            weight = F.mul(b, weight, b.constant(array.astype(np.float64)))
        op = ops.Conv(
            (self.stride,) * dims,
            paddings(ctx, self.pad, self.kernel, self.dilation, dims),
            (self.dilation,) * dims,
            self.groups,
        )
        y = b.emit(op, x, weight)
        if self.bias:
            zero = start.kind in ("zeros", "normal")
            y = F.channel_bias(b, y, ctx.param("bias", (self.channels,), Init("zeros") if zero else start))
        return y


@dataclass(frozen=True)
class Conv1d(Layer):
    """A convolution along the time axis of a sequence [N, time, C] -> [N, time, channels]; `pad=causal` by default."""

    keyword: ClassVar[str] = "conv1d"
    channels: int
    kernel: int
    dilation: int = 1
    pad: str | int = "causal"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if x.type.rank != 3:
            raise ctx.fail("MP201", f"conv1d needs a sequence [time, channels], got {x.type}")
        inner = Conv(self.channels, self.kernel, 1, self.pad, self.dilation)
        return F.transpose(b, inner.forward(ctx, F.transpose(b, x, 0, 2, 1)), 0, 2, 1)


@dataclass(frozen=True)
class ConvTranspose(Layer):
    """The adjoint of a convolution (notes, section 3.1): upsamples by `stride`."""

    keyword: ClassVar[str] = "conv_transpose"
    channels: int
    kernel: int
    stride: int = 1
    pad: int = 0
    output_padding: int = 0
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        dims = x.type.rank - 2
        in_channels = x.shape[1] if x.type.rank > 2 else None
        if not isinstance(in_channels, int) or not 1 <= dims <= 3:
            raise ctx.fail("MP201", f"conv_transpose needs [channels, space...], got {x.type}")
        shape = (in_channels, self.channels, *(self.kernel,) * dims)
        start = fan_in_uniform(in_channels * self.kernel**dims)
        op = ops.ConvTranspose(
            (self.stride,) * dims,
            ((self.pad, self.pad),) * dims,
            (1,) * dims,
            1,
            (self.output_padding,) * dims,
        )
        y = b.emit(op, x, ctx.param("weight", shape, start))
        return F.channel_bias(b, y, ctx.param("bias", (self.channels,), start)) if self.bias else y


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest value of each window; stride = kernel unless given."""

    keyword: ClassVar[str] = "maxpool"
    kernel: int
    stride: int | None = None
    pad: int = 0

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), dims = inputs, inputs[0].type.rank - 2
        op = ops.MaxPool(
            (self.kernel,) * dims, (self.stride or self.kernel,) * dims, ((self.pad, self.pad),) * dims
        )
        return ctx.b.emit(op, x)


@dataclass(frozen=True)
class AvgPool(Layer):
    """The mean of each window; stride = kernel unless given."""

    keyword: ClassVar[str] = "avgpool"
    kernel: int
    stride: int | None = None
    pad: int = 0

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), dims = inputs, inputs[0].type.rank - 2
        op = ops.AvgPool(
            (self.kernel,) * dims, (self.stride or self.kernel,) * dims, ((self.pad, self.pad),) * dims
        )
        return ctx.b.emit(op, x)


class GlobalAvgPool(Layer):
    """Mean over all of space: [N, C, ...] -> [N, C]."""

    keyword: ClassVar[str] = "global_avgpool"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.mean_axes(ctx.b, inputs[0], range(2, inputs[0].type.rank))


@dataclass(frozen=True)
class Upsample(Layer):
    """Nearest-neighbour upsampling: every element is repeated `factor` times along each spatial axis."""

    keyword: ClassVar[str] = "upsample"
    factor: int

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if self.factor > MAX_WINDOW:
            raise ctx.fail("MP112", f"a factor of {self.factor} is larger than {MAX_WINDOW}")
        n, c, *space = x.shape
        spread = [size for s in space for size in (s, 1)]
        copied = [size for s in space for size in (s, self.factor)]
        y = b.emit(ops.BroadcastTo((n, c, *copied)), F.reshape(b, x, (n, c, *spread)))
        return F.reshape(b, y, (n, c, *(s * self.factor for s in space)))


class ShiftDown(Layer):
    """Move an image one row down: row r of the result is row r - 1 of the input, row 0 is zero."""

    keyword: ClassVar[str] = "shift_down"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        height = x.shape[2]
        assert isinstance(height, int)
        padded = b.emit(ops.Pad((0, 0, 1, 0), (0, 0, 0, 0)), x)
        return F.slice_axis(b, padded, 2, 0, height)


@dataclass(frozen=True)
class Squeeze(Layer):
    """Space to depth: [N, C, H, W] -> [N, C f^2, H/f, W/f] (Dinh et al. 2017, section 3.6)."""

    keyword: ClassVar[str] = "space_to_depth"
    factor: int = 2

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return space_to_depth(ctx, inputs[0], self.factor)


def space_to_depth(ctx: Context, x: Value, f: int) -> Value:
    """Channel c, offset (i, j) of each f x f patch becomes channel c f^2 + i f + j."""
    n, c, h, w = x.shape
    if not (isinstance(h, int) and isinstance(w, int)) or h % f or w % f:
        raise ctx.fail("MP201", f"squeeze({f}) needs a height and width divisible by {f}, got {x.type}")
    y = F.reshape(ctx.b, x, (n, c, h // f, f, w // f, f))
    return F.reshape(ctx.b, F.transpose(ctx.b, y, 0, 1, 3, 5, 2, 4), (n, c * f * f, h // f, w // f))


def depth_to_space(ctx: Context, y: Value, f: int) -> Value:
    """The inverse of `space_to_depth`."""
    n, c, h, w = y.shape
    x = F.reshape(ctx.b, y, (n, c // (f * f), f, f, h, w))
    return F.reshape(ctx.b, F.transpose(ctx.b, x, 0, 1, 4, 2, 5, 3), (n, c // (f * f), h * f, w * f))
