"""Normalisations: (x - mean) / sqrt(variance + eps), over channels, over space, or over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Init, Symbolic, Value, numbers
from mpcompile.ir.axes import CHANNEL
from mpcompile.layers.axes import described, pick
from mpcompile.layers.base import CHANNELS, POOLED, Acting, Acts, Context
from mpcompile.ops import build as F
from mpcompile.ranges import Momentum, Positive, Width


@dataclass(frozen=True)
class LayerNorm(Acting):
    """(x - mean) / sqrt(var + eps) * gain + bias over the channels of each position (Ba et al. 2016).

    Statistics are taken over channels alone, never over time or space, so the layer is causal. `over = [channel, height,
    width]` takes them over these axes together.

    The shape stays. `gain` and `bias` are [C], or have the sizes of the axes that `over` names, in its order.
    """

    keyword: ClassVar[str] = "layer_norm"
    acts: ClassVar[Acts] = CHANNELS
    eps: Positive = 1e-5
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        places = [ctx.axis(x, name) for name in self.over or (CHANNEL,)]
        return _affine(ctx, _normal(ctx, x, sorted(places), self.eps), places, self.bias)


@dataclass(frozen=True)
class RmsNorm(Acting):
    """x / sqrt(mean(x^2) + eps) * gain over the channels of each position (Zhang and Sennrich 2019, eq. 4).

    As `layer_norm` it pools over channels alone, so it is causal.

    The shape stays. `gain` is [C], or has the sizes of the axes that `over` names, in its order.
    """

    keyword: ClassVar[str] = "rms_norm"
    acts: ClassVar[Acts] = CHANNELS
    eps: Positive = 1e-6

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        places = [ctx.axis(x, name) for name in self.over or (CHANNEL,)]
        square = _mean(ctx, F.mul(b, x, x), sorted(places), _count(ctx, x, places))
        return _affine(ctx, F.div(b, x, _deviation(ctx, square, self.eps)), places, False)


@dataclass(frozen=True)
class GroupNorm(Acting):
    """Statistics over space (or time) and the channels of each of `groups` groups (Wu and He 2018).

    They read every position, so within an autoregressive net this is a leak.

    The shape stays. The weights are [C]; `groups` divides C.
    """

    keyword: ClassVar[str] = "group_norm"
    acts: ClassVar[Acts] = POOLED
    groups: Width
    eps: Positive = 1e-5
    affine: bool = True
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        axis = ctx.axis(x, CHANNEL)
        channels = x.shape[axis]
        assert isinstance(channels, int)
        if self.groups < 1 or channels % self.groups:
            raise ctx.fail("MP201", f"{self.groups} groups do not divide {channels} channels")
        over = _pooled(ctx, self, x)
        split = (*x.shape[:axis], self.groups, channels // self.groups, *x.shape[axis + 1 :])
        grouped = F.reshape(b, x, split)
        pooled = sorted([axis + 1, *(a + (a > axis) for a in over)])
        y = F.reshape(b, _normal(ctx, grouped, pooled, self.eps), x.shape)
        return _affine(ctx, y, [axis], self.bias) if self.affine else y


@dataclass(frozen=True)
class InstanceNorm(Acting):
    """Statistics over space (or time) of each channel of each example (Ulyanov et al. 2016).

    They read every position, so within an autoregressive net this is a leak.

    The shape stays. The weights, if `affine`, are [C].
    """

    keyword: ClassVar[str] = "instance_norm"
    acts: ClassVar[Acts] = POOLED
    eps: Positive = 1e-5
    affine: bool = False
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        pooled = _pooled(ctx, self, x)
        if not pooled:
            raise ctx.fail(
                "MP213", f"instance_norm pools over space or time, and {described(ctx, x)} has neither"
            )
        y = _normal(ctx, x, pooled, self.eps)
        return _affine(ctx, y, [ctx.axis(x, CHANNEL)], self.bias) if self.affine else y


@dataclass(frozen=True)
class BatchNorm(Acting):
    """Statistics of each channel over the batch while training, running ones otherwise (Ioffe and Szegedy 2015).

    `loss` normalises by the biased variance of its batch and gives new running statistics, (1 - momentum) running +
    momentum batch, the variance unbiased (torch.nn.BatchNorm's conventions). All other programs read the running
    ones: there the layer is affine, and proofs are about that.

    The shape stays. The weights and the running statistics are [C].
    """

    keyword: ClassVar[str] = "batch_norm"
    acts: ClassVar[Acts] = CHANNELS
    momentum: Momentum = 0.1
    eps: Positive = 1e-5
    affine: bool = True
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        axis = self.place(ctx, x)
        channels = x.shape[axis]
        assert isinstance(channels, int)
        pooled = [a for a in range(x.type.rank) if a != axis]
        _whole(ctx, x, pooled, self.keyword)
        mean, variance = (
            ctx.param(f"running_{name}", (channels,), Init(init), trainable=False)
            for name, init in (("mean", "zeros"), ("var", "ones"))
        )
        if not ctx.training:
            centred = F.sub(b, x, _along(ctx, mean, x, [axis]))
            y = F.div(b, centred, _deviation(ctx, _along(ctx, variance, x, [axis]), self.eps))
            return _affine(ctx, y, [axis], self.bias) if self.affine else y
        count = _count(ctx, x, pooled)
        centre, spread, y = _moments(ctx, x, pooled, count, self.eps)
        unbiased = F.div(b, F.mul(b, spread, count), F.maximum(b, F.sub(b, count, 1.0), 1.0))
        for parameter, batch in ((mean, centre), (variance, unbiased)):
            kept = F.mul(b, ctx.latest(parameter), 1.0 - self.momentum)
            ctx.update(parameter, F.add(b, kept, F.mul(b, F.reshape(b, batch, (channels,)), self.momentum)))
        return _affine(ctx, y, [axis], self.bias) if self.affine else y


def _pooled(ctx: Context, layer: Acting, x: Value) -> list[int]:
    """The places of the axes over which a layer pools besides channels. Raises MP201 where examples differ in length."""
    lead = pick(ctx, layer.keyword, layer.acts, x, layer.over).lead
    places = sorted(ctx.axis(x, name) for name in lead)
    _whole(ctx, x, places, layer.keyword)
    return places


def _whole(ctx: Context, x: Value, places: Sequence[int], who: str) -> None:
    """Raises MP201 for sequences of several lengths: their padding would count in statistics over time."""
    if ctx.lengths and any(ctx.length_along(x.shape[a]) is not None for a in places if a):
        raise ctx.fail(
            "MP201",
            f"{who} pools over time, and sequences differ in length",
            help="layer_norm pools over channels",
        )


def _along(ctx: Context, weight: Value, x: Value, places: Sequence[int]) -> Value:
    """A weight with the sizes of some axes of x, in the order of `places`, in a shape that broadcasts along them."""
    ordered = sorted(places)
    if ordered != list(places):
        weight = F.transpose(ctx.b, weight, *(places.index(a) for a in ordered))
    shape = (x.shape[a] if a in places else 1 for a in range(ordered[0], x.type.rank))
    return F.reshape(ctx.b, weight, tuple(shape))


def _affine(ctx: Context, x: Value, places: Sequence[int], biased: bool) -> Value:
    """x * gain + bias for each element along some axes, the bias if there is one."""
    shape = numbers([x.shape[a] for a in places])
    gain = ctx.param("weight", shape, Init("ones"))
    bias = ctx.param("bias", shape, Init("zeros")) if biased else None
    y = F.mul(ctx.b, x, _along(ctx, gain, x, places))
    return y if bias is None else F.add(ctx.b, y, _along(ctx, bias, x, places))


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
