"""Likelihoods of an autoregressive density by name: from the output of its network to the law of each element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mpcompile.distributions.base import Elementwise
from mpcompile.distributions.discretized import DiscretizedLogisticMixture
from mpcompile.distributions.elementwise import Bernoulli, Categorical, LogisticMixture
from mpcompile.distributions.location_scale import LOCATION_SCALE
from mpcompile.ir import Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context


@dataclass(frozen=True)
class Likelihood:
    """How an autoregressive density turns the output of its network into the law of each element.

    `count` parameters an element; `make(parameters, axis)` builds the law from them, each in the shape of x, or,
    when `stacked`, from one value that keeps them along `axis`.
    """

    name: str
    count: int
    make: Callable[[Context, Sequence[Value], int], Elementwise]
    stacked: bool = False


def _mixture(ctx: Context, parts: Sequence[Value], axis: int) -> LogisticMixture:
    logits, loc, log_scale = F.split(ctx.b, parts[0], axis, 3)
    return LogisticMixture(logits, loc, log_scale, axis)


def likelihood(name: str, classes: int | None, components: int = 5, low: int = 0) -> Likelihood:
    """The likelihood of this name; `classes` and `low` are the variable's. Raises `ValueError` with what would fit."""
    if name == "bernoulli":
        return Likelihood(name, 1, lambda ctx, p, axis: Bernoulli(p[0]))
    if name in LOCATION_SCALE:
        return Likelihood(name, 2, lambda ctx, p, axis: LOCATION_SCALE[name](p[0], p[1]))
    if name == "categorical":
        if classes is None:
            raise ValueError("categorical needs a variable of type category(k) or integer(a..b)")
        return Likelihood(name, classes, lambda ctx, p, axis: Categorical(p[0], axis, low), True)
    if name == "logistic_mixture":
        return Likelihood(name, 3 * components, _mixture, stacked=True)
    if name == "discretized_logistic_mixture":
        if classes is None:
            raise ValueError("discretized_logistic_mixture needs a variable of type integer(a..b)")
        return Likelihood(
            name,
            3 * components,
            lambda ctx, p, axis: DiscretizedLogisticMixture(_mixture(ctx, p, axis), low, classes),
            True,
        )
    raise ValueError(f"no likelihood is named '{name}'")
