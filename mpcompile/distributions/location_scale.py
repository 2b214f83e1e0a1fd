"""Laws of a single element that are a standard one, moved and stretched: x = loc + exp(log_scale) e."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log, pi
from typing import ClassVar, Self

from mpcompile import ops
from mpcompile.distributions.base import Elementwise, logit, spread, standard_logistic
from mpcompile.distributions.parametric import Parametric
from mpcompile.distributions.rejection import first
from mpcompile.distributions.slots import NORMAL, Noise, Operand, Slot
from mpcompile.distributions.special import (
    digamma,
    expm1,
    log1m_exp,
    log1p,
    log_normal_tails,
    log_rising,
    normal_quantile,
    polynomial,
)
from mpcompile.distributions.support import REALS, Support
from mpcompile.ir import Shape, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F

#: Where the logarithms of two tails differ by less, their difference has too few digits.
NARROW = 1e-3

#: Below this tanh(w / 2) is w / 2 in double precision.
LEAST_WIDTH = 1e-8

#: Draws of Student's t end at exp(LONGEST / 2) of its scale.
LONGEST = 80.0


@dataclass(frozen=True)
class LocationScale(Parametric):
    """Base of the laws with a location and a scale; each states its standard law.

    A number of 0 leaves no node in the graph.
    """

    support: ClassVar[Support] = REALS
    slots: ClassVar[tuple[Slot, ...]] = (Slot("loc", default=0.0), Slot("scale", "positive", 1.0))
    reparameterised: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    #: Whether it is symmetric, with a distribution function and its inverse.
    has_tails: ClassVar[bool] = False
    #: Entropy (nats) and variance of the standard law.
    standard_entropy: ClassVar[float]
    standard_variance: ClassVar[float]
    loc: Operand
    log_scale: Operand

    def standard_log_prob(self, ctx: Context, z: Value) -> Value:
        """Log density of the standard law, in the shape of z."""
        raise NotImplementedError

    def standard_draw(self, ctx: Context, noise: Value) -> Value:
        """A draw of the standard law from one noise number each."""
        raise NotImplementedError

    def standard_tails(self, ctx: Context, z: Value) -> tuple[Value, Value]:
        """Logarithms of the mass of the standard law below z and above it; where `has_tails`."""
        raise NotImplementedError

    def standard_quantile(self, ctx: Context, p: Value) -> Value:
        """The number below which the standard law has the mass p; where `has_tails`."""
        return self.standard_draw(ctx, p)

    def standard_log_mass(self, ctx: Context, low: Value, high: Value, log_width: Value) -> Value:
        """Log mass of the standard law between two numbers, whose distance is given as its logarithm; where `has_tails`.

        The difference of the tails on the side on which they are small; where they differ by less than `NARROW`, the
        density in the middle times the width, since the difference has too few digits.
        """
        b = ctx.b
        _, big, small = self.standard_ends(ctx, low, high)
        away = F.sub(b, small, big)
        narrow = F.less(b, -NARROW, away)
        mass = F.add(b, big, log1m_exp(ctx, F.where(b, narrow, -1.0, away)))
        middle = F.mul(b, F.add(b, low, high), 0.5)
        return F.where(b, narrow, F.add(b, self.standard_log_prob(ctx, middle), log_width), mass)

    def standard_ends(self, ctx: Context, low: Value, high: Value) -> tuple[Value, Value, Value]:
        """Emit whether an interval lies above the centre, and the logarithms of the tails beyond its two ends.

        The tails are those of the side on which they are small: the larger first.
        """
        b = ctx.b
        (below_a, above_a), (below_z, above_z) = (self.standard_tails(ctx, v) for v in (low, high))
        upper = F.less(b, 0.0, F.add(b, low, high))
        return upper, F.where(b, upper, above_a, below_z), F.where(b, upper, above_z, below_a)

    def moved(self, ctx: Context, z: Value) -> Value:
        """Emit loc + scale z."""
        b = ctx.b
        if isinstance(self.log_scale, Value):
            z = F.mul(b, b.emit(ops.Exp(), self.log_scale), z)
        elif self.log_scale != 0.0:
            z = F.mul(b, z, exp(self.log_scale))
        return z if self.loc == 0.0 else F.add(b, self.loc, z)

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        lp = self.standard_log_prob(ctx, self.standardise(ctx, x))
        return lp if self.log_scale == 0.0 else F.sub(ctx.b, lp, self.log_scale)

    def standardise(self, ctx: Context, x: Value) -> Value:
        """(x - loc) / scale."""
        b = ctx.b
        centred = x if self.loc == 0.0 else F.sub(b, x, self.loc)
        if isinstance(self.log_scale, Value):
            return F.mul(b, centred, b.emit(ops.Exp(), F.neg(b, self.log_scale)))
        return centred if self.log_scale == 0.0 else F.mul(b, centred, exp(-self.log_scale))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        return self.moved(ctx, self.standard_draw(ctx, noise[0]))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return self.loc if isinstance(self.loc, Value) else spread(ctx, self.loc, shape)

    def element_entropy(self, ctx: Context) -> Value | None:
        return F.add(ctx.b, self.at(ctx, "log_scale"), self.standard_entropy)

    def element_variance(self, ctx: Context) -> Value | None:
        squared = ctx.b.emit(ops.Exp(), F.mul(ctx.b, self.at(ctx, "log_scale"), 2.0))
        return F.mul(ctx.b, squared, self.standard_variance)

    def tempered(self, ctx: Context, t: float) -> Self:
        scale = self.log_scale
        wider = scale + log(t) if isinstance(scale, float) else F.add(ctx.b, scale, log(t))
        return replace(self, log_scale=wider)


@dataclass(frozen=True)
class Normal(LocationScale):
    """Gaussian with mean `loc` and log standard deviation `log_scale`: squared error when the scale is fixed."""

    keyword: ClassVar[str] = "normal"
    noise: ClassVar[tuple[Noise, ...]] = (NORMAL,)
    has_tails: ClassVar[bool] = True
    standard_entropy: ClassVar[float] = 0.5 * log(2 * pi) + 0.5
    standard_variance: ClassVar[float] = 1.0

    def standard_log_prob(self, ctx: Context, z: Value) -> Value:
        b = ctx.b
        return F.add(b, F.mul(b, F.mul(b, z, z), -0.5), -0.5 * log(2 * pi))

    def standard_draw(self, ctx: Context, noise: Value) -> Value:
        return noise

    def standard_tails(self, ctx: Context, z: Value) -> tuple[Value, Value]:
        return log_normal_tails(ctx, z)

    def standard_quantile(self, ctx: Context, p: Value) -> Value:
        return normal_quantile(ctx, p)

    def element_kl(self, ctx: Context, other: Elementwise) -> Value | None:
        """(r + d^2 - 1 - log r) / 2 for a ratio r of variances, a distance d (Kingma and Welling 2014, appendix B)."""
        b = ctx.b
        if not isinstance(other, Normal):
            return None
        distance = other.standardise(ctx, self.mean(ctx, self._shape()))
        log_ratio = F.sub(b, self.log_scale, other.log_scale) if other.log_scale != 0.0 else self.log_scale
        ratio = (
            b.emit(ops.Exp(), F.mul(b, log_ratio, 2.0))
            if isinstance(log_ratio, Value)
            else exp(2 * log_ratio)
        )
        inner = F.add(b, F.add(b, ratio, F.mul(b, distance, distance)), -1.0)
        return F.sub(b, F.mul(b, inner, 0.5), log_ratio)

    def element_cross_entropy(self, ctx: Context, drawn: Elementwise) -> Value | None:
        """log(2 pi) / 2 + log s + (v + d^2) / (2 s^2) for draws of variance v, whose mean lies d away."""
        b, variance = ctx.b, drawn.element_variance(ctx)
        if variance is None:
            return None
        away = F.sub(b, drawn.mean(ctx, variance.shape), self.at(ctx, "loc"))
        log_scale = self.at(ctx, "log_scale")
        square = F.add(b, variance, F.mul(b, away, away))
        share = F.mul(b, F.mul(b, square, b.emit(ops.Exp(), F.mul(b, log_scale, -2.0))), 0.5)
        return F.add(b, F.add(b, share, log_scale), 0.5 * log(2 * pi))

    def _shape(self) -> Shape:
        return next((v.shape for v in self.parameters().values()), ())


@dataclass(frozen=True)
class Laplace(LocationScale):
    """exp(-|x - loc| / scale) / (2 scale): absolute error when the scale is fixed."""

    keyword: ClassVar[str] = "laplace"
    has_tails: ClassVar[bool] = True
    standard_entropy: ClassVar[float] = 1 + log(2)
    standard_variance: ClassVar[float] = 2.0

    def element_kl(self, ctx: Context, other: Elementwise) -> Value | None:
        """log(t / s) + (d + s exp(-d / s)) / t - 1 for scales s and t and a distance d of the locations."""
        b = ctx.b
        if not isinstance(other, Laplace):
            return None
        log_s, log_t = self.at(ctx, "log_scale"), other.at(ctx, "log_scale")
        distance = b.emit(ops.Abs(), F.sub(b, self.at(ctx, "loc"), other.loc))
        near = F.sub(b, log_s, F.mul(b, distance, b.emit(ops.Exp(), F.neg(b, log_s))))
        mean = F.mul(b, F.add(b, distance, b.emit(ops.Exp(), near)), b.emit(ops.Exp(), F.neg(b, log_t)))
        return F.sub(b, F.add(b, F.sub(b, log_t, log_s), mean), 1.0)

    def standard_tails(self, ctx: Context, z: Value) -> tuple[Value, Value]:
        b = ctx.b
        outer = F.sub(b, -log(2.0), b.emit(ops.Abs(), z))
        inner, negative = log1m_exp(ctx, outer), F.less(b, z, 0.0)
        return F.where(b, negative, outer, inner), F.where(b, negative, inner, outer)

    def standard_log_prob(self, ctx: Context, z: Value) -> Value:
        return F.sub(ctx.b, -log(2.0), ctx.b.emit(ops.Abs(), z))

    def standard_draw(self, ctx: Context, noise: Value) -> Value:
        """-sign(u - 1/2) log 2 min(u, 1 - u): the smaller tail keeps its digits, so that no draw is infinite."""
        b = ctx.b
        tail = F.mul(b, F.minimum(b, noise, F.sub(b, 1.0, noise)), 2.0)
        return F.mul(b, b.emit(ops.Sign(), F.sub(b, 0.5, noise)), b.emit(ops.Log(), tail))


@dataclass(frozen=True)
class Logistic(LocationScale):
    """Density s (1 - s) / scale for s = sigmoid((x - loc) / scale): nearly normal within, with the tails of Laplace."""

    keyword: ClassVar[str] = "logistic"
    has_tails: ClassVar[bool] = True
    standard_entropy: ClassVar[float] = 2.0
    standard_variance: ClassVar[float] = pi**2 / 3

    def standard_tails(self, ctx: Context, z: Value) -> tuple[Value, Value]:
        b = ctx.b
        return F.neg(b, b.emit(ops.Softplus(), F.neg(b, z))), F.neg(b, b.emit(ops.Softplus(), z))

    def standard_log_prob(self, ctx: Context, z: Value) -> Value:
        return standard_logistic(ctx, z)

    def standard_log_mass(self, ctx: Context, low: Value, high: Value, log_width: Value) -> Value:
        """log(s(a) - s(b)) = log s(a) + log s(-b) + log(1 - exp(b - a)) for a the higher end.

        For w = a - b the last term is log tanh(w / 2) + softplus(-w), which keeps its digits where the bin is narrow.
        There log tanh(w / 2) is log(w / 2) + log(tanh(w / 2) / (w / 2)), finite where w itself underflows. Each form is
        held where it is not used, so that neither has a gradient that is not a number.
        """
        b, width = ctx.b, ctx.b.emit(ops.Exp(), log_width)
        below = F.neg(b, b.emit(ops.Softplus(), F.neg(b, high)))
        above = F.neg(b, b.emit(ops.Softplus(), low))
        small = F.less(b, width, 1.0)
        held = F.mul(b, F.minimum(b, F.maximum(b, width, LEAST_WIDTH), 1.0), 0.5)
        share = b.emit(ops.Log(), F.div(b, b.emit(ops.Tanh(), held), held))
        narrow = F.add(b, F.sub(b, log_width, log(2.0)), share)
        wide = b.emit(ops.Log(), b.emit(ops.Tanh(), F.mul(b, F.maximum(b, width, 1.0), 0.5)))
        rest = F.add(b, F.where(b, small, narrow, wide), b.emit(ops.Softplus(), F.neg(b, width)))
        return F.add(b, F.add(b, below, above), rest)

    def standard_draw(self, ctx: Context, noise: Value) -> Value:
        return logit(ctx, noise)


@dataclass(frozen=True)
class StudentT(Parametric):
    """Student's t of `df` degrees of freedom, moved and stretched: tails of a power, so that outliers weigh little.

    Draws are those of Bailey (1994), a Box-Muller transform: sqrt(df (u^(-2 / df) - 1)) cos(2 pi v). They are exact, and
    differentiable in all three parameters. `mean` is `loc`, which is the mean where df > 1.
    """

    keyword: ClassVar[str] = "student_t"
    support: ClassVar[Support] = REALS
    slots: ClassVar[tuple[Slot, ...]] = (
        Slot("loc", default=0.0),
        Slot("scale", "positive", 1.0),
        Slot("df", "positive"),
    )
    noise: ClassVar[tuple[Noise, ...]] = (Noise("uniform", 2),)
    reparameterised: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    loc: Operand
    log_scale: Operand
    log_df: Operand

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        """log Gamma((n + 1) / 2) - log Gamma(n / 2) - log(pi n) / 2 - (n + 1) / 2 log(1 + z^2 / n) for df n."""
        b, log_df, log_scale = ctx.b, self.at(ctx, "log_df"), self.at(ctx, "log_scale")
        half = F.mul(b, self.positive(ctx, "df"), 0.5)
        z = F.mul(b, F.sub(b, x, self.loc), b.emit(ops.Exp(), F.neg(b, log_scale)))
        ratio = F.mul(b, F.mul(b, z, z), b.emit(ops.Exp(), F.neg(b, log_df)))
        step = b.emit(ops.Softplus(), F.neg(b, log_df))  # log(1 + 1 / n)
        norm = F.sub(b, log_rising(ctx, half, b.constant(0.5), step), 0.5 * log(2 * pi))
        tails = F.mul(b, F.add(b, half, 0.5), log1p(ctx, ratio))
        return F.sub(b, F.sub(b, norm, log_scale), tails)

    def element_entropy(self, ctx: Context) -> Value | None:
        """(h + 1/2) (psi(h + 1/2) - psi(h)) - log Gamma(h + 1/2) / (Gamma(h) sqrt(h)) + log(2 pi) / 2 + log scale.

        h = n / 2 for df n. From h = 8 on the difference of psi is 1 / (2 h) + 1 / (8 h^2) - 1 / (64 h^4) + ...
        """
        b, log_df = ctx.b, self.at(ctx, "log_df")
        half = F.mul(b, self.positive(ctx, "df"), 0.5)
        small = F.less(b, half, 8.0)
        low, high = F.where(b, small, half, 1.0), F.where(b, small, 8.0, half)
        near = F.sub(b, digamma(ctx, F.add(b, low, 0.5)), digamma(ctx, low))
        inverse = F.div(b, 1.0, high)
        square = F.mul(b, inverse, inverse)
        even = polynomial(b, square, (1 / 8, -1 / 64, 1 / 128, -17 / 2048))
        far = F.add(b, F.mul(b, inverse, 0.5), F.mul(b, square, even))
        slope = F.mul(b, F.add(b, half, 0.5), F.where(b, small, near, far))
        step = b.emit(ops.Softplus(), F.neg(b, log_df))  # log(1 + 1 / n)
        norm = F.sub(b, log_rising(ctx, half, b.constant(0.5), step), 0.5 * log(2 * pi))
        return F.add(b, F.sub(b, slope, norm), self.at(ctx, "log_scale"))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        b, df = ctx.b, self.positive(ctx, "df")
        u, v = first(b, noise[0], 0), first(b, noise[0], 1)
        rise = F.minimum(b, F.div(b, F.mul(b, b.emit(ops.Log(), u), -2.0), df), LONGEST)
        radius = b.emit(ops.Sqrt(), F.mul(b, df, expm1(ctx, rise)))
        standard = F.mul(b, radius, b.emit(ops.Cos(), F.mul(b, v, 2 * pi)))
        return F.add(b, F.mul(b, standard, self.positive(ctx, "scale")), self.loc)

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return spread(ctx, self.loc, shape)

    def tempered(self, ctx: Context, t: float) -> StudentT:
        return replace(self, log_scale=F.add(ctx.b, self.at(ctx, "log_scale"), log(t)))
