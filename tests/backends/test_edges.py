"""Batches of none, sequences of one step and of none: results of the right shape, or an error that Python can catch.

A crash of a process is what must not be: onnxruntime dies of a `Scan` over another axis than the first where a size
before it is none.
"""

from __future__ import annotations

import numpy as np
import pytest
from specs_under_test import NAMES, module, weights
from written import lowered

from mpcompile.backend import find_backend, installed
from mpcompile.interpret import size_environment
from mpcompile.ir import Module, symbol
from mpcompile.runner.examples import example_inputs

#: Compiling is what costs on jax: one spec of each kind.
FEW = ("made", "transformer", "char_lstm", "vrnn", "realnvp2d")
CASES = [(b, n) for b in installed() for n in NAMES if b != "jax" or n in FEW]

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


def run(m: Module, backend: str, sizes: tuple[tuple[int, int], ...]) -> None:
    """Every program at (batch, length), its results held to their types."""
    session = find_backend(backend).session(m, weights(m), precision="float32")
    for program, graph in m.programs.items():
        sequences = set(graph.symbols()) - {"N"}
        for batch, length in sizes:
            if (length == 0 and not sequences) or "N" not in graph.symbols():
                continue
            inputs = example_inputs(m, program, batch, length)
            try:
                found = session.run(program, inputs)
            except Exception:  # whatever kernels and frameworks raise for no steps
                if length > 0:
                    raise
                continue
            env = {symbol(s): size for s, size in size_environment(graph, inputs).items()}
            for name, value in graph.outputs.items():
                if name in found and all(isinstance(s, int) or s in env for s in value.shape):
                    wanted = tuple(env.get(s, s) for s in value.shape)  # type: ignore[call-overload]
                    assert np.shape(found[name]) == wanted, (program, name, batch, length)


@pytest.mark.parametrize(("backend", "name"), CASES)
def test_no_examples_and_no_steps(backend: str, name: str) -> None:
    run(module(name), backend, ((0, 3), (2, 0), (0, 0)))


@pytest.mark.parametrize("backend", installed())
@pytest.mark.parametrize("name", NARROW)
def test_one_element_one_channel_one_step(backend: str, name: str) -> None:
    run(lowered(f"model narrow\n{NARROW[name]}\n"), backend, ((1, 1), (0, 1), (2, 0)))
