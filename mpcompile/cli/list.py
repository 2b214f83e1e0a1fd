"""`mpcompile list`: whatever a spec can name, templates and codes."""

from __future__ import annotations

from typing import Annotated

import typer

from mpcompile.cli._complete import names
from mpcompile.cli._out import echo

OTHERS = ("templates", "codes")


def kinds() -> list[str]:
    """Return what can be listed: the tables of the language, templates and codes."""
    from mpcompile.reference import KINDS

    return [*KINDS, *OTHERS]


def registry(kind: str) -> dict[str, str]:
    """Return the names of a kind, each with the first line about it."""
    from mpcompile.reference import KINDS, summary

    if kind == "templates":
        from mpcompile.frontend import templates

        return {name: templates.summary(name) for name in templates.templates()}
    if kind == "codes":
        from mpcompile.diagnostics.codes import CODES

        return {code.code: code.name for code in CODES.values()}
    return {name: summary(KINDS[kind], name) for name in KINDS[kind].rows()}


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            autocompletion=names,
            help="A kind (layers, functions, distributions, claims, ...), templates or codes; or any "
            "name, whose arguments and an example are then shown; all kinds without it.",
        ),
    ] = None,
) -> None:
    """List the names of the language, templates and codes."""
    if kind is not None and kind not in OTHERS:
        from mpcompile.reference import KINDS, described

        if kind not in KINDS and (lines := described(kind)):
            for line in lines:
                echo(line)
            return
    if kind is not None and kind not in kinds():
        from mpcompile.diagnostics.nearest import nearest
        from mpcompile.reference import KINDS

        near = nearest(kind, [*kinds(), *(n for k in KINDS.values() for n in k.rows())])
        hint = f"did you mean `{near}`?" if near else "one of " + ", ".join(kinds())
        raise typer.BadParameter(f"no kind or name {kind!r}; {hint}")
    for each in [kind] if kind else kinds()[:-1]:
        rows = registry(each)
        if kind is None:
            echo(f"{each}:")
        width = max((len(name) for name in rows), default=0)
        for name in sorted(rows):
            echo(f"{'  ' if kind is None else ''}{name:{width}}  {rows[name]}".rstrip())


__all__ = ["list_", "registry"]
