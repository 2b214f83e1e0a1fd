"""Offset sets of windows and of layers that are lifted over other axes, against the exact sets at three lengths."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_function import expression
from placed import hold

from mpcompile import ops
from mpcompile.analysis.stencils import offset_sets
from mpcompile.ir import Builder, Graph, float_type, symbol
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
