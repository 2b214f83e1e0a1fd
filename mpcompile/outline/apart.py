"""Functions that only some programs need, such as the parts of a sampler."""

from __future__ import annotations

from collections.abc import Collection

from mpcompile.outline.blocks import Block, Call, Loop, Outline

#: A function: the family that it is of, and its number there.
Key = tuple[int, int]


def apart(outline: Outline, programs: Collection[str]) -> frozenset[Key]:
    """Return the functions that no program but these calls, with the programs themselves."""
    root = id(outline.root.family)
    found: set[Key] = set()

    def visit(block: Block) -> None:
        for item in block.items:
            if isinstance(item, Loop):
                visit(item.body)
            elif isinstance(item, Call):
                instance, number = outline.methods[id(item)]
                key = id(instance.family), number
                if key[0] != root or key not in found:
                    found.add(key)
                    visit(item.block if item.path else instance.methods[number].block)

    for number, method in enumerate(outline.root.methods):
        if method.role not in programs:
            found.add((root, number))
            visit(method.block)
    every = {(id(family), i) for family in outline.families for i in range(len(family.first.methods))}
    return frozenset(every - found)
