"""What distributions, and weights of the divergence, take as arguments in a spec: a dataclass for each, with ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mpcompile.frontend import ast
from mpcompile.ir import Value
from mpcompile.lowering.binding import Operand
from mpcompile.ranges import (
    HUGE,
    LOG_HUGE,
    TINY,
    Choice,
    Components,
    Members,
    NonNegative,
    Positive,
    Range,
    Seed,
)

LIKELIHOODS = (
    "bernoulli", "normal", "laplace", "logistic", "categorical", "logistic_mixture", "discretized_logistic_mixture",
)  # fmt: skip


@dataclass(frozen=True)
class Logits:
    logits: Value


@dataclass(frozen=True)
class Activation:
    activation: Value


@dataclass(frozen=True)
class LocationAndScale:
    loc: Annotated[Operand, Range(-HUGE, HUGE)] | None = None
    scale: Annotated[Operand, Range(TINY, HUGE)] | None = None
    log_scale: Annotated[Operand, Range(-LOG_HUGE, LOG_HUGE)] | None = None


@dataclass(frozen=True)
class NetOfComponents:
    net: Value
    components: Components = 5


@dataclass(frozen=True)
class NumberOfComponents:
    components: Components = 5


@dataclass(frozen=True)
class Ordered:
    order: Annotated[str, Choice(("natural", "reverse", "random", "pixel"))] = "natural"
    likelihood: Annotated[str, Choice(LIKELIHOODS)] | None = None
    components: Components = 5
    seed: Seed = 0
    net: ast.Expr | None = None
    orders: Members = 1
    masks: Members = 1


@dataclass(frozen=True)
class Based:
    base: ast.Expr | None = None


@dataclass(frozen=True)
class Point:
    loc: Value


#: The arguments of every distribution, by its keyword.
SIGNATURES: dict[str, type] = {
    "bernoulli": Logits, "perceptron": Activation, "categorical": Logits,
    "normal": LocationAndScale, "laplace": LocationAndScale, "logistic": LocationAndScale,
    "logistic_mixture": NetOfComponents, "discretized_logistic_mixture": NetOfComponents,
    "mixture": NumberOfComponents, "autoregressive": Ordered, "flow": Based, "delta": Point,
}  # fmt: skip
#: Distributions whose network or chain stands in braces.
WITH_BODY = ("autoregressive", "flow")


@dataclass(frozen=True)
class Warmup:
    """`beta: warmup(steps, final = 1)`."""

    steps: Positive
    final: NonNegative = 1.0


@dataclass(frozen=True)
class Constrained:
    """`beta: constrained(threshold, rate = 0.01)`."""

    threshold: Positive
    rate: Positive = 0.01


@dataclass(frozen=True)
class Constant:
    """`beta: 4`."""

    beta: NonNegative


WEIGHTS: dict[str, type] = {"warmup": Warmup, "constrained": Constrained}

__all__ = ["SIGNATURES", "WEIGHTS", "WITH_BODY", "Constant", "Constrained", "Warmup"]
