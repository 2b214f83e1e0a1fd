"""Names of the user as names of Python: one rule, for arguments, variables, functions and classes."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterable

from mpcompile.ir.names import element


def identifier(name: str) -> str:
    """Return a name that may be printed. Raises `ValueError`: nothing else from a spec becomes code."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or keyword.iskeyword(name) or name.startswith("__"):
        raise ValueError(f"{name!r} cannot be a name in Python")
    return name


def free(name: str, taken: Collection[str] = ()) -> str:
    """Return `name`, with underscores behind it where it is a keyword of Python or `taken`. `_` alone is no name.

    Raises `ValueError` for what is no identifier.
    """
    chosen = name if name.strip("_") else "blank"
    while keyword.iskeyword(chosen) or chosen in taken:
        chosen += "_"
    return identifier(chosen)


def arguments(names: Iterable[str], taken: Collection[str]) -> list[str]:
    """Choose names of a function's arguments, in the order of `names`: all different, none of them `taken`.

    A name that is free keeps it, whatever stands before it.
    """
    wanted = list(names)
    kept = {name for name in wanted if _is_free(name, taken)}
    out: list[str] = []
    for name in wanted:
        out.append(name if name in kept else free(name, {*taken, *kept, *out}))
    return out


def attribute(part: str) -> str:
    """Return how an object spells a part of a weight's name: `dense_0`, or `layer[0]` for the element of a list."""
    found = element(part)
    return identifier(part) if found is None else f"{identifier(found[0])}[{found[1]}]"


def unnumbered(name: str) -> str:
    """Return the name of a layer without its number: `dense` for `dense_0` and for `dense.0`."""
    return name.rstrip("0123456789").rstrip("_.") or name


def camel(name: str, taken: Collection[str] = ()) -> str:
    """Convert `gated_pixel_cnn` to `GatedPixelCnn`, with a number behind it where that is a keyword or `taken`."""
    text = "".join(part[:1].upper() + part[1:] for part in name.split("_") if part)
    stem = text if text[:1].isalpha() else f"Model{text}"
    chosen, number = stem, 1
    while keyword.iskeyword(chosen) or chosen in taken:
        number += 1
        chosen = f"{stem}{number}"
    return identifier(chosen)


def snake(name: str) -> str:
    """Convert `GatedPixelCnn` to `gated_pixel_cnn`."""
    return identifier(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def defined(texts: Iterable[str]) -> frozenset[str]:
    """Return the names of the functions and classes that pieces of source define."""
    return frozenset(re.findall(r"(?m)^(?:def|class) (\w+)", "\n".join(texts)))


def _is_free(name: str, taken: Collection[str]) -> bool:
    return bool(name.strip("_")) and not keyword.iskeyword(name) and name not in taken


__all__ = ["arguments", "attribute", "camel", "defined", "free", "identifier", "snake", "unnumbered"]
