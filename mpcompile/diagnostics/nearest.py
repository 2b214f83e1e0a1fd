"""The name that a misspelt one was meant to be: for the help of a finding, and its fix."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from typing import TypedDict

from mpcompile.diagnostics.core import Fix, Span

#: The least ratio of `difflib` of names that are more than one edit apart: two of three letters in common are too few.
ALIKE = 0.75


class Meant(TypedDict):
    """Arguments of `error` about a misspelt name."""

    help: str
    fix: Fix | None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is one edit away, else the most similar one; None where none is similar.

    An edit inserts, deletes or replaces a character, or swaps two neighbours (Damerau 1964). Of several names the one of
    the largest ratio of `difflib` counts, then the first.
    """
    names = [n for n in dict.fromkeys(known) if n != name]
    close = {n: ratio for n in names if one_edit(name, n) and (ratio := _ratio(name, n))}
    if close:
        return max(close, key=lambda n: close[n])
    return next(iter(get_close_matches(name, names, 1, ALIKE)), None)


def _ratio(name: str, other: str) -> float:
    """The similarity of two names: 0 where they share no letter, as two names of one letter do."""
    return SequenceMatcher(None, name, other).ratio()


def one_edit(a: str, b: str) -> bool:
    """Return whether one edit makes `b` of `a`; a text is not one edit away from itself."""
    if abs(len(a) - len(b)) > 1 or a == b or not a or not b:
        return False
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest, other = a[start:], b[start:]
    if len(a) != len(b):
        longer, shorter = (rest, other) if len(a) > len(b) else (other, rest)
        return longer[1:] == shorter
    return rest[1:] == other[1:] or (rest[:2] == other[1::-1] and rest[2:] == other[2:])


def meant(name: str, known: Iterable[str], span: Span, otherwise: str = "") -> Meant:
    """Return help and fix for a name that stands at the start of a span: the nearest known one, else `otherwise`."""
    near = nearest(name, known)
    if near is None:
        return {"help": otherwise, "fix": None}
    return {"help": f"did you mean `{near}`?", "fix": Fix.first(span, name, near)}


__all__ = ["Meant", "meant", "nearest", "one_edit"]
