"""Pooling over windows of space, and its inverse. Layouts are channels first: [N, C, space...]."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Value
from mpcompile.layers.base import SPACE, Acting, Acts, Context, Part
from mpcompile.layers.windows import Geometry, fitting, geometry
from mpcompile.ops import build as F
from mpcompile.ranges import Pad, Sizes


@dataclass(frozen=True)
class _Pool(Acting):
    """Windows of `kernel` at every `stride` (the kernel unless given); `pad` as that of a convolution."""

    acts: ClassVar[Acts] = SPACE
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


class GlobalAvgPool(Acting):
    """Mean over all of space: [N, C, ...] -> [N, C]."""

    keyword: ClassVar[str] = "global_avgpool"
    acts: ClassVar[Acts] = replace(SPACE, gives=(Part.CHANNEL,), sized=True)

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.mean_axes(ctx.b, inputs[0], range(2, inputs[0].type.rank))


@dataclass(frozen=True)
class Unpool(Acting):
    """Max-unpooling: each value to the place its maximum had, zero elsewhere (Zeiler et al. 2011; notes, figure 10).

    `maxpool(2) as pool -> ... -> unpool(pool)`. Where windows overlapped, values of one place add up.

    [N, C, *P] -> [N, C, *S], where `pool` maps [N, C, *S] to [N, C, *P].
    """

    keyword: ClassVar[str] = "unpool"
    acts: ClassVar[Acts] = SPACE
    pool: Value

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        node = b.graph.node(self.pool) if self.pool in b.graph else None
        while node is not None and isinstance(
            node.op, ops.Reshape | ops.Transpose
        ):  # back in the order of the spec
            node = b.graph.node(node.inputs[0])
        if node is None or not isinstance(node.op, ops.MaxPool):
            raise ctx.fail(
                "MP201",
                "unpool needs the value of a maxpool",
                help="maxpool(2) as pool -> ... -> unpool(pool)",
            )
        return b.emit(ops.MaxPoolGrad(node.inputs[0].shape[2:]), x, node.outputs[1])
