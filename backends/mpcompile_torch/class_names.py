"""The names of emitted classes."""

from __future__ import annotations

import builtins
import re

from mpcompile.emission.names import camel, unnumbered
from mpcompile.outline import Outline
from mpcompile_torch.body import RESERVED

_CLASS = re.compile(r"[A-Z][A-Za-z0-9]+")


def class_names(outline: Outline, model: str) -> dict[int, str]:
    """Name the class of each family, after the frame where it was first met: its label where that is a class's name."""
    taken = {*RESERVED, *vars(builtins)}
    root = camel(model, taken)
    taken.add(root)
    names: dict[int, str] = {}
    for family in outline.families:
        frame = family.first.frame
        if frame is None:
            names[id(family)] = root
            continue
        own = frame.label if _CLASS.fullmatch(frame.label) else unnumbered(frame.name)
        name = camel(own, taken)
        taken.add(name)
        names[id(family)] = name
    return names
