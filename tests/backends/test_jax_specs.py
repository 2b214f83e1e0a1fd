"""Every spec in JAX: what its programs compute, how the text looks, and that it stands alone."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import specs_under_test
from specs_under_test import KINDS, NAMES

from mpcompile.backend import DOUBLE, OptimizerSpec, SessionOptions, find_backend
from mpcompile.interpret import interpret
from mpcompile.ir import Array, DType, Module
from mpcompile_jax import BACKEND, SourceRefused, verify_source
from mpcompile_jax.loading import Program, import_programs

Tree = dict[str, Any]


def smaller(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.kind == "f" else array


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@cache
def functions(name: str) -> dict[str, Program]:
    """The emitted function of each program."""
    return import_programs(specs_under_test.module(name))


def hold(
    module: Module, program: str, made: dict[str, Any], want: dict[str, Array], tolerance: float
) -> None:
    """Every output of a program to the oracle's, `tolerance` relative to the largest entry."""
    graph = module.programs[program]
    assert list(made) == list(want)
    for key, expected in want.items():
        assert made[key].dtype.kind == expected.dtype.kind and made[key].shape == expected.shape
        if tolerance > 1e-6 and (key in module.fields or graph.outputs[key].dtype is DType.INT):
            # a draw at the edge of two values may fall either way
            assert np.mean(np.abs(made[key] - expected) > tolerance * (1 + np.abs(expected))) <= 0.02
            continue
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(
            made[key], expected, rtol=tolerance, atol=tolerance * scale, err_msg=f"{program}.{key}"
        )


# Compiling takes the time: of every spec all programs and the gradient are one compiled function, in float64; types and
# another size in float32 are traced alone, but for one spec of each kind, whose programs have their values in it too.
# Of sessions two specs show how arrays go in and out.
# `test_jax_spelling` has the values of every primitive in float32, and `tests/laws` those of every law.


def test_programs_and_gradients_mean_what_the_oracle_and_torch_say(name: str) -> None:
    """The emitted functions, two examples of length seven; that of the loss under vmap(value_and_grad), twice three."""
    module = specs_under_test.module(name)
    weights = specs_under_test.weights(module)
    programs = functions(name)
    given = {p: specs_under_test.inputs(module, p, 3 if p == "loss" else 2) for p in module.programs}
    trained = {p.name: weights[p.name] for p in module.parameters.values() if p.trainable}
    others = {k: v for k, v in given.items() if k != "loss"}
    twice = {k: np.stack([v, v]) for k, v in given["loss"].items()}

    def run(program: str, params: Tree, inputs: Tree) -> Tree:
        made = programs[program]({**weights, **params}, **inputs)
        return made if isinstance(made, dict) else {next(iter(module.programs[program].outputs)): made}

    def scalar(params: Tree, inputs: Tree) -> tuple[jax.Array, Tree]:
        made = run("loss", params, inputs)
        return made["loss"], made

    def everything(params: Tree, others: dict[str, Tree], twice: Tree) -> tuple[dict[str, Tree], Any]:
        differentiated = jax.vmap(jax.value_and_grad(scalar, has_aux=True), (None, 0))
        return {k: run(k, params, v) for k, v in others.items()}, differentiated(params, twice)

    with jax.enable_x64(True):
        made, ((_, values), gradients) = jax.device_get(jax.jit(everything)(trained, others, twice))
    for program, graph in module.programs.items():
        want = interpret(graph, weights, given[program])
        found = [made[program]] if program in made else [{k: v[i] for k, v in values.items()} for i in (0, 1)]
        for outputs in found:
            assert outputs.keys() == want.keys()  # jitted functions sort the keys of a dict
            assert all(outputs[k].dtype == np.float64 for k, v in want.items() if v.dtype.kind == "f")
            hold(module, program, {k: outputs[k] for k in want}, want, 1e-9)
    _, slopes = find_backend("torch").session(module, weights, options=DOUBLE).gradients(given["loss"])
    size = max(np.abs(g).max() for g in slopes.values())
    for key, gradient in slopes.items():
        scale = max(np.abs(gradient).max(), 1e-6 * size)
        np.testing.assert_allclose(gradients[key], [gradient] * 2, atol=1e-9 * scale, rtol=0, err_msg=key)


def test_programs_have_their_types_in_single_precision(name: str) -> None:
    """Five examples of length four."""
    module = specs_under_test.module(name)
    parameters = {k: smaller(v) for k, v in specs_under_test.weights(module).items()}
    for program, graph in module.programs.items():
        inputs = specs_under_test.inputs(module, program, 5, 4)
        want = interpret(graph, parameters, inputs)
        given = {k: smaller(v) for k, v in inputs.items()}
        found = jax.eval_shape(functions(name)[program], parameters, **given)
        made = found if isinstance(found, dict) else {next(iter(want)): found}
        assert made.keys() == want.keys()  # jitted functions sort the keys of a dict
        assert all(made[k].dtype == np.float32 for k, v in graph.outputs.items() if v.dtype is DType.FLOAT)
        assert all(made[k].shape == v.shape and made[k].dtype.kind == v.dtype.kind for k, v in want.items())


@pytest.mark.parametrize("name", KINDS)
def test_programs_of_the_compiled_object_mean_what_the_oracle_says(name: str) -> None:
    """In float32, five examples of length four; programs are methods."""
    module = specs_under_test.module(name)
    parameters = specs_under_test.weights(module)
    model = BACKEND.compile(module, parameters)
    assert set(module.programs) <= set(dir(model)) and not hasattr(model, "no_such_program")
    for program, graph in module.programs.items():
        inputs = specs_under_test.inputs(module, program, 5, 4)
        want = interpret(graph, parameters, inputs)
        made = getattr(model, program)(**{k: smaller(v) for k, v in inputs.items()})
        made = made if isinstance(made, dict) else {next(iter(want)): made}
        assert all(made[k].dtype == np.float32 for k, v in graph.outputs.items() if v.dtype is DType.FLOAT)
        hold(module, program, {k: np.asarray(made[k]) for k in want}, want, 1e-4)


@pytest.mark.parametrize("name", ["vae", "char_lstm"])
def test_programs_of_a_session_mean_what_the_oracle_says(name: str) -> None:
    module = specs_under_test.module(name)
    parameters = specs_under_test.weights(module)
    session = BACKEND.session(module, parameters, options=DOUBLE)
    for program, graph in module.programs.items():
        inputs = specs_under_test.inputs(module, program, 2)
        made = session.run(program, inputs)
        assert all(made[k].dtype == np.float64 for k, v in graph.outputs.items() if v.dtype is DType.FLOAT)
        hold(module, program, made, interpret(graph, parameters, inputs), 1e-9)


@cache
def text(name: str, file: str = "model.py") -> str:
    return str(BACKEND.emit(specs_under_test.module(name)).get(file, ""))


@pytest.mark.parametrize("name", KINDS)
def test_emission_is_deterministic(name: str) -> None:
    assert BACKEND.emit(specs_under_test.module(name))["model.py"] == text(name)


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
        (folder / "model.py").write_text(text(name), encoding="ascii")
        files = [str(folder), str(folder / "weights.safetensors"), str(folder / "inputs.npz")]
        done = subprocess.run(
            [sys.executable, "-I", "-c", STANDALONE, *files], cwd=folder, capture_output=True, text=True
        )
        want = interpret(module.programs["loss"], parameters, inputs)["loss"]
        assert float(done.stdout) == pytest.approx(float(want), rel=1e-4), done.stderr


def test_a_repeated_block_is_one_function() -> None:
    """Eight couplings: each half is moved by one function, which is called four times, and its inverse by another."""
    found = text("realnvp2d")
    for name in ("coupling", "coupling_2"):
        assert found.count(f"def {name}(") == found.count(f"def {name}_inverse(") == 1
        assert found.count(f" {name}(below(") == found.count(f" {name}_inverse(below(") == 4
    assert "def coupling_3(" not in found


def test_recurrences_are_loops_of_jax() -> None:
    assert "lax.scan(" in text("char_lstm")
    assert "lax.fori_loop(" in text("transformer", "sampling.py")


@pytest.mark.parametrize(
    "source",
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
def test_other_source_is_refused(source: str) -> None:
    with pytest.raises(SourceRefused):
        verify_source(source)


def test_unknown_rules_and_precisions_are_refused() -> None:
    module = specs_under_test.module("mlp")
    parameters = specs_under_test.weights(module)
    with pytest.raises(ValueError, match="precision"):
        BACKEND.session(module, parameters, options=SessionOptions(precision="float16"))
    with pytest.raises(ValueError, match="no update rule"):
        BACKEND.session(module, parameters, OptimizerSpec("newton"))
