"""Distributions a spec can name. This file is the table of contents."""

from __future__ import annotations

from mpcompile.distributions.angles import VonMises
from mpcompile.distributions.autoregressive import Autoregressive
from mpcompile.distributions.base import Distribution, Elementwise
from mpcompile.distributions.bins import Discretized, Truncated
from mpcompile.distributions.combinators import Combined, MixtureOf, ZeroInflated
from mpcompile.distributions.counts import NegativeBinomial, Poisson
from mpcompile.distributions.ctc import Ctc
from mpcompile.distributions.delta import Delta
from mpcompile.distributions.diffusion import Diffusion
from mpcompile.distributions.elementwise import Bernoulli, Categorical, Perceptron
from mpcompile.distributions.flow import Flow, Placed
from mpcompile.distributions.interval import Beta, ContinuousBernoulli, Uniform
from mpcompile.distributions.location_scale import Laplace, Logistic, Normal, StudentT
from mpcompile.distributions.mixture import Mixture
from mpcompile.distributions.ordinal import Ordinal
from mpcompile.distributions.positive import Gamma, LogNormal

DISTRIBUTIONS: dict[str, type[Distribution]] = {
    c.keyword: c
    for c in (
        Bernoulli, Perceptron, Normal, Laplace, Logistic, StudentT, LogNormal, Gamma, Beta, ContinuousBernoulli, Uniform,
        VonMises, Categorical, Ordinal, Poisson, NegativeBinomial, Mixture,
        ZeroInflated, Truncated, Discretized,
        Autoregressive, Flow, Ctc, Diffusion, Delta,
    )
}  # fmt: skip

#: Laws over another law of single elements, as `likelihood = truncated(normal)` names them.
COMBINATORS: dict[str, type[Combined]] = {
    c.keyword: c for c in (MixtureOf, ZeroInflated, Truncated, Discretized)
}

#: The likelihood of an autoregressive density that states none, by the type of its variable.
USUAL: dict[str, type[Elementwise]] = {
    "binary": Bernoulli, "category": Categorical, "integer": Categorical, "integer(0..)": NegativeBinomial,
    "real": Normal, "real(0..)": Gamma, "real(a..b)": Beta, "angle": VonMises,
}  # fmt: skip


#: Laws that a language of before had, and the families that say the same.
REMOVED = {
    "logistic_mixture": "mixture(logistic)",
    "discretized_logistic_mixture": "discretized(mixture(logistic))",
}


def likelihoods() -> dict[str, type[Elementwise]]:
    """Return the laws that can be the likelihood of an autoregressive density, by keyword."""
    elementwise = {k: c for k, c in DISTRIBUTIONS.items() if issubclass(c, Elementwise)}
    return {
        k: c
        for k, c in elementwise.items()
        if c.support.measure != "criterion" and c.slots and k not in COMBINATORS
    }


__all__ = [
    "COMBINATORS", "DISTRIBUTIONS", "REMOVED", "USUAL", "Autoregressive", "Delta", "Distribution", "Elementwise", "Flow",
    "Mixture", "Normal", "Placed", "likelihoods",
]  # fmt: skip
