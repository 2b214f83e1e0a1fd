"""Backends are found by entry points: one from outside the tree works without a change to the core."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
from specs_under_test import ROOT, module, weights

from mpcompile.backend import SessionOptions, find_backend
from mpcompile.cli import main
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

    def session(self, module, parameters, optimizer=None, options=None):
        return Session(module, parameters)

    def compile(self, module, parameters, *, device="cpu"):
        return Session(module, parameters)


BACKEND = Toy()
'''


def install(folder: Path, name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution of one module with one entry point, as this process finds it until the test ends."""
    (folder / f"{name}_backend.py").write_text(source)
    info = folder / f"{name}_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-backend\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[mpcompile.backends]\n{name} = {name}_backend:BACKEND\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, f"{name}_backend", raising=False)


def built(backend: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit code of `mpcompile build`, in this process."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(gc, "freeze", lambda: None)  # the process goes on after a command
    command = ["mpcompile", "build", "specs/mlp.mp", "--backend", backend, "-o", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_a_fourth_backend_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "toy", TOY, monkeypatch)
    out = tmp_path / "out"
    assert built("toy", out, monkeypatch) == 0
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
    m, found = module("mlp"), find_backend(backend)
    with pytest.raises(SpecError, match=f"MP511 .*'{device}'"):
        found.session(m, weights(m), options=SessionOptions(device))
    with pytest.raises(SpecError, match=f"MP511 .*'{device}'"):
        found.compile(m, weights(m), device=device)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("toy", "backend 'toy' needs a_framework_that_is_not_there, which is not"),
        ("nope", "no backend is named"),
    ],
)
def test_a_missing_framework_is_one_line(
    tmp_path: Path, asked: str, told: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "toy", "import a_framework_that_is_not_there\n", monkeypatch)
    assert built(asked, tmp_path / "out", monkeypatch) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert told in line


@pytest.mark.parametrize(
    "fault", ["OSError('libframework.so: cannot open')", "ImportError('wrong\\nversion')"]
)
def test_a_broken_framework_is_one_line(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "toy", f"raise {fault}\n", monkeypatch)
    assert built("toy", tmp_path / "out", monkeypatch) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("error: backend 'toy' cannot be imported (")
