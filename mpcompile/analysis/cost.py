"""Costs of a model: parameters by formula, floating-point operations, memory.

Operations are counted primitive by primitive, as polynomials in the batch `N` and the length. One multiply-add is
two operations; every other function of one element (exp, max, a comparison) is one; moving elements is free. A
framework that fuses a mask into its weight, or skips a zero, does fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from mpcompile import ops
from mpcompile.ir import Constant, DType, Graph, Module, Node, Parameter, Scope, Symbolic, Value, Work

Size = int | Symbolic


def work(graph: Graph) -> Work:
    """Count the operations of a whole graph."""
    return sum((n.cost for n in graph.nodes()), Work())


def by_scope(graph: Graph) -> dict[Scope, Work]:
    """Count the operations of each layer, in order of first use; a loop's count for the layers inside of it."""
    found: dict[Scope, Work] = {}

    def walk(graph: Graph, times: Size) -> None:
        for node in graph.nodes():
            if isinstance(node.op, ops.Scan):
                inner = times * node.op.trip_count([v.type for v in node.inputs])
                walk(node.op.body, inner)
            else:
                found[node.scope] = found.get(node.scope, Work()) + node.cost.times(times)

    walk(graph, 1)
    return found


# --- parameters ---


@dataclass(frozen=True, slots=True)
class Weights:
    """Trained numbers of a layer.

    formula  `out * in + out` in numbers; a kernel first, `3 * 3 * in * out`
    total    their number
    live     how many of them no mask removes
    """

    formula: str
    total: int
    live: int


def weights(module: Module, nodes: Iterable[Node]) -> Weights:
    """Count the trained parameters among some nodes of a program; running statistics are not trained."""
    named = {n.op.path: n for n in nodes if isinstance(n.op, Parameter)}
    parameters = {path: n for path, n in named.items() if module.parameters[path].trainable}
    shapes = [n.types[0].concrete({}) for n in parameters.values()]
    formula = " + ".join(" * ".join(map(str, s[::-1] if len(s) > 2 else s)) or "1" for s in shapes)
    live = sum(module.parameters[path].live for path in parameters)
    return Weights(formula, sum(map(prod, shapes)), live)


# --- memory ---

#: Bytes of an element at single precision: what the backends allocate.
BYTES: Mapping[DType, int] = {DType.FLOAT: 4, DType.INT: 8, DType.BOOL: 1}


def size_in_bytes(value: Value) -> Size:
    """Return the bytes of a value at single precision."""
    return value.type.size * BYTES[value.dtype]


def saved_for_backward(combined: Graph, forward: Graph) -> Size:
    """Return the bytes of activations that the backward pass reads, at single precision.

    `combined` is `differentiate(forward, ...)`. An activation is a value of the forward pass whose size
    depends on the batch or the length; a weight and a masked weight are none. A view counts as what it is a view of.
    Of a loop what its gradient rule reads from outside counts: it runs the body again.
    """
    count = len(forward)
    nodes = combined.nodes()
    first = {n.id for n in nodes[:count]}
    saved: dict[Value, Size] = {}
    for node in nodes[count:]:
        for value in node.inputs:
            base = storage(combined, value)
            if base.node in first and not isinstance(size_in_bytes(base), int):
                saved[base] = size_in_bytes(base)
    total: Size = 0
    for size in saved.values():
        total = total + size
    return total


def storage(graph: Graph, value: Value) -> Value:
    """Return the value in whose memory a value lies."""
    while graph.node(value).view:
        value = graph.node(value).inputs[0]
    return value


def peak(graph: Graph, env: Mapping[str, int]) -> int:
    """Return the most bytes that live at once when nodes run in order and each value goes after its last use.

    Inputs count, parameters and constants do not (they are there before). Nothing is done in place. Of a loop the
    results count, not what lives for one step.
    """
    nodes = graph.nodes()
    last: dict[Value, int] = {}
    for i, node in enumerate(nodes):
        for value in (*node.inputs, *node.outputs):
            last[storage(graph, value)] = i
    for value in graph.outputs.values():
        last[storage(graph, value)] = len(nodes)
    ending: dict[int, list[Value]] = {}
    for value, i in last.items():
        ending.setdefault(i, []).append(value)
    counted = {
        v: int(prod(v.type.concrete(env))) * BYTES[v.dtype]
        for v in last
        if not isinstance(graph.node(v).op, Parameter | Constant)
    }
    live = most = 0
    for i, node in enumerate(nodes):
        live += sum(counted.get(v, 0) for v in node.outputs if storage(graph, v) == v)
        most = max(most, live)
        live -= sum(counted.get(v, 0) for v in ending.get(i, []))
    return most
