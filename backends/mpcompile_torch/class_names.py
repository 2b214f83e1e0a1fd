"""The names of emitted classes."""

from __future__ import annotations

import builtins

from mpcompile.emission.names import camel, unnumbered
from mpcompile.outline import Outline
from mpcompile_torch.body import RESERVED


def class_names(outline: Outline, model: str) -> dict[int, str]:
    """Name the class of each family, after the frame where it was first met."""
    taken = {*RESERVED, *vars(builtins)}
    root = camel(model, taken)
    taken.add(root)
    names: dict[int, str] = {}
    for family in outline.families:
        frame = family.first.frame
        if frame is None:
            names[id(family)] = root
            continue
        name = camel(unnumbered(frame.name), taken)
        taken.add(name)
        names[id(family)] = name
    return names
