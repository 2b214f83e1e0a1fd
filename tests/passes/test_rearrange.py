"""Compositions of slices, gathers, flips and concatenations read what they are made of, and mean what they did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from text_passes import assert_becomes

from mpcompile import ops
from mpcompile.api import load
from mpcompile.backend import find_backend, installed
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Builder, DType, Graph, Type
from mpcompile.lowering import lower
from mpcompile.passes.pipeline import optimise
from mpcompile.passes.rearrange import Rearrange
from mpcompile.runner.examples import example_inputs, example_weights

MOVES = {"concat", "gather", "flip", "slice"}


def count(graph: Graph, *names: str) -> int:
    return sum(node.op.name in names for node in graph.nodes())


@pytest.mark.parametrize("seed", range(40))
def test_compositions_keep_their_meaning(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = Graph("p")
    b = Builder(graph)
    values = [b.input(name, Type(DType.FLOAT, (2, 5, 4))) for name in ("x", "y")]
    for _ in range(12):
        axis = int(rng.integers(1, 3))
        x = values[rng.integers(len(values))]
        size = int(str(x.shape[axis]))
        match rng.integers(5):
            case 0:
                start, step = int(rng.integers(size)), int(rng.integers(1, 4))
                made = b.emit(ops.Slice(axis, start, size, step), x)
            case 1:
                made = b.emit(ops.Gather(axis), x, b.constant(rng.integers(-size, size, rng.integers(1, 6))))
            case 2:
                made = b.emit(ops.Flip(axis), x)
            case 3:
                like = [v for v in values if v.shape[3 - axis] == x.shape[3 - axis]]
                made = b.emit(ops.Concat(axis), x, *(like[i] for i in rng.integers(len(like), size=2)))
            case _:
                made = b.emit(ops.Neg(), x)
        values.append(made)
    graph.outputs = {f"out_{i}": v for i, v in enumerate(values[-3:])}
    inputs = {name: rng.standard_normal((2, 5, 4)) for name in ("x", "y")}
    expected = interpret(graph, {}, inputs)
    found = interpret(Rearrange()(graph).graph, {}, inputs)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_reversals_cancel() -> None:
    graph = Graph("p")
    b = Builder(graph)
    x = b.input("x", Type(DType.FLOAT, (2, 5)))
    y = b.emit(ops.Gather(1), b.emit(ops.Flip(1), x), b.constant(np.arange(5)[::-1].copy()))
    graph.outputs = {"y": b.emit(ops.Neg(), y)}
    assert count(Rearrange()(graph).graph, *MOVES) == 0


def test_couplings_hand_their_halves_on(tmp_path: Path) -> None:
    """Only the data are split, and only the latents joined."""
    spec = tmp_path / "flow.mp"
    spec.write_text(
        "model m()\ninput x: real[5]\nx ~ flow(base = normal) { repeat i in 1..6 "
        "{ coupling(mask = checkerboard(parity = i % 2), law = additive, net = dense(3)) } }\n"
    )
    program = load(spec).programs["log_prob"]
    assert count(program, "concat") == 6
    assert count(Rearrange()(program).graph, "concat") == 1
    assert count(Rearrange()(program).graph, "gather") <= 1
    assert count(Rearrange()(program).graph, "slice") <= 3


def test_a_slice_of_nothing_is_one() -> None:
    graph = Graph("p")
    b = Builder(graph)
    x = b.input("x", Type(DType.FLOAT, (2, 5)))
    none = b.emit(ops.Slice(1, 2, 2), x)
    graph.outputs = {
        "none": none,
        "sum": b.emit(ops.Sum((1,), False), none),
        "y": b.emit(ops.Concat(1), none, x),
    }
    x_ = np.arange(10.0).reshape(2, 5)
    found = interpret(Rearrange()(graph).graph, {}, {"x": x_})
    assert found["none"].shape == (2, 0) and not found["sum"].any()
    np.testing.assert_array_equal(found["y"], x_)


def test_a_mixture_of_one_component_is_built() -> None:
    """Its component is picked from an empty list of borders."""
    text = "model m\ninput x: real[4]\nx ~ mixture(components = 1)\n"
    m = lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})
    weights = example_weights(m)
    given = example_inputs(m, "sample", 3)
    expected = interpret(m.programs["sample"], weights, given)["x"]
    shipped = optimise(m).module
    np.testing.assert_allclose(interpret(shipped.programs["sample"], weights, given)["x"], expected)
    for backend in installed():
        found = find_backend(backend).session(shipped, weights).run("sample", given)["x"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_halves_that_are_joined_and_split_again_are_read_themselves() -> None:
    assert_becomes(Rearrange(), """
    program f(x: float[N, 4], z: float[N, 4]) -> (y: float[N, 4]) {
      %j = concat(%x, %z) {axis: 1}
      %a = slice(%j) {axis: 1, start: 0, stop: 4}
      %b = slice(%j) {axis: 1, start: 5, stop: 7}
      %c = flip(%a) {axis: 1}
      %d = slice(%c) {axis: 1, start: 0, stop: 2}
      %t = tanh(%b)
      %u = tanh(%d)
      %y = concat(%t, %u) {axis: 1}
      return y = %y
    }
    """, """
    program f(x: float[N, 4], z: float[N, 4]) -> (y: float[N, 4]) {
      %b = slice(%z) {axis: 1, start: 1, stop: 3}
      %i = constant [3, 2]
      %d = gather(%x, %i) {axis: 1}
      %t = tanh(%b)
      %u = tanh(%d)
      %y = concat(%t, %u) {axis: 1}
      return y = %y
    }
    """)  # fmt: skip
