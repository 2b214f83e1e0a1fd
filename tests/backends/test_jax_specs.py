"""Every spec in JAX: what its programs compute, how the text looks, and that it stands alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import specs_under_test
from specs_under_test import NAMES

from mpcompile.backend import OptimizerSpec
from mpcompile.emission.loading import import_source
from mpcompile.interpret import interpret
from mpcompile.ir import Array, DType
from mpcompile_jax import BACKEND, SourceRefused, emit_module, verify_source


def smaller(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.kind == "f" else array


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-9), ("float32", 1e-4)])
def test_programs_mean_what_the_oracle_says(name: str, precision: str, tolerance: float) -> None:
    module = specs_under_test.module(name)
    parameters = specs_under_test.weights(module)
    session = BACKEND.session(module, parameters, precision=precision)
    for program, graph in module.programs.items():
        for batch in (2, 5) if precision == "float64" else (3,):  # each size is compiled anew
            inputs = specs_under_test.inputs(module, program, batch)
            want = interpret(graph, parameters, inputs)
            made = session.run(program, inputs)
            assert list(made) == list(want)
            for key, expected in want.items():
                kind = precision if expected.dtype.kind == "f" else expected.dtype
                assert made[key].dtype == kind and made[key].shape == expected.shape
                if precision == "float32" and (key in module.fields or graph.outputs[key].dtype is DType.INT):
                    # a draw at the edge of two values may fall either way
                    assert np.mean(np.abs(made[key] - expected) > tolerance * (1 + np.abs(expected))) <= 0.02
                    continue
                scale = max(1.0, float(np.abs(expected).max()))
                np.testing.assert_allclose(
                    made[key], expected, rtol=tolerance, atol=tolerance * scale, err_msg=f"{program}.{key}"
                )


def test_functions_work_under_jit_vmap_and_grad(name: str) -> None:
    module = specs_under_test.module(name)
    emitted = emit_module(module)
    source = import_source(emitted.text)
    with jax.enable_x64(True):
        params = {k: jax.numpy.asarray(v) for k, v in specs_under_test.weights(module).items()}
        inputs = {k: jax.numpy.asarray(v) for k, v in specs_under_test.inputs(module, "loss", 3).items()}
        loss = getattr(source, emitted.functions["loss"])

        def scalar(params: dict[str, jax.Array], inputs: dict[str, jax.Array]) -> jax.Array:
            made = loss(params, **inputs)
            return made["loss"] if isinstance(made, dict) else made

        want = interpret(
            module.programs["loss"],
            specs_under_test.weights(module),
            specs_under_test.inputs(module, "loss", 3),
        )
        twice = jax.tree.map(lambda a: jax.numpy.stack([a, a]), inputs)
        both = jax.jit(jax.vmap(jax.value_and_grad(scalar), (None, 0)))  # one compilation for all three
        values, gradients = both(params, twice)
        np.testing.assert_allclose(values, [want["loss"]] * 2, rtol=1e-9)
        assert all(np.isfinite(g).all() for g in gradients.values())


def test_the_compiled_object_has_programs_as_methods(name: str) -> None:
    module = specs_under_test.module(name)
    parameters = specs_under_test.weights(module)
    model = BACKEND.compile(module, parameters)
    program, graph = next(iter(module.programs.items()))
    inputs = specs_under_test.inputs(module, program, 2)
    made = getattr(model, program)(**{k: smaller(v) for k, v in inputs.items()})
    want = interpret(graph, parameters, inputs)
    made = made if isinstance(made, dict) else {next(iter(want)): made}
    assert program in dir(model) and not hasattr(model, "no_such_program")
    for key, expected in want.items():
        np.testing.assert_allclose(made[key], expected, rtol=1e-3, atol=1e-4)


def test_emission_is_deterministic(name: str) -> None:
    module = specs_under_test.module(name)
    assert BACKEND.emit(module) == BACKEND.emit(module)


def test_the_text_is_formatted(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    text = BACKEND.emit(specs_under_test.module(name))["model.py"]
    assert isinstance(text, str)
    path.write_text(text, encoding="ascii")
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--no-cache", "--line-length", "100"]
    form = subprocess.run([*ruff, "format", "--diff", *options, str(path)], capture_output=True, text=True)
    assert form.returncode == 0, form.stdout
    rules = ["--select", "E,F,I,UP,B", "--target-version", "py311"]
    check = subprocess.run([*ruff, "check", *options, *rules, str(path)], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout


@pytest.mark.slow
def test_the_text_passes_mypy(tmp_path: Path) -> None:
    for name in NAMES:
        text = BACKEND.emit(specs_under_test.module(name))["model.py"]
        assert isinstance(text, str)
        (tmp_path / f"model_{name}.py").write_text(text, encoding="ascii")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-warn-return-any",
        "--config-file=",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


STANDALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].startswith("mpcompile"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])
import jax, numpy
import model

params = model.load(sys.argv[2])
inputs = dict(numpy.load(sys.argv[3]))
made = jax.jit(model.loss)(params, **inputs)
print(float(made["loss"] if isinstance(made, dict) else made))
"""


def test_the_file_works_without_mpcompile(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    names = ("realnvp2d", "char_lstm")
    for name in names:
        module = specs_under_test.module(name)
        folder = tmp_path / name
        folder.mkdir()
        parameters = {k: v.astype(np.float32) for k, v in specs_under_test.weights(module).items()}
        save_file(parameters, folder / "weights.safetensors")
        inputs = specs_under_test.inputs(module, "loss", 3)
        np.savez(folder / "inputs.npz", **{k: smaller(v) for k, v in inputs.items()})  # type: ignore[arg-type]  # arrays
        text = BACKEND.emit(module)["model.py"]
        assert isinstance(text, str)
        (folder / "model.py").write_text(text, encoding="ascii")
        files = [str(folder), str(folder / "weights.safetensors"), str(folder / "inputs.npz")]
        done = subprocess.run(
            [sys.executable, "-I", "-c", STANDALONE, *files], cwd=folder, capture_output=True, text=True
        )
        want = interpret(module.programs["loss"], parameters, inputs)["loss"]
        assert float(done.stdout) == pytest.approx(float(want), rel=1e-4), done.stderr


def test_a_repeated_block_is_one_function() -> None:
    text = emit_module(specs_under_test.module("realnvp2d")).text
    assert text.count("def coupling(") == text.count("def coupling_inverse(") == 1
    assert text.count("coupling(below(") >= 8


def test_recurrences_are_loops_of_jax() -> None:
    assert "lax.scan(" in emit_module(specs_under_test.module("char_lstm")).text
    assert "lax.fori_loop(" in emit_module(specs_under_test.module("transformer")).text


@pytest.mark.parametrize(
    "text",
    [
        "import os\n",
        "from os import path\n",
        "from jax import config\n",
        "import jax\njax.config.update('a', 1)\n",
        "import jax.numpy as jnp\njnp.load('weights.npy')\n",
        "import numpy as np\nnp.load('a', allow_pickle=True)\n",
        "x = eval('1')\n",
        "x = ().__class__\n",
        "@a\ndef f(): pass\n",
        "x = lambda: 0\n",
        "open('a')\n",
        "x = (\n",
        "x = '\u00e9'\n",
    ],
)
def test_other_source_is_refused(text: str) -> None:
    with pytest.raises(SourceRefused):
        verify_source(text)


def test_unknown_rules_and_precisions_are_refused() -> None:
    module = specs_under_test.module("mlp")
    parameters = specs_under_test.weights(module)
    with pytest.raises(ValueError, match="precision"):
        BACKEND.session(module, parameters, precision="float16")
    with pytest.raises(ValueError, match="no update rule"):
        BACKEND.session(module, parameters, OptimizerSpec("newton"))
