"""Lower bounds of a program from one without some of its branches, which some weights turn off.

Let x flow through values of fixed sizes alone, and let v be a value without x that is made of sequences: y = f(x, v).
If v is zero, whatever the length, once the weights and inputs that act through v alone are zero, then y = f(x, 0) is what
the program computes at these weights, at every length. So an element that f(., 0) reads for some of its own weights is
read by the program for some weights at every length. `without_branches` gives f(., 0) as a graph. `without_ahead` leaves
out branches of a sequence that read ahead of their own place (attention, statistics over time, loops backwards).
"""

from __future__ import annotations

import numpy as np

from mpcompile import ops
from mpcompile.analysis.onesided import two_sided
from mpcompile.analysis.stencils import facts_of, offset_sets
from mpcompile.ir import (
    Array,
    Builder,
    Constant,
    DType,
    Graph,
    Input,
    Node,
    NoRule,
    Parameter,
    Value,
    availability,
    symbols,
)
from mpcompile.ir.stencils import extent


def without_branches(graph: Graph, source: str) -> Graph | None:
    """Return the program with zeros for everything that has gone through sequences; it has the same inputs.

    None where the source itself goes through values of symbolic length, or where such a branch is not zero by weights and
    real inputs that act through it alone.
    """
    graph.uncut()
    reading = _reading(graph, source)
    if not all(_fixed(graph, n) for n in reading):
        return None
    lengths = _with_lengths(graph) - {v for n in reading for v in n.outputs}
    ends = {v for n in reading for v in n.inputs if v in lengths}
    if not ends or not _vanish(graph, ends):
        return None
    return _with_zeros(graph, ends)


def without_ahead(graph: Graph, source: str) -> Graph | None:
    """Replace terms of sums and parts of concatenations by zeros until nothing reads ahead of its own place.

    Such a term is zero, whatever the source is, once the weights that act through it alone are; so what the program reads
    without them it reads for some weights. None where something reads ahead and is in no such term, or nothing does.
    Raises `NoRule`.
    """
    graph.uncut()
    found = graph
    while (ahead := two_sided(found, offset_sets(found, source))) is not None:
        term = next((v for v in _terms(found, ahead) if _vanish(found, {v})), None)
        if term is None:
            return None
        found = _with_zeros(found, {term})
    return None if found is graph else found


def _terms(graph: Graph, node: Node) -> list[Value]:
    """Operands of sums and concatenations that a node leads to, the nearest first."""
    reached = set(node.outputs)
    found = []
    for later in graph.nodes():
        own = [v for v in later.inputs if v in reached]
        if own:
            reached.update(later.outputs)
            if isinstance(later.op, ops.Add | ops.Concat) and len(own) < len(later.inputs):
                found += own
    return found


def _with_zeros(graph: Graph, of: set[Value]) -> Graph:
    """The graph with zeros in place of some values."""

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if not any(v in of for v in node.outputs):
            return None
        zero = b.emit(Constant.of(np.zeros(())))
        results = node.outputs if len(node.outputs) == 1 else b.emit_all(node.op, *inputs)
        return tuple(
            b.emit(ops.BroadcastTo(v.shape), zero) if v in of else m
            for v, m in zip(node.outputs, results, strict=True)
        )

    return graph.rebuild(rewrite).live()


def _reading(graph: Graph, source: str) -> list[Node]:
    """The nodes that read the source, in any number of steps."""
    seen = {graph.inputs[source]}
    found = []
    for node in graph.nodes():
        if any(v in seen for v in node.inputs):
            seen.update(node.outputs)
            found.append(node)
    return found


def _sized(value: Value) -> bool:
    return any(symbols(s) - {"N"} for s in value.shape)


def _fixed(graph: Graph, node: Node) -> bool:
    """Whether an operation has no symbol but the batch: in its operands, its results and its attributes."""
    if any(map(_sized, (*node.inputs, *node.outputs))):
        return False
    try:
        node.op.bind({"N": 1})
    except KeyError:
        return False
    return True


def _with_lengths(graph: Graph) -> set[Value]:
    """Values made, in any number of steps, of one with a symbolic length."""
    found: set[Value] = set()
    for node in graph.nodes():
        if any(map(_sized, node.outputs)) or any(v in found for v in node.inputs):
            found.update(node.outputs)
    return found


def _vanish(graph: Graph, ends: set[Value]) -> bool:
    """Whether values are zero at every length if the weights and real inputs that act through them alone are."""
    own, alone = {v.node for v in ends}, set[int]()
    outputs = {v.node for v in graph.outputs.values()}
    for node in reversed(graph.nodes()):
        users = graph.users(node.id)
        if node.id in own or (users and node.id not in outputs and all(u.id in alone for u in users)):
            alone.add(node.id)
    zero: dict[Value, Array] = {
        n.outputs[0]: np.ones((1,) * n.types[0].rank, bool)
        for n in graph.nodes()
        if n.id in alone and isinstance(n.op, Input | Parameter) and n.types[0].dtype is DType.FLOAT
    }
    domain = availability()
    cells = {v: domain.make([extent(s) for s in v.shape], zero=z) for v, z in zero.items()}
    found = facts_of(graph, domain, cells)
    known = [found[v] for v in ends]
    return all(not isinstance(x, NoRule) and bool(x.zero.all()) for x in known)


__all__ = ["without_ahead", "without_branches"]
