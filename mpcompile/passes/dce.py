"""Dead-code elimination: drop what no output is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mpcompile.ir import Builder, Graph, Node, Primitive, Value
from mpcompile.ops import Scan
from mpcompile.passes.base import LIVE, Condition, Pass, rewrite_bodies


@dataclass(frozen=True)
class DeadCode(Pass):
    """Graph to graph: nodes that no output needs go, also in bodies of loops, and what loops take and do not read.

    Keeps    every input, whether it is read or not, and every value bit for bit.
    """

    name: ClassVar[str] = "dce"
    ensures: ClassVar[tuple[Condition, ...]] = (LIVE,)

    def call(self, graph: Graph) -> Graph:
        if not any(n.op.bodies() for n in graph.nodes()):
            return graph.live()

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            op, given = _without_unread(rewrite_bodies(node.op, self.call), inputs)
            return None if op is node.op else b.emit_all(op, *given)

        return graph.live().rebuild(rewrite).live()


def _without_unread(op: Primitive, inputs: tuple[Value, ...]) -> tuple[Primitive, tuple[Value, ...]]:
    """Return a loop and its inputs without captured and scanned values that its body does not read; others as they are.

    One scanned value stays, which tells the number of steps.
    """
    if not isinstance(op, Scan):
        return op, inputs
    droppable = set(op.formals.captured)
    if type(op) is Scan:
        found = op.body.live(unread=lambda name: False).inputs
        scanned = list(op.formals.scanned)
        droppable |= set(scanned if any(name in found for name in scanned) else scanned[1:])
    body = op.body.live(unread=lambda name: name not in droppable)
    if len(body.inputs) == len(op.body.inputs):
        return op, inputs
    count = sum(name in body.inputs for name in op.formals.scanned)
    read = [name in body.inputs for name in op.body.inputs]
    return replace(op, body=body, scanned=count), tuple(
        v for v, kept in zip(inputs, read[:-1], strict=True) if kept
    )
