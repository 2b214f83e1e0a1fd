"""`mpcompile explain CODE`: the page of a diagnostic code, or what a name of the language is."""

from __future__ import annotations

from typing import Annotated

import typer

from mpcompile.cli._complete import explained
from mpcompile.cli._out import echo, result


def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            autocompletion=explained,
            help="A diagnostic code, such as MP301, or its name; or a name of the language, such as conv.",
        ),
    ] = None,
) -> None:
    """Explain a diagnostic code or a name of the language.

    Without one, list all codes.
    """
    from mpcompile.diagnostics.codes import CODES

    if code is None:
        for row in CODES.values():
            echo(f"{row.code}  {row.name}")
        return
    named = {row.name: row for row in CODES.values()}
    found = CODES.get(code.upper()) or named.get(code.lower())
    if found is not None:
        result(found.page())
        return
    from mpcompile.diagnostics.nearest import nearest
    from mpcompile.reference import KINDS, described

    if lines := described(code):
        echo(*lines)
        return
    known = [*named, *(name for kind in KINDS.values() for name in kind.rows())]
    near = nearest(code.upper(), CODES) or nearest(code.lower(), known)
    hint = (
        f"; did you mean `{near}`?"
        if near
        else "; `mpcompile explain` lists all codes, `mpcompile list` all names"
    )
    echo(f"error: unknown code or name {code!r}{hint}", err=True)
    raise typer.Exit(2)


__all__ = ["explain"]
