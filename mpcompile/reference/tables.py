"""The tables of the language: every kind of name that a spec can use, from the registries that lowering reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mpcompile.ir import Training
from mpcompile.ranges import slots
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


def _of(module: str, table: str) -> Callable[[], Mapping[str, Any]]:
    """The table of a module, imported where it is asked for."""
    return lambda: dict(getattr(import_module(f"mpcompile.{module}"), table))


def _masks() -> Mapping[str, Any]:
    return {
        **_of("layers", "MASKS")(),
        "strict": "The output layer's version of a mask of degrees, strict(degrees): each output sees those before it.",
        "transpose": "The transpose of a mask of a matrix: transpose(band(0, 2)).",
    }


def _claims() -> Mapping[str, Any]:
    kinds = _of("analysis.claims", "KINDS")()
    return {name: kind for name, kind in kinds.items() if not kind.promised}


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
    codes = _of("diagnostics.codes", "CODES")()
    names = import_module("mpcompile.analysis.findings").names()
    return {
        name: Stated(
            name,
            f"{codes[code].what}\n{codes[code].why}",
            (("code", f"{code}, {codes[code].name}"),),
        )
        for name, code in names.items()
    }


def _data_sets() -> Mapping[str, Any]:
    about = _of("ir.data_sets", "DATA_SETS")()
    return {name: Stated(name, text) for name, text in about.items()}


def _settings() -> Mapping[str, Any]:
    """The slots of the `train` section with what its docstring says of each."""
    return {slot.name: slot for slot in slots(Training)}


#: Every kind, in the order of `mpcompile list`.
KINDS: dict[str, Kind] = {
    kind.title: kind
    for kind in (
        Kind("layers", "a layer", _of("layers", "LAYERS"), examples.LAYERS),
        Kind("functions", "a function", _of("functions", "FUNCTIONS"), examples.FUNCTIONS),
        Kind("losses", "a term of a loss", _of("functions.losses", "LOSSES"), examples.LOSSES),
        Kind("distributions", "a law", _of("distributions", "DISTRIBUTIONS"), examples.DISTRIBUTIONS),
        Kind("bijectors", "a bijector", _of("bijectors", "BIJECTORS"), examples.BIJECTORS),
        Kind("coupling_laws", "the law of a coupling", _of("bijectors", "LAWS"), examples.COUPLING_LAWS),
        Kind("posteriors", "a posterior", _of("lowering.discrete", "POSTERIORS"), examples.POSTERIORS),
        Kind("masks", "a mask", _masks, examples.MASKS),
        Kind(
            "relations", "a mask between two axes", _of("layers.relations", "RELATIONS"), examples.RELATIONS
        ),
        Kind("orders", "an order", _of("distributions.orders", "ORDERS"), examples.ORDERS),
        Kind("starts", "a start of a weight", _of("layers.starts", "STARTS"), examples.STARTS),
        Kind("claims", "a claim", _claims, examples.CLAIMS),
        Kind("optimizers", "an optimiser", _of("ir.optimizers", "OPTIMIZERS"), examples.OPTIMIZERS),
        Kind(
            "augmentations",
            "a random change of training examples",
            _of("ir.augmentation", "AUGMENTATIONS"),
            examples.AUGMENTATIONS,
        ),
        Kind(
            "schedules",
            "a schedule of the learning rate",
            _of("ir.training", "SCHEDULES"),
            examples.SCHEDULES,
        ),
        Kind("settings", "a setting of the section `train`", _settings, examples.SETTINGS),
        Kind("data_sets", "a data set", _data_sets, examples.DATA_SETS),
        Kind("types", "a type", _types, examples.TYPES),
        Kind("warnings", "a warning, which a spec may allow", _warnings, examples.WARNINGS),
    )
}


def kinds_of(name: str) -> Iterator[Kind]:
    """Yield the kinds that have a name."""
    yield from (kind for kind in KINDS.values() if name in kind.rows())


__all__ = ["KINDS", "Kind", "Stated", "kinds_of"]
