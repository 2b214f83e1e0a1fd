"""Bijectors that are no networks: dequantisation, logit, squeeze, factor-out, permutation, elementwise affine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Annotated, ClassVar, Protocol

import numpy as np

from mpcompile import ops
from mpcompile.bijectors import conditions
from mpcompile.bijectors.base import (
    REALS,
    UNIT,
    Bijector,
    Extent,
    Interval,
    channels,
    elements,
    for_each_channel,
    spread,
)
from mpcompile.ir import Shape, Value, number
from mpcompile.layers.base import Context
from mpcompile.layers.dense import Dense
from mpcompile.layers.resampling import depth_to_space, divided_by, space_to_depth
from mpcompile.layers.starts import ZERO
from mpcompile.ops import build as F
from mpcompile.ranges import MAX_WHOLE, Classes, Inner, Order, Range, Seed, Window

Alpha = Annotated[float, Range(0, 0.5, below=True)]


class Drawn(Protocol):
    """A law that is drawn together with its log density, as `Distribution` says."""

    def sample_and_log_prob(self, ctx: Context, name: str, shape: Shape) -> tuple[Value, Value]: ...


@dataclass(frozen=True)
class Dequantize(Bijector):
    """x in {low, .., high} -> (x - low + u) / levels in (0, 1); `dequantize { ... }` gives the noise u a flow of its own.

    u is uniform (Uria et al. 2013; Theis et al. 2016), or drawn from a learned q(u | x) in (0, 1) (variational
    dequantisation, Ho et al. 2019, section 3.1). The bound on the probability of the integers is log P(x) >= E[log p(y)
    - log q(u | x)] - D log levels, and log q = 0 for uniform noise. `forward` takes u as it is given, in (0, 1); the
    inverse gives the integer of the bin.
    """

    keyword: ClassVar[str] = "dequantize"
    domain: ClassVar[Interval | None] = None
    reversible: ClassVar[bool] = False
    low: Annotated[int, Range(-MAX_WHOLE, MAX_WHOLE)]
    levels: Classes
    posterior: Callable[[Context, Value], Drawn] | None = None

    @property
    def draws(self) -> bool:  # type: ignore[override]  # a class's there, that of the posterior here
        return self.posterior is not None

    @property
    def preimage(self) -> Interval | None:
        return REALS  # of the integers that come its variable's type says which

    @property
    def image(self) -> Interval | None:
        return UNIT

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        return self._within(ctx, x, ctx.noise_input("noise_dequantize", x.shape, "uniform"))

    def score(self, ctx: Context, x: Value) -> tuple[Value, Value | None]:
        if self.posterior is None:
            return self.forward(ctx, x)
        u, log_q = self.posterior(ctx, x).sample_and_log_prob(ctx, "dequantize", x.shape)
        y, log_det = self._within(ctx, x, u)
        return y, F.sub(ctx.b, log_det, log_q)

    def _within(self, ctx: Context, x: Value, u: Value) -> tuple[Value, Value]:
        """y at the place u in (0, 1) of the bin of x, and log |det dy/du|."""
        b = ctx.b
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
    fixed: ClassVar[bool] = True
    domain: ClassVar[Interval | None] = UNIT
    alpha: Alpha = 0.05

    @property
    def preimage(self) -> Interval | None:
        beyond = self.alpha / (1 - 2 * self.alpha)
        return (-beyond, 1 + beyond)

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b, inner = ctx.b, 1 - 2 * self.alpha
        p = F.add(b, F.mul(b, x, inner), self.alpha)
        q = F.add(b, F.mul(b, F.sub(b, 1.0, x), inner), self.alpha)  # 1 - p would round alpha away near x = 1
        log_p, log_q = b.emit(ops.Log(), p), b.emit(ops.Log(), q)
        slope = F.sub(b, log(inner), F.add(b, log_p, log_q))
        return F.sub(b, log_p, log_q), F.event_sum(b, slope)

    def inverse(self, ctx: Context, y: Value) -> Value:
        b = ctx.b
        return F.mul(b, F.sub(b, b.emit(ops.Sigmoid(), y), self.alpha), 1 / (1 - 2 * self.alpha))


@dataclass(frozen=True)
class Squeeze(Bijector):
    """Space to depth: a permutation of the elements (Dinh et al. 2017, section 3.6).

    [N, C, H, W] -> [N, C f^2, H/f, W/f], where f is `factor`.
    """

    keyword: ClassVar[str] = "squeeze"
    domain: ClassVar[Interval | None] = None
    codomain: ClassVar[Interval | None] = None
    reversible: ClassVar[bool] = False
    takes: ClassVar[Extent] = Extent("an image [channel, height, width]", 3, 3)
    factor: Window = 2

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        return space_to_depth(ctx, x, self.factor), None

    def inverse(self, ctx: Context, y: Value) -> Value:
        return depth_to_space(ctx, y, self.factor)

    def output_shape(self, shape: Shape) -> Shape:
        n, c, h, w = shape
        return (n, c * self.factor**2, h // self.factor, w // self.factor)

    def checked_shape(self, ctx: Context, shape: Shape) -> Shape:
        divided_by(ctx, self.keyword, self.factor, shape)
        return self.output_shape(shape)


@dataclass(frozen=True)
class FactorOut(Bijector):
    """Half of the channels leave the chain as latents (Dinh et al. 2017, section 3.6).

    [N, C, ...] -> [N, kept, ...]; the other channels are latents.
    """

    keyword: ClassVar[str] = "factor_out"
    domain: ClassVar[Interval | None] = None
    codomain: ClassVar[Interval | None] = None
    reversible: ClassVar[bool] = False
    share: Inner = 0.5

    def _kept(self, shape: Shape) -> int:
        channels = shape[1]
        assert isinstance(channels, int)
        return channels - round(channels * self.share)

    def split(self, ctx: Context, x: Value) -> tuple[Value, Value]:
        """(factored out, kept)."""
        kept = self._kept(x.shape)
        return F.slice_axis(ctx.b, x, 1, kept), F.slice_axis(ctx.b, x, 1, 0, kept)

    def checked_shape(self, ctx: Context, shape: Shape) -> Shape:
        size = number(shape[1])
        kept, leaves = self._kept(shape), size * self.share
        if abs(leaves - round(leaves)) > 1e-9:
            raise ctx.fail(
                "MP401", f"factor_out({self.share:g}) of {size} channels is {leaves:g}, no whole number",
                help=f"a share of {size} channels is written as k / {size}",
            )  # fmt: skip
        if not 0 < kept < size:
            raise ctx.fail(
                "MP401", f"factor_out({self.share:g}) leaves {kept} of {size} channels",
                help="`squeeze(2)` before it makes four channels of one, of half the height and width",
            )  # fmt: skip
        return self.output_shape(shape)

    def join(self, ctx: Context, factored: Value, kept: Value) -> Value:
        return F.concat(ctx.b, [kept, factored], 1)

    def factored_shape(self, shape: Shape) -> Shape:
        return (shape[0], shape[1] - self._kept(shape), *shape[2:])

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], self._kept(shape), *shape[2:])


@dataclass(frozen=True)
class Permute(Bijector):
    """A fixed permutation of the last axis of a vector: `reverse`, or `random` by seed.

    [N, D] -> [N, D].
    """

    keyword: ClassVar[str] = "permute"
    domain: ClassVar[Interval | None] = None
    codomain: ClassVar[Interval | None] = None
    order: Order = "reverse"
    seed: Seed = 0

    def _index(self, size: int) -> np.ndarray:
        from mpcompile.layers.masks import ranks

        return np.asarray(ranks(self.order, size, self.seed))

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        return F.take(ctx.b, x, 1, self._index(elements((1, *x.shape[1:2])))), None

    def inverse(self, ctx: Context, y: Value) -> Value:
        return F.take(ctx.b, y, 1, np.argsort(self._index(elements((1, *y.shape[1:2])))))


@dataclass(frozen=True)
class Affine(Bijector):
    """y = x exp(log_scale) + shift for each channel (or feature): both learned, and linear in a `condition`."""

    keyword: ClassVar[str] = "affine"
    condition: Value | None = None

    def _parameters(self, ctx: Context, x: Value) -> tuple[Value, Value]:
        """log_scale and shift, in a shape that broadcasts along x[N, C, ...]; one row an example given a condition."""
        log_scale, shift = (for_each_channel(ctx, name, x) for name in ("log_scale", "shift"))
        if self.condition is None:
            return log_scale, shift
        b, given = ctx.b, conditions.features(ctx, self.condition)
        if given.type.rank != 2:
            raise ctx.fail(
                "MP207", f"affine is conditioned on a category or a vector, not on {list(given.shape[1:])}"
            )
        with ctx.frame("condition", f"dense({2 * channels(x)})", ctx.span):
            changes = Dense(2 * channels(x), bias=False, init=ZERO).forward(ctx, given)
        by_scale, by_shift = (
            F.reshape(b, part, (*part.shape, *(1,) * (x.type.rank - 2))) for part in F.split(b, changes, 1, 2)
        )
        return F.add(b, by_scale, log_scale), F.add(b, by_shift, shift)

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b = ctx.b
        log_scale, shift = self._parameters(ctx, x)
        y = F.add(b, F.mul(b, x, b.emit(ops.Exp(), log_scale)), shift)
        if self.condition is None:
            return y, spread(ctx, x, log_scale)
        places = elements(x.shape) // channels(x)
        return y, F.mul(b, F.event_sum(b, log_scale), float(places))

    def inverse(self, ctx: Context, y: Value) -> Value:
        b = ctx.b
        log_scale, shift = self._parameters(ctx, y)
        return F.mul(b, F.sub(b, y, shift), b.emit(ops.Exp(), F.neg(b, log_scale)))
