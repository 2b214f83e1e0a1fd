"""Programs inside other programs: `loss` is a few lines around `log_prob`, which is a few around `forward`.

A program P may be called from Q where Q holds P's whole graph: the same primitives, weights and constants over some
values of Q in the place of P's inputs, with nothing of the inside read from outside. Then Q reads as it would if a
person had written it, and a file has each computation once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from mpcompile.ir import Constant, Graph, Input, Node, Parameter, Value
from mpcompile.ir.same import same_primitive

#: Values of the callee, and what they are in the caller.
Embedding = dict[Value, Value]

#: A program with fewer operations than this is written where it stands.
SMALLEST_PROGRAM = 4


@dataclass(frozen=True, eq=False)
class Use:
    """A program found in another one: its arguments and its results there, and the operations it stands for."""

    program: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: frozenset[int]


def find_uses(graphs: Mapping[str, Graph], alone: Collection[str] = ()) -> dict[str, list[Use]]:
    """Find, for each program, the calls of other programs that it can be written with, the largest first.

    Programs named in `alone` are called by none. No two programs call each other: a caller is the larger one, or comes
    later in `graphs` where both are as large.
    """
    order = {name: i for i, name in enumerate(graphs)}
    counts = {name: sum(operations(n) for n in g.nodes() if not is_leaf(n)) for name, g in graphs.items()}
    rank = {name: (counts[name], order[name]) for name in graphs}
    found: dict[str, list[Use]] = {}
    for name, graph in graphs.items():
        callees = [
            p for p in graphs if rank[p] < rank[name] and counts[p] >= SMALLEST_PROGRAM and p not in alone
        ]
        taken: set[int] = set()
        uses = found[name] = []
        for callee in sorted(callees, key=lambda p: rank[p], reverse=True):
            use = _find(callee, graphs[callee], graph, taken)
            if use is not None:
                uses.append(use)
                taken |= use.nodes
    return found


def is_leaf(node: Node) -> bool:
    """Return whether a node is an input, a parameter or a constant."""
    return isinstance(node.op, Input | Parameter | Constant)


def operations(node: Node) -> int:
    """Return the number of operations that a node stands for, with those in the bodies of loops."""
    return 1 + sum(not is_leaf(n) for body in node.op.bodies() for n in body.nodes())


def _find(name: str, callee: Graph, caller: Graph, taken: set[int]) -> Use | None:
    wanted = tuple(callee.outputs.values())
    if len(set(wanted)) < len(wanted) or any(is_leaf(callee.node(v)) for v in wanted):
        return None
    for mapping in _embeddings(wanted, callee, caller, {}):
        inputs = [mapping.get(v) for v in callee.inputs.values()]
        arguments = tuple(v for v in inputs if v is not None)
        outputs = tuple(mapping[v] for v in wanted)
        nodes = frozenset(mapping[v].node for v in mapping if not is_leaf(callee.node(v)))
        if len(arguments) == len(inputs) and not nodes & taken and _closed(caller, nodes, arguments, outputs):
            return Use(name, arguments, outputs, nodes)
    return None


def _embeddings(
    wanted: tuple[Value, ...], callee: Graph, caller: Graph, mapping: Embedding
) -> Iterator[Embedding]:
    """Every way in which the callee's outputs, and all that they need, are values of the caller."""
    if not wanted:
        yield mapping
        return
    first, rest = wanted[0], wanted[1:]
    if first in mapping:
        yield from _embeddings(rest, callee, caller, mapping)
        return
    op = callee.node(first).op.name
    for node in caller.nodes():
        if node.op.name == op and first.index < len(node.types):
            extended = _extend(first, node.outputs[first.index], callee, caller, mapping)
            if extended is not None:
                yield from _embeddings(rest, callee, caller, extended)


def _extend(p: Value, q: Value, callee: Graph, caller: Graph, mapping: Embedding) -> Embedding | None:
    """The mapping with `p -> q` and all that follows from it, or None where the two differ."""
    found = dict(mapping)
    todo = [(p, q)]
    while todo:
        p, q = todo.pop()
        if p in found:
            if found[p] != q:
                return None
            continue
        if p.type != q.type:
            return None
        a, b = callee.node(p), caller.node(q)
        if isinstance(a.op, Input):
            if isinstance(b.op, Parameter | Constant):
                return None
            found[p] = q
            continue
        if p.index != q.index or len(a.inputs) != len(b.inputs) or not same_primitive(a.op, b.op):
            return None
        found.update(zip(a.outputs, b.outputs, strict=True))
        todo += zip(a.inputs, b.inputs, strict=True)
    return found


def _closed(
    graph: Graph, nodes: frozenset[int], inputs: tuple[Value, ...], outputs: tuple[Value, ...]
) -> bool:
    """Nothing outside reads the inside but through the outputs, and no argument comes from inside."""
    if any(v.node in nodes for v in inputs):
        return False
    results = set(graph.outputs.values())
    for i in nodes:
        for v in graph.node(i).outputs:
            if v in outputs:
                continue
            if v in results or any(u.id not in nodes and v in u.inputs for u in graph.users(i)):
                return False
    return True
