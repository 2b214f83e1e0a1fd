"""Kinds of names of the language: for each its table and the place of its names in a spec.

A name that stands where another kind belongs is no misspelt one: a finding says which kind it is of, and where it
belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mpcompile.ir import Training
from mpcompile.ranges import slots


@dataclass(frozen=True)
class Kind:
    """A kind of names.

    title  of the list in the reference, and `noun` of one of its names
    rows   the names, each with what the compiler has for it
    usage  where a name of it belongs, with `{}` in its place
    """

    title: str
    noun: str
    rows: Callable[[], Mapping[str, Any]]
    usage: str


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


def _settings() -> Mapping[str, Any]:
    """The slots of the `train` section with what its docstring says of each."""
    return {slot.name: slot for slot in slots(Training)}


def _warnings() -> Mapping[str, Any]:
    """The names of warnings, each with its code."""
    return dict(import_module("mpcompile.analysis.findings").names())


def _types() -> Mapping[str, Any]:
    return dict.fromkeys(import_module("mpcompile.frontend.build").TYPES, "")


#: Every kind, in the order of `mpcompile list`.
KINDS: dict[str, Kind] = {
    kind.title: kind
    for kind in (
        Kind("layers", "a layer", _of("layers", "LAYERS"), "x -> {}"),
        Kind("functions", "a function", _of("functions", "FUNCTIONS"), "{}(x, ...)"),
        Kind("losses", "a term of a loss", _of("functions.losses", "LOSSES"), "minimise {}(...)"),
        Kind("distributions", "a law", _of("distributions", "DISTRIBUTIONS"), "x ~ {}(...)"),
        Kind("bijectors", "a bijector", _of("bijectors", "BIJECTORS"), "x ~ flow {{ {} }}"),
        Kind("coupling_laws", "the law of a coupling", _of("bijectors", "LAWS"), "coupling(law = {}, ...)"),
        Kind("posteriors", "a posterior", _of("lowering.discrete", "POSTERIORS"), "latent k: category(8) ~ {}"),
        Kind("masks", "a mask", _masks, "dense(8, mask = {})"),
        Kind("relations", "a mask between two axes", _of("layers.relations", "RELATIONS"),
             "softmax(over = key, mask = {})"),
        Kind("orders", "an order", _of("distributions.orders", "ORDERS"), "autoregressive(order = {})"),
        Kind("starts", "a start of a weight", _of("layers.starts", "STARTS"), "weight w: real[channel: 4] = {}"),
        Kind("claims", "a claim", _claims, "check {{ {} ... }}"),
        Kind("optimizers", "an optimiser", _of("ir.optimizers", "OPTIMIZERS"), "train {{ optimizer: {} }}"),
        Kind("augmentations", "a random change of training examples", _of("ir.augmentation", "AUGMENTATIONS"),
             "train {{ augment: [{}(x)] }}"),
        Kind("schedules", "a schedule of the learning rate", _of("ir.training", "SCHEDULES"),
             "train {{ schedule: {} }}"),
        Kind("settings", "a setting of the section `train`", _settings, "train {{ {}: ... }}"),
        Kind("data_sets", "a data set", _of("ir.data_sets", "DATA_SETS"), "train {{ data: {} }}"),
        Kind("types", "a type", _types, "input x: {}"),
        Kind("warnings", "a warning, which a spec may allow", _warnings,
             'check {{ allow {} because "..." }}'),
    )
}  # fmt: skip

#: A name is said to be of so many kinds at most.
MAX_KINDS = 3


def kinds_by_name() -> Mapping[str, tuple[Kind, ...]]:
    """Return the kinds that have each name of the language."""
    found: dict[str, tuple[Kind, ...]] = {}
    for kind in KINDS.values():
        for name in kind.rows():
            found[name] = (*found.get(name, ()), kind)
    return found


def misplaced(name: str, wanted: str) -> tuple[str, str] | None:
    """Return message and help for a name of the language where something else is `wanted`; None for another name."""
    kinds = kinds_by_name().get(name, ())[:MAX_KINDS]
    if not kinds:
        return None
    uses = dict.fromkeys(kind.usage.format(name) for kind in kinds)
    return f"`{name}` is {_listed([kind.noun for kind in kinds])}, and no {wanted}", "; ".join(uses)


def _listed(nouns: Iterable[str]) -> str:
    *some, last = nouns
    return f"{', '.join(some)} and {last}" if some else last


__all__ = ["KINDS", "Kind", "kinds_by_name", "misplaced"]
