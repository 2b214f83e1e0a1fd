"""A command line in the process of the tests, which has the frameworks already."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from mpcompile.cli import main


class Done(NamedTuple):
    """What a command left: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


#: The fixture `cli`: the arguments behind `mpcompile`.
Cli = Callable[..., Done]


def command_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Return what runs a command line; each call is told of what it printed alone."""
    monkeypatch.setattr(gc, "freeze", lambda: None)  # the process goes on after a command

    def run(*arguments: str | Path) -> Done:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["mpcompile", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return Done(int(end.value.code or 0), *capfd.readouterr())

    return run
