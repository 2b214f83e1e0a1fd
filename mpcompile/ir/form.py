"""Graphs that differ in nothing but the names and places of their weights."""

from __future__ import annotations

from collections.abc import Hashable

from mpcompile.ir.graph import Graph, Value
from mpcompile.ir.leaves import Parameter


def form(graph: Graph) -> Hashable:
    """Return a key that is equal for graphs that are the same function of inputs and of weights in their order.

    Facts that hold whatever the weights are hold for all graphs of one form: a flow of 400 couplings has two of them.
    Names of weights, spans and scopes are left out. The body of a loop counts by identity.
    """
    place: dict[int, int] = {}
    weights: dict[str, int] = {}
    rows: list[Hashable] = []

    def at(value: Value) -> tuple[int, int]:
        return place[value.node], value.index

    for node in graph.nodes():
        op: Hashable = node.op
        if isinstance(op, Parameter):
            op = weights.setdefault(op.path, len(weights)), op.type
        rows.append((op, *map(at, node.inputs)))
        place[node.id] = len(place)
    ends = ((name, *at(value)) for values in (graph.inputs, graph.outputs) for name, value in values.items())
    return tuple(rows), tuple(ends)


__all__ = ["form"]
