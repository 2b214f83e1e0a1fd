"""Bijectors a spec can name inside `flow { ... }`, and laws of couplings. This file is the table of contents."""

from __future__ import annotations

from mpcompile.bijectors.angles import Rotate
from mpcompile.bijectors.autoregressive import Autoregressive
from mpcompile.bijectors.base import CIRCLE, REALS, UNIT, Bijector, Interval
from mpcompile.bijectors.convolution import Conv1x1
from mpcompile.bijectors.coupling import Coupling
from mpcompile.bijectors.inverse import Inverse
from mpcompile.bijectors.laws import Additive, Law
from mpcompile.bijectors.laws import Affine as AffineLaw
from mpcompile.bijectors.monotone import Monotone
from mpcompile.bijectors.normalization import ActNorm, BatchNorm, Standardise
from mpcompile.bijectors.pointwise import (
    LeakyRelu,
    Scale,
    Sigmoid,
    Softplus,
    Tanh,
)
from mpcompile.bijectors.simple import Affine, Dequantize, FactorOut, Logit, Permute, Squeeze
from mpcompile.bijectors.spline import Spline

BIJECTORS: dict[str, type[Bijector]] = {
    c.keyword: c
    for c in (
        Dequantize, Logit, Sigmoid, Tanh, Softplus, LeakyRelu,
        Affine, Scale, Rotate, ActNorm, BatchNorm, Standardise, Permute, Conv1x1,
        Squeeze, FactorOut, Coupling, Autoregressive, Inverse,
    )
}  # fmt: skip

#: What a coupling or an autoregressive bijector does to one element.
LAWS: dict[str, type[Law]] = {c.keyword: c for c in (Additive, AffineLaw, Spline, Monotone)}

__all__ = [
    "BIJECTORS",
    "CIRCLE",
    "LAWS",
    "REALS",
    "UNIT",
    "Bijector",
    "Coupling",
    "Dequantize",
    "FactorOut",
    "Interval",
    "Law",
]
