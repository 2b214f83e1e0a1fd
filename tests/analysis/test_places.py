"""Offset sets of windows and of layers that are lifted over other axes, against the exact sets at three lengths."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_function import expression
from placed import hold

from mpcompile import ops
from mpcompile.analysis.stencils import offset_sets
from mpcompile.ir import Builder, Graph, NoRule, Parameter, Value, float_type, symbol
from mpcompile.ir.offsets import Offsets

LENGTHS = (13, 18, 24)


def band(first: int, last: int) -> Offsets:
    return Offsets.point(0).smear(
        0, Offsets.of((first - 1,), np.array([0, *[1] * (last - first + 1), 0], bool))
    )


SEQUENCE = {"x": "time, channel: 2"}


@pytest.mark.parametrize(
    ("relation", "wanted"),
    [
        ("causal & window(4)", band(-3, 0)),
        ("before & window(3)", band(-2, -1)),
        ("window(2)", band(-1, 1)),
        ("before", Offsets.up_to(-1)),
        ("upto", Offsets.up_to(0)),
        ("~causal", Offsets.up_to(0).complement()),
        ("~(before | ~window(2))", band(0, 1)),
        ("causal & ~window(3) & window(5)", band(-4, -3)),
    ],
)
def test_windows_are_exact_at_every_length(relation: str, wanted: Offsets) -> None:
    named = re.sub(r"window\((\d)\)", r"window(\1, query = time)", relation)
    named = re.sub(r"causal|before|upto", r"\g<0>(time)", named)
    scores = f"product(x, x -> rename(time = key), over = channel) -> softmax(over = key, mask = {named})"
    text = f"product({scores}, v, over = key)"
    graph = expression(text, {**SEQUENCE, "v": "key: time, channel: 2"})[0].programs["predict"]
    sets = offset_sets(graph, "x")
    found = sets.of(graph.outputs["y"])
    for length in LENGTHS:
        hold(graph, "x", sets, length)
    (reads,) = {id(r): r for r in found.cell.facts.reshape(-1)}.values()
    assert found.exact and reads.sets[0][1] == wanted.union(Offsets.point(0))  # a query reads itself


CUBE = {"x": "time, head: 2, channel: 4"}
RELATIONS = (
    "causal", "before", "upto", "window(2)", "causal & window(3)", "before & ~window(2)", "~upto", "before | ~window(3)",
)  # fmt: skip
STEPS = (
    *(f"attention(2, over = time, mask = {r})" for r in RELATIONS),
    "attention(1, over = head)",
    "conv(4, 3, pad = same, over = head)",
    "conv1d(4, 2, dilation = 2, pad = causal)",
    "conv1d(4, 3, pad = same)",
    "gru(4, over = time)",
    "shift",
    "layer_norm -> dense(4)",
    "merge([head, channel], into = channel) -> dense(8) -> split(channel, head = 2, channel = 4)",
    "rename(head = key) -> rename(key = head)",
)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=3), st.sampled_from(LENGTHS))
def test_compositions(steps: list[str], length: int) -> None:
    """No composition gives a set up: each is exact inside, and never less than what is read."""
    graph = expression(" -> ".join(["x", *steps]), CUBE)[0].programs["predict"]
    sets = offset_sets(graph, "x")
    hold(graph, "x", sets, length)
    first_alone = any(step.endswith("mask = before)") for step in steps)  # a mask of one place: a bound
    assert sets.of(graph.outputs["y"]).exact or first_alone
    assert sets.of(graph.outputs["y"]).axes[1] is not None


# --- an axis merged with others ---


def test_an_axis_comes_back_from_the_batch_as_it_went() -> None:
    n, t = symbol("N"), symbol("time")
    graph = Graph("g")
    b = Builder(graph)
    x = b.input("x", float_type(n, 3, t, 2))
    flat = b.emit(ops.Reshape((n * 3 * t, 2)), x)  # type: ignore[arg-type]
    graph.outputs["back"] = b.emit(ops.Reshape((n, 3, t, 2)), b.emit(ops.Tanh(), flat))
    deep = b.emit(ops.Reshape((n * 3 * t * 2,)), x)  # type: ignore[arg-type]
    graph.outputs["deep"] = b.emit(ops.Reshape((n * 3, t, 2)), deep)  # type: ignore[arg-type]
    sets = offset_sets(graph, "x")
    for length in LENGTHS:
        hold(graph, "x", sets, length)
    assert all(sets.of(v).exact and sets.of(v).axes[v.type.rank - 2] for v in graph.outputs.values())


Along = Callable[[Builder, Value], Value]


def _conv(op: type[ops.Conv | ops.ConvTranspose]) -> Along:
    return lambda b, x: b.emit(op((1,), ((1, 1),), (1,)), x, b.emit(Parameter("w", float_type(2, 2, 3))))


#: What acts along axis 2 of a value [N, 2, 3 t].
ALONG: dict[str, Along] = {
    "conv": _conv(ops.Conv),
    "conv_transpose": _conv(ops.ConvTranspose),
    "max_pool": lambda b, x: b.emit_all(ops.MaxPool((2,), (1,), ((1, 0),)), x)[0],
    "avg_pool": lambda b, x: b.emit(ops.AvgPool((2,), (1,), ((1, 0),)), x),
    "cum_sum": lambda b, x: b.emit(ops.CumSum(2, True, False), x),
    "flip": lambda b, x: b.emit(ops.Flip(2), x),
    "pad": lambda b, x: b.emit(ops.Pad((0, 0, 2), (0, 0, 0)), x),
    "slice": lambda b, x: b.emit(ops.Slice(2, 1, x.shape[2]), x),
    "sum": lambda b, x: b.emit(ops.Sum((2,), True), x),
    "softmax": lambda b, x: b.emit(ops.Softmax(2), x),
    "concat": lambda b, x: b.emit(ops.Concat(2), x, x),
    "arg_max": lambda b, x: b.emit(ops.ArgMax(2), x),
    "mat_mul": lambda b, x: b.emit(ops.MatMul(), x, b.emit(ops.Transpose((0, 2, 1)), x)),
}


@pytest.mark.parametrize("name", ALONG)
def test_what_acts_along_an_axis_that_others_are_merged_with_refuses_or_holds(name: str) -> None:
    """Three rows end to end: the place before the first of a row is the last of another one."""
    n, t = symbol("N"), symbol("time")
    graph = Graph("g")
    b = Builder(graph)
    x = b.emit(ops.Transpose((0, 2, 1, 3)), b.input("x", float_type(n, 3, 2, t)))
    y = ALONG[name](b, b.emit(ops.Reshape((n, 2, 3 * t)), x))  # type: ignore[arg-type]
    graph.outputs["y"] = b.emit(ops.Reshape((n, 2, 3, t)), y) if y.shape == (n, 2, 3 * t) else y  # type: ignore[arg-type]
    sets = offset_sets(graph, "x")
    if not isinstance(sets.values[graph.outputs["y"]], NoRule):
        hold(graph, "x", sets, 5)


def test_a_running_sum_without_its_own_place_is_no_exact_one_of_elements_that_are_alike() -> None:
    """The first of `frames` elements has none before it, so that its sum reads nothing."""
    n, t, frames = (symbol(s) for s in ("N", "time", "frames"))
    for exclusive in (False, True):
        graph = Graph("g")
        b = Builder(graph)
        x = b.emit(ops.Reshape((n, t, 1)), b.input("x", float_type(n, t)))
        wide = b.emit(ops.BroadcastTo((n, t, frames)), x)
        graph.outputs["y"] = b.emit(ops.CumSum(2, exclusive, False), wide)
        assert offset_sets(graph, "x").of(graph.outputs["y"]).exact is not exclusive


@pytest.mark.parametrize("op", [ops.LessEqual, ops.Less, ops.Equal])
def test_a_mask_of_places_that_come_twice_is_no_band(op: type[ops.LessEqual | ops.Less | ops.Equal]) -> None:
    """Attention over a sequence each of whose steps stands twice."""
    n, t = symbol("N"), symbol("time")
    graph = Graph("g")
    b = Builder(graph)
    x = b.emit(ops.Reshape((n, t, 1, 2)), b.input("x", float_type(n, t, 2)))
    wide = b.emit(ops.Reshape((n, 2 * t, 2)), b.emit(ops.BroadcastTo((n, t, 2, 2)), x))  # type: ignore[arg-type]
    scores = b.emit(ops.MatMul(), wide, b.emit(ops.Transpose((0, 2, 1)), wide))
    i, j = (b.emit(ops.Iota((2 * t, 2 * t), axis)) for axis in (0, 1))  # type: ignore[arg-type]
    masked = b.emit(ops.Where(), b.emit(op(), j, i), scores, b.constant(-np.inf))
    graph.outputs["y"] = b.emit(ops.MatMul(), b.emit(ops.Softmax(2), masked), wide)
    hold(graph, "x", offset_sets(graph, "x"), 5)
