"""Constructs that no shipped spec has side by side: a spec is refused at a place, or it works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from odd_specs import spec
from written import lowered

from mpcompile import api
from mpcompile.backend import OptimizerSpec, find_backend
from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.batches import complete
from mpcompile.runner.examples import example_inputs, example_weights

BACKENDS = ("torch", "jax", "onnx")


@pytest.mark.parametrize("start", range(0, 120, 20))
def test_random_specs_are_refused_at_a_place_or_work(start: int) -> None:
    worked = 0
    for seed in range(start, start + 20):
        text = spec(seed)
        try:
            module = lowered(text)
            api.check(module)
        except SpecError as refused:
            assert all(d.span.line for d in refused.diagnostics), text
            continue
        weights = example_weights(module)
        made = optimise(module).module
        for program in module.programs:
            inputs = example_inputs(module, program, 2, 4)
            wanted = interpret(module.programs[program], weights, inputs)
            found = interpret(made.programs[program], weights, inputs)
            for name, value in wanted.items():
                np.testing.assert_allclose(
                    found[name], value, rtol=1e-6, atol=1e-8, err_msg=f"{text}\n{program}.{name}"
                )
        worked += 1
    assert worked >= 8


#: Combinations that once ended in a traceback.
ODD = {
    "multiple_of_a_length": "input x: real[2 * time, 2]\nx ~ autoregressive { shift -> dense(4) }",
    "multiple_of_a_length_into_lstm": "input x: real[3 * time, 2]\ntarget y: real[2]\n"
    "y ~ normal(x -> lstm(3, output = state) -> dense(4))",
    "attention_over_one_element":
        "input x: binary[1]\nx ~ autoregressive(order = natural) "
        "{ reshape(time = 1, channel = 1) -> attention(1, mask = causal) -> shift -> dense(1) -> flatten }",
    "noise_of_one_name_in_two_shapes":
        "input x: integer(0..3)[1, 2, 2]\nx ~ flow(base = normal) {\n"
        "  dequantize { logit(alpha = 0) -> coupling(mask = checkerboard, net = conv(2, 1), condition = x) }\n"
        "  logit(alpha = 0.05) -> actnorm -> coupling(mask = checkerboard, net = conv(2, 1))\n}",
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ODD)
def test_odd_combinations_train_and_sample(name: str, backend: str) -> None:
    module = lowered(f"model odd\n{ODD[name]}\n")
    assert not [d for d in api.check(module) if d.severity.value == "error"]
    weights, made = example_weights(module), optimise(module).module
    session = find_backend(backend).session(made, weights, OptimizerSpec())
    for program, graph in made.programs.items():
        inputs = example_inputs(module, program, 3, 4)
        wanted, found = interpret(module.programs[program], weights, inputs), session.run(program, inputs)
        for output in graph.outputs:
            np.testing.assert_allclose(found[output], wanted[output], rtol=1e-3, atol=1e-4)
    data = dict(example_inputs(module, "loss", 3, 4))
    for program in made.programs:
        if program in (
            "initialize",
            "loss",
        ):  # with the noise of the loss beside the data, as a run hands it over
            complete(made, program, data, (0, program))
    for step in range(3):
        assert np.isfinite(session.step(example_inputs(module, "loss", 3, 4, seed=step), 1e-3)["loss"])


def test_a_multiple_of_a_length_is_read_off_the_data(tmp_path: Path) -> None:
    """From a file to a sample, on the command line's own way."""
    from mpcompile.runner.loop import Options, train

    path = tmp_path / "m.mp"
    path.write_text(
        "model m\ninput x: real[2 * time, 2]\nx ~ autoregressive { shift -> dense(4) }\ntrain { batch: 4, steps: 3 }\n"
    )
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal((40, 6, 2)).astype(np.float32))
    module = api.load(path)
    result = train(module, tmp_path / "run", Options("onnx", str(tmp_path / "x.npz")))
    assert result.step == 3
