"""Every command teaches itself: -h, options of one name, completion by a shell, and the names of the language."""

from __future__ import annotations

import os
from importlib import import_module

import pytest
import typer
from in_process import Cli

from mpcompile.cli import COMMANDS
from mpcompile.cli.list import kinds
from mpcompile.diagnostics.codes import CODES
from mpcompile.reference import KINDS, described


def test_every_command_has_help_of_one_form(cli: Cli) -> None:
    code, told, _ = cli("-h")
    assert code == 0 and all(f"  {name} " in told for name in COMMANDS)
    assert "..." not in told.partition("Commands:")[2]  # first sentences are short, so that none is cut
    for name, (module, function) in COMMANDS.items():
        code, told, _ = cli(name, "-h")
        assert code == 0 and told.startswith(f"Usage: mpcompile {name}"), name
        assert "list[str]" not in told, name  # values have the names of the field, not Python's
        app = typer.Typer()
        app.command(name)(getattr(import_module(f"mpcompile.cli.{module}"), function))
        for option in typer.main.get_command(app).params:
            if isinstance(option, typer.core.TyperOption):
                assert ("-o" in option.opts) == ("--out" in option.opts), (name, option.opts)
                assert ("-b" in option.opts) == ("--backend" in option.opts), (name, option.opts)
                assert "--output" not in option.opts and (option.help or name == "data"), (name, option.opts)


@pytest.mark.parametrize(("line", "offered"), [
    ("mpcompile ver", {"verify"}),
    ("mpcompile build m.mp -b ", {"torch", "jax", "onnx"}),
    ("mpcompile verify m.mp --backends torch,o", {"torch,onnx"}),
    ("mpcompile list conv", {"conv", "conv1d", "conv_transpose", "conv1x1"}),
    ("mpcompile explain MP30", {"MP301", "MP302"}),
    ("mpcompile train m.mp --data moo", {"moons"}),
    ("mpcompile new m --template real", {"realnvp"}),
    ("mpcompile check --wat", {"--watch"}),
])  # fmt: skip
def test_a_shell_completes(line: str, offered: set[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    words = line.split(" ")
    monkeypatch.setattr(os, "environ", os.environ | {
        "_MPCOMPILE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)})  # fmt: skip
    _, told, _ = cli()
    assert offered <= set(told.split())


def test_a_name_is_explained(cli: Cli) -> None:
    assert cli("explain", "dense")[1].splitlines() == described("dense")
    assert cli("explain", "mp301")[1] == CODES["MP301"].page()
    for command, wrong, near in (("explain", "desne", "dense"), ("explain", "unknwon-name", "unknown-name"),
                                 ("list", "laeyrs", "layers"), ("list", "adma", "adam")):  # fmt: skip
        code, _, told = cli(command, wrong)
        assert code == 2 and f"did you mean `{near}`?" in told
    _, told, _ = cli("list")
    assert all(f"{kind}:" in told for kind in kinds()[:-1])
    assert all(f"  {name} " in told for kind in KINDS.values() for name in kind.rows())
