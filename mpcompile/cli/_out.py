"""The only ways to the terminal: text of specs, runs and data is escaped, so that it cannot command one.

`tests/cli/test_terminal.py` finds a command that prints in any other way.
"""

from __future__ import annotations

import sys

import typer

from mpcompile.diagnostics.render import printable


def echo(*lines: str, err: bool = False) -> None:
    """Print lines. Whatever in one does not print is escaped: control characters, line breaks, marks of direction."""
    typer.echo("\n".join(printable(line) for line in lines), err=err)


def page(text: str, err: bool = False) -> None:
    """Print what a renderer made, as it is: it escaped what it was given, and its colours are ours."""
    typer.echo(text, err=err, nl=False)


def result(text: str) -> None:
    """Print a result that a program may read: exact in a file or pipe, `visible` on a terminal."""
    typer.echo(visible(text) if sys.stdout.isatty() else text, nl=False)


def visible(text: str) -> str:
    """Escape everything in a text that does not print, but for its line breaks and tabs."""
    return "".join(c if c in "\n\t" else printable(c) for c in text)


__all__ = ["echo", "page", "result", "visible"]
