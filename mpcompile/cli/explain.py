"""`mpcompile explain CODE`: the page of a diagnostic code."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import typer

from mpcompile.cli._out import echo, result


def explain(
    code: Annotated[str | None, typer.Argument(help="A diagnostic code, such as MP301, or its name.")] = None,
) -> None:
    """Explain a diagnostic code; without one, list them all."""
    from mpcompile.diagnostics.codes import CODES

    if code is None:
        for row in CODES.values():
            echo(f"{row.code}  {row.name}")
        return
    named = {row.name: row for row in CODES.values()}
    found = CODES.get(code.upper()) or named.get(code.lower())
    if found is None:
        near = get_close_matches(code.upper(), CODES, 1) or get_close_matches(code.lower(), named, 1)
        hint = f"; did you mean {near[0]}?" if near else "; `mpcompile explain` lists all codes"
        echo(f"error: unknown code {code!r}{hint}", err=True)
        raise typer.Exit(2)
    result(found.page())


__all__ = ["explain"]
