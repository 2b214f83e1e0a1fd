"""Completion of arguments by a shell: names from the tables that the commands read, imported when they are asked for."""

from __future__ import annotations

import os

#: The variable with which the script of a shell asks for completions.
ASKED = "_MPCOMPILE_COMPLETE"


def command_asked(arguments: list[str]) -> str | None:
    """Return the command on a command line, or on the one that a shell completes: its first word without a dash."""
    if ASKED in os.environ:  # bash and fish have words in the one variable, zsh in the other
        line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
        arguments = line.split()[1:]
    return next((a for a in arguments if not a.startswith("-")), None)


def backends(incomplete: str) -> list[str]:
    """Return the names of backends."""
    from mpcompile.backend import backends as known

    return [name for name in known() if name.startswith(incomplete)]


def several_backends(incomplete: str) -> list[str]:
    """Return backends behind those before the last comma."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in backends(last)]


def data_sets(incomplete: str) -> list[str]:
    """Return the names of data sets; the shell adds files."""
    from mpcompile.ir.data_sets import DATA_SETS

    return [name for name in DATA_SETS if name.startswith(incomplete)]


def templates(incomplete: str) -> list[str]:
    """Return the templates of specs."""
    from mpcompile.frontend.templates import templates as known

    return [name for name in known() if name.startswith(incomplete)]


def names(incomplete: str) -> list[tuple[str, str]]:
    """Return the kinds of names, and every name of the language with its noun."""
    from mpcompile.reference import KINDS

    found = dict.fromkeys((*KINDS, "templates", "codes"), "a list")
    for kind in KINDS.values():
        found |= {name: kind.noun for name in kind.rows() if name not in found}
    return [(name, noun) for name, noun in found.items() if name.startswith(incomplete)]


def explained(incomplete: str) -> list[tuple[str, str]]:
    """Return codes with their names, and the names of the language."""
    from mpcompile.diagnostics.codes import CODES

    codes = [(row.code, row.name) for row in CODES.values()]
    codes += [(row.name, row.code) for row in CODES.values()]
    return [pair for pair in codes if pair[0].startswith(incomplete)] + names(incomplete)


__all__ = [
    "ASKED",
    "backends",
    "command_asked",
    "data_sets",
    "explained",
    "names",
    "several_backends",
    "templates",
]
