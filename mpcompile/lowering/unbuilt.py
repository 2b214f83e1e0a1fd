"""Constructs that the language has and lowering does not compile yet: refused at their place, never left out.

A row goes when its construct is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpcompile.diagnostics import Diagnostic, SpecError
from mpcompile.frontend import ast
from mpcompile.frontend.unused import nodes


def _law(s: ast.Density) -> str:
    """Return the name of the law of a statement."""
    call = ast.called(s.distribution)
    return "" if call is None else call.callee


#: A class of nodes, what of it is not built, and a test for nodes that have it.
_UNBUILT: tuple[tuple[type[ast.Node], str, Callable[[Any], bool]], ...] = (
    (
        ast.Density,
        "a draw of what is missing",
        lambda n: n.role == "missing" and _law(n) not in ("enumerate", "exact"),
    ),
)


def check_built(model: ast.Model) -> None:
    """Raise `SpecError` (MP129) with every construct of a model that lowering does not compile yet."""
    help_ = "this version only reads and formats it"
    found = [
        Diagnostic("MP129", f"{what} cannot be compiled yet", node.span, help=help_)
        for node in nodes([model])
        for kind, what, holds in _UNBUILT
        if type(node) is kind and holds(node)
    ]
    if found:
        raise SpecError(sorted(found, key=lambda d: (d.span.line, d.span.column)))


__all__ = ["check_built"]
