"""Layer and root-mean-square normalisation over trailing axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from mpcompile.ir import Value
from mpcompile.kernels.base import Kernel, Rule, Site, formula
from mpcompile.kernels.pattern import Hole, Match, Pattern, Scalar, Term, either
from mpcompile.ops import Sqrt, Sum

X = Hole("x")


@dataclass(frozen=True)
class LayerNorm(Kernel):
    """(x - mean) / sqrt(variance + eps) * weight + bias, the biased variance (Ba et al. 2016).

    shape   sizes of the trailing axes of x that mean and variance are taken over
    weight  in this shape, or None; with a bias alone there is no kernel
    """

    name: ClassVar[str] = "layer_norm"
    x: Value
    shape: tuple[int, ...]
    eps: float
    weight: Value | None = None
    bias: Value | None = None


@dataclass(frozen=True)
class RmsNorm(Kernel):
    """x / sqrt(mean of squares + eps) * weight (Zhang and Sennrich 2019).

    shape   sizes of the trailing axes of x that the mean is taken over
    weight  in this shape, or None
    """

    name: ClassVar[str] = "rms_norm"
    x: Value
    shape: tuple[int, ...]
    eps: float
    weight: Value | None = None


def mean(x: Pattern, name: str) -> Pattern:
    """Return the pattern of a mean as lowering spells it: a sum under a name, times or over a number."""
    total = Term(Sum, (x,), name)
    return either(total * Scalar(f"{name}.share"), total / Scalar(f"{name}.count"))


def mean_shape(m: Match, *names: str) -> tuple[int, ...] | None:
    """Return the sizes of the axes that means are taken over, or None.

    The means are taken over the same trailing axes, which are kept.
    """
    first = m.op(names[0])
    assert isinstance(first, Sum)
    whole = m.graph.node(m[names[0]]).inputs[0].shape
    axes = sorted(a % len(whole) for a in first.axes)
    sizes = [whole[a] for a in axes]
    if not axes or axes != list(range(len(whole) - len(axes), len(whole))):
        return None
    known = tuple(s for s in sizes if isinstance(s, int))
    count = prod(known)
    if len(known) < len(sizes) or not count:
        return None
    for name in names:
        if m.op(name) != first or not first.keepdims:
            return None
        right = (
            m.number(f"{name}.share") == 1.0 / count
            if f"{name}.share" in m
            else m.number(f"{name}.count") == count
        )
        if not right:
            return None
    return known


_CENTRED = (X - mean(X, "mean")).named("centred")
_VARIANCE = mean(_CENTRED * _CENTRED, "spread")
_NORMAL = _CENTRED / Term(Sqrt, (_VARIANCE + Scalar("eps"),))
_SCALED = _NORMAL * Hole("weight")
_ROOT = X / Term(Sqrt, (mean(X * X, "mean") + Scalar("eps"),))


def _fit(m: Match, shape: Sequence[int], *names: str) -> bool:
    """Whether operands of the affine map have just this shape, where they are there."""
    return all(name not in m or m[name].shape == tuple(shape) for name in names)


def _layer_norm(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    shape = mean_shape(m, "mean", "spread")
    if shape is None or m.number("eps") < 0 or not _fit(m, shape, "weight", "bias"):
        return None
    return LayerNorm(
        site.node.outputs[0], inside, m["x"], shape, m.number("eps"), m.get("weight"), m.get("bias")
    )


def _rms_norm(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    shape = mean_shape(m, "mean")
    if shape is None or m.number("eps") < 0 or not _fit(m, shape, "weight"):
        return None
    return RmsNorm(site.node.outputs[0], inside, m["x"], shape, m.number("eps"), m.get("weight"))


RULES: tuple[Rule, ...] = (
    formula(LayerNorm, _SCALED + Hole("bias"), _layer_norm),
    formula(LayerNorm, _SCALED, _layer_norm),
    formula(LayerNorm, _NORMAL, _layer_norm),
    formula(RmsNorm, _ROOT * Hole("weight"), _rms_norm),
    formula(RmsNorm, _ROOT, _rms_norm),
)
