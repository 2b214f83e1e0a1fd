"""Recurrences down the rows of an image, unrolled up so that their steps can be run pixel by pixel.

A row of a Pixel-RNN's row LSTM is one step of a loop, but its pixels are drawn one after the other, so the step has to
be taken apart. The body of the loop is written out for all rows at once (every value gets the axis of rows back), and
what it carries becomes an input of its own that is, row by row, the row above of what the body gives: a *delay*. There
is no such graph for an ordinary program, as it reads itself; the loops of a sampler know the row above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mpcompile import ops
from mpcompile.ir import Builder, Constant, Graph, Input, Node, Primitive, Value
from mpcompile.ops import build as F
from mpcompile.ops.traits import Elementwise, Movement
from mpcompile.passes.base import Refused
from mpcompile.passes.incremental.buffers import resized
from mpcompile.passes.incremental.recognise import Reference

ROWS = 2


def unrolled(ref: Reference) -> Reference:
    """Return the same sampler with its recurrences over rows unrolled. Raises `Refused`."""
    if ref.x.type.rank != 4 or not any(_over_rows(n) for n in ref.body.nodes()):
        return ref
    body = Graph(ref.body.name)
    b = Builder(body)
    moved = {v: b.input(name, v.type) for name, v in ref.body.inputs.items()}
    delays: dict[Value, Value] = {}
    for node in ref.body.nodes():
        if isinstance(node.op, Input):
            continue
        with b.within(node.scope, node.span):
            if _over_rows(node):
                results = _written_out(b, node, [moved[v] for v in node.inputs], delays)
            else:
                results = list(b.emit_all(node.op, *(moved[v] for v in node.inputs)))
        moved.update(zip(node.outputs, results, strict=True))
    return replace(
        ref, body=body, x=moved[ref.x], drawn=moved[ref.drawn], step=moved[ref.step], delays=delays,
        captured={moved[v]: outside for v, outside in ref.captured.items()},
    )  # fmt: skip


def _over_rows(node: Node) -> bool:
    op = node.op
    return isinstance(op, ops.Scan) and op.axis == ROWS and not op.reverse and op.scanned > 0


def _written_out(b: Builder, node: Node, inputs: list[Value], delays: dict[Value, Value]) -> list[Value]:
    """Results of a recurrence for all rows; its last state is not among what a sampler can know, and stands as a row."""
    op = node.op
    assert isinstance(op, ops.Scan)
    formals, (starts, scanned, captured) = op.formals, op.split(inputs)
    height = scanned[0].shape[ROWS]
    #: Values of the body that have an axis of rows now.
    wide = {
        v: b.input(f"row_above_{node.id}_{i}", op.stacked_type(v.type, height))
        for i, v in enumerate(formals.carries.values())
    }
    wide.update(zip(formals.scanned.values(), scanned, strict=True))
    static = dict(zip(formals.captured.values(), captured, strict=True))
    static[formals.step] = b.constant(0)
    for inner in op.body.nodes():
        if isinstance(inner.op, Input):
            continue
        with b.within(inner.scope, inner.span):
            if not any(v in wide for v in inner.inputs):
                if formals.step in inner.inputs:
                    raise Refused(node, "uses the number of the row")
                static.update(
                    zip(inner.outputs, b.emit_all(inner.op, *(static[v] for v in inner.inputs)), strict=True)
                )
                continue
            lift = next((rule for kind, rule in _LIFTS if isinstance(inner.op, kind)), None)
            if lift is None or len(inner.outputs) != 1:
                raise Refused(inner, "stands in a recurrence over rows, and cannot be run for a pixel alone")
            wide[inner.outputs[0]] = lift(b, inner, wide, static)
    following, ys = op.divide(list(op.body.outputs.values()))
    if any(v not in wide for v in (*following, *ys)):
        raise Refused(node, "carries what no row changes")
    for above, own, start in zip(formals.carries.values(), following, starts, strict=True):
        delays[wide[above]] = wide[own]
        _starts_empty(b, node, start)
    last = [F.reshape(b, F.slice_axis(b, wide[v], ROWS, 0, 1), v.shape) for v in following]
    return [*last, *(wide[v] for v in ys)]


def _starts_empty(b: Builder, node: Node, start: Value) -> None:
    """Rows above the first are zeros."""
    producer = b.graph.node(start)
    while isinstance(producer.op, Movement):
        producer = b.graph.node(producer.inputs[0])
    if not isinstance(producer.op, Constant) or producer.op.array.any():
        raise Refused(node, "starts from something else than zeros")


# --- one primitive of the body, for all rows ---


def _aligned(b: Builder, v: Value, wide: dict[Value, Value], static: dict[Value, Value], rank: int) -> Value:
    """An operand of an element-wise primitive whose result has `rank` axes, without that of rows."""
    if v in wide:
        return wide[v]
    value = static[v]
    at = ROWS - (rank - value.type.rank)
    return value if at <= 0 else F.reshape(b, value, (*value.shape[:at], 1, *value.shape[at:]))


def _elementwise(b: Builder, node: Node, wide: dict[Value, Value], static: dict[Value, Value]) -> Value:
    rank = node.types[0].rank
    return b.emit(node.op, *(_aligned(b, v, wide, static, rank) for v in node.inputs))


def _slice(b: Builder, node: Node, wide: dict[Value, Value], static: dict[Value, Value]) -> Value:
    op = node.op
    assert isinstance(op, ops.Slice)
    return b.emit(replace(op, axis=op.axis + (op.axis >= ROWS)), wide[node.inputs[0]])


def _concat(b: Builder, node: Node, wide: dict[Value, Value], static: dict[Value, Value]) -> Value:
    op = node.op
    assert isinstance(op, ops.Concat)
    if any(v not in wide for v in node.inputs):
        raise Refused(node, "joins a row with what is the same for all rows")
    return b.emit(ops.Concat(op.axis + (op.axis >= ROWS)), *(wide[v] for v in node.inputs))


def _conv(b: Builder, node: Node, wide: dict[Value, Value], static: dict[Value, Value]) -> Value:
    """A convolution along the row is one of the image whose kernel has one row."""
    op, (x, w) = node.op, node.inputs
    assert isinstance(op, ops.Conv)
    if w in wide or x not in wide:
        raise Refused(node, "has a kernel that changes from row to row")
    kernel = F.reshape(b, static[w], resized((*w.shape[:2], 1, *w.shape[2:]), 2, 1))
    over = ops.Conv((1, *op.stride), ((0, 0), *op.padding), (1, *op.dilation), op.groups)
    return b.emit(over, wide[x], kernel)


Lift = Callable[[Builder, Node, dict[Value, Value], dict[Value, Value]], Value]

_LIFTS: tuple[tuple[type[Primitive], Lift], ...] = (
    (Elementwise, _elementwise),
    (ops.Slice, _slice),
    (ops.Concat, _concat),
    (ops.Conv, _conv),
)
