"""The Python of every spec, as a build has it: typed, linted and formatted as strictly as the project's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import specs_under_test
from specs_under_test import NAMES, ROOT

from mpcompile import api
from mpcompile.backend import find_backend
from mpcompile.passes.pipeline import optimise

VISION = sorted((ROOT / "specs" / "vision").glob("*.mp"))
RULES = "E,F,W,B,I,UP,RUF,SIM,C4"
RUFF = (sys.executable, "-m", "ruff")
OPTIONS = ("--isolated", "--no-cache", "--line-length", "100")
#: `model.py` is of the same folder as `sampling.py`, which imports from it.
FIRST_PARTY = 'lint.isort.known-first-party=["model"]'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every emitted file of Python, at spec/backend/name."""
    out = tmp_path_factory.mktemp("emitted")
    backends = ("torch", "jax")
    made = {(name, b): specs_under_test.emitted(b, name) for name in NAMES for b in backends}
    large = {path.stem: optimise(api.load(path)).module for path in VISION}
    made |= {(name, b): find_backend(b).emit(module) for name, module in large.items() for b in backends}
    for (name, backend), files in made.items():
        for file, text in files.items():
            if isinstance(text, str):
                path = out / name / backend / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="ascii")
    return out


def emitted(folder: Path) -> Iterator[Path]:
    found = sorted(folder.rglob("*.py"))
    assert len(found) >= 3 * len(NAMES)
    return iter(found)


def run(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_is_formatted_and_passes_strict_rules(folder: Path) -> None:
    assert list(emitted(folder))
    run(*RUFF, "format", "--diff", *OPTIONS, folder, cwd=folder)
    target = ("--target-version", "py311", "--config", FIRST_PARTY)
    run(*RUFF, "check", *OPTIONS, "--select", RULES, *target, folder, cwd=folder)


@pytest.mark.slow
def test_every_file_passes_mypy_strict(folder: Path, tmp_path: Path) -> None:
    """One run over all files, under names of their own, with the settings of the project.

    What mypy knows of torch and jax it has from its run over the project, which `make test` begins with.
    """
    for path in emitted(folder):
        name, backend = path.relative_to(folder).parts[:2]
        own = f"{name}_{backend}_"
        text = path.read_text(encoding="ascii").replace("\nfrom model import", f"\nfrom {own}model import")
        (tmp_path / f"{own}{path.name}").write_text(text, encoding="ascii")
    settings = (f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}")
    run(sys.executable, "-m", "mypy", "--strict", *settings, tmp_path, cwd=tmp_path)
