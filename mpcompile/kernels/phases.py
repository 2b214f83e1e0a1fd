"""Angles of whole numbers: positions times speeds, of which only sines and cosines are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile.ir import Array, Constant, DType, Value
from mpcompile.kernels.base import Kernel, Rule, Site, formula
from mpcompile.kernels.pattern import Hole, Match, Term
from mpcompile.ops import Cast, Cos, Mul, Sin


@dataclass(frozen=True)
class Phase(Kernel):
    """x base^(-i / count) for i below count: rotary and sinusoidal positions (Vaswani et al. 2017, section 3.5).

    Only sines and cosines read it, so that whole turns may be left out: half precision has no odd number above 256.

    x      whole numbers [..., 1]; the result is [..., count]
    """

    name: ClassVar[str] = "phase"
    called: ClassVar[Mapping[str, str]] = {"x": "positions"}
    x: Value
    base: float
    count: int


def _phase(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    x, speeds, (angle,) = m["x"], site.graph.node(m["speeds"]).op, site.node.outputs
    users = site.graph.users(site.node.id)
    read = bool(users) and all(isinstance(u.op, Cos | Sin) for u in users)
    if not read or angle in site.graph.outputs.values():
        return None
    if x.dtype is not DType.INT or x.shape[-1:] != (1,):
        return None
    if not isinstance(speeds, Constant) or not site.fixed(speeds):
        return None
    base = _base(speeds.stored)
    if base is None or angle.shape != (*x.shape[:-1], len(speeds.stored)):
        return None
    return Phase(angle, inside, x, base, len(speeds.stored))


def _base(speeds: Array) -> float | None:
    """Return the base of speeds base^(-i / count), to twelve digits; None where they are others."""
    if speeds.ndim != 1 or len(speeds) < 2 or not (speeds > 0).all():
        return None
    base = float(f"{speeds[1] ** -len(speeds):.12g}")
    same = np.allclose(base ** (-np.arange(len(speeds)) / len(speeds)), speeds, rtol=1e-14, atol=0)
    return base if same else None


RULES: tuple[Rule, ...] = (formula(Phase, Term(Mul, (Term(Cast, (Hole("x"),)), Hole("speeds"))), _phase),)
