"""Simplification never changes a value, and drops what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from random_graphs import Sample, graphs
from specs_under_test import NAMES, inputs, module, weights

from mpcompile.interpret import interpret
from mpcompile.ir import Builder, Graph, Value, float_type, symbol
from mpcompile.ops import (
    Add,
    BroadcastTo,
    Div,
    Exp,
    Gather,
    Mul,
    Neg,
    Pad,
    Reshape,
    Slice,
    Sub,
    Sum,
    Tanh,
    Transpose,
)
from mpcompile.passes.pipeline import SIMPLIFYING

N = symbol("N")


def simplify(graph: Graph) -> Graph:
    return SIMPLIFYING.run(graph).graph


def operations(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes() if n.inputs]


@pytest.mark.parametrize("name", NAMES)
def test_specs_keep_their_values(name: str) -> None:
    """Loss, densities and samplers, bit for bit up to the sign of zeros; never an operation more."""
    m = module(name)
    for program, graph in m.programs.items():
        simple = simplify(graph)
        assert len(operations(simple)) <= len(operations(graph))
        assert list(simple.inputs) == list(graph.inputs)
        data = inputs(m, program, 2, 3)
        expected, found = interpret(graph, weights(m), data), interpret(simple, weights(m), data)
        assert list(found) == list(expected)
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=f"{program} {key}")


@settings(max_examples=60, deadline=None)
@given(graphs(smooth=False))
def test_random_graphs_keep_their_values(sample: Sample) -> None:
    sample.graph.outputs = dict(list(sample.graph.outputs.items())[-1:])  # outputs stay as they are
    x = {"x": np.random.default_rng(0).uniform(0.3, 1.9, sample.shape)}
    expected = interpret(sample.graph, sample.weights, x)
    found = interpret(simplify(sample.graph), sample.weights, x)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


def one(make: object, *shape: object) -> list[str]:
    """Operations that are left of a value made of `x`, between two that stay."""
    b = Builder(Graph("f"))
    x = b.emit(Exp(), b.input("x", float_type(*(shape or (N, 4)))))  # type: ignore[arg-type]  # sizes
    b.graph.outputs = {"y": b.emit(Tanh(), make(b, x))}  # type: ignore[operator]  # a function of the two
    return operations(simplify(b.graph))


def full(b: Builder, value: float, *shape: object) -> Value:
    return b.emit(BroadcastTo(shape), b.constant(value))  # type: ignore[arg-type]  # sizes


CASES = {
    "x + 0": lambda b, x: b.emit(Add(), x, b.constant(0.0)),
    "0 + x": lambda b, x: b.emit(Add(), full(b, 0.0, N, 4), x),
    "x - 0": lambda b, x: b.emit(Sub(), x, b.constant(np.zeros(4))),
    "x * 1": lambda b, x: b.emit(Mul(), x, full(b, 1.0, N, 4)),
    "x / 1": lambda b, x: b.emit(Div(), x, b.constant(1.0)),
    "--x": lambda b, x: b.emit(Neg(), b.emit(Neg(), x)),
    "two transposes": lambda b, x: b.emit(Transpose((1, 0)), b.emit(Transpose((1, 0)), x)),
    "two reshapes": lambda b, x: b.emit(Reshape((N, 4)), b.emit(Reshape((N, 2, 2)), x)),
    "all of it": lambda b, x: b.emit(Slice(1, 0, 4), x),
    "no padding": lambda b, x: b.emit(Pad((0, 0), (0, 0), 0.0), x),
    "in order": lambda b, x: b.emit(Gather(1), x, b.constant(np.arange(4))),
    "the same shape": lambda b, x: b.emit(BroadcastTo((N, 4)), x),
}


@pytest.mark.parametrize("case", CASES)
def test_what_computes_nothing_goes(case: str) -> None:
    assert one(CASES[case]) == ["exp", "tanh"]


KEPT = {
    "0 - x": (lambda b, x: b.emit(Sub(), b.constant(0.0), x), ["sub"]),
    "1 / x": (lambda b, x: b.emit(Div(), b.constant(1.0), x), ["div"]),
    "x + (0, 1, 0, 0)": (lambda b, x: b.emit(Add(), x, b.constant(np.eye(4)[1])), ["add"]),
    "reversed": (lambda b, x: b.emit(Gather(1), x, b.constant(np.arange(4)[::-1])), ["gather"]),
    "every other": (lambda b, x: b.emit(Slice(1, 0, 4, 2), x), ["slice"]),
    "x broadcast by adding zeros": (lambda b, x: b.emit(Add(), b.emit(Reshape((N, 1, 4)), x), full(b, 0.0, N, 3, 4)),
                                    ["reshape", "broadcast_to"]),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_what_computes_something_stays(case: str) -> None:
    make, left = KEPT[case]
    assert one(make) == ["exp", *left, "tanh"]


def test_a_constant_log_determinant_is_added_without_an_array_of_its_own() -> None:
    """total + (zeros + sum(s)), as actnorm makes it."""

    def make(b: Builder, x: Value) -> Value:
        per_example = b.emit(Sum((1,)), x)
        constant = b.emit(Sum((0,)), b.constant(np.arange(3.0)))
        return b.emit(Add(), per_example, b.emit(Add(), full(b, 0.0, N), constant))

    assert one(make) == ["exp", "sum", "sum", "add", "tanh"]


def test_what_is_computed_twice_is_computed_once() -> None:
    def make(b: Builder, x: Value) -> Value:
        return b.emit(Mul(), b.emit(Neg(), x), b.emit(Neg(), x))

    assert one(make) == ["exp", "neg", "mul", "tanh"]


def test_outputs_stay_values_of_their_own() -> None:
    b = Builder(Graph("f"))
    x = b.input("x", float_type(N, 4))
    b.graph.outputs = {"a": b.emit(Add(), x, b.constant(0.0)), "b": b.emit(Add(), x, b.constant(0.0))}
    values = list(simplify(b.graph).outputs.values())
    assert len({*values, *simplify(b.graph).inputs.values()}) == 3 and values[0] != values[1]
