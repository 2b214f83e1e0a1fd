"""Common-subexpression elimination: compute once what is computed twice."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Builder, Constant, Graph, Input, Node, Parameter, Value
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
        outputs = set(graph.outputs.values())
        seen: dict[Hashable, tuple[Value, ...]] = {}

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            op = rewrite_bodies(node.op, self.call)
            key: Hashable = (() if self.across else node.scope, primitive_key(op), inputs)
            match op:
                case Input():
                    return None
                case Parameter(path=path):
                    key = path
                case Constant():
                    if not self.constants:
                        return None
                    key = op
            if not outputs.isdisjoint(node.outputs):
                return None if op is node.op else b.emit_all(op, *inputs)
            if key not in seen:
                seen[key] = b.emit_all(op, *inputs)
            return seen[key]

        return graph.rebuild(rewrite)
