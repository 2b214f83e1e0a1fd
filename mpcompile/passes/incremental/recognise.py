"""Recognise the reference samplers of a program: loops that run a whole network once for each element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mpcompile import ops
from mpcompile.ir import Array, Constant, Graph, Node, Value


@dataclass(frozen=True)
class Reference:
    """The loop x <- where(order = step, drawn(x), x), run over all steps; its result is the fixed point of `drawn`.

    body      of the loop; `x`, `drawn` and `step` are values of it
    captured  input of the body -> value of the graph around it
    ranks     step at which each element of one example is drawn; None for a sequence, drawn along axis 1
    delays    input of the body that is, row by row, the row above of another value (`row_recurrences.py`)
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


def recognise(node: Node) -> Reference | None:
    """Return the reference sampler that a node is, or None."""
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
    """Return the node that is compared with the step, or None."""
    node = body.node(now)
    while isinstance(node.op, ops.Reshape):
        node = body.node(node.inputs[0])
    if not isinstance(node.op, ops.Equal) or node.inputs[1] != step:
        return None
    return body.node(node.inputs[0])
