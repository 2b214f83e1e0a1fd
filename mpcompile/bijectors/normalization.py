"""Normalisations as bijectors: an affine map for each channel, from the data at the start or while training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from mpcompile import ops
from mpcompile.bijectors.base import Bijector, along_channels, channels, elements, for_each_channel, spread
from mpcompile.bijectors.simple import Affine
from mpcompile.ir import Init, Value
from mpcompile.layers.base import Context
from mpcompile.layers.standardise import statistics
from mpcompile.ops import build as F
from mpcompile.ranges import Momentum, Positive


@dataclass(frozen=True)
class ActNorm(Affine):
    """`affine` whose first batch leaves it with mean 0 and deviation 1 in every channel (Kingma and Dhariwal 2018)."""

    keyword: ClassVar[str] = "actnorm"
    condition: Value | None = field(default=None, init=False)  # its start is that of all data
    data_dependent: ClassVar[bool] = True
    reversible: ClassVar[bool] = False

    def initialize(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        mean, variance = moments(ctx, x)
        # a channel without spread (a pixel at the border) keeps its scale within what float32 divides by
        log_scale = F.mul(b, b.emit(ops.Log(), F.add(b, variance, 1e-6)), -0.5)
        shift = F.neg(b, F.mul(b, mean, b.emit(ops.Exp(), log_scale)))
        for name, value in (("log_scale", log_scale), ("shift", shift)):
            ctx.param(name, (channels(x),), Init("zeros"))
            ctx.updates[f"{ctx.path}.{name}"] = value
        y = F.mul(b, x, along_channels(ctx, b.emit(ops.Exp(), log_scale), x))
        return F.add(b, y, along_channels(ctx, shift, x))


@dataclass(frozen=True)
class BatchNorm(Bijector):
    """y = (x - mean) / sqrt(variance + eps) * exp(log_scale) + shift (Dinh et al. 2017, section 3.7).

    While training mean and variance are those of the batch, and running ones are kept for all other programs. As in
    the paper the log-determinant takes the statistics as given; in training it is an approximation for that reason.
    """

    keyword: ClassVar[str] = "batch_norm"
    reversible: ClassVar[bool] = False
    momentum: Momentum = 0.1
    eps: Positive = 1e-5

    def _running(self, ctx: Context, x: Value) -> tuple[Value, Value]:
        shape = (channels(x),)
        mean = ctx.param("running_mean", shape, Init("zeros"), trainable=False)
        return mean, ctx.param("running_var", shape, Init("ones"), trainable=False)

    def _statistics(self, ctx: Context, x: Value) -> tuple[Value, Value]:
        running = self._running(ctx, x)
        if not ctx.training:
            return running
        b, batch = ctx.b, moments(ctx, x)
        for kept, now in zip(running, batch, strict=True):
            old = F.mul(b, ctx.latest(kept), 1.0 - self.momentum)
            ctx.update(kept, F.add(b, old, F.mul(b, now, self.momentum)))
        return batch

    def _log_deviation(self, ctx: Context, variance: Value) -> Value:
        return F.mul(ctx.b, ctx.b.emit(ops.Log(), F.add(ctx.b, variance, self.eps)), 0.5)

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b, (mean, variance) = ctx.b, self._statistics(ctx, x)
        log_scale = for_each_channel(ctx, "log_scale", x)
        log_slope = F.sub(b, log_scale, along_channels(ctx, self._log_deviation(ctx, variance), x))
        centred = F.sub(b, x, along_channels(ctx, mean, x))
        y = F.add(b, F.mul(b, centred, b.emit(ops.Exp(), log_slope)), for_each_channel(ctx, "shift", x))
        return y, spread(ctx, x, log_slope)

    def inverse(self, ctx: Context, y: Value) -> Value:
        b, (mean, variance) = ctx.b, self._running(ctx, y)
        log_scale = for_each_channel(ctx, "log_scale", y)
        log_slope = F.sub(b, along_channels(ctx, self._log_deviation(ctx, variance), y), log_scale)
        centred = F.mul(b, F.sub(b, y, for_each_channel(ctx, "shift", y)), b.emit(ops.Exp(), log_slope))
        return F.add(b, centred, along_channels(ctx, mean, y))


@dataclass(frozen=True)
class Standardise(Bijector):
    """y = (x - mean) / deviation of each channel, with the statistics of the whole training split (untrained).

    The log-determinant is that of the map, so a density is one of the data in their own unit. The layer of the same name
    says how the statistics are taken; a channel without spread has no density here, and is refused before training.
    """

    keyword: ClassVar[str] = "standardise"
    reversible: ClassVar[bool] = False

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b, (mean, deviation) = ctx.b, statistics(ctx, x, 1)
        centred = F.sub(b, x, along_channels(ctx, mean, x))
        y = F.div(b, centred, along_channels(ctx, deviation, x))
        return y, spread(ctx, x, F.neg(b, b.emit(ops.Log(), deviation)))

    def inverse(self, ctx: Context, y: Value) -> Value:
        b, (mean, deviation) = ctx.b, statistics(ctx, y, 1)
        return F.add(b, F.mul(b, y, along_channels(ctx, deviation, y)), along_channels(ctx, mean, y))


def moments(ctx: Context, x: Value) -> tuple[Value, Value]:
    """Return the mean and the variance of every channel of x[N, C, ...], over the batch and all places: [C] each."""
    b, size = ctx.b, channels(x)
    pooled = [a for a in range(x.type.rank) if a != 1]
    ones = b.emit(ops.BroadcastTo((x.shape[0],)), b.constant(1.0))
    count = F.mul(b, F.sum_axes(b, ones, [0]), float(elements(x.shape) // size))
    mean = F.div(b, F.sum_axes(b, x, pooled), count)
    centred = F.sub(b, x, along_channels(ctx, mean, x))
    return mean, F.div(b, F.sum_axes(b, F.mul(b, centred, centred), pooled), count)
