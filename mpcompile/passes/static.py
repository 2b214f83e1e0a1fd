"""What of a graph depends on weights alone."""

from __future__ import annotations

from mpcompile.ir import Builder, Constant, Graph, Input, Node, Parameter, Symbolic, Value


class Static:
    """Values of a graph that its inputs have no part in, and whose shape is known: functions of weights.

    Grows with a graph: `know` is told of every node in turn.
    """

    def __init__(self) -> None:
        self._known: set[Value] = set()

    def __contains__(self, value: object) -> bool:
        return value in self._known

    def know(self, node: Node) -> None:
        leaf = isinstance(node.op, Parameter | Constant)
        if isinstance(node.op, Input) or not (leaf or all(v in self._known for v in node.inputs)):
            return
        if not any(isinstance(s, Symbolic) for t in node.types for s in t.shape):
            self._known.update(node.outputs)

    def learn(self, b: Builder, value: Value) -> Value:
        """Know the node that a value was just made by."""
        self.know(b.graph.node(value))
        return value


def static_values(graph: Graph) -> Static:
    """Of a whole graph."""
    found = Static()
    for node in graph.nodes():
        found.know(node)
    return found
