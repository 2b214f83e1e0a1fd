"""Normalisations: (x - mean) / sqrt(variance + eps), over channels, over space, or over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Init, Symbolic, Value
from mpcompile.layers.activations import channel_axis
from mpcompile.layers.base import Context, Layer, Takes
from mpcompile.ops import build as F
from mpcompile.ranges import Momentum, Positive, Width

CHANNELS = Takes("real channels", 1)


@dataclass(frozen=True)
class LayerNorm(Layer):
    """(x - mean) / sqrt(var + eps) * gain + bias over the channels of each position (Ba et al. 2016).

    Statistics are taken over channels alone, never over time or space, so the layer is causal.

    The shape stays. `gain` and `bias` are [C], along the channel axis.
    """

    keyword: ClassVar[str] = "layer_norm"
    takes: ClassVar[Takes] = CHANNELS
    eps: Positive = 1e-5
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        _channels(ctx, x, self.keyword)
        return _affine(ctx, _normal(ctx, x, [channel_axis(x)], self.eps), self.bias)


@dataclass(frozen=True)
class RmsNorm(Layer):
    """x / sqrt(mean(x^2) + eps) * gain over the channels of each position (Zhang and Sennrich 2019, eq. 4).

    As `layer_norm` it pools over channels alone, so it is causal.

    The shape stays. `gain` is [C], along the channel axis.
    """

    keyword: ClassVar[str] = "rms_norm"
    takes: ClassVar[Takes] = CHANNELS
    eps: Positive = 1e-6

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        channels, axes = _channels(ctx, x, self.keyword), [channel_axis(x)]
        square = _mean(ctx, F.mul(b, x, x), axes, _count(ctx, x, axes))
        gain = ctx.param("weight", (channels,), Init("ones"))
        return F.mul(b, F.div(b, x, _deviation(ctx, square, self.eps)), _along(ctx, gain, x))


@dataclass(frozen=True)
class GroupNorm(Layer):
    """Statistics over space (or time) and the channels of each of `groups` groups (Wu and He 2018).

    They read every position, so within an autoregressive net this is a leak.

    The shape stays. The weights are [C]; `groups` divides C.
    """

    keyword: ClassVar[str] = "group_norm"
    takes: ClassVar[Takes] = CHANNELS
    groups: Width
    eps: Positive = 1e-5
    affine: bool = True
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        channels, axis = _channels(ctx, x, self.keyword), channel_axis(x)
        if self.groups < 1 or channels % self.groups:
            raise ctx.fail("MP201", f"{self.groups} groups do not divide {channels} channels")
        _whole(ctx, x, self.keyword)
        split = (*x.shape[:axis], self.groups, channels // self.groups, *x.shape[axis + 1 :])
        grouped = F.reshape(b, x, split)
        pooled = [a for a in range(1, grouped.type.rank) if a != axis]
        y = F.reshape(b, _normal(ctx, grouped, pooled, self.eps), x.shape)
        return _affine(ctx, y, self.bias) if self.affine else y


@dataclass(frozen=True)
class InstanceNorm(Layer):
    """Statistics over space (or time) of each channel of each example (Ulyanov et al. 2016).

    They read every position, so within an autoregressive net this is a leak.

    The shape stays. The weights, if `affine`, are [C].
    """

    keyword: ClassVar[str] = "instance_norm"
    takes: ClassVar[Takes] = CHANNELS
    eps: Positive = 1e-5
    affine: bool = False
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        _channels(ctx, x, self.keyword)
        pooled = [a for a in range(1, x.type.rank) if a != channel_axis(x)]
        if not pooled:
            raise ctx.fail("MP201", f"instance_norm pools over space or time, and {x.type} has neither")
        _whole(ctx, x, self.keyword)
        y = _normal(ctx, x, pooled, self.eps)
        return _affine(ctx, y, self.bias) if self.affine else y


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Statistics of each channel over the batch while training, running ones otherwise (Ioffe and Szegedy 2015).

    `loss` normalises by the biased variance of its batch and gives new running statistics, (1 - momentum) running +
    momentum batch, the variance unbiased (torch.nn.BatchNorm's conventions). All other programs read the running
    ones: there the layer is affine, and proofs are about that.

    The shape stays. The weights and the running statistics are [C].
    """

    keyword: ClassVar[str] = "batch_norm"
    takes: ClassVar[Takes] = CHANNELS
    momentum: Momentum = 0.1
    eps: Positive = 1e-5
    affine: bool = True
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        channels, axis = _channels(ctx, x, self.keyword), channel_axis(x)
        _whole(ctx, x, self.keyword)
        mean, variance = (
            ctx.param(f"running_{name}", (channels,), Init(init), trainable=False)
            for name, init in (("mean", "zeros"), ("var", "ones"))
        )
        if not ctx.training:
            centred = F.sub(b, x, _along(ctx, mean, x))
            y = F.div(b, centred, _deviation(ctx, _along(ctx, variance, x), self.eps))
            return _affine(ctx, y, self.bias) if self.affine else y
        pooled = [a for a in range(x.type.rank) if a != axis]
        count = _count(ctx, x, pooled)
        centre, spread, y = _moments(ctx, x, pooled, count, self.eps)
        unbiased = F.div(b, F.mul(b, spread, count), F.maximum(b, F.sub(b, count, 1.0), 1.0))
        for parameter, batch in ((mean, centre), (variance, unbiased)):
            kept = F.mul(b, ctx.latest(parameter), 1.0 - self.momentum)
            ctx.update(parameter, F.add(b, kept, F.mul(b, F.reshape(b, batch, (channels,)), self.momentum)))
        return _affine(ctx, y, self.bias) if self.affine else y


def _channels(ctx: Context, x: Value, who: str) -> int:
    """The number of channels of a value. Raises MP201 where it is not fixed."""
    size = x.shape[channel_axis(x)] if x.type.rank > 1 else None
    if not isinstance(size, int):
        raise ctx.fail("MP201", f"{who} needs a fixed number of channels, got {x.type}")
    return size


def _whole(ctx: Context, x: Value, who: str) -> None:
    """Raises MP201 for sequences of several lengths: their padding would count in statistics over time."""
    if ctx.length_of(x) is not None:
        raise ctx.fail(
            "MP201",
            f"{who} pools over time, and sequences differ in length",
            help="layer_norm pools over channels",
        )


def _along(ctx: Context, vector: Value, x: Value) -> Value:
    """vector[C] in a shape that broadcasts along the channels of x."""
    return F.reshape(ctx.b, vector, (*vector.shape, *(1,) * (x.type.rank - 1 - channel_axis(x))))


def _affine(ctx: Context, x: Value, biased: bool) -> Value:
    """x * gain + bias for each channel, the bias if there is one."""
    shape = (_channels(ctx, x, "an affine map"),)
    gain = ctx.param("weight", shape, Init("ones"))
    bias = ctx.param("bias", shape, Init("zeros")) if biased else None
    y = F.mul(ctx.b, x, _along(ctx, gain, x))
    return y if bias is None else F.add(ctx.b, y, _along(ctx, bias, x))


def _deviation(ctx: Context, variance: Value, eps: float) -> Value:
    return ctx.b.emit(ops.Sqrt(), F.add(ctx.b, variance, eps))


def _normal(ctx: Context, x: Value, axes: Sequence[int], eps: float) -> Value:
    """x less its mean over axes, over its deviation there."""
    return _moments(ctx, x, axes, _count(ctx, x, axes), eps)[2]


def _moments(
    ctx: Context, x: Value, axes: Sequence[int], count: Value | float, eps: float
) -> tuple[Value, Value, Value]:
    """Mean and biased variance of x over `count` elements along axes (kept, of size 1), and x normalised by them."""
    b = ctx.b
    mean = _mean(ctx, x, axes, count)
    centred = F.sub(b, x, mean)
    variance = _mean(ctx, F.mul(b, centred, centred), axes, count)
    return mean, variance, F.div(b, centred, _deviation(ctx, variance, eps))


def _mean(ctx: Context, x: Value, axes: Sequence[int], count: Value | float) -> Value:
    total = F.sum_axes(ctx.b, x, axes, keepdims=True)
    return F.mul(ctx.b, total, 1.0 / count) if isinstance(count, float) else F.div(ctx.b, total, count)


def _count(ctx: Context, x: Value, axes: Sequence[int]) -> Value | float:
    """Number of elements along axes: of symbolic length (the batch, time) it is counted in the graph."""
    b, sizes = ctx.b, [x.shape[a] for a in axes]
    symbols = tuple(s for s in sizes if isinstance(s, Symbolic))
    number = float(prod(s for s in sizes if isinstance(s, int)))
    if not symbols:
        return number
    ones = b.emit(ops.BroadcastTo(symbols), b.constant(1.0))
    return F.mul(b, F.sum_axes(b, ones, range(len(symbols))), number)
