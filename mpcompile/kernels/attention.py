"""Scaled dot-product attention, with the causal mask by its name and any other as truth values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile.ir import Array, Constant, Value
from mpcompile.kernels.base import Kernel, Rule, Site, formula
from mpcompile.kernels.pattern import Hole, Match, Pattern, Scalar, Term, either
from mpcompile.ops import Iota, LessEqual, MatMul, Minimum, Reshape, Softmax, Transpose, Where


@dataclass(frozen=True)
class Attention(Kernel):
    """softmax(scale q k^T, minus infinity where masked) v (Vaswani et al. 2017, eq. 1).

    q, k, v  [..., queries, E], [..., keys, E], [..., keys, F], with the same two leading axes
    scale    what scores are multiplied by
    causal   query i sees the keys up to i, as many queries as keys, and there is no mask
    mask     which keys a query sees, bool, broadcast against [..., queries, keys]; None where it sees all or is causal
    also     another mask: a query sees the keys that both let it

    Each query sees a key: libraries differ in what becomes of one that sees none.
    """

    name: ClassVar[str] = "attention"
    called: ClassVar[Mapping[str, str]] = {"q": "q", "k": "k", "v": "v"}
    q: Value
    k: Value
    v: Value
    scale: float
    causal: bool
    mask: Value | None = None
    also: Value | None = None

    @property
    def usual_scale(self) -> bool:
        """Whether scores are divided by the root of the width, as they are unless said otherwise."""
        width = self.q.shape[-1]
        return isinstance(width, int) and width > 0 and self.scale == width**-0.5


_PRODUCT = Term(MatMul, (Hole("q"), Term(Transpose, (Hole("k"),), "turned")))
_SCORES = either(_PRODUCT * Scalar("scale"), _PRODUCT)
_LOWEST = Scalar(value=float("-inf"))


def _masked(scores: Pattern, name: str) -> Term:
    return Term(Where, (Hole(name), scores, _LOWEST))


_TWICE = _masked(_masked(_SCORES, "mask"), "also")
_PATTERN = Term(
    MatMul, (Term(Softmax, (either(_TWICE, _masked(_SCORES, "mask"), _SCORES),), "weights"), Hole("v"))
)


def _attention(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    q, k, v = (m[name].type for name in "qkv")
    turned, weights = m.op("turned"), m.op("weights")
    assert isinstance(turned, Transpose) and isinstance(weights, Softmax)
    if q.rank != 4 or k.rank != 4 or v.rank != 4 or turned.permutation != (0, 1, 3, 2):
        return None
    if weights.axis % 4 != 3 or not q.shape[:2] == k.shape[:2] == v.shape[:2]:
        return None
    if m["weights"].shape != (*q.shape[:3], k.shape[2]):
        return None
    masks = [m[name] for name in ("mask", "also") if name in m]
    if not _each_sees(site, masks):
        return None
    causal = len(masks) == 1 and is_causal(site, masks[0])
    scale = m.number("scale") if "scale" in m else 1.0
    first, second = (*([] if causal else masks), None, None)[:2]
    return Attention(site.node.outputs[0], inside, m["q"], m["k"], m["v"], scale, causal, first, second)


def is_causal(site: Site, mask: Value) -> bool:
    """Return whether a mask [T, T] is true just where the key is not behind the query, at every length.

    As a formula it counts where it is of this function alone: what a caller hands in may be another one next time.
    """
    if mask.type.rank != 2 or mask.shape[0] != mask.shape[1]:
        return False
    array = _fixed(site, mask)
    if array is not None:
        return np.array_equal(array, np.tri(array.shape[0], dtype=bool))
    node = site.graph.node(mask)
    if not isinstance(node.op, LessEqual) or any(v.shape != mask.shape for v in node.inputs):
        return False
    axes = []
    for n in (node, *(site.graph.node(v) for v in node.inputs)):
        if n.id not in site.within:
            return False
        if isinstance(n.op, Iota):
            axes.append(n.op.axis % 2)
    return axes == [1, 0]


def _fixed(site: Site, value: Value) -> Array | None:
    """The array of a constant that is the same wherever this code runs."""
    op = site.graph.node(value).op
    return op.stored if isinstance(op, Constant) and site.fixed(op) else None


def _each_sees(site: Site, masks: Sequence[Value]) -> bool:
    """Whether masks together leave each query a key: the first one, or what the only mask says as an array."""
    if all(is_causal(site, mask) or _starts(site, mask) for mask in masks):
        return True
    if len(masks) == 2 and is_causal(site, masks[0]) and _first_alone(site, masks[1]):
        return True
    array = _fixed(site, masks[0]) if len(masks) == 1 else None
    return array is not None and array.ndim > 0 and bool(np.asarray(array).any(-1).all())


def _first_alone(site: Site, mask: Value) -> bool:
    """Whether a mask [T, T] is min(query, 1) <= key, so that the first query sees the first key and no other one does."""
    node = site.graph.node(mask)
    if not isinstance(node.op, LessEqual) or any(v.shape != mask.shape for v in node.inputs):
        return False
    least, key = (site.graph.node(v) for v in node.inputs)
    if not isinstance(least.op, Minimum) or least.inputs[0].shape != mask.shape:
        return False
    query, one = (site.graph.node(v) for v in least.inputs)
    axes = [n.op.axis % 2 for n in (query, key) if isinstance(n.op, Iota)]
    return (
        mask.type.rank == 2
        and axes == [0, 1]
        and isinstance(one.op, Constant)
        and np.array_equal(one.op.stored, 1)
        and all(n.id in site.within for n in (node, least, query, key))
    )


def _starts(site: Site, mask: Value) -> bool:
    """Whether a mask [N, 1, 1, keys] is one of real steps, of which each example has the first."""
    node = site.graph.node(mask)
    if not isinstance(node.op, Reshape) or node.id not in site.within or node.inputs[0] not in site.started:
        return False
    n, time = node.inputs[0].shape
    return mask.shape == (n, 1, 1, time)


RULES: tuple[Rule, ...] = (formula(Attention, _PATTERN, _attention),)
