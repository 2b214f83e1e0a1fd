"""The release smoke test covers every command, extra and Python that the project offers, and CI runs it."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mpcompile.backend import backends
from mpcompile.cli import COMMANDS
from mpcompile.diagnostics.render import RENDERERS
from mpcompile.frontend.templates import templates

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def smoke() -> Any:
    spec = importlib.util.spec_from_file_location("smoke", Path(__file__).with_name("smoke.py"))
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules["smoke"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_command_is_run(smoke: Any) -> None:
    assert set(smoke.COMMANDS) == set(COMMANDS)
    steps = [*smoke.CORE, *(step for backend in smoke.BACKENDS for step in smoke.with_backend(backend))]
    run = {step.command.split()[1] for step in steps if step.command.startswith("mpcompile")}
    assert run >= set(COMMANDS)
    assert set(smoke.TEMPLATES) == set(templates()) and set(smoke.FORMATS) == set(RENDERERS)


def test_every_extra_and_python_is_run(smoke: Any) -> None:
    extras = set(PROJECT["optional-dependencies"]) - {"all", "dev", "docs"}
    assert set(smoke.BACKENDS) == set(backends()) and extras == {*backends(), *smoke.FEATURES}
    full, quick = smoke.plan(True), smoke.plan(False)
    assert set(full) > set(quick) >= {"core", "lowest", *backends()}
    named = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    assert set(smoke.PYTHONS) == named == {version for version, _ in full.values()}
    assert PROJECT["requires-python"] == f">={smoke.PYTHONS[0]}"


def test_every_extra_has_lower_bounds(smoke: Any) -> None:
    """They are what `lowest` installs."""
    assert smoke.lowest(["a>=1.2", "b>=3"]) == ["a==1.2", "b==3"]
    for extra, needed in PROJECT["optional-dependencies"].items():
        if extra not in ("all", "dev", "docs"):
            assert all(re.fullmatch(r"[\w-]+>=[\d.]+", requirement) for requirement in needed)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^TORCH \?= (.+)$", makefile, re.MULTILINE) == [smoke.TORCH]
    assert smoke.TORCH.startswith(smoke.lowest(PROJECT["optional-dependencies"]["torch"])[0])


def test_ci_runs_it() -> None:
    assert "make smoke" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "tests/release/smoke.py" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_a_command_that_goes_wrong_is_told(smoke: Any, tmp_path: Path) -> None:
    environment = object.__new__(smoke.Environment)
    environment.name, environment.folder, environment.work, environment.count = "x", tmp_path, tmp_path, 0
    environment.run(smoke.Step("echo fine", says="^fine$"))
    for command, step in {
        "exit code 3": smoke.Step("exit 3"),
        "no 'wrote'": smoke.Step("echo nothing", says="wrote"),
        "an internal error": smoke.Step("echo Traceback"),
        "more than 1": smoke.Step("echo a >&2; echo b >&2", lines=1),
    }.items():
        with pytest.raises(smoke.Failed, match=command):
            environment.run(step)
