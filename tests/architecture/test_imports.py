"""Who may import whom, and that the core starts without a framework."""

import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FRAMEWORKS = {"torch", "jax", "jaxlib", "optax", "onnx", "onnxruntime"}

REPORT = f"print(sorted({FRAMEWORKS!r} & set(sys.modules)))"


def loaded_frameworks(code: str, *arguments: str) -> str:
    """The last line that a fresh interpreter prints: the frameworks it had loaded at the end."""
    program = f"import sys, atexit\natexit.register(lambda: {REPORT})\n{code}"
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_import_contracts() -> None:
    """The contracts stand in `pyproject.toml`; a broken one prints the chain of imports, with lines."""
    lint = Path(sysconfig.get_path("scripts")) / "lint-imports"
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [str(lint), "--no-cache", "--no-logo"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["mpcompile", "mpcompile.cli", "mpcompile.api"])
def test_import_loads_no_framework(module: str) -> None:
    assert loaded_frameworks(f"import {module}") == "[]"


def test_check_loads_no_framework() -> None:
    code = "from mpcompile.cli import main\nmain()"
    assert loaded_frameworks(code, "check", str(ROOT / "specs" / "realnvp.yaml")) == "[]"


def test_every_backend_is_under_contract() -> None:
    folders = {path.parent.name for path in ROOT.glob("backends/*/__init__.py")}
    tool = PYPROJECT["tool"]["importlinter"]
    contracts = {contract["id"]: contract for contract in tool["contracts"]}
    assert folders <= set(tool["root_packages"])
    assert folders <= set(contracts["networkx"]["source_modules"])
    assert folders <= set(contracts["frameworks"]["forbidden_modules"])
    assert folders <= {name.strip("( )") for name in contracts["backends"]["layers"][1].split("|")}
