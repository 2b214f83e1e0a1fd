"""Masks of real steps that a declared length gives: each example has a first step."""

from __future__ import annotations

from collections.abc import Collection

from mpcompile.ir import Graph, Module, Value
from mpcompile.ops import Cast, Iota, Less, Reshape
from mpcompile.outline import Block, Call, Loop, Outline


def find_started(outline: Outline, module: Module) -> dict[int, frozenset[Value]]:
    """Find the masks bool [N, time] that are true at the first step of each example, by the `id` of a function's block.

    Of a program these are values `step < length` of a declared `condition length: integer(1..time)`. Of any other
    function they are the arguments that are such a mask in every call, for its text is that of all its instances. Within
    loops there are none: what a body captures has lost its origin.
    """
    lengths = {f.name for f in module.fields.values() if f.counts is not None}
    given: dict[tuple[int, int], list[list[bool]]] = {}

    def visit(block: Block, program: bool) -> None:
        for item in block.items:
            if isinstance(item, Loop):
                visit(item.body, False)
            elif isinstance(item, Call) and item.path:
                instance, number = outline.methods[id(item)]
                started = [program and is_started(block.graph, v, lengths) for v in item.block.inputs]
                given.setdefault((id(instance.family), number), []).append(started)
                visit(item.block, program)

    found: dict[int, frozenset[Value]] = {}
    for method in outline.root.methods:
        visit(method.block, True)
        graph = method.block.graph
        values = [v for node in graph.nodes() for v in node.outputs]
        found[id(method.block)] = frozenset(v for v in values if is_started(graph, v, lengths))
    for family in outline.families:
        for number, method in enumerate(family.first.methods):
            calls = given.get((id(family), number))
            if calls and family.first is not outline.root:
                always = [all(flags) for flags in zip(*calls, strict=True)]
                pairs = zip(method.block.inputs, always, strict=True)
                found[id(method.block)] = frozenset(v for v, holds in pairs if holds)
    return found


def is_started(graph: Graph, mask: Value, lengths: Collection[str]) -> bool:
    """Return whether a value of a program is `step < length` of one of these inputs, each of which is at least one."""
    node = graph.node(mask)
    if not isinstance(node.op, Less) or mask.type.rank != 2:
        return False
    count, ends = (graph.node(v) for v in node.inputs)
    if (
        not isinstance(count.op, Iota)
        or count.types[0].shape != mask.shape[1:]
        or not isinstance(ends.op, Reshape)
    ):
        return False
    whole = graph.node(ends.inputs[0])
    known = {graph.inputs[name] for name in lengths if name in graph.inputs}
    started = isinstance(whole.op, Cast) and whole.inputs[0] in known
    return started and ends.types[0].shape == (mask.shape[0], 1)
