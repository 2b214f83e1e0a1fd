"""Taps that are alike are joined at once: boxes of them give what they give one by one."""

from __future__ import annotations

import numpy as np
import pytest

from mpcompile import ops
from mpcompile.analysis.dependence import support
from mpcompile.analysis.stencils import offset_sets
from mpcompile.ir import Array, Builder, Constant, Graph, Parameter, float_type, symbol
from mpcompile.ops import _taps, convolution
from mpcompile.ops._windows import boxes


def kernel(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Live taps [o, i, *k]: those of a causal mask, of a few boxes, or any."""
    if kind == "any":
        return rng.random(shape) < 0.5
    live = np.zeros(shape, bool)
    if kind == "causal":
        live.reshape(*shape[:2], -1)[..., : int(np.prod(shape[2:])) // 2] = True
        return live
    for _ in range(2):
        at = [sorted(rng.choice(n + 1, 2, replace=False)) for n in shape]
        live[tuple(slice(a, b) for a, b in at)] = True
    return live


@pytest.mark.parametrize("kind", ["causal", "boxes", "any"])
def test_boxes_are_the_kernel_and_do_not_overlap(kind: str) -> None:
    rng = np.random.default_rng(3)
    for shape in ((2, 1, 9), (1, 3, 5, 6), (2, 2, 3, 1, 4)):
        live = kernel(kind, shape, rng)
        found, total = boxes(live, range(2, live.ndim)), np.zeros(shape, int)
        if found is None:
            assert kind != "causal"
            continue
        for box, one in found:
            total[(..., *(slice(a, a + n) for a, n in box))] += one
        assert np.array_equal(total, live)


def test_a_causal_mask_has_as_many_boxes_as_axes_whatever_its_size() -> None:
    for k in (3, 101):
        live = kernel("causal", (1, 1, k, k), np.random.default_rng(0))
        assert len(boxes(live, (2, 3)) or ()) == 2


def convolved(live: Array, stride: int, dilation: int, groups: int) -> Graph:
    graph, n = Graph("conv"), live.ndim - 2
    b = Builder(graph)
    x = b.input("x", float_type(symbol("N"), live.shape[1] * groups, *(13,) * n))
    w = b.emit(ops.Mul(), b.emit(Parameter("w", float_type(*live.shape))), b.emit(Constant.of(live * 1.0)))
    pad = ((live.shape[2] // 2, 1), *((1, 2),) * (n - 1))
    graph.outputs["y"] = b.emit(ops.Conv((stride,) * n, pad, (dilation,) * n, groups), x, w)
    return graph


@pytest.mark.parametrize("kind", ["causal", "boxes", "any"])
def test_rules_of_a_convolution_are_those_tap_by_tap(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    cases = [((2, 1, 7), 2, 1, 1), ((2, 2, 5), 1, 3, 2), ((2, 2, 3, 5), 1, 1, 1), ((4, 1, 4, 3), 2, 2, 2)]
    for shape, stride, dilation, groups in cases:
        live = kernel(kind, shape, rng)
        found = []
        for cut in (boxes, lambda live, axes: None):
            monkeypatch.setattr(convolution, "boxes", cut)
            monkeypatch.setattr(_taps, "boxes", cut)
            graph = convolved(live, stride, dilation, groups)
            numbers = support(graph, "x", "y", {"N": 1}).value
            cell = offset_sets(graph, "x", by_channel=True).of(graph.outputs["y"]).cell
            facts = np.broadcast_to(cell.facts[..., 0], cell.shape)
            reads = [f and f.sets for f in facts.reshape(-1)]
            found.append((numbers, reads, np.broadcast_to(cell.zero, cell.shape)))
        (numbers, reads, zero), (one_by_one, alone, nothing) = found
        assert np.array_equal(numbers, one_by_one)
        assert reads == alone
        assert np.array_equal(zero, nothing)
