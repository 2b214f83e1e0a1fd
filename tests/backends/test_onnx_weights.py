"""ONNX files of a build share one weights file: its bytes are what they read, and a file of another folder is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import specs_under_test as specs
from layered import MANY, transformer
from onnx.external_data_helper import load_external_data_for_model

from mpcompile import api
from mpcompile.emission.tensors import WEIGHTS, neighbours, places, serialise
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile_onnx import BACKEND, emit_graph


def written(module: Module, weights: dict[str, Array], folder: Path) -> Path:
    """The files of a module and its weights, as a build writes them."""
    folder.mkdir(exist_ok=True)
    for name, data in BACKEND.emit(module, weights).items():
        (folder / name).write_bytes(bytes(data))  # type: ignore[arg-type]  # never text
    (folder / WEIGHTS).write_bytes(b"".join(serialise(weights, neighbours(module))))
    return folder


def stored(model: onnx.ModelProto) -> dict[str, Array]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}


@pytest.mark.parametrize("spec", ["beta_vae", "cnn", "glow", "made", "transformer"])
def test_the_weights_that_a_graph_reads_are_those_that_it_would_hold(spec: str, tmp_path: Path) -> None:
    """Every program: the same graph, and no weight in it."""
    module = optimise(specs.module(spec)).module
    weights = {k: v.astype(np.float32) for k, v in specs.weights(module).items()}
    first = neighbours(module)
    (tmp_path / WEIGHTS).write_bytes(b"".join(serialise(weights, first)))
    for name, graph in module.regions.items():
        inside = emit_graph(module, graph, weights).model
        outside = emit_graph(module, graph, weights, places=places(weights, first)).model
        assert outside.graph.node == inside.graph.node
        held = {t.name for t in outside.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
        assert held == {t.name for t in inside.graph.initializer} & set(weights)
        load_external_data_for_model(outside, str(tmp_path))
        wanted, found = stored(inside), stored(outside)
        assert wanted.keys() == found.keys()
        for key, array in wanted.items():
            np.testing.assert_array_equal(found[key], array, err_msg=f"{name} {key}", strict=True)


def run(path: Path, inputs: dict[str, Array]) -> list[Array]:
    """The results of a file on the runtime, which the checker has accepted."""
    onnx.checker.check_model(str(path), full_check=True)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {i.name: inputs[i.name] for i in session.get_inputs()}
    return [np.asarray(a) for a in session.run(None, given)]


def inputs_of(module: Module) -> dict[str, Array]:
    given = example_inputs(module, "log_prob", 3)
    return {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in given.items()}


def test_weights_of_a_loop_over_layers_are_one_stretch_of_the_file(tmp_path: Path) -> None:
    module = optimise(transformer(MANY)).module
    weights = {k: v.astype(np.float32) for k, v in example_weights(module).items()}
    path = written(module, weights, tmp_path) / "log_prob.onnx"
    model, inputs = onnx.load(path, load_external_data=False), inputs_of(module)
    kinds = [n.op_type for n in model.graph.node]
    stacks = sum(":" in t.name for t in model.graph.initializer)
    assert "Scan" in kinds and stacks >= 12
    (wanted,) = interpret(module.programs["log_prob"], weights, inputs).values()
    np.testing.assert_allclose(run(path, inputs)[0], wanted, rtol=2e-5)
    # in another order they are put together by the graph
    apart = {name: (8 * i, 4) for i, name in enumerate(weights)}
    graph = emit_graph(module, module.regions["log_prob"], weights, places=apart).model.graph
    assert not any(":" in t.name for t in graph.initializer)
    assert [n.op_type for n in graph.node].count("Concat") == kinds.count("Concat") + stacks


def test_weights_in_double_precision_are_made_single(tmp_path: Path) -> None:
    module = optimise(specs.module("made")).module
    weights, inputs = example_weights(module), inputs_of(module)
    assert {a.dtype.name for a in weights.values()} == {"float64"}
    (wanted,) = interpret(module.programs["log_prob"], weights, inputs).values()
    found = run(written(module, weights, tmp_path) / "log_prob.onnx", inputs)[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=2e-5)


@pytest.mark.parametrize(
    "place", ["../weights.safetensors", "/weights.safetensors", "sub/../../weights.safetensors"]
)
def test_a_file_of_another_folder_is_refused(place: str, tmp_path: Path) -> None:
    """By the runtime and by the checker, though the file is there."""
    module = optimise(specs.module("mlp")).module
    weights: Any = {k: v.astype(np.float32) for k, v in specs.weights(module).items()}
    folder = written(module, weights, tmp_path / "model")
    model = onnx.load(folder / "predict.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                assert entry.value == WEIGHTS
                entry.value = place if place[0] != "/" else str(tmp_path / WEIGHTS)
    (folder / WEIGHTS).rename(tmp_path / WEIGHTS)
    (folder / "sub").mkdir()
    (folder / "predict.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(str(folder / "predict.onnx"))
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.Fail):
        ort.InferenceSession(str(folder / "predict.onnx"), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("inline", [False, True])
def test_a_build_has_its_weights_once_or_in_every_file(inline: bool, tmp_path: Path) -> None:
    module = specs.module("made")
    api.build(module, "onnx", tmp_path / "out", inline=inline)
    held = (tmp_path / "out" / WEIGHTS).stat().st_size
    assert ((tmp_path / "out" / "log_prob.onnx").stat().st_size > held) == inline
