"""One name of the language: signature, values that it takes, axes, slots, arguments with defaults, and an example."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from typing import Any

from mpcompile.analysis.claims import Kind as ClaimKind
from mpcompile.distributions import COMBINATORS, Distribution, Elementwise
from mpcompile.distributions.combinators import Combined, MixtureOf
from mpcompile.distributions.orders import NAMES
from mpcompile.functions import Function
from mpcompile.ir import Training
from mpcompile.ir.augmentation import AUGMENTATIONS
from mpcompile.ir.optimizers import OPTIMIZERS
from mpcompile.ir.training import SCHEDULES
from mpcompile.layers import Layer
from mpcompile.layers.axes import Acts, Part
from mpcompile.layers.relations import RELATIONS
from mpcompile.layers.starts import STARTS
from mpcompile.layers.takes import NOUNS
from mpcompile.lowering.densities import signature
from mpcompile.ranges import AnyName, Choice, Slot, slots
from mpcompile.reference.tables import KINDS, Kind, Stated

#: Parts of the axes of a value as a reader knows them.
PARTS = {
    Part.CHANNEL: "channels", Part.ORDERED: "the ordered axis", Part.PLACES: "any one axis but channels and classes",
    Part.SPACE: "all axes of space", Part.POOLED: "all axes of space, or else the ordered ones",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A name, ready to print.

    usage      how a spec writes it, with its arguments
    about      its description, lines
    facts      what it takes, acts on or is a law of: pairs of a word and a text
    arguments  the same for its arguments
    example    a whole spec
    """

    name: str
    noun: str
    usage: str
    about: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    arguments: tuple[tuple[str, str], ...]
    example: str

    @property
    def lines(self) -> list[str]:
        """The entry as `mpcompile list` prints it."""
        shown = [f"{self.usage}, {self.noun}", "", *self.about]
        for pairs in (self.facts, self.arguments):
            width = max((len(name) for name, _ in pairs), default=0)
            shown += ["", *(f"{name:{width}}  {text}" for name, text in pairs)] if pairs else []
        if self.example:
            shown += ["", "example:", "", *(f"  {line}".rstrip() for line in self.example.splitlines())]
        return shown


def entry(kind: Kind, name: str) -> Entry:
    """Return the entry of a name of a kind. Raises `KeyError` for another name."""
    row = kind.rows()[name]
    arguments = _arguments(row)
    return Entry(
        name, kind.noun, _usage(name, row), tuple(_about(row)), tuple(_facts(row)), arguments,
        kind.example(name),
    )  # fmt: skip


def options(kind: Kind, name: str) -> tuple[Slot, ...]:
    """Return the arguments of a name of a kind in their order; none for a name without a class. Raises `KeyError`."""
    row = kind.rows()[name]
    return slots(_stated(row)) if isinstance(row, type) else ()


def described(name: str) -> list[str]:
    """Return all that a name is, as lines; nothing for a name that no table has."""
    lines: list[str] = []
    for kind in KINDS.values():
        if name in kind.rows():
            lines += [""] if lines else []
            lines += entry(kind, name).lines
    return lines


def summary(kind: Kind, name: str) -> str:
    """Return the first line about a name, behind the slots of a law."""
    row = kind.rows()[name]
    first = next(iter(_about(row)), "")
    law_slots = [s.shown for s in row.slots] if isinstance(row, type) and issubclass(row, Elementwise) else []
    return f"({', '.join(law_slots)}) {first}" if law_slots else first


def _about(row: Any) -> list[str]:
    if isinstance(row, str):
        return [row]
    if isinstance(row, Stated):
        return row.about.splitlines()
    if isinstance(row, Slot):
        return [_settings()[row.name]]
    if isinstance(row, ClaimKind):
        found = inspect.getdoc(row.rule or import_module(f"mpcompile.analysis.claims.{row.name}")) or ""
        return found.splitlines()
    return (inspect.getdoc(row) or "").splitlines()


@cache
def _settings() -> dict[str, str]:
    """Return what the docstring of the `train` section says of each setting."""
    text = inspect.getdoc(Training) or ""
    rows = re.findall(r"^(\w+) {2,}(\S.*(?:\n {3,}\S.*)*)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", about) for name, about in rows}


# --- how it is written ---


@cache
def _stated(row: type) -> type:
    """The dataclass of the arguments of a row."""
    return signature(row) if issubclass(row, Distribution) else row


def _usage(name: str, row: Any) -> str:
    if isinstance(row, ClaimKind):
        return row.usage + (f" is {' | '.join(row.structures)}" if row.structures else "")
    if isinstance(row, Stated):
        return row.usage
    if isinstance(row, Slot):
        return f"{name}: ..."
    if isinstance(row, str):
        return name
    if name in COMBINATORS:
        over = COMBINATORS[name]
        counted = ", components = 5" if over is MixtureOf else ""
        whole = "" if issubclass(row, Combined) else f" or {name}(components = 5)"
        return f"{name}(law, net{counted}){whole}"
    if issubclass(row, Elementwise) and row.slots:
        each = ", ".join(s.name if s.default is None else f"{s.name} = {s.default:g}" for s in row.slots)
        return f"{name}(net) or {name}({each})"
    values = row.takes if issubclass(row, Function) else ()
    optional = len(values) - row.optional if issubclass(row, Function) else 0
    parts = [f"{v} = ..." if i >= optional else v for i, v in enumerate(values)]
    defaults = {f.name: f.default for f in fields(_stated(row))}
    for slot in slots(_stated(row)):
        if slot.required:
            parts.append(slot.name if slot.by_place else f"{slot.name} = ...")
        elif defaults[slot.name] is not None and slot.name not in ("sizes",):
            parts.append(f"{slot.name} = {_written(defaults[slot.name])}")
    return f"{name}({', '.join(parts)})" if parts else name


# --- what it is about ---


def _facts(row: Any) -> list[tuple[str, str]]:
    if isinstance(row, Stated):
        return [*row.facts]
    if isinstance(row, Slot):
        tables: dict[str, Iterable[str]] = {
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
            "augment": AUGMENTATIONS,
        }
        table = tables.get(row.name)
        allowed = f"{Choice(tuple(table))}, with arguments" if table else _allowed(row)
        return [("value", f"a list of {allowed}" if row.name == "augment" else allowed)]
    if not isinstance(row, type):
        return []
    found: list[tuple[str, str]] = []
    if issubclass(row, Layer):
        found.append(("takes", "any values" if row.takes.kind is None else NOUNS[row.takes.kind]))
        found.append(("acts on", _acts(row)))
    elif issubclass(row, Function):
        values = "any values" if row.kind is None else NOUNS[row.kind]
        found.append(("takes", "two laws" if row.of_laws else values))
    elif issubclass(row, Distribution):
        found.append(("values", f"{row.support.values} ({row.support.measure})"))
        found.append(("types", ", ".join(row.support.types) or "latents"))
        if issubclass(row, Elementwise) and row.slots:
            slots_ = [
                f"{s.name} ({s.domain}{'' if s.default is None else f', {s.default:g}'})" for s in row.slots
            ]
            found.append(("slots", ", ".join(slots_)))
        if issubclass(row, Elementwise) and not issubclass(row, Combined):
            noise = [n.kind + ("" if n.count is None else f" x {n.count}") for n in row.noise]
            found.append(("draws", f"from noise: {', '.join(noise)}"))
        gives = (
            "the mean, of classes their probabilities"
            if row.has_mean
            else "a draw: the mean has no closed form"
        )
        found.append(("predict", gives if row.drawn else "the most probable value"))
    return found


def _acts(row: Any) -> str:
    """The axes that a layer acts on, and whether `over` names others."""
    acts = row.acts if isinstance(row.acts, Acts) else Acts((Part.PLACES, Part.CHANNEL))
    parts = ", and ".join(PARTS[p] for p in acts.parts if p in PARTS)
    named = any(slot.name == "over" for slot in slots(row))
    if not parts:
        return "the axes that `over` names" if named else "single elements"
    return parts + ("; `over` names another axis" if named else "")


# --- arguments ---


def _arguments(row: Any) -> tuple[tuple[str, str], ...]:
    """A pair for each argument: what it may be, and what it is where it is left out."""
    if not isinstance(row, type):
        return ()
    cls = _stated(row)
    defaults = {f.name: f.default for f in fields(cls)}
    return tuple((s.name, f"{_allowed(s)}{_default(s, defaults[s.name])}") for s in slots(cls))


def _allowed(slot: Slot) -> str:
    """The values of an argument."""
    rules = [str(rule) for rule in (slot.choice, slot.range) if rule is not None]
    if rules:
        return ", or ".join(rules)
    called = getattr(slot.type, "__name__", "value").lower()
    if any(isinstance(rule, AnyName) for rule in slot.rules):
        return "names" if slot.items is not None else "a name"
    known = {
        "bool": "true or false", "value": "a value", "net": "a net", "mask": "a mask", "law": "a law", "family": "a law",
        "order": f"{Choice(NAMES)}, raster(...) or a list",
        "relation": f"a mask between two axes: {Choice(tuple(RELATIONS))}",
        "start": f"how a weight starts: {Choice(tuple(STARTS))}", "variances": "linear(first, last) or cosine",
    }  # fmt: skip
    return known.get(
        called, "values" if called == "tuple" else "an expression" if called == "expr" else f"a {called}"
    )


def _default(slot: Slot, default: object) -> str:
    """The default of an argument, as a spec would write it."""
    if slot.required:
        return ""
    return "; may be left out" if default is None else f"; {_written(default)} if left out"


def _written(default: object) -> str:
    text = str(default).lower() if isinstance(default, bool) else str(default)
    named = getattr(default, "keyword", None) or getattr(default, "name", None)
    return named if isinstance(named, str) else text


__all__ = ["Entry", "described", "entry", "options", "summary"]
