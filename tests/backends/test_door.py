"""Backends are found by entry points: one from outside the tree works without a change to the core."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from specs_under_test import ROOT, module, weights

from mpcompile.backend import find_backend
from mpcompile.diagnostics import SpecError

TOY = '''
"""A fourth backend: spells each program as a list of primitives, and runs it on the oracle."""

from mpcompile.interpret import interpret


class Session:
    def __init__(self, module, parameters):
        self.module, self.parameters = module, parameters

    def run(self, program, inputs):
        return interpret(self.module.programs[program], self.parameters, inputs)


class Toy:
    name = "toy"
    packages = ("numpy",)

    def emit(self, module, parameters=None, optimizer=None, *, inline=False):
        return {
            f"{name}.txt": "\\n".join(node.op.name for node in graph.nodes()) + "\\n"
            for name, graph in module.programs.items()
        }

    def session(self, module, parameters, optimizer=None, *, device="cpu", precision="float32", mixed=False):
        return Session(module, parameters)

    def compile(self, module, parameters, *, device="cpu"):
        return Session(module, parameters)


BACKEND = Toy()
'''


def install(folder: Path, name: str, source: str) -> dict[str, str]:
    """A distribution of one module with one entry point; the environment in which it is installed."""
    (folder / f"{name}_backend.py").write_text(source)
    info = folder / f"{name}_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-backend\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[mpcompile.backends]\n{name} = {name}_backend:BACKEND\n")
    return os.environ | {"PYTHONPATH": str(folder)}


def mpcompile(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mpcompile", *arguments],
        capture_output=True,
        text=True,
        env=env,
        cwd=ROOT,
        check=False,
    )


def test_a_fourth_backend_from_outside(tmp_path: Path) -> None:
    env = install(tmp_path, "toy", TOY)
    out = tmp_path / "out"
    done = mpcompile(env, "build", "specs/mlp.mp", "--backend", "toy", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert "mat_mul" in (out / "predict.txt").read_text()
    assert (out / "weights.safetensors").is_file() and (out / "manifest.json").is_file()


def test_a_build_loads_no_framework(tmp_path: Path) -> None:
    """To import one takes longer than to write a model."""
    program = """
import sys
from pathlib import Path
from mpcompile import api
for backend in ("torch", "jax", "onnx"):
    api.build(api.load("specs/mlp.mp"), backend, Path(sys.argv[1]) / backend)
print(*{"torch", "jax", "onnxruntime"} & set(sys.modules))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "\n"


@pytest.mark.parametrize("device", ["cuda:64", "banana", "cuda:x"])
@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_a_device_that_is_not_there_is_a_finding(backend: str, device: str) -> None:
    m = module("mlp")
    for open_ in (find_backend(backend).session, find_backend(backend).compile):
        with pytest.raises(SpecError, match=f"MP511 .*'{device}'"):
            open_(m, weights(m), device=device)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("toy", "backend 'toy' needs a_framework_that_is_not_there, which is not"),
        ("nope", "no backend is named"),
    ],
)
def test_a_missing_framework_is_one_line(tmp_path: Path, asked: str, told: str) -> None:
    env = install(tmp_path, "toy", "import a_framework_that_is_not_there\n")
    done = mpcompile(env, "build", "specs/mlp.mp", "--backend", asked, "-o", str(tmp_path / "out"))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert told in line


@pytest.mark.parametrize(
    "fault", ["OSError('libframework.so: cannot open')", "ImportError('wrong\\nversion')"]
)
def test_a_broken_framework_is_one_line(tmp_path: Path, fault: str) -> None:
    env = install(tmp_path, "toy", f"raise {fault}\n")
    done = mpcompile(env, "build", "specs/mlp.mp", "--backend", "toy", "-o", str(tmp_path / "out"))
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2 and line.startswith("error: backend 'toy' cannot be imported (")
