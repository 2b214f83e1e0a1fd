"""`new`, then `check`, then `train`: every template, in both syntaxes, from any folder, without other arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Cli

from mpcompile import api
from mpcompile.frontend.templates import summary, templates


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in an empty folder that is not the specs'."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("ending", ["mp", "yaml"])
@pytest.mark.parametrize("template", templates())
def test_a_template_checks_clean(template: str, ending: str, tmp_path: Path, cli: Cli) -> None:
    flags = ["--yaml"] if ending == "yaml" else []
    assert cli("new", "mine", "-t", template, "-d", str(tmp_path), *flags).code == 0
    module = api.load(tmp_path / f"mine.{ending}")
    assert api.check(module) == [] and api.warnings(module) == []
    assert summary(template)


@pytest.mark.parametrize("template", templates())
def test_a_template_trains(template: str, tmp_path: Path, cli: Cli) -> None:
    assert cli("new", template, "-d", str(tmp_path)).code == 0
    spec, out = str(tmp_path / f"{template}.mp"), tmp_path / "run"
    assert cli("check", spec).code == 0
    assert cli("train", spec, "--steps", "3", "--out", str(out)).code == 0
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert max(json.loads(line)["step"] for line in lines) == 3


def test_a_name_of_a_template_means_it(cli: Cli, elsewhere: Path) -> None:
    for name in (*templates(), "other"):
        assert cli("new", name).code == 0
    assert "latent z" in (elsewhere / "vae.mp").read_text(encoding="utf-8")
    written = (elsewhere / "other.mp").read_text(encoding="utf-8")
    assert written.replace("other", "mlp") == (elsewhere / "mlp.mp").read_text(encoding="utf-8")
