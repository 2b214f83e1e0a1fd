"""When two graphs, or two primitives, are the same, whatever the ids of their nodes are."""

from __future__ import annotations

from collections.abc import Hashable

from mpcompile.ir.graph import Graph, Value
from mpcompile.ir.primitive import Primitive


def same_graph(a: Graph, b: Graph, places: bool = True) -> bool:
    """Whether two graphs have the same inputs, outputs and nodes, in the same order.

    `places` also compares the scope and the span of every node. The names of the graphs do not matter.
    """
    left, right = a.nodes(), b.nodes()
    if len(left) != len(right) or list(a.inputs) != list(b.inputs) or list(a.outputs) != list(b.outputs):
        return False
    moved: dict[Value, Value] = {}
    for m, n in zip(left, right, strict=True):
        if m.types != n.types or tuple(moved.get(v) for v in m.inputs) != n.inputs:
            return False
        if not same_primitive(m.op, n.op, places) or (places and (m.scope, m.span) != (n.scope, n.span)):
            return False
        moved.update(zip(m.outputs, n.outputs, strict=True))
    ends = [*a.inputs.values(), *a.outputs.values()]
    return [moved.get(v) for v in ends] == [*b.inputs.values(), *b.outputs.values()]


def same_primitive(a: Primitive, b: Primitive, places: bool = False) -> bool:
    """Whether two primitives have the same attributes. Bodies of loops are compared node by node."""
    if type(a) is not type(b):
        return False
    left, right = a.attributes(), b.attributes()
    if not any(isinstance(x, Graph) for x in left.values()):
        return a == b
    return all(
        same_graph(x, right[k], places) if isinstance(x, Graph) else x == right[k] for k, x in left.items()
    )


def primitive_key(op: Primitive) -> Hashable:
    """A key that is equal for primitives that `same_primitive` calls the same."""
    attributes = op.attributes()
    if not any(isinstance(x, Graph) for x in attributes.values()):
        return op
    return type(op), tuple(graph_key(x) if isinstance(x, Graph) else x for x in attributes.values())


def graph_key(graph: Graph) -> Hashable:
    """A key that is equal for graphs that `same_graph` calls the same, wherever their nodes were written."""
    number: dict[Value, tuple[int, int]] = {}
    keys: list[Hashable] = []
    for i, node in enumerate(graph.nodes()):
        keys.append((primitive_key(node.op), tuple(number[v] for v in node.inputs), node.types))
        number.update((v, (i, v.index)) for v in node.outputs)
    inputs = tuple((name, number[v]) for name, v in graph.inputs.items())
    outputs = tuple((name, number[v]) for name, v in graph.outputs.items())
    return inputs, tuple(keys), outputs


__all__ = ["graph_key", "primitive_key", "same_graph", "same_primitive"]
