"""What every law of single elements is, by SciPy: a row for each, with parameters that a net gives as its bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit, softmax

from mpcompile.ir import Array


@dataclass(frozen=True)
class Row:
    """A law under test.

    type   of its variable, and `law`, how a spec states it with a net
    raw    several settings of what the net gives: one a row
    exact  the law for such a row: an object of SciPy, or one like it
    points at which densities are compared, and `grid`, on which they add up to 1: counts, or the ends of an integral
    extra  weights of the law beside the net
    mean   whether `predict` gives the mean (classes: probabilities; some give what stands for it)
    """

    type: str
    law: str
    raw: tuple[tuple[float, ...], ...]
    exact: Callable[[Array], Any]
    points: Array
    grid: Array | tuple[float, float]
    extra: Mapping[str, Array] | None = None
    mean: bool = True

    @property
    def discrete(self) -> bool:
        return isinstance(self.grid, np.ndarray)


@dataclass(frozen=True)
class Masses:
    """A law of finitely many numbers by their masses."""

    values: Array
    masses: Array

    def logpmf(self, x: Array) -> Array:
        return np.log(self.masses[np.searchsorted(self.values, x)])

    def mean(self) -> float:
        return float(self.values @ self.masses)


@dataclass(frozen=True)
class Density:
    """A law of an interval by its log density alone, of which the rest follows numerically."""

    log_density: Callable[[Array], Array]
    low: float
    high: float

    def logpdf(self, x: Array) -> Array:
        return self.log_density(x)

    def _rule(self, high: Array, count: int = 400) -> tuple[Array, Array]:
        node, weight = np.polynomial.legendre.leggauss(count)
        half = (np.asarray(high, float)[..., None] - self.low) / 2
        return self.low + half * (node + 1), half * weight

    def cdf(self, x: Array) -> Array:
        node, weight = self._rule(x)
        return (np.exp(self.log_density(node)) * weight).sum(-1)

    def mean(self) -> float:
        node, weight = self._rule(np.asarray(self.high))
        return float((np.exp(self.log_density(node)) * node * weight).sum())


def negative_binomial(raw: Array) -> Any:
    mean, r = np.exp(raw[0]), np.exp(-raw[1])
    return stats.nbinom(r, r / (r + mean))


def mixture_of_logistics(raw: Array) -> Density:
    logits, loc, log_scale = raw.reshape(3, -1)
    parts = [stats.logistic(m, np.exp(s)) for m, s in zip(loc, log_scale, strict=True)]
    weights = softmax(logits)

    def log_density(x: Array) -> Array:
        return np.log(sum(w * p.pdf(x) for w, p in zip(weights, parts, strict=True)))

    made = Density(log_density, -60, 60)
    cdf = lambda x: sum(w * p.cdf(x) for w, p in zip(weights, parts, strict=True))  # noqa: E731
    object.__setattr__(made, "cdf", cdf)
    return made


def levels_of_logistics(raw: Array) -> Masses:
    """Four levels at -1, -1/3, 1/3 and 1, as bins of the mixture."""
    law, ends = mixture_of_logistics(raw), np.array([-np.inf, -2 / 3, 0, 2 / 3, np.inf])
    return Masses(np.arange(4.0), np.diff(law.cdf(ends)))


def continuous_bernoulli(raw: Array) -> Density:
    a = raw[0]
    norm = np.log(np.expm1(a) / a) if a else 0.0
    return Density(lambda x: x * a - norm, 0, 1)


def von_mises(raw: Array) -> Density:
    return Density(stats.vonmises(np.exp(raw[1]), raw[0]).logpdf, -np.pi, np.pi)


def ordinal(raw: Array) -> Masses:
    cuts = np.array([-1.0, -0.8, 1.5])
    return Masses(np.arange(1.0, 5.0), np.diff(np.concatenate([[0], expit(cuts - raw[0]), [1]])))


def mixture_of_poissons(raw: Array) -> Masses:
    k = np.arange(300.0)
    weights = softmax(raw[:2])
    return Masses(k, sum(w * stats.poisson(np.exp(m)).pmf(k) for w, m in zip(weights, raw[2:], strict=True)))


def no_gamma(raw: Array) -> Masses:
    k = np.arange(300.0)
    share = expit(raw[0])
    return Masses(k, share * (k == 0) + (1 - share) * negative_binomial(raw[1:]).pmf(k))


def cut(law: Any, low: float, high: float) -> Density:
    mass = law.cdf(high) - law.cdf(low) if law.mean() > low else law.sf(low) - law.sf(high)
    made = Density(lambda x: law.logpdf(x) - np.log(mass), low, min(high, 60.0))
    return made


def in_bins(law: Any, low: int, high: int, moved: bool = True) -> Masses:
    """Whole numbers as bins; those of a range are moved to [-1, 1]."""
    inner = np.arange(low + 0.5, high)
    inner = 2 * (inner - low) / (high - low) - 1 if moved else inner
    ends = np.concatenate([[-np.inf], inner, [np.inf]])
    masses = np.where(ends[:-1] > law.mean(), -np.diff(law.sf(ends)), np.diff(law.cdf(ends)))
    return Masses(np.arange(low, high + 1.0), masses)


LINE = np.array([-30, -3.1, -0.4, 0.0, 0.2, 1.7, 12.0])
HALF = np.array([1e-4, 0.1, 0.9, 1.0, 3.3, 9.0, 40.0])
UNIT = np.array([0.001, 0.2, 0.5, 0.77, 0.999])
COUNTS = np.array([0, 1, 2, 3, 7, 30, 150.0])
TWO = ((0.3, -0.4), (-1.2, 0.9))

#: Every law of a single element; those over another law have several rows, told apart behind a colon.
LAWS: dict[str, Row] = {
    "bernoulli": Row("binary", "bernoulli(logits = NET(1))", ((0.7,), (-3.0,)),
                     lambda r: stats.bernoulli(expit(r[0])), np.array([0.0, 1]), np.array([0.0, 1])),
    "categorical": Row("integer(1..3)", "categorical(logits = NET(3))", ((0.1, -1.0, 1.2),),
                       lambda r: Masses(np.arange(1.0, 4), softmax(r)), np.arange(1.0, 4), np.arange(1.0, 4), mean=False),
    "ordinal": Row("integer(1..4)", "ordinal(NET(1))", ((0.3,), (-2.0,)), ordinal, np.arange(1.0, 5), np.arange(1.0, 5),
                   {"x.lowest": np.array([-1.0]), "x.gaps": np.log([0.2, 2.3])}),
    "normal": Row("real", "normal(NET(2))", TWO, lambda r: stats.norm(r[0], np.exp(r[1])), LINE, (-60, 60)),
    "laplace": Row("real", "laplace(NET(2))", TWO, lambda r: stats.laplace(r[0], np.exp(r[1])), LINE, (-120, 120)),
    "logistic": Row("real", "logistic(NET(2))", TWO, lambda r: stats.logistic(r[0], np.exp(r[1])), LINE, (-120, 120)),
    "student_t": Row("real", "student_t(NET(3))", ((0.3, -0.4, 1.5), (-1.0, 0.5, 7.0), (2.0, 0.0, 0.8)),
                     lambda r: stats.t(np.exp(r[2]), r[0], np.exp(r[1])), LINE, (-1e4, 1e4)),
    "log_normal": Row("real(0..)", "log_normal(NET(2))", TWO, lambda r: stats.lognorm(np.exp(r[1]), scale=np.exp(r[0])),
                      HALF, (0, 1e4)),
    "gamma": Row("real(0..)", "gamma(NET(2))", (*TWO, (3.0, 2.0)),
                 lambda r: stats.gamma(np.exp(r[0]), scale=np.exp(-r[1])), HALF, (0, 400)),
    "beta": Row("real(0..1)", "beta(NET(2))", (*TWO, (3.0, 2.0)), lambda r: stats.beta(np.exp(r[0]), np.exp(r[1])),
                UNIT, (0, 1)),
    "continuous_bernoulli": Row("real(0..1)", "continuous_bernoulli(logits = NET(1))", ((0.7,), (1e-3,), (-8.0,)),
                                continuous_bernoulli, UNIT, (0, 1)),
    "uniform": Row("real(-1..3)", "uniform", ((),), lambda r: stats.uniform(-1, 4), UNIT, (-1, 3)),
    "von_mises": Row("angle", "von_mises(NET(2))", ((0.3, 1.0), (-1.0, -4.0), (3.0, 7.0)), von_mises,
                     np.linspace(-3.1, 3.1, 8), (-np.pi, np.pi), mean=False),
    "poisson": Row("integer(0..)", "poisson(NET(1))", ((0.7,), (-3.0,), (3.6,)), lambda r: stats.poisson(np.exp(r[0])),
                   COUNTS, np.arange(200.0)),
    "negative_binomial": Row("integer(0..)", "negative_binomial(NET(2))", (*TWO, (3.0, -6.0)), negative_binomial, COUNTS,
                             np.arange(2000.0)),
    "mixture: logistic": Row("real", "mixture(logistic, NET(6), components = 2)", ((0.3, -0.4, 1.0, -3.0, 0.2, -0.5),),
                            mixture_of_logistics, LINE, (-120, 120)),
    "discretized: mixture": Row(
        "integer(0..3)", "discretized(mixture(logistic, components = 2), NET(6))", ((0.3, -0.4, 0.5, -0.3, -1.0, 0.2),),
        levels_of_logistics, np.arange(4.0), np.arange(4.0), mean=False),
    "mixture": Row("integer(0..)", "mixture(poisson, NET(4), components = 2)", ((0.3, -0.4, 0.5, 2.5),),
                   mixture_of_poissons, COUNTS, np.arange(200.0)),
    "mixture: student_t": Row(
        "real", "mixture(student_t, NET(8), components = 2)", ((0.3, -0.4, 1.0, -3.0, 0.2, -0.5, 2.5, 3.0),),
        lambda r: Density(lambda x: np.log(sum(w * stats.t(np.exp(d), m, np.exp(s)).pdf(x) for w, m, s, d in zip(
            softmax(r[:2]), r[2:4], r[4:6], r[6:], strict=True))), -60, 60), LINE[1:], (-2e3, 2e3)),
    "zero_inflated": Row("integer(0..)", "zero_inflated(negative_binomial, NET(3))", ((-0.5, 1.0, -0.4), (0.5, 2.0, 0.5)),
                         no_gamma, COUNTS, np.arange(300.0)),
    "truncated": Row("real(-1..3)", "truncated(normal, NET(2))", ((0.3, -0.4), (8.0, 0.0), (0.0, 2.0)),
                     lambda r: cut(stats.norm(r[0], np.exp(r[1])), -1, 3), np.array([-1, -0.5, 0.2, 1.7, 3]), (-1, 3),
                     mean=False),
    "truncated: half": Row("real(0..)", "truncated(laplace, NET(2))", ((0.3, -0.4), (-5.0, 0.3)),
                           lambda r: cut(stats.laplace(r[0], np.exp(r[1])), 0, np.inf), HALF, (0, 120), mean=False),
    "discretized": Row("integer(-2..4)", "discretized(normal, NET(2))", ((0.3, -0.4), (3.0, -1.0), (0.0, 3.0)),
                       lambda r: in_bins(stats.norm(r[0], np.exp(r[1])), -2, 4), np.arange(-2.0, 5), np.arange(-2.0, 5),
                       mean=False),
    "discretized: counts": Row("integer(0..)", "discretized(logistic, NET(2))", ((0.3, -0.4), (4.0, 1.0)),
                               lambda r: in_bins(stats.logistic(r[0], np.exp(r[1])), 0, 300, False), COUNTS,
                               np.arange(200.0), mean=False),
}  # fmt: skip
