"""A program called from another one gives the values that stood there."""

from __future__ import annotations

import numpy as np
import pytest
from specs_under_test import NAMES, inputs, module, weights

from mpcompile.interpret import interpret
from mpcompile.ir import Builder, Graph, Parameter, Value, float_type, symbol
from mpcompile.ops import Add, Exp, MatMul, Mul, Neg, Tanh
from mpcompile.outline.shared import find_uses
from mpcompile.passes.pipeline import optimise

N = symbol("N")


@pytest.mark.parametrize("name", NAMES)
def test_a_call_means_what_it_stands_for(name: str) -> None:
    m = optimise(module(name)).module
    for caller, uses in find_uses(m.programs).items():
        if not uses:
            continue
        graph = m.programs[caller]
        given = inputs(module(name), caller, 2, 3)
        for use in uses:
            probe = graph.rebuild(lambda b, n, i: None)
            before, after = ([v for n in g.nodes() for v in n.outputs] for g in (graph, probe))
            moved = dict(zip(before, after, strict=True))
            probe.outputs = {f"{i}": moved[v] for i, v in enumerate((*use.inputs, *use.outputs))}
            values = list(interpret(probe, weights(m), given).values())
            callee = m.programs[use.program]
            arguments = dict(zip(callee.inputs, values, strict=False))
            results = interpret(callee, weights(m), arguments)
            for found, expected in zip(results.values(), values[len(use.inputs) :], strict=True):
                np.testing.assert_array_equal(found, expected)


def test_a_loss_calls_the_density_and_the_sampler_the_inverse() -> None:
    m = optimise(module("maf")).module
    calls = {name: [use.program for use in uses] for name, uses in find_uses(m.programs).items()}
    assert calls["loss"] == ["log_prob"]
    assert calls["log_prob"] == ["forward"]
    assert calls["sample"] == ["inverse"]
    assert calls["forward"] == calls["inverse"] == []


def test_programs_that_stand_alone_are_not_called() -> None:
    m = optimise(module("maf")).module
    assert find_uses(m.programs, alone={"log_prob"})["loss"][0].program == "forward"


def chain(name: str, ops: list[object], x: str = "x") -> tuple[Builder, list[Value]]:
    b = Builder(Graph(name))
    values = [b.input(x, float_type(N, 4))]
    for op in ops:
        values.append(b.emit(op, values[-1]))  # type: ignore[arg-type]  # primitives
    return b, values


def test_what_reads_the_inside_is_no_call() -> None:
    """tanh, exp, neg, tanh within a program that also gives the exponential itself."""
    small, values = chain("small", [Tanh(), Exp(), Neg(), Tanh()])
    small.graph.outputs = {"y": values[-1]}
    large, values = chain("large", [Exp(), Tanh(), Exp(), Neg(), Tanh()], "noise")
    graphs = {"small": small.graph, "large": large.graph}
    large.graph.outputs = {"y": values[-1]}
    (use,) = find_uses(graphs)["large"]
    assert use.inputs == (values[1],) and use.outputs == (values[-1],)
    large.graph.outputs = {"y": values[-1], "inside": values[3]}
    assert find_uses(graphs)["large"] == []


def test_an_argument_made_of_a_result_is_no_call() -> None:
    """Two inputs, one of which would have to be computed inside."""
    b = Builder(Graph("small"))
    x, y = b.input("x", float_type(N, 4)), b.input("y", float_type(N, 4))
    h = b.emit(Tanh(), x)
    b.graph.outputs = {"z": b.emit(Neg(), b.emit(Mul(), b.emit(Exp(), h), y))}
    large = Builder(Graph("large"))
    x = large.input("x", float_type(N, 4))
    h = large.emit(Tanh(), x)
    z = large.emit(Neg(), large.emit(Mul(), large.emit(Exp(), h), large.emit(Neg(), h)))
    large.graph.outputs = {"z": large.emit(Exp(), z)}
    assert find_uses({"small": b.graph, "large": large.graph})["large"] == []


def test_other_weights_are_another_program() -> None:
    def program(name: str, weight: str, more: bool) -> Graph:
        b = Builder(Graph(name))
        x = b.input("x", float_type(N, 4))
        h = b.emit(Tanh(), b.emit(MatMul(), x, b.emit(Parameter(weight, float_type(4, 4)))))
        h = b.emit(Exp(), b.emit(Neg(), h))
        b.graph.outputs = {"y": b.emit(Add(), h, x) if more else h}
        return b.graph

    same = {"small": program("small", "w", False), "large": program("large", "w", True)}
    other = {"small": program("small", "w", False), "large": program("large", "v", True)}
    assert [u.program for u in find_uses(same)["large"]] == ["small"]
    assert find_uses(other)["large"] == []
