"""Activations: smooth and piecewise ones, with numbers or learned slopes, and the gated linear unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar

from mpcompile.ir import Value
from mpcompile.kernels.base import Kernel, Rule, Site, formula
from mpcompile.kernels.pattern import Hole, Match, Pattern, Scalar, Term, either
from mpcompile.ops import Erf, Exp, Less, Minimum, Relu, Reshape, Sigmoid, Slice, Softplus, Tanh, Where

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


@dataclass(frozen=True)
class Mish(Kernel):
    """x tanh(softplus(x)) (Misra 2019)."""

    name: ClassVar[str] = "mish"
    x: Value


@dataclass(frozen=True)
class Relu6(Kernel):
    """min(max(x, 0), 6)."""

    name: ClassVar[str] = "relu6"
    x: Value


@dataclass(frozen=True)
class HardSigmoid(Kernel):
    """relu6(x + 3) / 6 (Howard et al. 2019)."""

    name: ClassVar[str] = "hard_sigmoid"
    x: Value


@dataclass(frozen=True)
class HardSwish(Kernel):
    """x relu6(x + 3) / 6 (Howard et al. 2019)."""

    name: ClassVar[str] = "hard_swish"
    x: Value


@dataclass(frozen=True)
class Elu(Kernel):
    """x where x > 0, else alpha (e^x - 1), whose exponential does not overflow (Clevert et al. 2016)."""

    name: ClassVar[str] = "elu"
    x: Value
    alpha: float


@dataclass(frozen=True)
class Selu(Kernel):
    """The multiple of `elu` with the two numbers of Klambauer et al. 2017."""

    name: ClassVar[str] = "selu"
    x: Value


@dataclass(frozen=True)
class Prelu(Kernel):
    """max(x, 0) + slope min(x, 0) (He et al. 2015).

    slope  [C] along axis 1 of x, or [1]
    """

    name: ClassVar[str] = "prelu"
    x: Value
    slope: Value


@dataclass(frozen=True)
class Glu(Kernel):
    """a sigmoid(b), a and b the halves of x along an axis (Dauphin et al. 2017)."""

    name: ClassVar[str] = "glu"
    x: Value
    axis: int


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


#: What `mpcompile/layers/activations.py` and the libraries have, to all digits of double precision.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _relu6(x: Pattern) -> Pattern:
    return Term(Minimum, (Term(Relu, (x,)), Scalar(value=6.0)))


_HARD = either(_relu6(X + 3.0) / 6.0, _relu6(X + 3.0) * (1.0 / 6.0))
_BELOW = Term(Exp, (Term(Minimum, (X, Scalar(value=0.0))),)) - 1.0


def _elu(below: Pattern) -> Term:
    return Term(Where, (Term(Less, (Scalar(value=0.0), X)), X, below))


_PRELU = Term(Relu, (X,)) + Term(Minimum, (X, Scalar(value=0.0))) * either(
    Term(Reshape, (Hole("weight"),), "slope"), Hole("slope")
)
_GLU = Term(Slice, (X,), "a") * Term(Sigmoid, (Term(Slice, (X,), "b"),))


def _prelu(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    """The slope is [C] as it is, or reshaped to stand along axis 1 of x; or one number."""
    x, slope = m["x"].type, m["slope"]
    weight = m.get("weight") or slope
    if x.rank < 2 or weight.type.rank != 1:
        return None
    size = weight.shape[0]
    along = (size, *(1,) * (x.rank - 2))
    if not (size == 1 or (size == x.shape[1] and slope.shape == along)):
        return None
    return Prelu(site.node.outputs[0], inside, m["x"], weight)


def _glu(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    a, b, x = m.op("a"), m.op("b"), m["x"]
    assert isinstance(a, Slice) and isinstance(b, Slice)
    size = x.shape[a.axis]
    if not isinstance(size, int) or size % 2 or size == 0:
        return None
    halves = (Slice(a.axis, 0, size // 2, 1), Slice(a.axis, size // 2, size, 1))
    return Glu(site.node.outputs[0], inside, x, a.axis % x.type.rank) if (a, b) == halves else None


RULES: tuple[Rule, ...] = (
    formula(Gelu, _halved(_ERF), _unary(Gelu)),
    formula(GeluTanh, _halved(_TANH), _unary(GeluTanh)),
    formula(Silu, X * Term(Sigmoid, (X,)), _unary(Silu)),
    formula(Mish, X * Term(Tanh, (Term(Softplus, (X,)),)), _unary(Mish)),
    formula(HardSwish, X * _HARD, _unary(HardSwish)),
    formula(HardSigmoid, _HARD, _unary(HardSigmoid)),
    formula(Relu6, _relu6(X), _unary(Relu6)),
    formula(Selu, _elu(_BELOW * _SELU_ALPHA) * _SELU_SCALE, _unary(Selu)),
    formula(
        Elu,
        _elu(either(_BELOW * Scalar("alpha"), _BELOW)),
        lambda site, m, inside: Elu(
            site.node.outputs[0], inside, m["x"], m.number("alpha") if "alpha" in m else 1.0
        ),
    ),
    formula(Prelu, _PRELU, _prelu),
    formula(Glu, _GLU, _glu),
)
