"""The commands of the front end, through typer."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner, Result

from mpcompile.frontend import parse
from mpcompile.frontend.templates import templates

COMMANDS = {"explain": "explain", "fmt": "fmt", "schema": "schema", "new": "new", "list": "list_"}


def run(command: str, *args: str) -> Result:
    function: Callable[..., Any] = getattr(
        importlib.import_module(f"mpcompile.cli.{command}"), COMMANDS[command]
    )
    app = typer.Typer()
    app.command()(function)
    return CliRunner().invoke(app, list(args))


def test_explain() -> None:
    assert "# unbalanced-bracket (MP101)" in run("explain", "mp101").output
    assert "MP101" in run("explain").output
    assert run("explain", "MP9999").exit_code == 2


def test_new_then_fmt_leaves_it_alone(tmp_path: Path) -> None:
    for template in templates():
        for flag in ([], ["--yaml"]):
            made = run("new", f"my_{template}", "-t", template, "-d", str(tmp_path), *flag)
            assert made.exit_code == 0, made.output
    assert run("fmt", "--check", str(tmp_path)).exit_code == 0
    assert parse(tmp_path / "my_vae.yaml")[0].same_as(parse(tmp_path / "my_vae.mp")[0])
    assert run("new", "my_vae", "-d", str(tmp_path)).exit_code == 2
    assert run("new", "../vae").exit_code == 2
    assert run("new", "__class").exit_code == 2
    assert run("new", "a", "-t", "vea").exit_code == 2


def test_fmt(tmp_path: Path) -> None:
    path = tmp_path / "a.mp"
    path.write_text("model   m # name\nnet f=a->b\n")
    assert run("fmt", "--check", str(path)).exit_code == 1
    assert "-net f=a->b" in run("fmt", "--diff", str(path)).output
    assert run("fmt", str(path)).exit_code == 0
    assert path.read_text() == "model m  # name\n\nnet f = a -> b\n"
    assert run("fmt", "--to", "yaml", str(path)).exit_code == 0
    assert parse(tmp_path / "a.yaml")[0].same_as(parse(path)[0])
    assert run("fmt", "--to", "yaml", str(path)).exit_code == 2  # it exists now
    path.write_text("model m\nnet f = (\n")
    failed = run("fmt", str(path))
    assert failed.exit_code == 2 and "MP101" in failed.output
    assert path.read_text() == "model m\nnet f = (\n"


def test_schema_and_list(tmp_path: Path) -> None:
    assert json.loads(run("schema").output)["title"] == "mpcompile spec"
    assert "vae" in run("list", "templates").output
    assert run("list", "layer").exit_code == 2
