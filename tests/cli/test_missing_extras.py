"""Without the package of an extra, a command that needs it says in one line what to install; exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.backend import backends
from mpcompile.runner.loop import Options, train

MADE = """model made
input x: binary[4]
mask up = degrees(order = natural, hidden = 8, seed = 0)
x ~ autoregressive(order = natural, likelihood = bernoulli) {
  dense(8, mask = up) -> relu -> dense(4, mask = strict(up))
}
"""
#: Put first on the path, it makes the packages of HIDDEN as good as not installed.
SITE = """
import os, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["HIDDEN"].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""
#: Backend -> the first package that it imports of its extra, and all of them.
PACKAGES = {
    "torch": ("torch", "torch"),
    "jax": ("jax", "jax,jaxlib"),
    "onnx": ("onnx", "onnx,onnxruntime"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec, and a run of it on onnx."""
    folder = tmp_path_factory.mktemp("missing")
    (folder / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    (folder / "made.mp").write_text(MADE, encoding="utf-8")
    (folder / "data.csv").write_text("0,1,0,1\n" * 40, encoding="utf-8")
    options = Options(backend="onnx", data=str(folder / "data.csv"), steps=1)
    train(api.load(folder / "made.mp"), folder / "run", options)
    return folder


def mpcompile(folder: Path, hidden: str, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command that cannot import some packages."""
    environment = os.environ | {"PYTHONPATH": str(folder), "HIDDEN": hidden}
    command = [sys.executable, "-m", "mpcompile", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_every_backend_is_swept() -> None:
    assert set(PACKAGES) == set(backends())


COMMANDS = (
    "build made.mp -b {}",
    "train made.mp -b {} --data data.csv --out new",
    "train made.mp -b {} --resume --out run",
    "verify made.mp --backends {}",
    "eval run",
    "sample run",
    "build run -b {}",
)


@pytest.mark.parametrize(
    ("backend", "command"),
    [("onnx", command) for command in COMMANDS] + [(b, COMMANDS[0]) for b in PACKAGES if b != "onnx"],
)
def test_a_missing_framework_is_one_line(backend: str, command: str, folder: Path) -> None:
    first, hidden = PACKAGES[backend]
    code, errors = mpcompile(folder, hidden, *command.replace("{}", backend).split())
    told = f"error: backend '{backend}' needs {first}: pip install 'mpcompile[{backend}]'\n"
    assert (code, errors.splitlines(keepends=True)[-1:]) == (2, [told]), errors
    assert "Traceback" not in errors


def test_verify_without_any_framework(folder: Path) -> None:
    code, errors = mpcompile(folder, ",".join(hidden for _, hidden in PACKAGES.values()), "verify", "made.mp")
    assert code == 2 and errors.count("\n") == 1 and "pip install 'mpcompile[torch]'" in errors


@pytest.mark.parametrize(("package", "hidden"), [("Pillow", "PIL"), ("matplotlib", "matplotlib")])
def test_a_picture_of_samples_needs_an_extra(package: str, hidden: str, folder: Path) -> None:
    code, errors = mpcompile(folder, hidden, "sample", "run", "-o", "x.png")
    assert (code, errors) == (2, f"error: 'x.png' needs {package}: pip install 'mpcompile[plots]'\n")


def test_a_folder_of_pictures_needs_an_extra(folder: Path) -> None:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes(b"")
    spec = folder / "pictured.mp"
    spec.write_text(MADE + 'train { data: "pictures" }\n', encoding="utf-8")
    code, errors = mpcompile(folder, "PIL", "train", "pictured.mp", "-b", "onnx")
    assert code == 1 and "pip install 'mpcompile[plots]'" in errors
    assert "pictured.mp:7:" in errors and "Traceback" not in errors
