"""Laws over a law of real numbers with a distribution function: cut to an interval, or counted in levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, log
from typing import ClassVar

from mpcompile import ops
from mpcompile.distributions.base import Elementwise
from mpcompile.distributions.combinators import Combined, MixtureOf
from mpcompile.distributions.family import Family
from mpcompile.distributions.location_scale import LocationScale
from mpcompile.distributions.slots import Noise, Parameters
from mpcompile.distributions.support import BOUNDED, BOUNDS_OF_TYPE, WHOLE, Support
from mpcompile.ir import Field, Shape, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F

#: Scales below exp(-7) say no more about 256 levels in [-1, 1] (the code of Salimans et al. 2017 has the same bound).
MIN_LOG_SCALE = -7.0


@dataclass(frozen=True)
class OverTails(Combined):
    """Base of the laws that need the tails of the law within: a location and a scale, and symmetric."""

    elsewhere: ClassVar[Mapping[str, str]] = BOUNDS_OF_TYPE
    inner: LocationScale

    @classmethod
    def fault(cls, inner: Family) -> str:
        fits = issubclass(inner.law, LocationScale) and inner.law.has_tails
        return "" if fits else "is of a law with a distribution function: normal, laplace or logistic"


@dataclass(frozen=True)
class Truncated(OverTails):
    """A law of real numbers within the interval of its variable: its density over the mass of the interval.

    Draws invert the distribution function on the side where its tail is small; an interval of less than 1e-30 of the mass
    is drawn at its end next to the centre.
    """

    keyword: ClassVar[str] = "truncated"
    support: ClassVar[Support] = BOUNDED
    usage: ClassVar[str] = "truncated(normal, net)"
    has_mean: ClassVar[bool] = False
    low: float
    high: float

    @classmethod
    def supports(cls, inner: Family) -> Support:
        return BOUNDED

    @classmethod
    def noise_over(cls, inner: Family) -> tuple[Noise, ...]:
        return cls.noise

    def noises(self) -> tuple[Noise, ...]:
        return self.noise

    @classmethod
    def read(cls, parameters: Parameters, family: Family, field: Field) -> Elementwise:
        assert field.interval is not None, "its support is an interval"
        inner = family.over.law.read(parameters, family.over, field)
        assert isinstance(inner, LocationScale)
        return cls(inner, *field.interval)

    def _ends(self, ctx: Context) -> tuple[Value, Value | None]:
        """The ends of the interval as numbers of the standard law; no upper one where the variable is positive."""
        low = self.inner.standardise(ctx, ctx.b.constant(self.low))
        return low, None if self.high == inf else self.inner.standardise(ctx, ctx.b.constant(self.high))

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b, (low, high) = ctx.b, self._ends(ctx)
        if high is None:
            mass = self.inner.standard_tails(ctx, low)[1]
        else:
            log_width = F.sub(b, log(self.high - self.low), self.inner.at(ctx, "log_scale"))
            mass = self.inner.standard_log_mass(ctx, low, high, log_width)
        return F.sub(b, self.inner.element_log_prob(ctx, x), mass)

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        b, u, (low, high) = ctx.b, noise[0], self._ends(ctx)
        if high is None:
            tail = b.emit(ops.Exp(), self.inner.standard_tails(ctx, low)[1])
            z = F.neg(b, self._quantile(ctx, F.mul(b, u, tail)))
        else:
            upper, big, small = self.inner.standard_ends(ctx, low, high)
            most, least = b.emit(ops.Exp(), big), b.emit(ops.Exp(), small)
            q = self._quantile(ctx, F.add(b, least, F.mul(b, u, F.sub(b, most, least))))
            z = F.where(b, upper, F.neg(b, q), q)
        x = F.maximum(b, self.inner.moved(ctx, z), self.low)
        return x if high is None else F.minimum(b, x, self.high)

    def _quantile(self, ctx: Context, p: Value) -> Value:
        return self.inner.standard_quantile(ctx, F.maximum(ctx.b, p, 1e-30))


@dataclass(frozen=True)
class Discretized(OverTails):
    """Whole numbers as bins of a law of real numbers, half a number to both sides; the bins at the ends are open.

    So a draw of the law, rounded and clipped, has this law exactly. The levels low .. high of a range are moved to
    [-1, 1], so that `loc` and `scale` mean the same for 8 levels and for 256 (Salimans et al. 2017, section 2.1); counts
    are not moved. Over a mixture it is the mixture of its components in bins. `mean` is that of the law within.
    """

    keyword: ClassVar[str] = "discretized"
    support: ClassVar[Support] = WHOLE
    usage: ClassVar[str] = "discretized(mixture(logistic), net)"
    low: int
    high: int | None

    @classmethod
    def fault(cls, inner: Family) -> str:
        return super().fault(inner.over if inner.law is MixtureOf else inner)

    @classmethod
    def supports(cls, inner: Family) -> Support:
        return WHOLE

    @classmethod
    def noise_over(cls, inner: Family) -> tuple[Noise, ...]:
        return inner.noise

    def noises(self) -> tuple[Noise, ...]:
        return self.inner.noises()

    @classmethod
    def read(cls, parameters: Parameters, family: Family, field: Field) -> Elementwise:
        over = family.over
        if over.law is MixtureOf:
            return MixtureOf.read(parameters, replace(over, inner=Family(cls, None, over.over)), field)
        inner = over.law.read(parameters, over, field)
        assert isinstance(inner, LocationScale)
        return cls(inner, field.low, None if field.classes is None else field.low + field.classes - 1)

    @property
    def dense(self) -> bool:
        return False

    @property
    def half(self) -> float:
        """Half the width of a bin, on the scale of the law within."""
        return 0.5 if self.high is None else 1.0 / max(1, self.high - self.low)

    def _within(self, ctx: Context) -> LocationScale:
        """The law within, its scale bounded from below."""
        return replace(self.inner, log_scale=F.maximum(ctx.b, self.inner.at(ctx, "log_scale"), MIN_LOG_SCALE))

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b, inner, centre = ctx.b, self._within(ctx), self.centred(ctx, x)
        start, end = (inner.standardise(ctx, F.add(b, centre, side)) for side in (-self.half, self.half))
        log_width = F.sub(b, log(2 * self.half), inner.log_scale)
        inside = inner.standard_log_mass(ctx, start, end, log_width)
        below = inner.standard_tails(ctx, end)[0]
        found = F.where(b, F.less(b, x, self.low + 0.5), below, inside)
        if self.high is None:
            return found
        above = inner.standard_tails(ctx, start)[1]
        return F.where(b, F.less(b, self.high - 0.5, x), above, found)

    def centred(self, ctx: Context, x: Value) -> Value:
        """Move levels to the scale of the law within."""
        b = ctx.b
        return (
            x if self.high is None else F.sub(b, F.mul(b, F.sub(b, x, float(self.low)), 2 * self.half), 1.0)
        )

    def _levels(self, ctx: Context, x: Value) -> Value:
        """Move numbers from the scale of the law within to that of the levels."""
        b = ctx.b
        if self.high is None:
            return x
        return F.add(b, F.mul(b, F.add(b, x, 1.0), 0.5 / self.half), float(self.low))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        return self.rounded(ctx, self._within(ctx).draw(ctx, noise))

    def rounded(self, ctx: Context, x: Value) -> Value:
        """The level of the bin that a number of the law within falls into."""
        b = ctx.b
        rounded = F.maximum(b, b.emit(ops.Floor(), F.add(b, self._levels(ctx, x), 0.5)), float(self.low))
        return rounded if self.high is None else F.minimum(b, rounded, float(self.high))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return self._levels(ctx, self.inner.mean(ctx, shape))


__all__ = ["Discretized", "Truncated"]
