"""Pooling over windows of space, and its inverse. Layouts are channels first: [N, C, space...]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Value
from mpcompile.layers.base import SPACE, Context, Layer, Takes
from mpcompile.layers.windows import Geometry, fitting, geometry
from mpcompile.ops import build as F
from mpcompile.ranges import Pad, Sizes


@dataclass(frozen=True)
class _Pool(Layer):
    """Windows of `kernel` at every `stride` (the kernel unless given); `pad` as that of a convolution."""

    takes: ClassVar[Takes] = SPACE
    kernel: Sizes
    stride: Sizes | None = None
    pad: Pad = "valid"

    def windows(self, ctx: Context, x: Value) -> Geometry:
        stride = self.kernel if self.stride is None else self.stride
        return fitting(ctx, x, geometry(ctx, x, self.kernel, stride, pad=self.pad))


class MaxPool(_Pool):
    """The largest value of each window; stride = kernel unless given. `as name` remembers where, for `unpool`.

    [N, C, *S] -> [N, C, *P], a result for each window.
    """

    keyword: ClassVar[str] = "maxpool"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        windows = self.windows(ctx, inputs[0])
        return ctx.b.emit(ops.MaxPool(windows.kernel, windows.stride, windows.padding), inputs[0])


@dataclass(frozen=True)
class AvgPool(_Pool):
    """The mean of each window; stride = kernel unless given. Padding counts as zeros unless `count_padding=false`.

    [N, C, *S] -> [N, C, *P], a result for each window.
    """

    keyword: ClassVar[str] = "avgpool"
    count_padding: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        windows = self.windows(ctx, inputs[0])
        op = ops.AvgPool(windows.kernel, windows.stride, windows.padding, self.count_padding)
        return ctx.b.emit(op, inputs[0])


class GlobalAvgPool(Layer):
    """Mean over all of space: [N, C, ...] -> [N, C]."""

    keyword: ClassVar[str] = "global_avgpool"
    takes: ClassVar[Takes] = Takes("real [channels, space...] of fixed size", 2, 4, (1, 2, -1))

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.mean_axes(ctx.b, inputs[0], range(2, inputs[0].type.rank))


@dataclass(frozen=True)
class Unpool(Layer):
    """Max-unpooling: each value to the place its maximum had, zero elsewhere (Zeiler et al. 2011; notes, figure 10).

    `maxpool(2) as pool -> ... -> unpool(pool)`. Where windows overlapped, values of one place add up.

    [N, C, *P] -> [N, C, *S], where `pool` maps [N, C, *S] to [N, C, *P].
    """

    keyword: ClassVar[str] = "unpool"
    takes: ClassVar[Takes] = SPACE
    pool: Value

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        node = b.graph.node(self.pool) if self.pool in b.graph else None
        if node is None or not isinstance(node.op, ops.MaxPool):
            raise ctx.fail(
                "MP201",
                "unpool needs the value of a maxpool",
                help="maxpool(2) as pool -> ... -> unpool(pool)",
            )
        return b.emit(ops.MaxPoolGrad(node.inputs[0].shape[2:]), x, node.outputs[1])
