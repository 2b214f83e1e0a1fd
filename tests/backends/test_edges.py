"""Batches of none, sequences of one step and of none: results of the right shape, or an error that Python can catch.

A crash of a process is what must not be: onnxruntime dies of a `Scan` over another axis than the first where a size
before it is none.
"""

from __future__ import annotations

import pytest
from emptied import held_to_types
from specs_under_test import module, prepared, weights
from written import lowered

from mpcompile.backend import find_backend, installed, open_session

#: Compiling is what costs on jax: a spec with a length and one with a loop; `test_friendly` has densities of each kind,
#: and `test_parity` every spec on torch and onnx.
FEW = ("transformer", "vrnn")

#: One element, one channel, one step, one class more than one, several orders.
NARROW = {
    "made": "input x: binary[1]\nmask up = degrees(hidden = 3)\n"
    "x ~ autoregressive(order = natural) { dense(3, mask = up) -> tanh -> dense(1, mask = strict(up)) }",
    "ensemble": "input x: binary[1]\nmask up = degrees(hidden = 3)\nx ~ autoregressive(order = random, orders = 2, "
    "masks = 2) { dense(3, mask = up) -> tanh -> dense(1, mask = strict(up)) }",
    "flow": "input x: real[1]\nx ~ flow(base = normal) { scale }",
    "maf": "input x: real[1]\nx ~ flow(base = normal) { autoregressive(hidden = [3]) -> permute(reverse) }",
    "lstm": "input x: real[time, 1]\nx ~ autoregressive { shift -> lstm(1) -> dense(2) }",
    "attention": "input x: category(2)[time]\nx ~ autoregressive(likelihood = categorical) "
    "{ embedding(2) -> shift -> attention(1, mask = causal) -> dense(2) }",
    "conv1d": "input x: real[time, 1]\nx ~ autoregressive { shift -> conv1d(1, 2) -> dense(2) }",
    "image": "input x: binary[1, 1, 1]\nx ~ autoregressive(order = natural) "
    "{ conv(1, [3, 3], pad = same, mask = causal2d(type = A)) }",
    "vae": "input x: real[1]\nlatent z ~ normal(x -> dense(2)) prior normal(0, 1)\nx ~ normal(z -> dense(2))",
}  # fmt: skip


@pytest.mark.parametrize("name", FEW)
def test_no_examples_and_no_steps(name: str) -> None:
    held_to_types(
        module(name), open_session("jax", prepared(name), weights(module(name))), ((0, 3), (2, 0), (0, 0))
    )


@pytest.mark.parametrize("backend", installed())
@pytest.mark.parametrize("name", NARROW)
def test_one_element_one_channel_one_step(backend: str, name: str) -> None:
    m = lowered(f"model narrow\n{NARROW[name]}\n")
    held_to_types(m, find_backend(backend).session(m, weights(m)), ((1, 1), (0, 1), (2, 0)))
