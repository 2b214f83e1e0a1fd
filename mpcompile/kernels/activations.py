"""GELU and SiLU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar

from mpcompile.ir import Value
from mpcompile.kernels.base import Kernel, Rule, Site, formula
from mpcompile.kernels.pattern import Hole, Match, Pattern, Term, either
from mpcompile.ops import Erf, Sigmoid, Tanh

X = Hole("x")


@dataclass(frozen=True)
class Gelu(Kernel):
    """x Phi(x), exact (Hendrycks and Gimpel 2016)."""

    name: ClassVar[str] = "gelu"
    x: Value


@dataclass(frozen=True)
class GeluTanh(Kernel):
    """x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), the approximation of the same paper."""

    name: ClassVar[str] = "gelu_tanh"
    x: Value


@dataclass(frozen=True)
class Silu(Kernel):
    """x sigmoid(x)."""

    name: ClassVar[str] = "silu"
    x: Value


def _halved(gate: Pattern) -> Pattern:
    """x / 2 times a gate, in each order of the three factors."""
    return either(X * (gate * 0.5), (X * 0.5) * gate, (X * gate) * 0.5, X * (gate / 2.0), (X * gate) / 2.0)


_ERF = Term(Erf, (either(X * sqrt(0.5), X / sqrt(2.0)),)) + 1.0
_CUBE = either((X * X) * X, X * (X * X))
_INNER = either(X + _CUBE * 0.044715, X * ((X * X) * 0.044715 + 1.0))
_TANH = Term(Tanh, (_INNER * sqrt(2.0 / pi),)) + 1.0


def _unary(kernel: Callable[..., Kernel]) -> Callable[[Site, Match, frozenset[int]], Kernel | None]:
    """A kernel of x alone."""
    return lambda site, m, inside: kernel(site.node.outputs[0], inside, m["x"])


RULES: tuple[Rule, ...] = (
    formula(Gelu, _halved(_ERF), _unary(Gelu)),
    formula(GeluTanh, _halved(_TANH), _unary(GeluTanh)),
    formula(Silu, X * Term(Sigmoid, (X,)), _unary(Silu)),
)
