"""Print a model in one of its syntaxes, comments included."""

from __future__ import annotations

from mpcompile.diagnostics import Source
from mpcompile.frontend import ast, printmp, printyaml
from mpcompile.frontend.comments import weave


def format_model(model: ast.Model, syntax: str, source: Source | None = None) -> str:
    """Print a model; comments of `source`, the text it was parsed from, are carried over."""
    lines = (printmp if syntax == "mp" else printyaml).model_lines(model)
    return "".join(f"{line}\n" for line in weave(lines, source, syntax))


__all__ = ["format_model"]
