"""Laws of counts 0, 1, 2, ... without a largest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.distributions.base import Elementwise, spread
from mpcompile.distributions.parametric import Parametric
from mpcompile.distributions.rejection import GAMMA_NOISE, LEAST, POISSON_NOISE, log_gamma_draw, poisson_draw
from mpcompile.distributions.slots import Noise, Operand, Slot
from mpcompile.distributions.special import log_gamma, log_rising
from mpcompile.distributions.support import COUNTS, Support
from mpcompile.ir import Shape, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F


@dataclass(frozen=True)
class Poisson(Parametric):
    """Mass m^x exp(-m) / x! for a mean m.

    Draws invert the distribution function below a mean of 10, over 42 counts, beyond which at most 1e-12 lie; from there
    on they are those of Hoermann (1993, PTRS) with 16 proposals, which all fail with a probability of at most 4e-10.
    """

    keyword: ClassVar[str] = "poisson"
    support: ClassVar[Support] = COUNTS
    slots: ClassVar[tuple[Slot, ...]] = (Slot("mean", "positive"),)
    noise: ClassVar[tuple[Noise, ...]] = POISSON_NOISE
    log_mean: Operand

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        powers = F.sub(b, F.mul(b, x, self.at(ctx, "log_mean")), self.positive(ctx, "mean"))
        return F.sub(b, powers, log_gamma(ctx, F.add(b, x, 1.0)))

    def element_kl(self, ctx: Context, other: Elementwise) -> Value | None:
        """m log(m / n) - m + n, the other law of the mean n."""
        b = ctx.b
        if not isinstance(other, Poisson):
            return None
        mean, log_ratio = self.positive(ctx, "mean"), F.sub(b, self.at(ctx, "log_mean"), other.log_mean)
        return F.add(b, F.mul(b, mean, F.sub(b, log_ratio, 1.0)), other.positive(ctx, "mean"))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        return poisson_draw(ctx, self.positive(ctx, "mean"), noise[0])

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return spread(ctx, self.positive(ctx, "mean"), shape)


@dataclass(frozen=True)
class NegativeBinomial(Parametric):
    """Counts of mean m and variance m + a m^2 for a dispersion a: Poisson ones whose mean is gamma distributed.

    With r = 1 / a the mass is Gamma(x + r) / (Gamma(r) x!) (m / (m + r))^x (r / (m + r))^r (Salinas et al. 2020, section
    3.1). It is computed without the digits that cancel where a is small. Draws are of a gamma law, then of a Poisson one.
    """

    keyword: ClassVar[str] = "negative_binomial"
    support: ClassVar[Support] = COUNTS
    slots: ClassVar[tuple[Slot, ...]] = (Slot("mean", "positive"), Slot("dispersion", "positive"))
    noise: ClassVar[tuple[Noise, ...]] = (*GAMMA_NOISE, *POISSON_NOISE)
    log_mean: Operand
    log_dispersion: Operand

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        log_mean, log_dispersion = self.at(ctx, "log_mean"), self.at(ctx, "log_dispersion")
        r = b.emit(ops.Exp(), F.neg(b, log_dispersion))
        some = F.less(b, 0.0, x)
        log_x = b.emit(ops.Log(), F.where(b, some, x, 1.0))
        share = F.where(b, some, b.emit(ops.Softplus(), F.add(b, log_x, log_dispersion)), 0.0)
        spread = b.emit(ops.Softplus(), F.add(b, log_mean, log_dispersion))  # log(1 + m / r)
        combinations = F.sub(b, log_rising(ctx, r, x, share), log_gamma(ctx, F.add(b, x, 1.0)))
        return F.add(b, combinations, F.sub(b, F.mul(b, x, log_mean), F.mul(b, F.add(b, x, r), spread)))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        b, (normal, tries, uniform) = ctx.b, noise
        log_dispersion = self.at(ctx, "log_dispersion")
        drawn = log_gamma_draw(ctx, b.emit(ops.Exp(), F.neg(b, log_dispersion)), normal, tries)
        log_rate = F.add(b, F.add(b, drawn, log_dispersion), self.at(ctx, "log_mean"))
        return poisson_draw(ctx, b.emit(ops.Exp(), F.maximum(b, log_rate, LEAST)), uniform)

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return spread(ctx, self.positive(ctx, "mean"), shape)


__all__ = ["NegativeBinomial", "Poisson"]
