"""The scan primitive as ONNX's `Scan`, or as `Loop` where it ends once nothing changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from mpcompile.ir import DType, Graph, Input, Node, Type, Value
from mpcompile.ops import Reshape, Scan
from mpcompile_onnx.writer import Frame, Writer


def scan(w: Writer, node: Node, args: list[str]) -> list[str]:
    """Spell a loop. Captured values are read from the graph around; the step is one more scanned value, 0, 1, 2, ...

    What depends on captured values alone is computed once, before the loop.
    """
    assert isinstance(node.op, Scan)
    op, body, axis = node.op, node.op.body, node.op.axis
    state, rows, captured, step = op.formals
    counts = not op.until_fixed_point and (not rows or op.reads_step)
    length = op.trip_count([v.type for v in node.inputs])
    first, scanned, around = op.split(args)
    # Along axis 0 alone: over another axis onnxruntime divides by the sizes before it, and dies of a batch of none.
    given = list(first)
    for x, value in zip(scanned, op.split(node.inputs).scanned, strict=True):
        given.append(w.transpose(x, *_first(value.type.rank, axis)))
    if counts:
        given.append(w.arange(length))
    before, place = w.prefix, w.place

    env: dict[Value, str] = dict(zip(captured.values(), around, strict=True))
    once = _invariant(body, set(env))
    w.write(body, env, {}, once)

    w.frames.append(Frame())
    declared = (
        [w.info(w.name(f"{before}/{n}"), Type(d, ())) for n, d in _COUNTED] if op.until_fixed_point else []
    )
    for name, value in (*state.items(), *rows.items(), *([("step", step)] if counts else [])):
        env[value] = w.name(f"{before}/{name}")
        declared.append(w.info(env[value], value.type))
    outputs: dict[str, Value] = {}
    results: dict[Value, str] = {}
    for name, value in body.outputs.items():
        final = w.name(f"{before}/next_{name}" if len(outputs) < op.carries else f"{before}/{name}")
        outputs[final] = value
        results.setdefault(_source(body, value), final)  # under its final name from the start, and not copied
    done = {n.id for n in once}
    w.write(body, env, results, [n for n in body.nodes() if n.id not in done])
    infos = w.results(outputs, env)
    if op.until_fixed_point:
        pairs = list(zip(state.values(), outputs.values(), strict=False))
        again = _changed(w, [(env[pairs[i][0]], env[pairs[i][1]]) for i in op.read_carries()])
        infos.insert(0, w.info(again, Type(DType.BOOL, ())))
    graph = w.finish(f"{before}/body", declared, infos)
    w.frames.pop()

    w.prefix, w.place = before, place
    if op.until_fixed_point:
        return w.op_all("Loop", w.scalar(length), "", *given, outputs=len(node.types), body=graph)
    direction, types = int(op.reverse), op.divide(node.types)[1]
    wide = len(rows) + counts
    attributes = {"scan_input_directions": [direction] * wide}
    if types:
        attributes |= {"scan_output_directions": [direction] * len(types)}
    made = w.op_all("Scan", *given, outputs=len(node.types), body=graph, num_scan_inputs=wide, **attributes)
    last, ys = op.divide(made)
    back = [w.transpose(y, *np.argsort(_first(t.rank, axis))) for y, t in zip(ys, types, strict=True)]
    return [*last, *back]


def _first(rank: int, axis: int) -> tuple[int, ...]:
    """The permutation that puts an axis first."""
    return (axis, *(i for i in range(rank) if i != axis))


#: What the body of a `Loop` takes before its carries.
_COUNTED = (("step", DType.INT), ("again", DType.BOOL))


def _changed(w: Writer, pairs: Sequence[tuple[str, str]]) -> str:
    """Emit whether some value differs from what it was, as a truth value."""
    found = ""
    for old, new in pairs:
        same = w.op("Cast", w.op("Equal", old, new), to=TensorProto.INT32)
        differs = w.op("Not", w.op("Cast", w.op("ReduceMin", same, keepdims=0), to=TensorProto.BOOL))
        found = w.op("Or", found, differs) if found else differs
    return found


def _source(body: Graph, value: Value) -> Value:
    """The value that a value of the body is, seen through reshapes that change nothing."""
    node = body.node(value)
    while isinstance(node.op, Reshape) and node.inputs[0].type == value.type:
        value = node.inputs[0]
        node = body.node(value)
    return value


def _invariant(body: Graph, captured: set[Value]) -> list[Node]:
    """Nodes of a body that are the same in every iteration, in order."""
    known = set(captured)
    found = []
    for node in body.nodes():
        if not isinstance(node.op, Input) and all(v in known for v in node.inputs):
            known.update(node.outputs)
            found.append(node)
    return found
