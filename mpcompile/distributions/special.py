"""Special functions of laws, composed of primitives: no backend has the same set of them, and ONNX has none.

Every function is accurate in single and double precision, with its derivative: branches are held where they are not used,
so that none of them has a value or a slope that is not a number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from math import cos, factorial, log, pi
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Builder, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F

P = ParamSpec("P")
R = TypeVar("R")

#: Stirling's series of log Gamma is used from here on; smaller arguments are shifted by as much.
SHIFT = 8
#: 1/12 z - 1/360 z^3 + ..., the coefficients of 1/z, 1/z^3, ... of Stirling's series.
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
#: 1/12 z^2 - 1/120 z^4 + ..., the coefficients of the series of the slope of log Gamma.
DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760)
#: log(erfc(z) exp(z^2)) - log t in powers of 2 t - 1 for t = 1 / (1 + z / 2), to 1e-12; fitted to 40 digits.
ERFC = (
    -0.6717940840570041, 0.6726432239971786, 0.04734330690399056, -0.046895611438722264, -0.00987269140717255,
    0.008824960627210375, 0.0017589595236423604, -0.0023459977229875733, -0.00014641406402986833,
    0.0006745332939135985, -9.312042889448859e-05, -0.00017667113643430246, 7.004241468903202e-05,
    3.585909284379276e-05, -2.8380504306666833e-05, -4.391839034569443e-06, 7.222394361560179e-06,
    1.568675649125476e-07, -9.025179098007561e-07,
)  # fmt: skip
#: Numerators and denominators of AS 241: about the centre, in the tails, and far out.
QUANTILE = (
    (
        (3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
         45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727),
        (1.0, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077, 21213.794301586595867,
         39307.895800092710610, 28729.085735721942674, 5226.4952788528545610),
    ),
    (
        (1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
         1.27045825245236838258, 0.241780725177450611770, 0.0227238449892691845833, 7.74545014278341407640e-4),
        (1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550, 0.148103976427480074590,
         0.0151986665636164571966, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
    ),
    (
        (6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580, 0.296560571828504891230,
         0.0265321895265761230930, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
        (1.0, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525,
         7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
    ),
)  # fmt: skip
#: Nodes of the trapezoidal rule of the Bessel function, and the argument from which on its series is used.
NODES, BESSEL = 64, 50.0
#: Coefficients of 1 / (8 k), its square, ... of the series of I0(k) exp(-k) sqrt(2 pi k): ((2 n - 1)!!)^2 / n!.
HANKEL = tuple(float(np.prod([(2 * j - 1) ** 2 / j for j in range(1, n + 1)])) for n in range(1, 9))


def _function(emit: Callable[Concatenate[Context, P], R]) -> Callable[Concatenate[Context, P], R]:
    """Give the nodes of a special function a frame of its own, so that emitted code has it as a function."""

    @wraps(emit)
    def framed(ctx: Context, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with ctx.frame(ctx.unique(emit.__name__), emit.__name__, ctx.span, function=True):
            return emit(ctx, *args, **kwargs)

    return framed


def polynomial(b: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """Emit c0 + c1 x + c2 x^2 + ... by Horner's rule; at least two coefficients."""
    *rest, last = coefficients
    out = F.add(b, F.mul(b, x, last), rest.pop())
    for c in reversed(rest):
        out = F.add(b, F.mul(b, out, x), c)
    return out


def _correction(b: Builder, z: Value) -> Value:
    """Emit the series of Stirling, log Gamma(z) - ((z - 1/2) log z - z + log(2 pi) / 2), for z >= 8."""
    inverse = F.div(b, 1.0, z)
    return F.mul(b, inverse, polynomial(b, F.mul(b, inverse, inverse), STIRLING))


def _shifted(b: Builder, x: Value) -> tuple[Value, Value, Value]:
    """Emit whether x is small, x moved to where Stirling's series holds, and x held where it is small."""
    small = F.less(b, x, float(SHIFT))
    return small, F.where(b, small, F.add(b, x, float(SHIFT)), x), F.where(b, small, x, 1.0)


@_function
def log_gamma(ctx: Context, x: Value) -> Value:
    """Emit log Gamma(x) for x > 0: Stirling's series, shifted by eight below eight.

    Against the exact values on 1e-6..1e8 the error over max(1, |value|) is 3e-6 in float32 and 2e-13 in float64.
    """
    b = ctx.b
    small, z, held = _shifted(b, x)
    series = F.add(b, F.mul(b, F.sub(b, z, 0.5), b.emit(ops.Log(), z)), F.sub(b, 0.5 * log(2 * pi), z))
    product = held
    for i in range(1, SHIFT):
        product = F.mul(b, product, F.add(b, held, float(i)))
    shift = F.where(b, small, b.emit(ops.Log(), product), 0.0)
    return F.sub(b, F.add(b, series, _correction(b, z)), shift)


@_function
def digamma(ctx: Context, x: Value) -> Value:
    """Emit the slope of log Gamma at x > 0: its asymptotic series, shifted by eight below eight.

    Against the exact values on 1e-6..1e4 the error over max(1, |value|) is 1e-6 in float32 and 1e-12 in float64.
    """
    b = ctx.b
    small, z, held = _shifted(b, x)
    inverse = F.div(b, 1.0, z)
    square = F.mul(b, inverse, inverse)
    rest = F.add(b, F.mul(b, inverse, 0.5), F.mul(b, square, polynomial(b, square, DIGAMMA)))
    shift = F.div(b, 1.0, held)
    for i in range(1, SHIFT):
        shift = F.add(b, shift, F.div(b, 1.0, F.add(b, held, float(i))))
    return F.sub(b, F.sub(b, b.emit(ops.Log(), z), rest), F.where(b, small, shift, 0.0))


@_function
def log_rising(ctx: Context, r: Value, x: Value, ratio: Value) -> Value:
    """Emit log Gamma(r + x) - log Gamma(r) - x log r for r > 0, x >= 0, without the digits that cancel at large r.

    `ratio` is log(1 + x / r). Stirling's series gives the difference as (r + x - 1/2) log(1 + x / r) - x and
    corrections; small r are shifted, and then log(1 + x / (r + 8)) is its own.
    """
    b = ctx.b
    small, z, held = _shifted(b, r)
    x_held = F.where(b, small, x, 0.0)
    at = F.add(b, z, x)
    large = F.where(b, small, b.emit(ops.Log(), F.div(b, at, z)), ratio)
    series = F.sub(b, F.mul(b, F.sub(b, at, 0.5), large), x)
    total = F.add(b, series, F.sub(b, _correction(b, at), _correction(b, z)))
    shift = F.mul(b, x_held, b.emit(ops.Log(), F.div(b, F.add(b, held, float(SHIFT)), held)))
    for start in range(0, SHIFT, 4):  # the product of all eight is too large for large x
        product: Value | float = 1.0
        for i in range(start, start + 4):
            product = F.mul(b, product, F.add(b, F.div(b, x_held, F.add(b, held, float(i))), 1.0))
        assert isinstance(product, Value)
        shift = F.sub(b, shift, b.emit(ops.Log(), product))
    return F.add(b, total, F.where(b, small, shift, 0.0))


def log1p(ctx: Context, x: Value) -> Value:
    """Emit log(1 + x) for x >= 0: below 0.01 by its series."""
    b, near = ctx.b, F.less(ctx.b, x, 0.01)
    low = F.where(b, near, x, 0.0)
    series = F.mul(b, low, polynomial(b, low, [(-1) ** n / (n + 1) for n in range(7)]))
    return F.where(b, near, series, b.emit(ops.Log(), F.add(b, F.where(b, near, 1.0, x), 1.0)))


def expm1(ctx: Context, x: Value) -> Value:
    """Emit exp(x) - 1 for x >= 0: below 0.1 by its series."""
    b, near = ctx.b, F.less(ctx.b, x, 0.1)
    low = F.where(b, near, x, 0.0)
    series = F.mul(b, low, polynomial(b, low, [1 / factorial(n + 1) for n in range(9)]))
    return F.where(b, near, series, F.sub(b, b.emit(ops.Exp(), F.where(b, near, 1.0, x)), 1.0))


def log_erfc(ctx: Context, z: Value) -> Value:
    """Emit log(1 - erf(z)) for z >= 0, with all digits far out: -z^2 + log t + a polynomial, t = 1 / (1 + z / 2)."""
    b = ctx.b
    t = F.div(b, 1.0, F.add(b, F.mul(b, z, 0.5), 1.0))
    tail = polynomial(b, F.sub(b, F.mul(b, t, 2.0), 1.0), ERFC)
    return F.sub(b, F.add(b, b.emit(ops.Log(), t), tail), F.mul(b, z, z))


@_function
def log_normal_tails(ctx: Context, z: Value) -> tuple[Value, Value]:
    """Emit the logarithms of the mass of a standard normal law below z and above it."""
    b = ctx.b
    outer = F.sub(b, log_erfc(ctx, F.mul(b, b.emit(ops.Abs(), z), 0.5**0.5)), log(2.0))  # of the smaller side
    inner = log1m_exp(ctx, outer)
    negative = F.less(b, z, 0.0)
    return F.where(b, negative, outer, inner), F.where(b, negative, inner, outer)


@_function
def normal_quantile(ctx: Context, p: Value) -> Value:
    """Emit the number below which a standard normal law has the mass p in (0, 1) (Wichura 1988, AS 241)."""
    b = ctx.b
    centred = F.sub(b, p, 0.5)
    middle = F.less(b, b.emit(ops.Abs(), centred), 0.425)
    inside = F.sub(b, 0.180625, F.mul(b, centred, centred))
    centre = F.mul(b, centred, _ratio(b, F.where(b, middle, inside, 0.1), QUANTILE[0]))
    tail = F.where(b, middle, 0.05, F.minimum(b, p, F.sub(b, 1.0, p)))
    root = b.emit(ops.Sqrt(), F.neg(b, b.emit(ops.Log(), tail)))
    near = F.less(b, root, 5.0)
    close = _ratio(b, F.sub(b, F.where(b, near, root, 5.0), 1.6), QUANTILE[1])
    outer = F.where(b, near, close, _ratio(b, F.sub(b, F.where(b, near, 5.0, root), 5.0), QUANTILE[2]))
    return F.where(b, middle, centre, F.mul(b, b.emit(ops.Sign(), centred), outer))


def _ratio(b: Builder, x: Value, coefficients: tuple[Sequence[float], Sequence[float]]) -> Value:
    above, below = coefficients
    return F.div(b, polynomial(b, x, above), polynomial(b, x, below))


def log1m_exp(ctx: Context, x: Value) -> Value:
    """Emit log(1 - exp(x)) for x < 0: from -0.1 on log(-x) and a series, which is finite for all x below -1e-30."""
    b = ctx.b
    near = F.less(b, -0.1, x)
    close = F.where(b, near, F.minimum(b, x, -1e-30), -0.1)
    ratio = polynomial(b, close, [1 / factorial(n + 1) for n in range(9)])
    series = F.add(b, b.emit(ops.Log(), F.neg(b, close)), b.emit(ops.Log(), ratio))
    far = F.where(b, near, -1.0, x)
    return F.where(b, near, series, b.emit(ops.Log(), F.sub(b, 1.0, b.emit(ops.Exp(), far))))


@_function
def log_bessel(ctx: Context, k: Value) -> Value:
    """Emit log(I0(k) exp(-k)) for k >= 0: the mean of exp(k (cos t - 1)) over a turn, by the trapezoidal rule.

    The rule is exact to 1e-14 up to k = 50; beyond, Hankel's series is.
    """
    b, half = ctx.b, NODES // 2
    small = F.less(b, k, BESSEL)
    held = F.where(b, small, k, 1.0)
    away = np.array([cos(2 * pi * j / NODES) - 1 for j in range(half + 1)])
    weight = np.log(np.array([1.0, *[2.0] * (half - 1), 1.0]) / NODES)
    wide = F.reshape(b, held, (*held.shape, 1))
    terms = F.add(b, F.mul(b, wide, b.constant(away)), b.constant(weight))
    rule = b.emit(ops.LogSumExp((held.type.rank,), False), terms)
    large = F.where(b, small, BESSEL, k)
    series = polynomial(b, F.div(b, 0.125, large), (1.0, *HANKEL))
    far = F.sub(b, b.emit(ops.Log(), series), F.mul(b, b.emit(ops.Log(), F.mul(b, large, 2 * pi)), 0.5))
    return F.where(b, small, rule, far)


__all__ = [
    "digamma", "expm1", "log1m_exp", "log1p", "log_bessel", "log_erfc", "log_gamma", "log_normal_tails", "log_rising",
    "normal_quantile", "polynomial",
]  # fmt: skip
