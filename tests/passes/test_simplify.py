"""Simplification never changes a value, and drops what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from random_graphs import Sample, graphs
from specs_under_test import NAMES, inputs, module, weights
from text_passes import assert_becomes, assert_stays

from mpcompile.interpret import interpret
from mpcompile.ir import Graph
from mpcompile.passes.cse import CommonSubexpressions
from mpcompile.passes.dce import DeadCode
from mpcompile.passes.fold import FoldConstants
from mpcompile.passes.pipeline import SIMPLIFYING
from mpcompile.passes.running import Pipeline
from mpcompile.passes.simplify import RULES, Simplify

#: What a compiler may do to values bit for bit, at its most.
ALL = Pipeline("all", (FoldConstants(), Simplify(), CommonSubexpressions(), DeadCode()))


def operations(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes() if n.inputs]


@pytest.mark.parametrize("name", NAMES)
def test_specs_keep_their_values(name: str) -> None:
    """Loss, densities and samplers, bit for bit up to the sign of zeros; never an operation more."""
    m = module(name)
    for program, graph in m.programs.items():
        simple = SIMPLIFYING.run(graph).graph
        most = ALL.run(graph).graph
        assert len(operations(most)) <= len(operations(simple)) <= len(operations(graph))
        data = inputs(m, program, 2, 3)
        expected = interpret(graph, weights(m), data)
        for made in (simple, most):
            assert list(made.inputs) == list(graph.inputs)
            found = interpret(made, weights(m), data)
            assert list(found) == list(expected)
            for key, value in expected.items():
                np.testing.assert_array_equal(found[key], value, err_msg=f"{program} {key}")


@settings(max_examples=60, deadline=None)
@given(graphs(smooth=False))
def test_random_graphs_keep_their_values(sample: Sample) -> None:
    sample.graph.outputs = dict(list(sample.graph.outputs.items())[-1:])  # outputs stay as they are
    x = {"x": np.random.default_rng(0).uniform(0.3, 1.9, sample.shape)}
    expected = interpret(sample.graph, sample.weights, x)
    for line in (SIMPLIFYING, ALL):
        found = interpret(line.run(sample.graph).graph, sample.weights, x)
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value)


def between(lines: str, result: str, shape: str = "N, 4") -> str:
    """A program in which `result` is made of `%x`, between two nodes that stay."""
    return f"""
    program f(in: float[{shape}]) -> (out: float[{shape}]) {{
      %x = exp(%in)
      {lines}
      %y = tanh({result})
      return out = %y
    }}
    """


ZEROS = "%c = constant 0.0\n %z = broadcast_to(%c) {shape: [N, 4]}\n"
ONES = "%c = constant 1.0\n %z = broadcast_to(%c) {shape: [N, 4]}\n"
#: One case for each rule at least, by its text.
CASES = {
    "x + 0 -> x": "%z = constant 0.0\n %r = add(%x, %z)",
    "0 + x -> x": ZEROS + "%r = add(%z, %x)",
    "pad(x) + pad(y) + ... -> concat(x, y, ...)":
        "%a = slice(%x) {axis: 1, start: 0, stop: 1}\n %b = slice(%x) {axis: 1, start: 1, stop: 4}\n"
        "%p = pad(%a) {before: [0, 0], after: [0, 3]}\n %q = pad(%b) {before: [0, 1], after: [0, 0]}\n"
        "%r = add(%q, %p)",
    "x - 0 -> x": "%z = constant [0.0, 0.0, 0.0, 0.0]\n %r = sub(%x, %z)",
    "x * 1 -> x": ONES + "%r = mul(%x, %z)",
    "1 * x -> x": ONES + "%r = mul(%z, %x)",
    "x / 1 -> x": "%z = constant 1.0\n %r = div(%x, %z)",
    "-(-x) -> x": "%z = neg(%x)\n %r = neg(%z)",
    "f(x) -> x, of the type of x": "%r = broadcast_to(%x) {shape: [N, 4]}",
    "cast(number) -> number": "%z = constant 0\n %c = cast(%z) {dtype: !float}\n %r = add(%x, %c)",
    "f(f(x)) -> f(x)": "%z = reshape(%x) {shape: [N, 2, 2]}\n %r = reshape(%z) {shape: [N, 4]}",
    "transpose(x, in order) -> x": "%r = transpose(%x) {permutation: [0, 1]}",
    "transpose(transpose(x)) -> transpose(x)":
        "%z = transpose(%x) {permutation: [1, 0]}\n %r = transpose(%z) {permutation: [1, 0]}",
    "slice(x, all) -> x": "%r = slice(%x) {axis: 1, start: 0, stop: 4}",
    "pad(x, by nothing) -> x": "%r = pad(%x) {before: [0, 0], after: [0, 0]}",
    "gather(x, all in order) -> x": "%i = constant range 0 step 1 : int[4]\n %r = gather(%x, %i) {axis: 1}",
    "f(broadcast(x), y) -> f(x, y)": ZEROS + "%m = maximum(%x, %z)\n %r = sub(%m, %z)",
}  # fmt: skip


def test_every_rule_has_a_case() -> None:
    assert list(CASES) == [r.text for r in RULES]


@pytest.mark.parametrize("rule", [r for r in CASES if "broadcast" not in r and "concat" not in r])
def test_what_computes_nothing_goes(rule: str) -> None:
    assert_becomes(Simplify(), between(CASES[rule], "%r"), between("", "%x"))


def test_an_operation_repeats_operands_itself() -> None:
    before = between(CASES["f(broadcast(x), y) -> f(x, y)"], "%r")
    assert_becomes(Simplify(), before, between("%c = constant 0.0\n %m = maximum(%x, %c)", "%m"))


def test_a_sum_of_pads_that_tile_an_axis_is_a_concatenation() -> None:
    parts = (
        "%a = slice(%x) {axis: 1, start: 0, stop: 1}\n %b = slice(%x) {axis: 1, start: 1, stop: 2}\n"
        "%c = slice(%x) {axis: 1, start: 2, stop: 4}\n"
    )
    pads = (
        "%p = pad(%a) {before: [0, 0], after: [0, 3]}\n %q = pad(%b) {before: [0, 1], after: [0, 2]}\n"
        "%s = pad(%c) {before: [0, 2], after: [0, 0]}\n %t = add(%s, %p)\n %r = add(%q, %t)"
    )
    after = parts + "%r = concat(%a, %b, %c) {axis: 1}"
    assert_becomes(Simplify(), between(parts + pads, "%r"), between(after, "%r"))


def _pads(first: str, second: str) -> str:
    """The sum of two pads of columns of x."""
    return (
        "%a = slice(%x) {axis: 1, start: 0, stop: 2}\n %b = slice(%x) {axis: 1, start: 1, stop: 3}\n"
        f"%p = pad(%a) {{{first}}}\n %q = pad(%b) {{{second}}}\n %r = add(%p, %q)"
    )


KEPT = {
    "pads that overlap": _pads("before: [0, 0], after: [0, 2]", "before: [0, 1], after: [0, 1]"),
    "pads of one place": _pads("before: [0, 2], after: [0, 0]", "before: [0, 2], after: [0, 0]"),
    "pads with ones": _pads("before: [0, 0], after: [0, 2], value: 1.0", "before: [0, 2], after: [0, 0]"),
    "a pad and an array": "%a = slice(%x) {axis: 1, start: 0, stop: 2}\n"
        "%p = pad(%a) {before: [0, 0], after: [0, 2]}\n %r = add(%p, %x)",
    "0 - x": "%z = constant 0.0\n %r = sub(%z, %x)",
    "1 / x": "%z = constant 1.0\n %r = div(%z, %x)",
    "x + (0, 1, 0, 0)": "%z = constant [0.0, 1.0, 0.0, 0.0]\n %r = add(%x, %z)",
    "reversed": "%i = constant range 3 step -1 : int[4]\n %r = gather(%x, %i) {axis: 1}",
    "shifted": "%z = slice(%x) {axis: 1, start: 1, stop: 4}\n %r = pad(%z) {before: [0, 0], after: [0, 1]}",
    "of another function": "scope net function\n %z = neg(%x)\n scope\n %r = neg(%z)",
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_what_computes_something_stays(case: str) -> None:
    assert_stays(Simplify(), between(KEPT[case], "%r"))


def test_x_plus_zeros_of_another_shape_is_broadcast() -> None:
    """The broadcast stays, and what it is added to goes."""
    before = """
    program f(x: float[N, 1, 4]) -> (y: float[N, 3, 4]) {
      %c = constant 0.0
      %z = broadcast_to(%c) {shape: [N, 3, 4]}
      %s = add(%x, %z)
      %y = tanh(%s)
      return y = %y
    }
    """
    after = """
    program f(x: float[N, 1, 4]) -> (y: float[N, 3, 4]) {
      %s = broadcast_to(%x) {shape: [N, 3, 4]}
      %y = tanh(%s)
      return y = %y
    }
    """
    assert_becomes(Simplify(), before, after)


def test_a_constant_log_determinant_is_added_without_an_array_of_its_own() -> None:
    """total + (zeros + sum(s)), as actnorm makes it."""
    before = """
    program f(x: float[N, 4]) -> (y: float[N]) {
      %t = sum(%x) {axes: [1]}
      %s = constant [0.0, 1.0, 2.0]
      %d = sum(%s) {axes: [0]}
      %c = constant 0.0
      %z = broadcast_to(%c) {shape: [N]}
      %e = add(%z, %d)
      %u = add(%t, %e)
      %y = tanh(%u)
      return y = %y
    }
    """
    after = """
    program f(x: float[N, 4]) -> (y: float[N]) {
      %t = sum(%x) {axes: [1]}
      %s = constant [0.0, 1.0, 2.0]
      %d = sum(%s) {axes: [0]}
      %u = add(%t, %d)
      %y = tanh(%u)
      return y = %y
    }
    """
    assert_becomes(Simplify(), before, after)


def test_bodies_of_loops_are_simplified() -> None:
    loop = """
    program f(x: float[N]) -> (c: float[N]) {
      %c = scan(%x) {carries: 1, length: 3}
        body step(c: float[N], step: int[]) -> (c: float[N]) {
          %z = constant 0.0
          %e = EXPRESSION
          %d = exp(%e)
          return c = %d
        }
      return c = %c
    }
    """
    after = (
        loop.replace("%z = constant 0.0\n", "").replace("%e = EXPRESSION\n", "").replace("exp(%e)", "exp(%c)")
    )
    assert_becomes(Simplify(), loop.replace("EXPRESSION", "add(%c, %z)"), after)


def test_outputs_stay_values_of_their_own() -> None:
    assert_stays(Simplify(), """
    program f(x: float[N, 4]) -> (a: float[N, 4], b: float[N, 4]) {
      %z = constant 0.0
      %a = add(%x, %z)
      %b = add(%x, %z)
      return a = %a
      return b = %b
    }
    """)  # fmt: skip


@pytest.mark.parametrize("place", range(3))
def test_an_operand_is_not_repeated_for_a_choice(place: int) -> None:
    """Whichever of the three it is, the others staying what they are."""
    names = ["%a", "%x", "%y"]
    kinds = ["bool", "float", "float"]
    inputs = ", ".join(
        f"{n[1:]}: {kind}[{'1, 3' if i == place else '2, 3'}]"
        for i, (n, kind) in enumerate(zip(names, kinds, strict=True))
    )
    repeated = [*names[:place], "%r", *names[place + 1 :]]
    program = "program f({}) -> (z: float[2, 3]) {{\n{}  %z = where({})\n  return z = %z\n}}"
    wide = f"  %r = broadcast_to({names[place]}) {{shape: [2, 3]}}\n"
    assert_becomes(
        Simplify(),
        program.format(inputs, wide, ", ".join(repeated)),
        program.format(inputs, "", ", ".join(names)),
    )
