"""The tables of the language: every kind of name that a spec can use, from the registries that lowering reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mpcompile.analysis import findings
from mpcompile.diagnostics.codes import CODES
from mpcompile.frontend import kinds
from mpcompile.ir.data_sets import DATA_SETS
from mpcompile.reference import examples


@dataclass(frozen=True)
class Stated:
    """A name that no class stands for: how it is written, its description, and facts as pairs of a word and a text."""

    usage: str
    about: str
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of names.

    title     of the list, and `noun` of one of its names
    rows      the names, each with what the compiler has for it: a class, its docstring, or `Stated`
    examples  a spec for each, without its first line
    """

    title: str
    noun: str
    rows: Callable[[], Mapping[str, Any]]
    examples: Mapping[str, str]

    def example(self, name: str) -> str:
        """Return the whole spec of a name; nothing where there is none."""
        return f"model example\n\n{self.examples[name]}" if name in self.examples else ""


_TYPES = {
    "real": Stated(
        "real | real(low..high) | real(low..)", "Real numbers, all of them or those of an interval. Float."
    ),
    "angle": Stated("angle", "Real numbers modulo 2 pi, in radians, in [-pi, pi). Float."),
    "binary": Stated("binary", "0 or 1."),
    "integer": Stated(
        "integer(low..high) | integer(low..)",
        "Whole numbers with order; `integer(1..time)` says how many steps of an example are real.",
    ),
    "category": Stated(
        'category(classes) | category("word", ...)', "Classes without order, numbered from 0."
    ),
}
_SHAPE = (
    ("shape", "`[sizes]` or `[axis: size, ...]` behind it; a name that is no number is a symbolic length"),
    ("missing", "`?` at the end: values may be missing"),
)


def _types() -> Mapping[str, Any]:
    return {name: Stated(t.usage, t.about, _SHAPE) for name, t in _TYPES.items()}


def _warnings() -> Mapping[str, Any]:
    return {
        name: Stated(
            name,
            f"{CODES[code].what}\n{CODES[code].why}",
            (("code", f"{code}, {CODES[code].name}"),),
        )
        for name, code in findings.names().items()
    }


def _data_sets() -> Mapping[str, Any]:
    return {name: Stated(name, text) for name, text in DATA_SETS.items()}


#: Kinds whose names no class stands for.
_STATED: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "data_sets": _data_sets,
    "types": _types,
    "warnings": _warnings,
}

#: Every kind, in the order of `mpcompile list`.
KINDS: dict[str, Kind] = {
    title: Kind(title, kind.noun, _STATED.get(title, kind.rows), getattr(examples, title.upper()))
    for title, kind in kinds.KINDS.items()
}


__all__ = ["KINDS", "Kind", "Stated"]
