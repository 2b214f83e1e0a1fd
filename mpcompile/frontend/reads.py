"""The files that a spec reads besides itself: masks, not data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpcompile.frontend import ast


def named(model: ast.Model, spec: Path | str) -> list[Path]:
    """Return every path that a spec may read, beside the spec, whether there is a file or not; sorted.

    A string in a spec is a file name or a literal argument, so every file that a mask or a net can be read from is
    among its strings, whatever constructor reads it. The strings of the `train` section are left out: they name data,
    and no property depends on data.
    """
    folder = Path(spec).parent
    return sorted(folder / text for text in _texts(model) if text and "\0" not in text)


def reads(model: ast.Model, spec: Path | str) -> list[Path]:
    """Return the paths of `named` that are files."""
    return [path for path in named(model, spec) if path.is_file()]


def _texts(model: ast.Model) -> set[str]:
    texts: set[str] = set()
    rest: list[Any] = [value for name, value in model.__dict__.items() if name != "train"]
    while rest:
        value = rest.pop()
        if isinstance(value, ast.Text):
            texts.add(value.value)
        elif isinstance(value, ast.Node):
            rest += value.__dict__.values()
        elif isinstance(value, tuple | list):
            rest += value
    return texts


__all__ = ["named", "reads"]
