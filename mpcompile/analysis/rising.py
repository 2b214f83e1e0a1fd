"""A lower bound that costs nothing: where nothing on the way is subtracted, nothing cancels.

Let all weights and inputs be positive. If every operation between a source and the outputs then grows strictly with each
operand that reads the source, an output grows with every element in its set of inputs, so the sets are exact: the
expression is not constant. `rises` says whether the operations of a graph are all of this kind.
"""

from __future__ import annotations

from collections.abc import Sequence

from mpcompile.ir import (
    Constant,
    Falls,
    Field,
    Graph,
    Growth,
    Input,
    Module,
    Node,
    Parameter,
    Positivity,
    Value,
)


def rises(module: Module, graph: Graph, source: str) -> bool:
    """Return whether every operation between a source and the outputs grows with what reads the source."""
    known: dict[Value, Growth] = {}
    needed = _needed(graph)
    try:
        for node in graph.nodes():
            if node.id in needed:
                known.update(
                    dict.fromkeys(
                        node.outputs, _growth(module, source, node, [known[v] for v in node.inputs])
                    )
                )
    except Falls:
        return False
    graph.settle(lambda v, w: known.get(v) == known.get(w))
    return source in graph.inputs


def _needed(graph: Graph) -> set[int]:
    """Nodes that some output needs."""
    found: set[int] = {v.node for v in graph.outputs.values()}
    for node in reversed(graph.nodes()):
        if node.id in found:
            found.update(v.node for v in node.inputs)
    return found


def _growth(module: Module, source: str, node: Node, inputs: Sequence[Growth]) -> Growth:
    op = node.op
    if isinstance(op, Input):
        return Growth(op.path == source, _positive(module.fields.get(op.path)))
    if isinstance(op, Parameter):
        return Growth(False, True, full=True, table=True)
    if isinstance(op, Constant):
        return Growth(False, op.not_negative, True, op.positive)
    if any(g.reads for g in inputs):
        return Growth(True, op.grow(inputs))
    try:
        good = op.grow(inputs)
    except Falls:
        good = False
    kept = op.sign([Positivity.POSITIVE] * len(inputs), False) is Positivity.POSITIVE
    return Growth(False, good, all(g.fixed for g in inputs), good and kept and all(g.full for g in inputs))


def _positive(field: Field | None) -> bool:
    """Whether an input may be positive; what is not declared is a real number."""
    if field is None or field.base == "real" or field.counts is not None:
        return True
    return field.low + (2 if field.base == "binary" else field.classes or 2) - 1 > 0
