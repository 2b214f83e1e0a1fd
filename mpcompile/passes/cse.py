"""Common-subexpression elimination: compute once what is computed twice."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Builder, Constant, Graph, Input, Node, Parameter, Primitive, Value
from mpcompile.ir.same import primitive_key
from mpcompile.passes.base import WITHOUT_REPEATS, Condition, Pass, rewrite_bodies


@dataclass(frozen=True)
class CommonSubexpressions(Pass):
    """Graph to graph: the same primitive on the same values is one node, also in bodies of loops.

    Options  `across`: nodes of different scopes become one, too, which stands where the first stood. Without it the
             functions that emitted code is cut into stay whole. `constants`: equal constants become one.
    Keeps    outputs as values of their own, and every value bit for bit. All reads of a parameter are one node.
    """

    name: ClassVar[str] = "cse"
    ensures: ClassVar[tuple[Condition, ...]] = (WITHOUT_REPEATS,)
    across: bool = True
    constants: bool = True

    def call(self, graph: Graph) -> Graph:
        changed = {n.id: op for n in graph.nodes() if (op := rewrite_bodies(n.op, self.call)) is not n.op}
        first = self._first(graph, changed)
        if not changed and all(k == v for k, v in first.items()):
            return graph
        kept = {v.node for k, v in first.items() if k != v}  # nodes that stand for others
        made: dict[Value, Value] = {}

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            if first[node.outputs[0]] != node.outputs[0]:
                return tuple(made[first[v]] for v in node.outputs)
            if node.id not in kept:
                return b.emit_all(changed[node.id], *inputs) if node.id in changed else None
            results = b.emit_all(changed.get(node.id, node.op), *inputs)
            made.update(zip(node.outputs, results, strict=True))
            return results

        return graph.rebuild(rewrite)

    def _first(self, graph: Graph, changed: dict[int, Primitive]) -> dict[Value, Value]:
        """Return, for each value, the first that is the same, which may be itself."""
        outputs = set(graph.outputs.values())
        seen: dict[Hashable, Node] = {}
        first: dict[Value, Value] = {}
        for node in graph.nodes():
            op = changed.get(node.id, node.op)
            alone = isinstance(op, Input) or (isinstance(op, Constant) and not self.constants)
            lead = node
            if not alone and outputs.isdisjoint(node.outputs):
                lead = seen.setdefault(self._key(op, node, first), node)
            first.update(zip(node.outputs, lead.outputs, strict=True))
        return first

    def _key(self, op: Primitive, node: Node, first: dict[Value, Value]) -> Hashable:
        match op:
            case Parameter(path=path):
                return path
            case Constant():
                return op
        return () if self.across else node.scope, primitive_key(op), tuple(first[v] for v in node.inputs)
