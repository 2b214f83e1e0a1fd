"""Buffers of many layers: updated once for all of them, after the layers have run.

A sampler has the buffers of repeated layers as one, and each layer gives its row with a stretch replaced. XLA copies what
a loop scans and stacks again in every step, so the layers give the stretches alone, and these replace one of the buffer.
A layer that reads its row after the update selects the new elements: XLA reads the buffer for that, where an update
copies the row first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mpcompile.ir import Builder, Graph, Node, Value
from mpcompile.ops import Equal, Iota, Repeat, Scan, UpdateAt, has_repeats
from mpcompile.ops import build as F


def stretches_from_layers(graph: Graph) -> Graph:
    """Move updates of the rows of a buffer, all at one place, from within layers in the body of a loop to after them.

    The graph stays the same function, and its results the same bits.
    """

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Repeat) or not any(map(has_repeats, node.op.bodies())):
            return None
        assert isinstance(node.op, Scan)
        return b.emit_all(replace(node.op, body=_in_step(node.op.body)), *inputs)

    return graph.rebuild(rewrite) if has_repeats(graph) else graph


def _in_step(body: Graph) -> Graph:
    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        op = node.op
        if not isinstance(op, Repeat):
            return None
        found = dict(_updates(op))
        outside = dict(
            zip(op.body.inputs.values(), inputs, strict=False)
        )  # the number of the layer is inside alone
        results = list(b.emit_all(replace(op, body=_layers(op.body, found)), *inputs))
        for i, name in enumerate(op.body.outputs):
            if name in found:
                buffer, _, place = found[name].inputs
                stretched = UpdateAt(_axis(found[name]) + 1)
                results[i] = b.emit(stretched, outside[buffer], results[i], outside[place])
        return tuple(results)

    return stretches_from_layers(body).rebuild(rewrite)


def _updates(op: Repeat) -> Iterator[tuple[str, Node]]:
    """Results of a layer that are its row of a buffer with a stretch replaced, where the place is that of all layers."""
    scanned, captured = set(op.formals.scanned.values()), set(op.formals.captured.values())
    for name in op.divide(list(op.body.outputs))[1]:
        update = op.body.node(op.body.outputs[name])
        if isinstance(update.op, UpdateAt) and update.inputs[0] in scanned and update.inputs[2] in captured:
            yield name, update


def _layers(body: Graph, updates: dict[str, Node]) -> Graph:
    """Return the body of a region that gives the stretches of these results."""
    given = body.live()
    given.outputs |= {name: update.inputs[1] for name, update in updates.items()}
    read = {update.id for update in updates.values() if update.inputs[1].shape[_axis(update)] == 1}

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.id not in read:
            return None
        row, stretch, place = inputs
        axis = _axis(node)
        index = b.emit(Iota((row.shape[axis], *(1 for _ in row.shape[axis + 1 :])), 0))
        return (F.where(b, b.emit(Equal(), index, place), stretch, row),)

    return given.live().rebuild(rewrite)


def _axis(update: Node) -> int:
    assert isinstance(update.op, UpdateAt)
    return update.op.axis
