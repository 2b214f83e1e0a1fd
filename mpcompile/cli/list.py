"""`mpcompile list`: whatever a spec can name, templates and codes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

# kind: module whose registry (a mapping from names to classes) is its table of contents
from mpcompile.cli._out import echo

if TYPE_CHECKING:
    from mpcompile.ranges import Slot

_REGISTRIES = {
    "layers": "mpcompile.layers",
    "functions": "mpcompile.functions",
    "losses": "mpcompile.functions.losses",
    "distributions": "mpcompile.distributions",
    "bijectors": "mpcompile.bijectors",
    "posteriors": "mpcompile.lowering.discrete",
}


def registry(kind: str) -> dict[str, str]:
    """Return the names of a kind, each with the first line of its docstring."""
    if kind == "templates":
        from mpcompile.frontend.templates import summary, templates

        return {name: summary(name) for name in templates()}
    if kind == "codes":
        from mpcompile.diagnostics.codes import CODES

        return {code.code: code.name for code in CODES.values()}
    try:
        module = importlib.import_module(_REGISTRIES[kind])
    except ModuleNotFoundError:
        return {}
    table = next(
        (v for n in ("REGISTRY", kind.upper()) if isinstance(v := getattr(module, n, None), Mapping)), {}
    )
    return {name: _row(entry) for name, entry in table.items()}


def _row(entry: object) -> str:
    """The first line of a docstring, behind the slots of a law."""
    slots = [slot.shown for slot in getattr(entry, "slots", ())]
    summary = (getattr(entry, "__doc__", "") or "").strip().split("\n")[0]
    return f"({', '.join(slots)}) {summary}" if slots else summary


def described(name: str) -> list[str]:
    """Return what a layer, a function or a bijector of this name is, and its arguments; nothing for an unknown name."""
    from mpcompile.bijectors import BIJECTORS
    from mpcompile.functions import FUNCTIONS, Function
    from mpcompile.functions.losses import LOSSES
    from mpcompile.layers import LAYERS

    lines: list[str] = []
    tables: dict[str, Mapping[str, type]] = {
        "layer": LAYERS, "function": FUNCTIONS, "term of a loss": LOSSES, "bijector": BIJECTORS,
    }  # fmt: skip
    for kind, table in tables.items():
        cls = table.get(name)
        if cls is not None:
            lines += [""] if lines else []
            usage = cls.usage() if issubclass(cls, Function) else name
            lines += [f"{usage}, a {kind}", "", *(inspect.getdoc(cls) or "").splitlines(), *_arguments(cls)]
    return lines


def _arguments(cls: type) -> list[str]:
    """A line for each argument: what it may be, and what it is where it is left out."""
    from mpcompile.ranges import slots

    rows = slots(cls)
    width = max((len(slot.name) for slot in rows), default=0)
    defaults = {f.name: f.default for f in fields(cls)}
    return [
        *([""] if rows else []),
        *(f"{slot.name:{width}}  {_allowed(slot)}{_default(slot, defaults[slot.name])}" for slot in rows),
    ]


def _allowed(slot: Slot) -> str:
    """The values of an argument."""
    rules = [str(rule) for rule in (slot.choice, slot.range) if rule is not None]
    if rules:
        return ", or ".join(rules)
    from mpcompile.distributions.orders import NAMES
    from mpcompile.layers.relations import RELATIONS
    from mpcompile.layers.starts import STARTS
    from mpcompile.ranges import AnyName, Choice

    called = getattr(slot.type, "__name__", "value").lower()
    if any(isinstance(rule, AnyName) for rule in slot.rules):
        return "names" if slot.items is not None else "a name"
    known = {
        "bool": "true or false",
        "value": "a value",
        "net": "a net",
        "mask": "a mask",
        "law": "a law",
        "order": f"{Choice(NAMES)}, raster(...) or a list",
        "relation": f"a mask between two axes: {Choice(tuple(RELATIONS))}",
        "start": f"how a weight starts: {Choice(tuple(STARTS))}",
    }
    return known.get(called, "values" if called == "tuple" else f"a {called}")


def _default(slot: Slot, default: object) -> str:
    """The default of an argument, as a spec would write it."""
    if slot.required:
        return ""
    if default is None:
        return "; may be left out"
    text = getattr(default, "keyword", str(default).lower() if isinstance(default, bool) else str(default))
    return f"; {text} if left out"


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            help=f"{', '.join([*_REGISTRIES, 'templates'])} or codes, or the name of a layer, a function or a bijector, "
            "whose arguments are then told; all without it."
        ),
    ] = None,
) -> None:
    """List the names of the language, templates and codes."""
    kinds = [*_REGISTRIES, "templates", "codes"]
    if kind is not None and kind not in kinds and (lines := described(kind)):
        for line in lines:
            echo(line)
        return
    if kind is not None and kind not in kinds:
        near = get_close_matches(kind, kinds, 1)
        hint = f"did you mean {near[0]}?" if near else "one of " + ", ".join(kinds)
        raise typer.BadParameter(f"no kind {kind!r}; {hint}")
    for each in [kind] if kind else kinds[:-1]:
        rows = registry(each)
        if kind is None:
            echo(f"{each}:")
        width = max((len(name) for name in rows), default=0)
        for name in sorted(rows):
            echo(f"{'  ' if kind is None else ''}{name:{width}}  {rows[name]}".rstrip())


__all__ = ["list_", "registry"]
