"""Programs as functions that call each other: how a backend writes what is repeated once.

`families` finds what is the same, `cut` cuts one program, `shared` finds programs inside other programs,
`recurrences` makes programs of the loops that several programs run, `fingerprint`
says when two functions are the same, and `blocks` is what comes of it.
"""

from mpcompile.outline.apart import Key, apart
from mpcompile.outline.blocks import Block, Call, Family, Instance, Item, Loop, Method, Outline, Path
from mpcompile.outline.cut import with_leaves
from mpcompile.outline.families import outline
from mpcompile.outline.fingerprint import fingerprint
from mpcompile.outline.recurrences import with_recurrences
from mpcompile.outline.shared import is_leaf

__all__ = [
    "Block",
    "Call",
    "Family",
    "Instance",
    "Item",
    "Key",
    "Loop",
    "Method",
    "Outline",
    "Path",
    "apart",
    "fingerprint",
    "is_leaf",
    "outline",
    "with_leaves",
    "with_recurrences",
]
