"""A narrowed program computes the first elements of what the whole one computes, for every program of every spec."""

from __future__ import annotations

import numpy as np
import pytest
from specs_under_test import NAMES, inputs, module, weights

from mpcompile.analysis import narrowed as narrowing
from mpcompile.analysis.narrowed import narrowed
from mpcompile.interpret import interpret
from mpcompile.ir import Builder, DType, Graph, Parameter, float_type
from mpcompile.ops import Add, MatMul
from mpcompile.ops import build as F


@pytest.mark.parametrize("name", NAMES)
def test_its_elements_are_the_first_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Along every axis of every output; weights that were made smaller are given the first of their elements."""
    monkeypatch.setattr(narrowing, "KEPT", 1)
    m = module(name)
    w, compared = weights(m), 0
    for program, graph in m.programs.items():
        if any(v.dtype is not DType.FLOAT for v in graph.outputs.values()):
            continue
        values = inputs(m, program, 2)
        for axis in range(1, max((len(v.shape) for v in graph.outputs.values()), default=0)):
            names = tuple(k for k, v in graph.outputs.items() if len(v.shape) > axis)
            some = narrowed(graph, names, axis)
            if some is None:
                continue
            small = {p: w[p][tuple(slice(n) for n in v.shape)] for p, v in some.parameters().items()}  # type: ignore[misc]
            whole, part = interpret(graph, w, values), interpret(some, small, values)
            for key in names:
                length = part[key].shape[axis]
                np.testing.assert_allclose(
                    part[key], np.take(whole[key], range(length), axis), rtol=1e-9, atol=1e-12
                )
            compared += 1
    assert bool(compared) == (name not in ALONE)


#: Specs whose outputs come out of a loop, of a normalisation over their own axis, are turned round or joined from
#: single elements, or have one element.
ALONE = {
    "bilstm", "cnn", "deepar", "elman", "lstm_stacked", "maf", "mdn", "mixed_table", "mlp", "perceptron", "posterior",
    "realnvp2d", "realnvp_notes", "ridge", "universal",
}  # fmt: skip


def head(tied: bool) -> Graph:
    """x w + b for 50 classes; `tied`: the weights are also read as a whole."""
    graph = Graph("p")
    b = Builder(graph)
    x, w = b.input("x", float_type(3, 4)), b.emit(Parameter("w", float_type(4, 50)))
    graph.outputs["y"] = b.emit(Add(), b.emit(MatMul(), x, w), b.emit(Parameter("b", float_type(50))))
    if tied:
        graph.outputs["z"] = b.emit(MatMul(), x, w)
    return graph


def test_weights_are_as_small_as_what_is_read() -> None:
    some = narrowed(head(tied=False), ("y",), 1)
    assert some is not None
    assert {k: v.shape for k, v in some.parameters().items()} == {"w": (4, 8), "b": (8,)}


def test_a_weight_that_is_read_twice_is_drawn_once() -> None:
    graph = head(tied=True)
    some = narrowed(graph, ("y", "z"), 0)
    assert some is None  # three rows: nothing to leave out
    some = narrowed(graph, ("y", "z"), 1)
    assert some is not None and some.parameters()["w"].shape == (4, 8)
    graph.outputs["w"] = graph.parameters()["w"]
    some = narrowed(graph, ("y", "w"), 0)
    assert some is None


def test_a_weight_that_stands_in_two_nodes_stays_whole() -> None:
    """Both have its name, and a run draws one value for it."""
    graph = head(tied=False)
    graph.outputs["v"] = F.mul(Builder(graph), Builder(graph).emit(Parameter("w", float_type(4, 50))), 2.0)
    graph.outputs["z"] = F.sub(Builder(graph), graph.outputs["v"], 1.0)
    some = narrowed(graph, ("y", "v", "z"), 1)
    assert some is not None
    drawn = {n.types[0].shape for n in some.nodes() if isinstance(n.op, Parameter) and n.op.path == "w"}
    assert drawn == {(4, 50)}
