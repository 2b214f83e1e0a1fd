"""Programs as functions that call each other: how a backend writes what is repeated once.

`cut` finds the functions; `shared` finds programs inside other programs.
"""

from mpcompile.outline.cut import (
    Block,
    Call,
    Family,
    Instance,
    Item,
    Loop,
    Method,
    Outline,
    Path,
    fingerprint,
    outline,
)
from mpcompile.outline.shared import is_leaf

__all__ = [
    "Block",
    "Call",
    "Family",
    "Instance",
    "Item",
    "Loop",
    "Method",
    "Outline",
    "Path",
    "fingerprint",
    "is_leaf",
    "outline",
]
