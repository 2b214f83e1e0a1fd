"""Laws over a law of real numbers with a distribution function: cut to an interval, or counted in levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import ClassVar

from mpcompile import ops
from mpcompile.distributions.base import Elementwise
from mpcompile.distributions.combinators import Combined
from mpcompile.distributions.family import Family
from mpcompile.distributions.location_scale import LocationScale
from mpcompile.distributions.slots import Noise, Parameters
from mpcompile.distributions.special import log1m_exp
from mpcompile.distributions.support import BOUNDED, WHOLE, Support
from mpcompile.ir import Field, Shape, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F

#: Where the tails beside a bin differ by less, its mass is its density: differences have too few digits.
NARROW = 1e-3


@dataclass(frozen=True)
class OverTails(Combined):
    """Base of the laws that need the tails of the law within: a location and a scale, and symmetric."""

    inner: LocationScale

    @classmethod
    def fault(cls, inner: Family) -> str:
        fits = issubclass(inner.law, LocationScale) and inner.law.has_tails
        return "" if fits else "is of a law with a distribution function: normal, laplace or logistic"

    def between(self, ctx: Context, low: Value, high: Value) -> tuple[Value, Value, Value]:
        """Emit whether a range lies above the centre, and the logarithms of the tails beyond its two ends.

        The tails are those of the side on which they are small: the larger first.
        """
        b, a, z = ctx.b, self.inner.standardise(ctx, low), self.inner.standardise(ctx, high)
        (below_a, above_a), (below_z, above_z) = (self.inner.standard_tails(ctx, v) for v in (a, z))
        upper = F.less(b, 0.0, F.add(b, a, z))
        return upper, F.where(b, upper, above_a, below_z), F.where(b, upper, above_z, below_a)


@dataclass(frozen=True)
class Truncated(OverTails):
    """A law of real numbers within the interval of its variable: its density over the mass of the interval.

    Draws invert the distribution function on the side where its tail is small; an interval of less than 1e-30 of the mass
    is drawn at its end next to the centre.
    """

    keyword: ClassVar[str] = "truncated"
    support: ClassVar[Support] = BOUNDED
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
        return ctx.b.constant(self.low), None if self.high == inf else ctx.b.constant(self.high)

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b, (low, high) = ctx.b, self._ends(ctx)
        if high is None:
            mass = self.inner.standard_tails(ctx, self.inner.standardise(ctx, low))[1]
        else:
            _, big, small = self.between(ctx, low, high)
            mass = F.add(b, big, log1m_exp(ctx, F.sub(b, small, big)))
        return F.sub(b, self.inner.element_log_prob(ctx, x), mass)

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        b, u, (low, high) = ctx.b, noise[0], self._ends(ctx)
        if high is None:
            tail = b.emit(ops.Exp(), self.inner.standard_tails(ctx, self.inner.standardise(ctx, low))[1])
            z = F.neg(b, self._quantile(ctx, F.mul(b, u, tail)))
        else:
            upper, big, small = self.between(ctx, low, high)
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

    So a draw of the law, rounded and clipped, has this law exactly. Scales are in whole numbers. `mean` is that of the
    law within.
    """

    keyword: ClassVar[str] = "discretized"
    support: ClassVar[Support] = WHOLE
    low: int
    high: int | None

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
        inner = family.over.law.read(parameters, family.over, field)
        assert isinstance(inner, LocationScale)
        return cls(inner, field.low, None if field.classes is None else field.low + field.classes - 1)

    @property
    def dense(self) -> bool:
        return False

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b, start, end = ctx.b, F.sub(ctx.b, x, 0.5), F.add(ctx.b, x, 0.5)
        _, big, small = self.between(ctx, start, end)
        away = F.sub(b, small, big)
        narrow = F.less(b, -NARROW, away)
        mass = F.add(b, big, log1m_exp(ctx, F.where(b, narrow, -1.0, away)))
        inside = F.where(b, narrow, self.inner.element_log_prob(ctx, x), mass)
        below = self.inner.standard_tails(ctx, self.inner.standardise(ctx, end))[0]
        found = F.where(b, F.less(b, x, self.low + 0.5), below, inside)
        if self.high is None:
            return found
        above = self.inner.standard_tails(ctx, self.inner.standardise(ctx, start))[1]
        return F.where(b, F.less(b, self.high - 0.5, x), above, found)

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        b = ctx.b
        rounded = b.emit(ops.Floor(), F.add(b, self.inner.draw(ctx, noise), 0.5))
        rounded = F.maximum(b, rounded, float(self.low))
        return rounded if self.high is None else F.minimum(b, rounded, float(self.high))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return self.inner.mean(ctx, shape)


__all__ = ["Discretized", "Truncated"]
