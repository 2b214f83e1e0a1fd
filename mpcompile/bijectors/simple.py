"""Bijectors without a conditioner: dequantisation, logit, squeeze, factor-out, permutation, elementwise affine."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.bijectors.base import UNIT, Bijector, Interval, elements, for_each_channel, spread
from mpcompile.ir import Shape, Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context
from mpcompile.layers.resampling import depth_to_space, space_to_depth


@dataclass(frozen=True)
class Dequantize(Bijector):
    """x in {low, .., high} -> (x - low + u) / levels in (0, 1), u uniform (Uria et al. 2013; Theis et al. 2016).

    The bound on the probability of the integers: log P(x) >= E log p(y) - D log levels. The inverse gives the
    integer of the bin.
    """

    keyword: ClassVar[str] = "dequantize"
    domain: ClassVar[Interval | None] = None
    reversible: ClassVar[bool] = False
    low: int
    levels: int

    @property
    def image(self) -> Interval | None:
        return UNIT

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b = ctx.b
        u = ctx.noise_input("noise_dequantize", x.shape, "uniform")
        shifted = x if self.low == 0 else F.sub(b, x, float(self.low))
        y = F.mul(b, F.add(b, shifted, u), 1.0 / self.levels)
        return y, F.add(b, ctx.zeros((x.shape[0],)), -elements(x.shape) * log(self.levels))

    def inverse(self, ctx: Context, y: Value) -> Value:
        b = ctx.b
        index = b.emit(ops.Floor(), F.mul(b, y, float(self.levels)))
        clipped = F.minimum(b, F.maximum(b, index, 0.0), float(self.levels - 1))
        return clipped if self.low == 0 else F.add(b, clipped, float(self.low))


@dataclass(frozen=True)
class Logit(Bijector):
    """y = logit(alpha + (1 - 2 alpha) x): from (0, 1) to the reals (Dinh et al. 2017, section 4.1)."""

    keyword: ClassVar[str] = "logit"
    domain: ClassVar[Interval | None] = UNIT
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 0.5:
            raise ValueError(f"alpha of logit lies in [0, 0.5), got {self.alpha}")

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b = ctx.b
        p = F.add(b, F.mul(b, x, 1 - 2 * self.alpha), self.alpha)
        log_p, log_q = b.emit(ops.Log(), p), b.emit(ops.Log(), F.sub(b, 1.0, p))
        slope = F.sub(b, log(1 - 2 * self.alpha), F.add(b, log_p, log_q))
        return F.sub(b, log_p, log_q), F.event_sum(b, slope)

    def inverse(self, ctx: Context, y: Value) -> Value:
        b = ctx.b
        return F.mul(b, F.sub(b, b.emit(ops.Sigmoid(), y), self.alpha), 1 / (1 - 2 * self.alpha))


@dataclass(frozen=True)
class Squeeze(Bijector):
    """Space to depth: a permutation of the elements (Dinh et al. 2017, section 3.6)."""

    keyword: ClassVar[str] = "squeeze"
    domain: ClassVar[Interval | None] = None
    codomain: ClassVar[Interval | None] = None
    reversible: ClassVar[bool] = False
    factor: int = 2

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        return space_to_depth(ctx, x, self.factor), None

    def inverse(self, ctx: Context, y: Value) -> Value:
        return depth_to_space(ctx, y, self.factor)

    def output_shape(self, shape: Shape) -> Shape:
        n, c, h, w = shape
        return (n, c * self.factor**2, h // self.factor, w // self.factor)


@dataclass(frozen=True)
class FactorOut(Bijector):
    """Half of the channels leave the chain as latents (Dinh et al. 2017, section 3.6)."""

    keyword: ClassVar[str] = "factor_out"
    domain: ClassVar[Interval | None] = None
    codomain: ClassVar[Interval | None] = None
    reversible: ClassVar[bool] = False
    share: float = 0.5

    def _kept(self, shape: Shape) -> int:
        channels = shape[1]
        assert isinstance(channels, int)
        return channels - round(channels * self.share)

    def split(self, ctx: Context, x: Value) -> tuple[Value, Value]:
        """(factored out, kept)."""
        kept = self._kept(x.shape)
        if not 0 < kept < x.shape[1]:  # type: ignore[operator]  # channels are a number, _kept has checked
            raise ctx.fail("MP401", f"factor_out({self.share}) leaves {kept} of {x.shape[1]} channels")
        return F.slice_axis(ctx.b, x, 1, kept), F.slice_axis(ctx.b, x, 1, 0, kept)

    def join(self, ctx: Context, factored: Value, kept: Value) -> Value:
        return F.concat(ctx.b, [kept, factored], 1)

    def factored_shape(self, shape: Shape) -> Shape:
        return (shape[0], shape[1] - self._kept(shape), *shape[2:])

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], self._kept(shape), *shape[2:])


@dataclass(frozen=True)
class Permute(Bijector):
    """A fixed permutation of the last axis of a vector: `reverse`, or `random` by seed."""

    keyword: ClassVar[str] = "permute"
    domain: ClassVar[Interval | None] = None
    codomain: ClassVar[Interval | None] = None
    order: str = "reverse"
    seed: int = 0

    def _index(self, size: int) -> np.ndarray:
        from mpcompile.layers.masks import ranks

        return np.asarray(ranks(self.order, size, self.seed))

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        return F.take(ctx.b, x, 1, self._index(elements((1, *x.shape[1:2])))), None

    def inverse(self, ctx: Context, y: Value) -> Value:
        return F.take(ctx.b, y, 1, np.argsort(self._index(elements((1, *y.shape[1:2])))))


class Affine(Bijector):
    """y = x exp(log_scale) + shift, a learned scale and shift for each channel (or feature)."""

    keyword: ClassVar[str] = "affine"

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b = ctx.b
        log_scale, shift = (for_each_channel(ctx, name, x) for name in ("log_scale", "shift"))
        y = F.add(b, F.mul(b, x, b.emit(ops.Exp(), log_scale)), shift)
        return y, spread(ctx, x, log_scale)

    def inverse(self, ctx: Context, y: Value) -> Value:
        b = ctx.b
        log_scale, shift = (for_each_channel(ctx, name, y) for name in ("log_scale", "shift"))
        return F.mul(b, F.sub(b, y, shift), b.emit(ops.Exp(), F.neg(b, log_scale)))
