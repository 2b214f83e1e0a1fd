"""Following values backwards through operations that do not change what they mean."""

from __future__ import annotations

from collections.abc import Iterator

from mpcompile import ops
from mpcompile.ir import Graph, Input, Node, Value
from mpcompile.ops.traits import Movement


def through_moves(graph: Graph, value: Value) -> Node:
    """Return the node that computed a value, passing over nodes that only move elements."""
    node = graph.node(value)
    while isinstance(node.op, Movement):
        node = graph.node(node.inputs[0])
    return node


def graphs(graph: Graph) -> Iterator[Graph]:
    """Yield a graph and the bodies of all its loops."""
    yield graph
    for node in graph.nodes():
        if isinstance(node.op, ops.Scan):
            yield from graphs(node.op.body)


def fixed(graph: Graph) -> set[int]:
    """Return the nodes that read no input: weights, constants and functions of them alone."""
    found: set[int] = set()
    for node in graph.nodes():
        if not isinstance(node.op, Input) and all(v.node in found for v in node.inputs):
            found.add(node.id)
    graph.settle(lambda v, w: (v.node in found) == (w.node in found), bodies=False)
    return found


def of_law(node: Node) -> bool:
    """Return whether a node belongs to a distribution itself, not to a layer or bijector in it."""
    names = [f.name for f in node.scope]
    return len(names) == 1 or (len(names) == 2 and names[1] == "prior")
