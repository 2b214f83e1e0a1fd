"""Loops that are written as torch's kernels: which, and that they mean the loop."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from one_layer import gradients, pipeline, predict
from specs_under_test import inputs, weights
from written import lowered

from mpcompile import ops
from mpcompile.backend import DOUBLE, find_backend
from mpcompile.diagnostics import Source
from mpcompile.emission.scopes import count_uses
from mpcompile.interpret import interpret
from mpcompile.ir import Builder, DType, Graph, Module, Type, float_type, symbol
from mpcompile.kernels import find_recurrent_layers
from mpcompile.layers import Context
from mpcompile.layers.recurrent import Rnn
from mpcompile.outline import Loop, outline
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.passes.pipeline import optimise
from mpcompile_torch.weights import transposed_at_use

HEAD = "model m\ninput x: real[time, 2]\n"
LENGTHS = f"{HEAD}condition length: integer(1..time)\n"


def calls(m: Module) -> list[str]:
    """Calls of kernels, then loops, in the code of the loss."""
    text = find_backend("torch").emit(replace(m, programs={"loss": m.programs["loss"]}))["model.py"]
    assert isinstance(text, str)
    return re.findall(r"= fused_(\w+)\(", text) + re.findall(r"(?m)^ +(for) (?!name, )", text)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(
    "options", ["", ", layers = 2, bidirectional = true", ", output = state", ", bias = false"]
)
def test_a_layer_is_a_call(kind: str, options: str) -> None:
    """Values and gradients of the emitted call in float64 are those of the loop on the oracle."""
    m = pipeline(f"{kind}(3{options})", 5, 2)
    called = f"{kind}_unbiased" if "false" in options else kind
    assert calls(m) == [called] * (4 if "layers" in options else 1)
    w, rng = weights(m, spread=0.5), np.random.default_rng(1)
    x = rng.normal(size=(4, 5, 2))
    cotangent = rng.normal(size=predict(m, w, x).shape)
    expected, slopes = gradients(m, w, x, cotangent)
    session = find_backend("torch").session(m, w, options=DOUBLE)
    outputs, found = session.gradients({"x": x, "cotangent": cotangent})
    np.testing.assert_allclose(outputs["y"], expected["y"], rtol=1e-9, atol=1e-12)
    for name, slope in found.items():
        np.testing.assert_allclose(slope, slopes[name], rtol=1e-9, atol=1e-12, err_msg=name)


PREDICT = "target y: real[1]\ny ~ normal(x -> {} -> dense(1), 1)"
STEP = "recurrence over time {{\n  carry h[3] = 0\n  x ~ normal(dense(2)(h), 1)\n  h = {}\n}}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + PREDICT.format("lstm(3) -> last"), ["lstm"]),
        # sequences of unequal length: forwards, where the last state is not read
        (LENGTHS + "x ~ autoregressive(likelihood = normal) { shift -> lstm(3) -> dense(4) }", ["lstm"]),
        (LENGTHS + PREDICT.format("gru(3, layers = 2) -> last"), ["gru", "gru"]),
        (LENGTHS + PREDICT.format("gru(3, output = state)"), ["for"]),
        (LENGTHS + PREDICT.format("rnn(3, bidirectional = true) -> last"), ["rnn", "for"]),
        # a step that is more than the layer's
        (HEAD + STEP.format("gru(x, h)"), ["for"]),
        (HEAD + STEP.format("0.5 * rnn(x, h)"), ["for"]),
    ],
)
def test_what_is_a_call_and_what_stays_a_loop(text: str, expected: list[str]) -> None:
    m = lowered(text + "\n")
    assert calls(m) == expected
    w = weights(m, spread=0.5)
    session = find_backend("torch").session(m, w, options=DOUBLE)
    for program in m.programs.keys() - {"sample"}:
        x = inputs(m, program, 4, 6)
        if "length" in x:
            x["length"] = np.array([1.0, 6, 3, 4])
        found = session.run(program, x)
        for name, value in interpret(m.programs[program], w, x).items():
            np.testing.assert_allclose(
                found[name], value, rtol=1e-9, atol=1e-12, err_msg=f"{program}: {name}"
            )


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize(
    ("step", "expected"), [("gru(x, h)", "gru"), ("rnn(x, h)", "rnn"), ("0.5 * rnn(x, h)", "for")]
)
def test_a_recurrence_is_a_call_once_its_law_has_left_the_loop(
    step: str, expected: str, lengths: bool
) -> None:
    """The law of a step reads the state before it: values and gradients are the loop's, of one step and of several."""
    reference = lowered((LENGTHS if lengths else HEAD) + STEP.format(step) + "\n")
    m = optimise(reference).module
    assert calls(m) == [expected]
    w = weights(m, spread=0.5)
    session = find_backend("torch").session(m, w, options=DOUBLE)
    for time in (1, 5):
        x = inputs(m, "loss", 3, time)
        graph = differentiate(reference.programs["loss"], "loss", list(m.parameters))
        wanted, (outputs, found) = interpret(graph, w, x), session.gradients(x)
        np.testing.assert_allclose(outputs["loss"], wanted["loss"], rtol=1e-9)
        for name, slope in found.items():
            np.testing.assert_allclose(
                slope, wanted[gradient_name(name)], rtol=1e-9, atol=1e-12, err_msg=name
            )


def test_a_mask_that_is_no_prefix_stays_a_loop() -> None:
    """Behind a hole the kernel's state would be another one."""
    for hole in (False, True):
        ctx, n, time = Context(Builder(Graph("loss")), {}), symbol("N"), symbol("time")
        x = ctx.b.input("x", float_type(n, time, 2))
        ctx.lengths["time"] = ctx.b.input("length", Type(DType.INT, (n,)))
        if hole:
            ctx._present["time"] = ctx.b.input("present", Type(DType.BOOL, (n, time)))
        graph = ctx.b.graph
        graph.outputs["y"] = ctx.b.emit(ops.Tanh(), Rnn(3).forward(ctx, x))
        block = (
            outline(Module("m", Source("m.mp", ""), {"loss": transposed_at_use(graph)})).root.methods[0].block
        )
        assert any(isinstance(item, Loop) for item in block.items)
        assert bool(find_recurrent_layers(block, count_uses(block))) != hole
