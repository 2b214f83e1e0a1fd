"""What `build` writes runs where this compiler is not: in an environment with the framework and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import specs_under_test
from packaging.requirements import Requirement

from mpcompile import api
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module

#: One spec for each kind of model; each program of each is run.
NAMES = ("made", "realnvp2d", "char_lstm", "transformer", "vae", "cnn")
BATCH = 3

#: What an emitted model may need besides the standard library; their own requirements come with them. numpy is
#: there to read the inputs and write the results of this test.
ROOTS = {
    "torch": ("torch", "safetensors", "numpy"),
    "jax": ("jax", "safetensors", "numpy"),
    "onnx": ("onnxruntime", "safetensors", "numpy"),
}

COMMON = '''
import importlib.util, json, sys
from pathlib import Path

for name in ("mpcompile", "mpcompile_torch", "mpcompile_jax", "mpcompile_onnx", "mpcompile_grammar", "pytest"):
    assert importlib.util.find_spec(name) is None, name + " can be imported"
try:
    import mpcompile
except ModuleNotFoundError:
    pass
else:
    sys.exit("mpcompile was imported")

import numpy as np


def source(folder):
    """model.py and sampling.py as modules; one without samplers has no second file."""
    sys.path.insert(0, str(folder.resolve()))
    sys.modules.pop("model", None), sys.modules.pop("sampling", None)
    found = importlib.import_module("model"), None
    if (folder / "sampling.py").exists():
        found = found[0], importlib.import_module("sampling")
    sys.path.pop(0)
    return found


def main(programs):
    """Results of every program of every spec; `programs` is from a folder to a mapping of callables."""
    for folder in sorted(p for p in Path().iterdir() if p.is_dir()):
        called = json.loads((folder / "called.json").read_text())
        run, made = programs(folder, called), {}
        for program in called:
            given = dict(np.load(folder / f"{program}.npz"))
            for key, value in run(program, given).items():
                made[f"{program}/{key}"] = value
        np.savez(folder / "made.npz", **made)
'''

SCRIPTS = {
    "torch": """
import torch

def programs(folder, called):
    source_of_model, sampling = source(folder)
    model = source_of_model.load(str(folder / "weights.safetensors"))
    def run(program, given):
        given, name = {k: torch.from_numpy(v) for k, v in given.items()}, called[program]["name"]
        made = getattr(sampling, name)(model, **given) if program == "sample" else getattr(model, name)(**given)
        made = made if isinstance(made, dict) else {called[program]["outputs"][0]: made}
        return {k: v.detach().numpy() for k, v in made.items()}
    return run

main(programs)
""",
    "jax": """
import jax

def programs(folder, called):
    model, sampling = source(folder)
    params = model.load(str(folder / "weights.safetensors"))
    def run(program, given):
        function = getattr(sampling if program == "sample" else model, called[program]["name"])
        made = jax.jit(function)(params, **given)
        return made if isinstance(made, dict) else {called[program]["outputs"][0]: made}
    return run

main(programs)
""",
    # Weights are inside of the programs, but for `train_step`, which is given them and the state of the optimiser.
    "onnx": """
import onnxruntime
from safetensors.numpy import load_file

def programs(folder, called):
    weights = load_file(folder / "weights.safetensors")
    def run(program, given):
        path = str(folder / (program + ".onnx"))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for i in session.get_inputs():
            if i.name in weights:
                given[i.name] = weights[i.name]
            elif i.name.startswith("optimizer/") and i.name not in given:
                given[i.name] = np.zeros(i.shape, np.float32)
        # an output that has the name of an input has another one in the file: take them in order
        names = called[program]["outputs"] or [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(None, given), strict=True))
    return run

main(programs)
""",
}


def closure(roots: Iterable[str]) -> set[str]:
    """Distributions by name, with all that they require on this platform."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError as missing:
            raise AssertionError(f"{name} is required but not installed here") from missing
        found.add(name)
        needed = (Requirement(r) for r in requires)
        waiting += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def environment(folder: Path, roots: Iterable[str]) -> Path:
    """The interpreter of a new virtual environment that sees these distributions and no others."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in closure(roots):
        files = distribution(name).files
        assert files is not None
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            target = Path(str(distribution(name).locate_file(top)))
            if target.exists() and not (site / top).exists():
                (site / top).symlink_to(target)
    return folder / "bin" / "python"


def smaller(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def names_of_programs(backend: str, module: Module) -> dict[str, str]:
    """What a program is called in the emitted code."""
    if backend == "torch":
        from mpcompile_torch.emit import emit_module

        return emit_module(module).methods
    if backend == "jax":
        from mpcompile_jax import emit_module as emit

        return emit(module).functions
    return {name: name for name in module.programs}


def prepare(folder: Path, backend: str, name: str) -> dict[str, Array]:
    """Build one spec and lay out inputs of its programs; gives what the oracle makes of them."""
    module = specs_under_test.module(name)
    weights = {k: smaller(v) for k, v in specs_under_test.weights(module).items()}
    api.build(module, backend, folder, parameters=weights)
    names = names_of_programs(backend, module)
    called, wanted = {}, {}
    for program, graph in module.programs.items():
        given = {k: smaller(v) for k, v in specs_under_test.inputs(module, program, BATCH).items()}
        np.savez(folder / f"{program}.npz", **given)  # type: ignore[arg-type]  # arrays
        double = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in given.items()}
        made = interpret(graph, {k: v.astype(np.float64) for k, v in weights.items()}, double)
        wanted |= {f"{program}/{key}": value for key, value in made.items()}
        called[program] = {"name": names[program], "outputs": list(made)}
    if backend == "onnx":  # the first step, at rate zero: the loss, and weights that stay where they are
        given = {k: smaller(v) for k, v in specs_under_test.inputs(module, "loss", BATCH).items()}
        given |= {"optimizer/rate": np.zeros((), np.float32), "optimizer/step": np.ones((), np.int64)}
        np.savez(folder / "train_step.npz", **given)  # type: ignore[arg-type]  # arrays
        called["train_step"] = {"name": "train_step", "outputs": []}
        wanted["train_step/loss"] = wanted["loss/loss"]
        trained = {k for k, p in module.parameters.items() if p.trainable}
        wanted |= {f"train_step/next/parameter/{k}": weights[k] for k in trained}
    (folder / "called.json").write_text(json.dumps(called), encoding="utf-8")
    return wanted


@pytest.mark.parametrize("backend", SCRIPTS)
def test_models_run_where_the_compiler_is_not(backend: str, tmp_path: Path) -> None:
    pytest.importorskip(f"mpcompile_{backend}")
    models = tmp_path / "models"
    wanted = {name: prepare(models / name, backend, name) for name in NAMES}
    python = environment(tmp_path / "venv", ROOTS[backend])
    command = [str(python), "-I", "-c", COMMON + SCRIPTS[backend]]
    done = subprocess.run(command, cwd=models, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        made = dict(np.load(models / name / "made.npz"))
        assert set(made) >= set(wanted[name])
        for key, want in wanted[name].items():
            scale = max(1.0, float(np.abs(want).max(initial=0)))
            np.testing.assert_allclose(made[key], want, rtol=1e-4, atol=1e-4 * scale, err_msg=f"{name} {key}")
