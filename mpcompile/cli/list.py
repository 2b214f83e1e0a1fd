"""`mpcompile list`: the layers, distributions and templates a spec can name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated

import typer

# kind: module whose registry (a mapping from names to classes) is its table of contents
from mpcompile.cli._out import echo

_REGISTRIES = {
    "layers": "mpcompile.layers",
    "distributions": "mpcompile.distributions",
    "bijectors": "mpcompile.bijectors",
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


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="layers, distributions, bijectors, templates or codes; all without it."),
    ] = None,
) -> None:
    """List the names of the language, templates and codes."""
    kinds = [*_REGISTRIES, "templates", "codes"]
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
