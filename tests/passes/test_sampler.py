"""Derived samplers: with the same noise, the same sample as the loop that runs the whole network for each element."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import specs_under_test as specs

from mpcompile import ops
from mpcompile.api import load
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Graph, Module
from mpcompile.lowering import lower
from mpcompile.passes.sampler import Refused, derive
from mpcompile.passes.sampler.find import find
from mpcompile.runner.examples import example_inputs, example_weights

LENGTH = 13

VARIANTS = {
    "order": """
        model m
        input x: binary[12]
        mask up = degrees(order = random, hidden = 30, seed = 3)
        x ~ autoregressive(order = random, seed = 3, likelihood = bernoulli) {
          dense(30, mask = up) -> relu -> dense(12, mask = strict(up))
        }""",
    "real": """
        model m
        input x: real[7]
        mask up = degrees(order = natural, hidden = 5, seed = 0)
        x ~ autoregressive(likelihood = normal) {
          dense(5, mask = up) -> tanh -> dense(14, mask = strict(up))
        }""",
    "levels": """
        model m
        input x: integer(0..3)[6]
        mask up = degrees(order = natural, hidden = 12, seed = 0)
        x ~ autoregressive(likelihood = categorical) {
          dense(12, mask = up) -> relu -> dense(24, mask = strict(up))
        }""",
    "mixture": """
        model m
        input x: real[5]
        mask up = degrees(order = natural, hidden = 12, seed = 0)
        x ~ autoregressive(likelihood = logistic_mixture, components = 3) {
          dense(12, mask = up) -> tanh -> dense(45, mask = strict(up))
        }""",
    "rnn": """
        model m
        input x: category(5)[time]
        x ~ autoregressive(likelihood = categorical) {
          embedding(4) -> shift -> rnn(6) -> rnn(6) -> dense(5)
        }""",
    "wide": """
        model m
        input x: real[time, 3]
        x ~ autoregressive(likelihood = normal) {
          shift -> conv1d(8, 3, dilation = 2) -> relu -> conv1d(8, 4) -> residual(dense(8) -> tanh) -> dense(6)
        }""",
    "mixed": """
        model m
        input x: category(5)[time]
        x ~ autoregressive(likelihood = categorical) {
          embedding(4) -> conv1d(8, 2) -> shift -> residual(attention(2, mask = causal)) -> lstm(8) -> dense(5)
        }""",
    "colours": """
        model m
        input x: integer(0..3)[3, 4, 5]
        block first on x { yield x -> conv(9, 3, pad = same, mask = causal2d(type = A, channels = rgb)) }
        block more on h { yield h + (h -> relu -> conv(9, 3, pad = same, mask = causal2d(type = B, channels = rgb))) }
        x ~ autoregressive(order = pixel, likelihood = categorical) {
          first -> more -> more -> relu -> conv(12, 1, mask = causal2d(type = B, channels = rgb))
        }""",
    "row lstm": """
        model m
        input x: binary[1, 5, 6]
        block first on x { yield x -> conv(6, 3, pad = same, mask = causal2d(type = A)) }
        x ~ autoregressive(likelihood = bernoulli) {
          first -> residual(row_lstm(6)) -> residual(row_lstm(6, kernel = 5)) -> relu -> conv(1, 1)
        }""",
    "rows": """
        model m
        input x: integer(0..3)[1, 5, 4]
        x ~ autoregressive(likelihood = categorical) {
          conv(6, 3, pad = same, mask = causal2d(type = A)) -> relu
          conv(6, 5, pad = same, mask = causal2d(type = B)) -> relu -> conv(4, 1)
        }""",
}


def from_text(text: str) -> Module:
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})


@cache
def module(name: str) -> Module:
    if name in VARIANTS:
        return from_text(VARIANTS[name])
    return load(next(p for p in specs.SPECS if p.stem == name))


def loops(graph: Graph) -> bool:
    return any(find(node) for node in graph.nodes())


NAMES = [n for n in specs.NAMES if loops(module(n).programs.get("sample", Graph("none")))]


def inputs(m: Module, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise, and conditions."""
    return example_inputs(m, "sample", batch, LENGTH, seed)


@pytest.mark.parametrize("name", [*NAMES, *VARIANTS])
def test_the_sample_is_that_of_the_reference(name: str) -> None:
    m = module(name)
    derived = derive(m.programs["sample"])
    assert not derived.refusals
    assert not loops(derived.graph)
    weights = {k: np.asarray(w, np.float64) for k, w in example_weights(m).items()}
    given, env = inputs(m, 3), {"time": LENGTH}
    expected = interpret(m.programs["sample"], weights, given, env)
    found = interpret(derived.graph, weights, given, env)
    for key, value in expected.items():
        assert len(np.unique(value)) > 1
        np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["made", "pixelcnn", "transformer", "char_lstm"])
def test_noise_of_later_steps_is_not_read(name: str) -> None:
    """What is drawn late may be anything, not-a-number included, without a trace in what is drawn before."""
    m = module(name)
    graph = derive(m.programs["sample"]).graph
    weights = {k: np.asarray(w, np.float64) for k, w in example_weights(m).items()}
    given, env = inputs(m, 2), {"time": LENGTH}
    key = next(iter(given))
    poisoned = {k: v.copy() for k, v in given.items()}
    flat = poisoned[key].reshape(2, -1)
    half = flat.shape[1] // 2
    flat[:, half:] = np.nan
    whole = next(iter(interpret(graph, weights, given, env).values())).reshape(2, -1)
    with np.errstate(invalid="ignore"):
        part = next(iter(interpret(graph, weights, poisoned, env).values())).reshape(2, -1)
    np.testing.assert_array_equal(whole[:, :half], part[:, :half])


@pytest.mark.parametrize("name", NAMES)
def test_work_does_not_grow_with_the_number_of_elements(name: str) -> None:
    """The network is not run once for each element: a step holds no value as large as a whole layer of it."""
    m = module(name)
    references = [n for n in m.programs["sample"].nodes() if find(n)]
    naive = sum(work(n.op.attributes()["body"]) * steps(n) for n in references)
    fast = sum(work(n.op.body) * steps(n) for n in derive(m.programs["sample"]).graph.nodes() if is_loop(n))
    elements = max(steps(n) for n in references)
    assert fast < (naive / 4 if elements > 8 else naive)  # two steps cost little, however they are done


def is_loop(node: object) -> bool:
    return isinstance(getattr(node, "op", None), ops.Scan)


def steps(node: object) -> int:
    length = getattr(node, "op").length  # noqa: B009
    return length if isinstance(length, int) else LENGTH


def work(body: Graph) -> int:
    """Multiply-adds of one turn."""
    total, env = 0, {"N": 1, "time": LENGTH}
    for node in body.nodes():
        out = int(np.prod(node.types[0].concrete(env)))
        if isinstance(node.op, ops.MatMul):
            total += out * int(node.inputs[0].type.concrete(env)[-1])
        elif isinstance(node.op, ops.Conv):
            total += out * int(np.prod(node.inputs[1].type.concrete(env)[1:]))
        elif isinstance(node.op, ops.Mul):
            total += out
        elif isinstance(node.op, ops.Scan):
            total += steps(node) * work(node.op.body)
    return total


def test_what_cannot_be_stepped_is_refused_by_name() -> None:
    text = """
        model m
        input x: integer(0..3)[3, 4, 4]
        x ~ autoregressive(order = natural, likelihood = categorical) { conv(12, 1) }"""
    m = from_text(text)
    derived = derive(m.programs["sample"])
    assert [type(r) for r in derived.refusals] == [Refused]
    assert "order" in str(derived.refusals[0])
    assert loops(derived.graph)
