"""Convolutions. Layouts are channels first: [N, C, L], [N, C, H, W], [N, C, D, H, W]."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Value
from mpcompile.layers.base import SEQUENCE, SPACE, Acting, Acts, Context, Mask, MaskUse, fan_in_uniform
from mpcompile.layers.dense import bias_start, mask_value
from mpcompile.layers.reparametrised import Norm, reparametrised
from mpcompile.layers.starts import DEFAULT, Start
from mpcompile.layers.windows import Geometry, behind_ends, each_axis, fitting, geometry, pairs, spatial
from mpcompile.ops import build as F
from mpcompile.ranges import Extra, Pad, PadAlong, Sizes, Width, Window


@dataclass(frozen=True)
class Conv(Acting):
    """Discrete cross-correlation with a kernel of size `kernel` in every spatial axis (notes, section 2.1).

    `flip` mirrors the kernel in every axis: convolution in the sense of mathematics, (K * I)[i] = sum of K[m] I[i - m].
    `pad` is valid, same (ceil(size / stride) results), causal (before only), a number, or a list with a number or a
    pair [before, after] for each axis. A stride along a length divides a declared multiple of it: [2 * frames, ...] has
    `frames` results. What lies behind the end of a sequence is zero.

    A mask of the kernel ([out, in, *kernel]) multiplies the weight. `norm` is that of
    `dense`, of the kernels of each output channel.

    [N, C, *S] -> [N, channels, *P] for one to three spatial axes S; the weight is [channels, C / groups, *kernel].
    """

    keyword: ClassVar[str] = "conv"
    acts: ClassVar[Acts] = SPACE
    channels: Width
    kernel: Sizes
    stride: Sizes = 1
    pad: Pad = "valid"
    dilation: Sizes = 1
    groups: Width = 1
    mask: Mask | None = None
    bias: bool = True
    init: Start = DEFAULT
    flip: bool = False
    norm: Norm = "none"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        windows = fitting(ctx, x, geometry(ctx, x, self.kernel, self.stride, self.dilation, self.pad))
        return self.over_windows(ctx, behind_ends(ctx, x, windows, 0.0), windows)

    def over_windows(self, ctx: Context, x: Value, windows: Geometry) -> Value:
        """The convolution of x[N, C, *S], in which what lies behind the end of a sequence is zero where it is read.

        Raises `SpecError`: MP205 for `flip` beside a mask, and what `divided` says.
        """
        b, (in_channels, _) = ctx.b, spatial(x)
        divided(ctx, self.groups, in_channels, self.channels)
        shape = (self.channels, in_channels // self.groups, *windows.kernel)
        start = self.init.of(shape)
        weight = ctx.param("weight", shape, start)
        if self.flip and self.mask is not None:
            raise ctx.fail("MP205", "a mask lies over the kernel as it is read: leave out `flip` or `mask`")
        for axis in range(2, len(shape)) if self.flip else ():
            weight = b.emit(ops.Flip(axis), weight)
        if self.mask is not None:
            array, _ = mask_value(ctx, self.mask, MaskUse("conv", shape, None, ctx.order))
            weight = F.mul(b, weight, array)
        weight = reparametrised(ctx, weight, self.norm, start)
        op = ops.Conv(windows.stride, windows.padding, windows.dilation, self.groups)
        y = b.emit(op, x, weight)
        if self.bias:
            y = F.channel_bias(b, y, ctx.param("bias", (self.channels,), bias_start(self.init, start)))
        return y


@dataclass(frozen=True)
class Conv1d(Acting):
    """A convolution along the time axis of a sequence [N, time, C] -> [N, time, channels]; `pad=causal` by default.

    As `conv`; with `groups` of C each channel has kernels of its own (depthwise).
    """

    keyword: ClassVar[str] = "conv1d"
    acts: ClassVar[Acts] = SEQUENCE
    channels: Width
    kernel: Window
    dilation: Window = 1
    pad: PadAlong = "causal"
    groups: Width = 1
    bias: bool = True
    init: Start = DEFAULT
    flip: bool = False
    norm: Norm = "none"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if self.pad not in (
            "causal",
            "valid",
        ):  # the others read behind the end of a sequence, where zeros are meant
            x = ctx.kept(x)
        inner = Conv(
            self.channels, self.kernel, 1, self.pad, self.dilation, self.groups, None, self.bias, self.init, self.flip,
            self.norm,
        )  # fmt: skip
        x = F.transpose(b, x, 0, 2, 1)
        windows = fitting(ctx, x, geometry(ctx, x, self.kernel, 1, self.dilation, self.pad))
        return F.transpose(b, inner.over_windows(ctx, x, windows), 0, 2, 1)


@dataclass(frozen=True)
class ConvTranspose(Acting):
    """The adjoint of a convolution (notes, section 3.1): size (n - 1) stride + (kernel - 1) dilation + 1 - padding.

    `output_padding` adds elements at the end, fewer than the stride; `pad=same` gives n stride of them.

    [N, C, *S] -> [N, channels, *P] for one to three spatial axes S.
    """

    keyword: ClassVar[str] = "conv_transpose"
    acts: ClassVar[Acts] = SPACE
    channels: Width
    kernel: Sizes
    stride: Sizes = 1
    pad: Pad = "valid"
    output_padding: Extra = 0
    dilation: Sizes = 1
    groups: Width = 1
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        in_channels, dims = spatial(x)
        windows = geometry(ctx, x, self.kernel, self.stride, self.dilation)
        padding, extra = windows.padding, each_axis(ctx, self.output_padding, dims, "output padding")
        if self.pad == "same":
            if any(extra):
                raise ctx.fail("MP205", "`same` says the size already: leave out `output_padding`")
            over = [r + 1 - s for r, s in zip(windows.reach, windows.stride, strict=True)]
            padding = tuple((max(o, 0) // 2, max(o, 0) - max(o, 0) // 2) for o in over)
            extra = tuple(max(-o, 0) for o in over)
        elif not isinstance(self.pad, str):
            padding = pairs(ctx, self.pad, dims)
        elif self.pad != "valid":
            raise ctx.fail(
                "MP205", f"conv_transpose has no padding '{self.pad}'", help="valid, same, or numbers"
            )
        divided(ctx, self.groups, in_channels, self.channels)
        shape = (in_channels, self.channels // self.groups, *windows.kernel)
        start = fan_in_uniform(in_channels // self.groups * prod(windows.kernel))
        op = ops.ConvTranspose(windows.stride, padding, windows.dilation, self.groups, extra)
        y = b.emit(op, x, ctx.param("weight", shape, start))
        return F.channel_bias(b, y, ctx.param("bias", (self.channels,), start)) if self.bias else y


def divided(ctx: Context, groups: int, before: int, after: int) -> None:
    """Check that groups divide the channels before and after a convolution. Raises MP201."""
    if groups < 1 or before % groups or after % groups:
        raise ctx.fail("MP201", f"{groups} groups do not divide {before} and {after} channels")
