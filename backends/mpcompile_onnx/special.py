"""Functions that onnxruntime has in float32 only, composed for float64."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from mpcompile_onnx.writer import Writer

#: Beyond it, erf is 1 to the last bit.
_LAST = 6.5
_DEGREE = 30


def softplus(w: Writer, x: str) -> str:
    """Spell max(x, 0) + ln(1 + e^-|x|), with the digits of a small exponential kept."""
    one = w.literal(1.0)
    e = w.op("Exp", w.op("Neg", w.op("Abs", x)))
    u = w.op("Add", e, one)
    # ln(1 + e) = e ln(u) / (u - 1) with u as it was rounded; e itself where u is rounded to 1
    lost = w.op("Equal", u, one)
    beyond = w.op("Where", lost, one, w.op("Sub", u, one))
    ratio = w.op("Where", lost, one, w.op("Div", w.op("Log", u), beyond))
    return w.op("Add", w.op("Relu", x), w.op("Mul", e, ratio))


def _scaled(x: float) -> float:
    """e^(x^2) erfc(x), which is smooth."""
    return math.exp(x * x) * math.erfc(x)


@cache
def _coefficients() -> tuple[float, ...]:
    """Chebyshev series of `_scaled` in s in [-1, 1], where x = 2 (1 + t) / (1 - t) and t runs to that of `_LAST`."""
    top = (_LAST - 2) / (_LAST + 2)

    s = np.polynomial.chebyshev.chebpts1(_DEGREE + 1)
    t = (s + 1) / 2 * (top + 1) - 1
    values = [_scaled(2 * (1 + v) / (1 - v)) for v in t.tolist()]
    return tuple(np.polynomial.chebyshev.chebfit(s, values, _DEGREE).tolist())


def erf(w: Writer, x: str) -> str:
    """Spell sign(x) (1 - e^(-x^2) p(|x|)), by Clenshaw's recurrence; within 5e-14."""
    size = w.op("Min", w.op("Abs", x), w.literal(_LAST))
    two = w.literal(2.0)
    t = w.op("Div", w.op("Sub", size, two), w.op("Add", size, two))
    top = (_LAST - 2) / (_LAST + 2)
    s = w.op("Sub", w.op("Mul", w.op("Add", t, w.literal(1.0)), w.literal(2 / (top + 1))), w.literal(1.0))
    twice = w.op("Mul", s, two)
    first, *rest = _coefficients()
    later = after = ""
    for c in reversed(rest):
        new = w.literal(c)
        if later:
            new = w.op("Add", w.op("Mul", twice, later), new)
        if after:
            new = w.op("Sub", new, after)
        later, after = new, later
    p = w.op("Sub", w.op("Add", w.op("Mul", s, later), w.literal(first)), after)
    bell = w.op("Exp", w.op("Neg", w.op("Mul", size, size)))
    return w.op("Mul", w.op("Sign", x), w.op("Sub", w.literal(1.0), w.op("Mul", bell, p)))
