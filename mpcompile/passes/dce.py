"""Dead-code elimination: drop what no output is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Builder, Graph, Node, Value
from mpcompile.passes.base import LIVE, Condition, Pass, rewrite_bodies


@dataclass(frozen=True)
class DeadCode(Pass):
    """Graph to graph: nodes that no output needs go, also in bodies of loops.

    Keeps    every input, whether it is read or not, and every value bit for bit.
    """

    name: ClassVar[str] = "dce"
    ensures: ClassVar[tuple[Condition, ...]] = (LIVE,)

    def call(self, graph: Graph) -> Graph:
        if not any(n.op.bodies() for n in graph.nodes()):
            return graph.live()

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            op = rewrite_bodies(node.op, self.call)
            return None if op is node.op else b.emit_all(op, *inputs)

        return graph.live().rebuild(rewrite)
