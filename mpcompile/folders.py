"""Specs among other files: every .mp file, and of YAML files those that say so or stand in a folder that is set as specs.

`[tool.mpcompile] specs = ["specs"]` in `pyproject.toml` names folders in which every YAML file is a spec, so that a
misspelt key is a fault, and the file not somebody else's. The nearest `pyproject.toml` with such a table counts.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

SUFFIXES = (".mp", ".yaml", ".yml")
SETTINGS = "pyproject.toml"
_BYTES = 256 * 1024  # no spec is larger

#: What makes a YAML file a spec: the name of a model at the left margin, and a section of one. Settings of other tools
#: that have a `model` too have it as a mapping, or lack the sections.
_MODEL = re.compile(rb"^model[ \t]*:[ \t]*([\"']?)\w+\1[ \t]*(#.*)?\r?$", re.MULTILINE)
_SECTION = re.compile(rb"^(input|target|condition|density|recurrence)[ \t]*:", re.MULTILINE)


def is_spec(path: Path) -> bool:
    """Return whether a file of a folder is a spec: by its name, its folder, or its text.

    Raises `ValueError` for settings of another form.
    """
    if path.suffix not in SUFFIXES:
        return False
    if path.suffix == ".mp":
        return True
    full = Path(os.path.realpath(path))
    folders = set_as_specs(full.parent)
    if any(folder in folders for folder in full.parents):
        return True
    try:
        with open(path, "rb") as handle:
            text = handle.read(_BYTES)
    except OSError:
        return False
    return bool(_MODEL.search(text) and _SECTION.search(text))


@cache
def set_as_specs(start: Path) -> frozenset[Path]:
    """Return the folders that the settings above a folder name. Raises `ValueError` for settings of another form."""
    import tomllib

    for folder in (start, *start.parents):
        try:
            table = tomllib.loads((folder / SETTINGS).read_text(encoding="utf-8")).get("tool", {})
        except OSError:
            continue
        except ValueError as fault:
            raise ValueError(f"{folder / SETTINGS} cannot be read: {fault}") from None
        if not isinstance(table, dict) or "mpcompile" not in table:
            continue
        settings = table["mpcompile"]
        named = settings.get("specs", []) if isinstance(settings, dict) else None
        if (
            not isinstance(named, list)
            or not all(isinstance(name, str) for name in named)
            or settings.keys() - {"specs"}
        ):
            raise ValueError(
                f'{folder / SETTINGS}: [tool.mpcompile] has `specs = ["FOLDER", ...]` and nothing else'
            )
        return frozenset(Path(os.path.realpath(folder / name)) for name in named)
    return frozenset()


__all__ = ["SUFFIXES", "is_spec", "set_as_specs"]
