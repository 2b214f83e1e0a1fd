"""Bijectors a spec can name inside `flow { ... }`. This file is the table of contents."""

from __future__ import annotations

from mpcompile.bijectors.base import Bijector
from mpcompile.bijectors.coupling import Coupling
from mpcompile.bijectors.simple import Affine, Dequantize, FactorOut, Logit, Permute, Squeeze

BIJECTORS: dict[str, type[Bijector]] = {
    c.keyword: c for c in (Dequantize, Logit, Affine, Permute, Squeeze, FactorOut, Coupling)
}

__all__ = ["BIJECTORS", "Bijector", "Coupling", "Dequantize", "FactorOut"]
