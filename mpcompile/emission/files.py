"""The two files of Python that a model has: `model.py`, and `sampling.py` with its samplers, which imports from it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping

from mpcompile.emission.text import WIDTH

#: Names of the files, and the programs that `sampling.py` has, with all functions that only they call.
MODEL, SAMPLING = "model.py", "sampling.py"
SAMPLERS = frozenset({"sample"})


def imported(names: Iterable[str]) -> list[str]:
    """Write the import of some names of `model.py`; nothing where there are none."""
    listed = sorted(set(names), key=_in_order)
    line = f"from model import {', '.join(listed)}"
    if not listed or len(line) <= WIDTH:
        return [line] if listed else []
    return ["from model import (", *(f"    {name}," for name in listed), ")"]


def _in_order(name: str) -> tuple[bool, bool, list[tuple[int, str]]]:
    """Sort constants before classes before functions, numbers in names as numbers: the order of import sorters."""
    parts = re.split(r"(\d+)", name.lower())
    natural = [(int(p), "") if p.isdigit() else (0, p) for p in parts]
    return not name.isupper(), not name[:1].isupper(), natural


def read(text: str) -> frozenset[str]:
    """Return the names that a text reads, annotations included; comments and strings name nothing."""
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name))
    return frozenset(node.id for node in nodes if isinstance(node.ctx, ast.Load))


def needed(table: Mapping[str, str], text: str) -> dict[str, str]:
    """Return the definitions of a table, by name, that a text reads, itself or through each other."""
    names, found = set(read(text)), dict[str, str]()
    for name, definition in reversed(list(table.items())):  # later ones may read earlier ones
        if name in names:
            found = {name: definition, **found}
            names |= read(definition)
    return found


def texts(model: str, sampling: str) -> dict[str, str]:
    """Return the files by their names; a model without samplers has one."""
    return {MODEL: model, **({SAMPLING: sampling} if sampling else {})}
