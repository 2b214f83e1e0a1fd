"""A program that computes a few elements of its outputs: whether any of 50,000 logits moves, eight mostly tell."""

from __future__ import annotations

from collections import Counter

from mpcompile.ir import Builder, Graph, Node, NoRule, Parameter, Value
from mpcompile.ops import Slice

#: Elements along the axis that are kept.
KEPT = 8


def narrowed(graph: Graph, names: tuple[str, ...], axis: int) -> Graph | None:
    """Return the program of the named outputs with the first `KEPT` elements along an axis of each.

    An element of it is the same function of the inputs as in `graph`, up to the names of weights: the slice is taken of
    the operands where the axis runs along (`Primitive.along`), so the rest is not computed. A weight that nothing else
    reads is smaller. None where no output is longer than `KEPT`, or nothing would be saved.
    """
    long = {name for name in names if _longer(graph.outputs[name], axis)}
    if not long:
        return None
    new = graph.fork(graph.name)
    narrow = _Narrow(graph, Builder(new))
    for name in names:
        value = graph.outputs[name]
        new.outputs[name] = narrow.first(value, axis) if name in long else value
    return _smaller(new.live()) if narrow.moved else None


def _smaller(graph: Graph) -> Graph:
    """Return the program with weights made as small as the one slice that is read of them."""
    paths = Counter(n.op.path for n in graph.nodes() if isinstance(n.op, Parameter))
    whole = set(graph.outputs.values())

    def read_once(node: Node) -> bool:
        return (
            isinstance(node.op, Parameter)
            and paths[node.op.path] == 1
            and node.outputs[0] not in whole
            and [type(user.op) for user in graph.users(node.id)] == [Slice]
        )

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Parameter) and read_once(node):
            return (b.emit(Parameter(node.op.path, graph.users(node.id)[0].types[0])),)
        if isinstance(node.op, Slice) and inputs[0].type != node.inputs[0].type:
            return inputs
        return None

    return graph.rebuild(rewrite, retype=True)


def _longer(value: Value, axis: int) -> bool:
    size = value.shape[axis] if axis < len(value.shape) else 0
    return isinstance(size, int) and size > KEPT


class _Narrow:
    """Values that are made anew: of each value and axis the first elements along it."""

    def __init__(self, graph: Graph, builder: Builder) -> None:
        self.graph, self.b = graph, builder
        self.made: dict[tuple[Value, int], Value] = {}
        #: Whether a slice was taken before anything was computed with the value.
        self.moved = False

    def first(self, value: Value, axis: int) -> Value:
        """Return the first `KEPT` elements along an axis, from as far up the graph as the axis runs along."""
        if (value, axis) not in self.made:
            self.made[value, axis] = self._made(value, axis)
        return self.made[value, axis]

    def _made(self, value: Value, axis: int) -> Value:
        node = self.graph.node(value)
        axes = self._axes(node, axis)
        if axes is None:
            return self.b.emit(Slice(axis, 0, KEPT), value)
        self.moved = True
        operands = [v if a is None else self.first(v, a) for v, a in zip(node.inputs, axes, strict=True)]
        with self.b.within(node.scope, node.span):
            return self.b.emit(node.op.with_length(axis, KEPT), *operands)

    def _axes(self, node: Node, axis: int) -> list[int | None] | None:
        """Return the axis of each operand that runs along, if any; None where the node must be computed as it is."""
        if len(node.outputs) != 1 or not node.inputs:
            return None
        try:
            along = node.along
        except NoRule:
            return None
        axes = [next((a for a, r in each.items() if r == axis), None) for each in along]
        return axes if any(a is not None for a in axes) else None
