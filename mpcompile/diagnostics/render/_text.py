"""Text for all formats: made safe to print, and the path of a file as it is written."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TextIO

from mpcompile.diagnostics.core import Diagnostic


def use_colour(stream: TextIO) -> bool:
    """Return whether to colour: on a terminal, unless NO_COLOR is set."""
    return not os.environ.get("NO_COLOR") and stream.isatty() and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """Escape what does not print in a text of a spec, so that it is safe for a terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def witness(d: Diagnostic) -> str:
    """Format the path of a leak on one line; nothing for a finding without one."""
    return " -> ".join(printable(step.text) for step in d.path)


def details(d: Diagnostic) -> list[str]:
    """Return what follows the message, a line each: path, notes and help."""
    path = [f"path: {witness(d)}"] if d.path else []
    help_ = [f"help: {printable(d.help)}"] if d.help else []
    return [*path, *(f"note: {printable(note)}" for note in d.notes), *help_]


def relative(path: str) -> str:
    """Return a path as continuous integration names it: from the current folder, with `/`.

    It is absolute outside of the current folder, and stays as it is where the current folder is gone.
    """
    try:
        os.getcwd()
    except OSError:
        return PurePath(path).as_posix()
    for full, root in ((os.path.abspath(path), os.getcwd()), (os.path.realpath(path), os.path.realpath("."))):
        if PurePath(full).is_relative_to(root):
            return PurePath(full).relative_to(root).as_posix()
    return PurePath(os.path.abspath(path)).as_posix()


__all__ = ["details", "printable", "relative", "use_colour", "witness"]
