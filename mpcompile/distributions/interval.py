"""Laws of the numbers of an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any, ClassVar, Self

from mpcompile import ops
from mpcompile.distributions.base import Distribution, Elementwise, logit, spread
from mpcompile.distributions.family import Family
from mpcompile.distributions.parametric import Parametric
from mpcompile.distributions.rejection import GAMMA_TRIES, last, log_gamma_draw
from mpcompile.distributions.slots import Noise, Operand, Parameters, Slot
from mpcompile.distributions.special import digamma, log_gamma, polynomial
from mpcompile.distributions.subject import Subject
from mpcompile.distributions.support import BOUNDS_OF_TYPE, INTERVAL, UNIFORM_VALUES, Support
from mpcompile.ir import Field, Shape, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F


def bounds_of(field: Field | None) -> tuple[float, float]:
    """Return the ends of the values of a variable: those of its type, a turn for angles."""
    if field is not None and field.interval is not None:
        return field.interval
    return (-3.141592653589793, 3.141592653589793) if field is not None and field.angle else (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class OnInterval(Parametric):
    """Base of laws of (0, 1), moved to the interval low .. high of their variable."""

    support: ClassVar[Support] = INTERVAL
    elsewhere: ClassVar[Mapping[str, str]] = BOUNDS_OF_TYPE
    low: float = 0.0
    high: float = 1.0

    @classmethod
    def stated(cls, ctx: Context, given: Any, subject: Subject) -> Self:
        """Build the law as others are, on the interval of its variable."""
        return super().stated(ctx, given, subject).on(subject.field)

    @classmethod
    def read(cls, parameters: Parameters, family: Family, field: Field) -> Elementwise:
        law = super().read(parameters, family, field)
        assert isinstance(law, OnInterval)
        return law.on(field)

    def on(self, field: Field | None) -> Self:
        """Return the law on the interval of a variable."""
        low, high = bounds_of(field)
        return replace(self, low=low, high=high)

    def unit_log_prob(self, ctx: Context, u: Value) -> Value:
        """Log density on (0, 1), in the shape of u."""
        raise NotImplementedError

    def unit_draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        """A draw on (0, 1)."""
        raise NotImplementedError

    def unit_mean(self, ctx: Context) -> Value:
        """The mean on (0, 1)."""
        raise NotImplementedError

    def unit_entropy(self, ctx: Context) -> Value:
        """The entropy on (0, 1), in nats."""
        raise NotImplementedError

    def element_entropy(self, ctx: Context) -> Value | None:
        unit = self.unit_entropy(ctx)
        return unit if self.high - self.low == 1 else F.add(ctx.b, unit, log(self.high - self.low))

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        if (self.low, self.high) == (0.0, 1.0):
            return self.unit_log_prob(ctx, x)
        width = self.high - self.low
        u = F.mul(b, F.sub(b, x, self.low), 1 / width)
        return F.sub(b, self.unit_log_prob(ctx, u), log(width))

    def _moved(self, ctx: Context, u: Value) -> Value:
        if (self.low, self.high) == (0.0, 1.0):
            return u
        return F.add(ctx.b, F.mul(ctx.b, u, self.high - self.low), self.low)

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        return self._moved(ctx, self.unit_draw(ctx, noise))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return spread(ctx, self._moved(ctx, self.unit_mean(ctx)), shape)

    def parameters(self) -> dict[str, Value]:
        return {k: v for k, v in super().parameters().items() if k not in ("low", "high")}


@dataclass(frozen=True)
class Beta(OnInterval):
    """Density x^(a - 1) (1 - x)^(b - 1) / B(a, b) on (0, 1), its ends excluded, of mean a / (a + b).

    Draws are a share of two gamma draws, each of 8 proposals, which all fail with a probability of at most 3e-11. They
    are kept 2^-24 away from the ends.
    """

    keyword: ClassVar[str] = "beta"
    slots: ClassVar[tuple[Slot, ...]] = (Slot("a", "positive"), Slot("b", "positive"))
    noise: ClassVar[tuple[Noise, ...]] = (
        Noise("normal", 2 * GAMMA_TRIES),
        Noise("uniform", 2 * (GAMMA_TRIES + 1)),
    )
    scaled: ClassVar[bool] = True
    log_a: Operand
    log_b: Operand

    def unit_log_prob(self, ctx: Context, u: Value) -> Value:
        g, a, b = ctx.b, self.positive(ctx, "a"), self.positive(ctx, "b")
        powers = F.add(
            g,
            F.mul(g, F.sub(g, a, 1.0), g.emit(ops.Log(), u)),
            F.mul(g, F.sub(g, b, 1.0), g.emit(ops.Log(), F.sub(g, 1.0, u))),
        )
        parts = F.add(g, log_gamma(ctx, a), log_gamma(ctx, b))
        return F.add(g, powers, F.sub(g, log_gamma(ctx, F.add(g, a, b)), parts))

    def element_kl(self, ctx: Context, other: Elementwise) -> Value | None:
        """log(B(c, d) / B(a, b)) + (a - c) psi(a) + (b - d) psi(b) + (c - a + d - b) psi(a + b), the other of c and d."""
        g = ctx.b
        if not isinstance(other, Beta) or (self.low, self.high) != (other.low, other.high):
            return None
        one, two = ([law.positive(ctx, name) for name in ("a", "b")] for law in (self, other))
        totals = [F.add(g, *pair) for pair in (one, two)]
        away = F.mul(g, F.sub(g, totals[1], totals[0]), digamma(ctx, totals[0]))
        found = F.add(g, F.sub(g, log_gamma(ctx, totals[0]), log_gamma(ctx, totals[1])), away)
        for mine, theirs in zip(one, two, strict=True):
            slope = F.mul(g, F.sub(g, mine, theirs), digamma(ctx, mine))
            found = F.add(g, found, F.add(g, slope, F.sub(g, log_gamma(ctx, theirs), log_gamma(ctx, mine))))
        return found

    def unit_entropy(self, ctx: Context) -> Value:
        """log B(a, b) - (a - 1) psi(a) - (b - 1) psi(b) + (a + b - 2) psi(a + b)."""
        g, pair = ctx.b, [self.positive(ctx, name) for name in ("a", "b")]
        total = F.add(g, *pair)
        found = F.sub(g, F.mul(g, F.sub(g, total, 2.0), digamma(ctx, total)), log_gamma(ctx, total))
        for mine in pair:
            slope = F.mul(g, F.sub(g, 1.0, mine), digamma(ctx, mine))
            found = F.add(g, found, F.add(g, slope, log_gamma(ctx, mine)))
        return found

    def unit_draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        b, (normal, uniform), k = ctx.b, noise, GAMMA_TRIES
        one, other = (
            log_gamma_draw(
                ctx,
                self.positive(ctx, name),
                last(b, normal, i * k, (i + 1) * k),
                last(b, uniform, i * (k + 1), (i + 1) * (k + 1)),
            )
            for i, name in enumerate(("a", "b"))
        )
        share = b.emit(ops.Sigmoid(), F.sub(b, one, other))
        return F.minimum(b, F.maximum(b, share, 2.0**-24), 1 - 2.0**-24)

    def unit_mean(self, ctx: Context) -> Value:
        return ctx.b.emit(ops.Sigmoid(), F.sub(ctx.b, self.at(ctx, "log_a"), self.at(ctx, "log_b")))


@dataclass(frozen=True)
class ContinuousBernoulli(OnInterval):
    """Density proportional to exp(x a) on [0, 1] for logits a (Loaiza-Ganem and Cunningham 2019), ends included."""

    keyword: ClassVar[str] = "continuous_bernoulli"
    slots: ClassVar[tuple[Slot, ...]] = (Slot("logits"),)
    logits: Operand

    def unit_log_prob(self, ctx: Context, u: Value) -> Value:
        """x a - log((exp(a) - 1) / a), the second as a / 2 + log(sinh(h) / h) for h = |a| / 2."""
        b, a = ctx.b, self.at(ctx, "logits")
        return F.sub(b, F.mul(b, F.sub(b, u, 0.5), a), self._log_sinh(ctx))

    def element_kl(self, ctx: Context, other: Elementwise) -> Value | None:
        """The mean of the difference of log densities, which are linear in x."""
        b = ctx.b
        if not isinstance(other, ContinuousBernoulli) or (self.low, self.high) != (other.low, other.high):
            return None
        slope = F.sub(b, self.at(ctx, "logits"), other.logits)
        mean = F.mul(b, F.sub(b, self.unit_mean(ctx), 0.5), slope)
        return F.sub(b, mean, F.sub(b, self._log_sinh(ctx), other._log_sinh(ctx)))

    def unit_entropy(self, ctx: Context) -> Value:
        """Minus the mean of the log density, which is linear in x."""
        b = ctx.b
        mean = F.mul(b, F.sub(b, self.unit_mean(ctx), 0.5), self.at(ctx, "logits"))
        return F.sub(b, self._log_sinh(ctx), mean)

    def _log_sinh(self, ctx: Context) -> Value:
        """log(sinh(h) / h) for h = |logits| / 2."""
        b, a = ctx.b, self.at(ctx, "logits")
        h = F.mul(b, b.emit(ops.Abs(), a), 0.5)
        near = F.less(b, h, 0.5)
        low = F.where(b, near, h, 0.0)
        small = polynomial(b, F.mul(b, low, low), (1, 1 / 6, 1 / 120, 1 / 5040, 1 / 362880, 1 / 39916800))
        high = F.where(b, near, 1.0, h)
        rest = b.emit(ops.Log(), F.sub(b, 1.0, b.emit(ops.Exp(), F.mul(b, high, -2.0))))
        large = F.add(b, F.sub(b, high, b.emit(ops.Log(), F.mul(b, high, 2.0))), rest)
        return F.where(b, near, b.emit(ops.Log(), small), large)

    def unit_draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        """The inverse of the distribution function: (log(1 - u) + softplus(a + logit u)) / a."""
        b, a, u = ctx.b, self.at(ctx, "logits"), noise[0]
        near = F.less(b, b.emit(ops.Abs(), a), 0.02)
        rest = F.sub(b, 1.0, u)
        both = F.mul(b, u, rest)
        low = F.where(b, near, a, 0.0)
        bend = F.mul(b, F.mul(b, low, F.sub(b, rest, u)), 1 / 3)
        small = F.add(b, u, F.mul(b, F.mul(b, F.mul(b, low, both), 0.5), F.add(b, bend, 1.0)))
        held = F.where(b, near, 1.0, a)
        rise = b.emit(ops.Softplus(), F.add(b, held, logit(ctx, u)))
        large = F.div(b, F.add(b, b.emit(ops.Log(), rest), rise), held)
        return F.minimum(b, F.maximum(b, F.where(b, near, small, large), 0.0), 1.0)

    def unit_mean(self, ctx: Context) -> Value:
        """1 / (1 - exp(-a)) - 1 / a, next to zero its series 1/2 + a/12 - a^3/720."""
        b, a = ctx.b, self.at(ctx, "logits")
        near = F.less(b, b.emit(ops.Abs(), a), 0.1)
        low = F.where(b, near, a, 0.0)
        series = F.add(
            b, F.mul(b, low, polynomial(b, F.mul(b, low, low), (1 / 12, -1 / 720, 1 / 30240))), 0.5
        )
        held = F.where(b, near, 1.0, a)
        inverse = F.div(b, 1.0, held)
        large = F.sub(b, F.div(b, 1.0, F.sub(b, 1.0, b.emit(ops.Exp(), F.neg(b, held)))), inverse)
        return F.where(b, near, series, large)


@dataclass(frozen=True)
class Nothing:
    """The arguments of a law without any."""


@dataclass(frozen=True)
class Uniform(Elementwise):
    """The same density for all numbers of the interval of the variable; of an angle, for all of a turn."""

    keyword: ClassVar[str] = "uniform"
    support: ClassVar[Support] = UNIFORM_VALUES
    elsewhere: ClassVar[Mapping[str, str]] = BOUNDS_OF_TYPE
    arguments: ClassVar[type | None] = Nothing
    slots: ClassVar[tuple[Slot, ...]] = ()
    low: float
    high: float

    @classmethod
    def stated(cls, ctx: Context, given: Nothing, subject: Subject) -> Distribution:
        return cls(*bounds_of(subject.field))

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        return F.sub(ctx.b, ctx.zeros(x.shape), log(self.high - self.low))

    def element_entropy(self, ctx: Context) -> Value | None:
        return ctx.b.constant(log(self.high - self.low))

    def element_cross_entropy(self, ctx: Context, drawn: Elementwise) -> Value | None:
        """The logarithm of the width, for draws of the same interval."""
        same = isinstance(drawn, OnInterval | Uniform) and (drawn.low, drawn.high) == (self.low, self.high)
        return ctx.b.constant(log(self.high - self.low)) if same else None

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        return F.add(ctx.b, F.mul(ctx.b, noise[0], self.high - self.low), self.low)

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return spread(ctx, 0.5 * (self.low + self.high), shape)


__all__ = ["Beta", "ContinuousBernoulli", "OnInterval", "Uniform", "bounds_of"]
