"""Activation checkpointing: the numbers stay, and of repeated layers the gradient keeps the inputs alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mpcompile.backend import DOUBLE, OptimizerSpec, SessionOptions, open_session
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.group import Group
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.ops import Repeat
from mpcompile.passes.pipeline import optimise
from mpcompile.passes.recompute import recomputed
from mpcompile.passes.train_step import train_step
from mpcompile.runner.examples import example_inputs, example_weights

WIDTH, LAYERS, BATCH = 6, 9, 4
# the body of the first repeat has no block of its own, and reads a value around it; the second one gives stacked results
TEXT = """model m
input x: real[6]
target y: real[3]
net body = repeat i in 1..9 { dense(6) -> tanh -> residual(dense(12) -> relu -> dense(6)) } -> dense(3)
net normed = repeat i in 1..3 { dense(6) -> batch_norm -> tanh } -> dense(3)
y ~ normal(loc = body(x) + normed(x), scale = 1)
"""


def made(train: str = "", text: str = TEXT) -> Module:
    text = f"{text}train {{ {train} }}\n"
    return optimise(lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})).module


PLAIN, MARKED = made(), made("recompute: layers")


@pytest.fixture(scope="module")
def example() -> tuple[dict[str, Array], dict[str, Array]]:
    return example_weights(PLAIN), example_inputs(PLAIN, "loss", BATCH)


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_the_numbers_stay(backend: str, example: tuple[dict[str, Array], dict[str, Array]]) -> None:
    """To the bit, but in jax, where XLA fuses other operations."""
    weights, inputs = example
    kept, anew = (open_session(backend, m, weights, OptimizerSpec(), options=DOUBLE) for m in (PLAIN, MARKED))
    (before, wanted), (after, found) = kept.gradients(inputs), anew.gradients(inputs)
    assert before["loss"] == pytest.approx(after["loss"], rel=1e-14)
    for name, gradient in wanted.items():
        if backend == "jax":
            np.testing.assert_allclose(found[name], gradient, rtol=1e-11, atol=1e-14)
        else:
            np.testing.assert_array_equal(found[name], gradient, err_msg=name)


def test_torch_keeps_the_inputs_of_layers_alone(example: tuple[dict[str, Array], dict[str, Array]]) -> None:
    weights, inputs = example
    sizes = []
    for module in (PLAIN, MARKED):
        session = open_session("torch", module, weights)
        kept: list[int] = []

        def keep(x: torch.Tensor, to: list[int] = kept) -> torch.Tensor:
            to.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            session.gradients(inputs)
        sizes.append(sum(kept))
    assert sizes[1] < sizes[0] / 3


def test_the_derived_gradient_stacks_the_inputs_of_layers_alone() -> None:
    stacked = []
    for module in (PLAIN, recomputed(MARKED)):
        graph = train_step(module, OptimizerSpec())
        (forward, *_) = [n for n in graph.nodes() if isinstance(n.op, Repeat)]
        stacked.append(len(forward.types) - 1)
    assert stacked[0] > 2
    assert stacked[1] == 1


def test_jax_differentiates_a_checkpointed_loop() -> None:
    """A loss with max-pooling has the gradient of jax itself."""
    text = """model m
input x: real[2, height: 4, width: 4]
target y: real[2]
net body = maxpool(2) -> repeat i in 1..8 { conv(2, kernel = 1) -> tanh } -> flatten -> dense(2)
y ~ normal(loc = body(x), scale = 1)
"""
    plain, marked = made(text=text), made("recompute: layers", text)
    weights, inputs = example_weights(plain), example_inputs(plain, "loss", 2)
    wanted = open_session("jax", plain, weights, options=DOUBLE).gradients(inputs)[1]
    found = open_session("jax", marked, weights, options=DOUBLE).gradients(inputs)[1]
    for name, gradient in wanted.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-11, atol=1e-14)


def test_the_pass_leaves_the_values(example: tuple[dict[str, Array], dict[str, Array]]) -> None:
    weights, inputs = example
    module = recomputed(MARKED)
    assert interpret(module.programs.layered("loss"), weights, inputs)["loss"] == pytest.approx(  # type: ignore[attr-defined]
        interpret(PLAIN.programs["loss"], weights, inputs)["loss"], rel=1e-12
    )
    assert module.programs["predict"] is MARKED.programs["predict"]


def test_what_cannot_be_recomputed_is_refused() -> None:
    flat = replace(PLAIN, train=MARKED.train)
    text = TEXT.replace("normed(x)", "body(x)").replace("1..9", "1..1")
    with pytest.raises(SpecError, match="finds no repeated layers") as refused:
        recomputed(made("recompute: layers", text))
    assert refused.value.diagnostics[0].code == "MP511"
    weights = example_weights(PLAIN)
    with pytest.raises(SpecError, match="takes statistics of its batch"):
        open_session("torch", flat, weights, options=SessionOptions(group=Group(0, 2, 2)))
