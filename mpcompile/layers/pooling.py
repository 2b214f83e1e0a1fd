"""Pooling over windows of space, and its inverse. Layouts are channels first: [N, C, space...]."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Value
from mpcompile.layers.base import SPACE, Acting, Acts, Context, Part
from mpcompile.layers.windows import Geometry, behind_ends, fitting, geometry
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

    Along a length the stride divides a declared multiple: [2 * time, ...] has time windows of 2. What lies behind the end
    of a sequence is in no window before it.

    [N, C, *S] -> [N, C, *P], a result for each window.
    """

    keyword: ClassVar[str] = "maxpool"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), windows = inputs, self.windows(ctx, inputs[0])
        real = behind_ends(ctx, x, windows, float("-inf"))
        y = ctx.b.emit(ops.MaxPool(windows.kernel, windows.stride, windows.padding), real)
        return y if real is x else behind_ends(ctx, y, windows, 0.0)


@dataclass(frozen=True)
class AvgPool(_Pool):
    """The mean of each window; stride = kernel unless given. Padding counts as zeros unless `count_padding=false`.

    What lies behind the end of a sequence is padding.

    [N, C, *S] -> [N, C, *P], a result for each window.
    """

    keyword: ClassVar[str] = "avgpool"
    count_padding: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b, windows = inputs, ctx.b, self.windows(ctx, inputs[0])
        op = ops.AvgPool(windows.kernel, windows.stride, windows.padding, self.count_padding)
        real = behind_ends(ctx, x, windows, 0.0)
        if real is x or self.count_padding:
            return b.emit(op, real)
        counted = replace(op, count_padding=True)
        ones = b.emit(ops.BroadcastTo((x.shape[0], 1, *x.shape[2:])), b.constant(1.0))
        share = b.emit(counted, behind_ends(ctx, ones, windows, 0.0))
        some = F.less(b, 0.0, share)
        return F.div(b, b.emit(counted, real), F.where(b, some, share, 1.0))


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
