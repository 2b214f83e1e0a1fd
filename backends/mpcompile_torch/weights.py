"""Transposed weights in loops: transposed where they are read.

A sampler computes what does not change before its loops, the transpose of a weight, too, masked or not. In torch that
is a view and costs nothing, and `h @ weight.mT` is the layer itself, with its bias: it reads best, and is fastest, where
it is used.
"""

from __future__ import annotations

from dataclasses import replace

from mpcompile.ir import Builder, Graph, Input, Node, Value
from mpcompile.ops import Scan, Transpose


def transposed_at_use(graph: Graph) -> Graph:
    """Move the transpose of a matrix from outside of a loop to where the loop reads it.

    The graph stays the same function.
    """

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if not isinstance(node.op, Scan):
            return None
        starts, scanned, around = node.op.split(inputs)
        captured: list[Value] = []
        turned: dict[str, tuple[Transpose, Value]] = {}
        for name, value in zip(node.op.formals.captured, around, strict=True):
            producer = b.graph.node(value)
            if isinstance(producer.op, Transpose) and producer.op.permutation == (1, 0):
                (value,) = producer.inputs
                turned[name] = producer.op, value
            captured.append(value)
        body = transposed_at_use(_turned(node.op.body, turned))
        return b.emit_all(replace(node.op, body=body), *starts, *scanned, *captured)

    if not any(isinstance(n.op, Scan) for n in graph.nodes()):
        return graph
    return graph.rebuild(rewrite)


def _turned(body: Graph, turned: dict[str, tuple[Transpose, Value]]) -> Graph:
    """A body that is given some of its inputs before they are transposed."""
    if not turned:
        return body
    given: dict[Value, Transpose] = {}  # inputs of the new body

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Input):
            if node.op.path not in turned:
                return None
            transpose, weight = turned[node.op.path]
            value = b.emit(Input(node.op.path, weight.type))
            given[value] = transpose
            return (value,)
        if not any(v in given for v in inputs):
            return None
        return b.emit_all(node.op, *(b.emit(given[v], v) if v in given else v for v in inputs))

    new = body.rebuild(rewrite, retype=True)
    b = Builder(new)
    new.outputs = {k: b.emit(given[v], v) if v in given else v for k, v in new.outputs.items()}
    return new
