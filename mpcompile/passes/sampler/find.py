"""Find the reference samplers of a program: loops that run a whole network once for each element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mpcompile import ops
from mpcompile.ir import Array, Constant, Graph, Node, Value


class Refused(Exception):
    """A network that cannot be run a step at a time; the reference sampler stays."""

    def __init__(self, node: Node, reason: str) -> None:
        where = f"`{node.scope[-1].label}`" if node.scope else node.op.name
        self.node = node
        super().__init__(f"{where} ({node.op.name}) {reason}")


@dataclass(frozen=True)
class Reference:
    """The loop x <- where(order = step, drawn(x), x), run over all steps; its result is the fixed point of `drawn`.

    body      of the loop; `x`, `drawn` and `step` are values of it
    captured  input of the body -> value of the graph around it
    ranks     step at which each element of one example is drawn; None for a sequence, drawn along axis 1
    delays    input of the body that is, row by row, the row above of another value (`rows.py`)
    """

    node: Node
    body: Graph
    x: Value
    drawn: Value
    step: Value
    captured: dict[Value, Value]
    ranks: Array | None
    delays: Mapping[Value, Value] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Channels of a pixel, which are drawn one after the other; 1 of anything but an image."""
        return self.ranks.shape[0] if self.ranks is not None and self.ranks.ndim == 3 else 1


def find(node: Node) -> Reference | None:
    """The reference sampler that a node is, if it is one."""
    if not isinstance(node.op, ops.Scan) or node.op.carries != 1 or node.op.scanned:
        return None
    body = node.op.body
    if len(body.outputs) != 1:
        return None
    x, *captured, step = body.inputs.values()
    last = body.node(next(iter(body.outputs.values())))
    if not isinstance(last.op, ops.Where) or last.inputs[2] != x:
        return None
    now, drawn, _ = last.inputs
    order = _compared(body, now, step)
    if order is None:
        return None
    around = dict(zip(captured, node.inputs[1:], strict=True))
    if isinstance(order.op, Constant):
        ranks = order.op.array.reshape(order.op.array.shape[1:])
        return Reference(node, body, x, drawn, step, around, ranks)
    if isinstance(order.op, ops.Iota) and x.type.rank >= 2 and order.op.shape == (x.shape[1],):
        return Reference(node, body, x, drawn, step, around, None)
    return None


def _compared(body: Graph, now: Value, step: Value) -> Node | None:
    """What is compared with the step."""
    node = body.node(now)
    while isinstance(node.op, ops.Reshape):
        node = body.node(node.inputs[0])
    if not isinstance(node.op, ops.Equal) or node.inputs[1] != step:
        return None
    return body.node(node.inputs[0])


def needed(body: Graph, *values: Value) -> list[Node]:
    """Nodes that some values are made of, in order."""
    keep: set[int] = set()
    todo = [v.node for v in values]
    while todo:
        node = todo.pop()
        if node not in keep:
            keep.add(node)
            todo.extend(v.node for v in body.node(node).inputs)
    return [n for n in body.nodes() if n.id in keep]
