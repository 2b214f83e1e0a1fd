"""The front end: text in either syntax to the abstract syntax tree, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mpcompile.diagnostics import Source, SpecError, error
from mpcompile.diagnostics import Span as _Span
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import evaluate_number
from mpcompile.frontend.intake import guard, read_file

Syntax = Literal["mp", "yaml"]
SUFFIXES: dict[str, Syntax] = {".mp": "mp", ".yaml": "yaml", ".yml": "yaml"}


def syntax_of(path: Path | str) -> Syntax:
    """Return the syntax that a file name stands for. Raises `SpecError` (MP001) for another ending."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise error(
            "MP001",
            f"`{suffix or path}` is not the ending of a spec",
            _Span(str(path), 1, 1, 1, 1),
            help="specs end in `.mp`, `.yaml` or `.yml`",
        )
    return SUFFIXES[suffix]


def parse(path: Path | str) -> tuple[ast.Model, Source]:
    """Read and parse a spec; the ending of its name decides the syntax.

    Raises `SpecError` with every independent error of the file.
    """
    if not Path(path).exists():
        read_file(path)  # raises: what is not there has no ending to speak of
    syntax = syntax_of(path)
    source = read_file(path)
    return _parse(source, syntax), source


def parse_text(text: str, path: str = "<text>", syntax: Syntax = "mp") -> ast.Model:
    """Parse a spec given as text; `path` is what diagnostics call it."""
    return _parse(guard(text, path), syntax)


def _parse(source: Source, syntax: Syntax) -> ast.Model:
    if syntax == "mp":
        from mpcompile.frontend.mpform import parse_mp

        return parse_mp(source)
    from mpcompile.frontend.yamlform import parse_yaml

    return parse_yaml(source)


def format_model(model: ast.Model, syntax: Syntax = "mp", source: Source | None = None) -> str:
    """Print a model in either syntax; with the source it came from, its comments are kept."""
    from mpcompile.frontend.printing import format_model as print_model

    return print_model(model, syntax, source)


__all__ = [
    "SUFFIXES", "Source", "SpecError", "Syntax", "ast", "evaluate_number", "format_model",
    "parse",
    "parse_text", "syntax_of",
]  # fmt: skip
