"""Equality of graphs and of primitives, whatever the ids of their nodes are."""

from __future__ import annotations

from collections.abc import Hashable

from mpcompile.ir.graph import Graph, Value
from mpcompile.ir.leaves import Parameter
from mpcompile.ir.primitive import Primitive


def same_graph(a: Graph, b: Graph, places: bool = True) -> bool:
    """Return whether two graphs have the same inputs, outputs and nodes, in the same order.

    `places` also compares the scope and the span of every node. The names of the graphs do not matter.
    """
    left, right = a.nodes(), b.nodes()
    if len(left) != len(right) or list(a.inputs) != list(b.inputs) or list(a.outputs) != list(b.outputs):
        return False
    moved: dict[Value, Value] = {}
    for m, n in zip(left, right, strict=True):
        if len(m.inputs) != len(n.inputs) or any(
            moved.get(v) != w for v, w in zip(m.inputs, n.inputs, strict=True)
        ):
            return False
        if m.types != n.types or not same_primitive(m.op, n.op, places):
            return False
        if places and (m.scope, m.span) != (n.scope, n.span):
            return False
        moved.update(zip(m.outputs, n.outputs, strict=True))
    ends = [*a.inputs.values(), *a.outputs.values()]
    return [moved.get(v) for v in ends] == [*b.inputs.values(), *b.outputs.values()]


def same_primitive(a: Primitive, b: Primitive, places: bool = False) -> bool:
    """Return whether two primitives have the same attributes; bodies of loops are compared node by node."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if not a.bodies():
        return a == b
    left, right = a.attributes(), b.attributes()
    return all(
        same_graph(x, right[k], places) if isinstance(x, Graph) else x == right[k] for k, x in left.items()
    )


def primitive_key(op: Primitive) -> Hashable:
    """Return a key that is equal for primitives that `same_primitive` calls the same."""
    if not op.bodies():
        return op
    values = op.attributes().values()
    return type(op), tuple(graph_key(x) if isinstance(x, Graph) else x for x in values)


def graph_key(graph: Graph) -> Hashable:
    """Return a key that is equal for graphs that `same_graph` calls the same, wherever their nodes were written."""
    return _key(graph, named=True)


def form(graph: Graph) -> Hashable:
    """Return a key that is equal for graphs that are the same function of inputs and of weights in their order.

    Facts that hold whatever the weights are hold for all graphs of one form: a flow of 400 couplings has two of them.
    """
    return _key(graph, named=False)


def _key(graph: Graph, named: bool) -> Hashable:
    number: dict[Value, tuple[int, int]] = {}
    weights: dict[str, int] = {}
    rows: list[Hashable] = []
    for i, node in enumerate(graph.nodes()):
        key = primitive_key(node.op)
        if isinstance(node.op, Parameter) and not named:
            key = weights.setdefault(node.op.path, len(weights))
        rows.append((key, tuple(number[v] for v in node.inputs), node.types))
        number.update((v, (i, v.index)) for v in node.outputs)
    ends = ((name, number[v]) for side in (graph.inputs, graph.outputs) for name, v in side.items())
    return tuple(rows), len(graph.inputs), tuple(ends)


class ValueNumbers:
    """Numbers of values: equal for equal computations of equal weights and constants, in all graphs that are numbered."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def of(self, graph: Graph, value: Value) -> int:
        """The number of a value of a graph."""
        found: dict[Value, int] = {}
        for node in graph.made_of(value):
            made_of = tuple(found[v] for v in node.inputs)
            for v in node.outputs:
                key = primitive_key(node.op), made_of, v.index
                found[v] = self._numbers.setdefault(key, len(self._numbers))
        return found[value]


__all__ = ["ValueNumbers", "form", "graph_key", "primitive_key", "same_graph", "same_primitive"]
