"""Weight-only values: nodes that no input reaches, so that they can be computed before inference."""

from __future__ import annotations

from mpcompile.ir import Builder, Constant, Graph, Input, Node, Parameter, Symbolic, Value


class WeightOnly:
    """The set of weight-only values of a graph: functions of parameters and constants with a known shape.

    It grows with a graph: call `know` for every node in topological order.
    """

    def __init__(self) -> None:
        self._known: set[Value] = set()

    def __contains__(self, value: object) -> bool:
        return value in self._known

    def know(self, node: Node) -> None:
        """Add the results of a node if every input of the node is weight-only."""
        leaf = isinstance(node.op, Parameter | Constant)
        if isinstance(node.op, Input) or not (leaf or all(v in self._known for v in node.inputs)):
            return
        if not any(isinstance(s, Symbolic) for t in node.types for s in t.shape):
            self._known.update(node.outputs)

    def learn(self, b: Builder, value: Value) -> Value:
        """Add the results of the node that computes `value`, and return `value`."""
        self.know(b.graph.node(value))
        return value


def weight_only_values(graph: Graph) -> WeightOnly:
    """Return the weight-only values of a whole graph."""
    found = WeightOnly()
    for node in graph.nodes():
        found.know(node)
    return found
