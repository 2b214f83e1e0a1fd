"""Many equal layers are one ONNX `Scan` in the files of programs: the same numbers, and graphs that do not grow."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import onnx
import pytest
from layered import DEEP, MANY, lowered, transformer

from mpcompile.backend import DOUBLE, OptimizerSpec, open_session
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.passes import pipeline
from mpcompile.passes.pipeline import FEW_LAYERS, optimise
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile_onnx import OnnxBackend
from mpcompile_onnx.compiled import OnnxModel


@pytest.mark.parametrize("name", DEEP)
def test_layers_in_a_loop_have_the_numbers_of_the_oracle(name: str) -> None:
    held(lowered(DEEP[name]))


def test_a_transformer_in_a_loop_has_the_numbers_of_the_oracle() -> None:
    held(transformer(MANY))


def held(module: Module) -> None:
    """In a session, which is fed the weights, and in a file, which has them."""
    weights, inputs = example_weights(module), example_inputs(module, "log_prob", 3)
    (wanted,) = interpret(module.programs["log_prob"], weights, inputs).values()
    session = open_session("onnx", module, weights, options=DOUBLE)
    (found,) = session.run("log_prob", inputs).values()
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    model = OnnxModel(optimise(module).module, weights)
    np.testing.assert_allclose(model.log_prob(**inputs), wanted, rtol=2e-5)  # type: ignore[attr-defined]  # a program


def operators(layers: int, inline: bool) -> list[str]:
    """The operators of a file, those in bodies of loops left out."""
    module = transformer(layers)
    weights = example_weights(module) if inline else None
    file = OnnxBackend().emit(optimise(module).module, weights, inline=True)["log_prob.onnx"]
    assert isinstance(file, bytes)
    proto = onnx.load_from_string(file)
    onnx.checker.check_model(proto)
    return [n.op_type for n in proto.graph.node]


def test_a_file_with_its_weights_does_not_grow_with_the_number_of_layers() -> None:
    """It has the weights of a region as one array; one that is fed them puts each where it belongs."""
    assert operators(MANY, inline=True) == operators(2 * MANY, inline=True)
    fed = [[op for op in operators(n, inline=False) if op != "Unsqueeze"] for n in (MANY, 2 * MANY)]
    assert fed[0] == fed[1]


def test_a_step_of_training_does_not_grow_with_the_number_of_layers() -> None:
    """It takes the weights of a region, and what the optimiser keeps of them, as one array each."""
    found = []
    for layers in (MANY, 2 * MANY):
        file = OnnxBackend().emit(optimise(transformer(layers)).module)["train_step.onnx"]
        assert isinstance(file, bytes)
        proto = onnx.load_from_string(file)
        onnx.checker.check_model(proto)
        found.append([len(proto.graph.node), len(proto.graph.input), len(proto.graph.output)])
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["adamw", "adagrad"])
def test_steps_on_stacks_are_those_on_layers(kind: str) -> None:
    """So are gradients and state, which each session takes from the other."""
    module = transformer(MANY)
    weights, inputs = example_weights(module), example_inputs(module, "loss", 3, 5)
    rule = OptimizerSpec(kind, weight_decay=0.1, clip=1.0)
    stacked = open_session("onnx", module, weights, rule, options=DOUBLE)
    with patch.object(pipeline, "FEW_LAYERS", MANY):
        flat = open_session("onnx", module, weights, rule, options=DOUBLE)
    for _ in range(3):
        assert stacked.step(inputs, 1e-3) == pytest.approx(flat.step(inputs, 1e-3), rel=1e-12)
    pairs = [(stacked.state(), flat.state())]
    stacked.load_state(pairs[0][1])
    assert stacked.step(inputs, 1e-3) == pytest.approx(flat.step(inputs, 1e-3), rel=1e-12)
    pairs += [(stacked.state(), flat.state()), (stacked.gradients(inputs)[1], flat.gradients(inputs)[1])]
    for found, wanted in pairs:
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-12)


def test_few_layers_are_written_one_by_one() -> None:
    assert "Scan" not in operators(FEW_LAYERS, inline=True)
    assert "Scan" in operators(FEW_LAYERS + 1, inline=True)
