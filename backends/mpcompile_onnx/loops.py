"""The scan primitive as ONNX's `Scan`."""

from __future__ import annotations

from mpcompile.ir import Graph, Input, Node, Value
from mpcompile_onnx.writer import Frame, Writer


def scan(w: Writer, node: Node, args: list[str]) -> list[str]:
    """Captured values are read from the graph around; the step is one more scanned value, 0, 1, 2, ...

    What depends on captured values alone is computed once, before the loop.
    """
    op = node.op.attributes()
    body, carries, scanned, axis = op["body"], op["carries"], op["scanned"], op["axis"]
    inner = list(body.inputs.items())
    state, rows = inner[:carries], inner[carries : carries + scanned]
    captured, step = inner[carries + scanned : -1], inner[-1][1]
    counts = not scanned or bool(body.users(step.node)) or step in body.outputs.values()
    length = node.inputs[carries].shape[axis] if scanned else op["length"]
    given = list(args[: carries + scanned])
    axes = [axis] * scanned
    if counts:
        given.append(w.arange(length))
        axes.append(0)
    before, place = w.prefix, w.place

    env: dict[Value, str] = {
        v: outer for (_, v), outer in zip(captured, args[carries + scanned :], strict=True)
    }
    once = _invariant(body, set(env))
    w.write(body, env, {}, once)

    w.frames.append(Frame())
    declared = []
    for name, value in (*state, *rows, *([("step", step)] if counts else [])):
        env[value] = w.name(f"{before}/{name}")
        declared.append(w.info(env[value], value.type))
    outputs: dict[str, Value] = {}
    results: dict[Value, str] = {}
    for name, value in body.outputs.items():
        final = w.name(f"{before}/next_{name}" if len(outputs) < carries else f"{before}/{name}")
        outputs[final] = value
        results.setdefault(value, final)
    done = {n.id for n in once}
    w.write(body, env, results, [n for n in body.nodes() if n.id not in done])
    infos = w.results(outputs, env)
    graph = w.finish(f"{before}/body", declared, infos)
    w.frames.pop()

    w.prefix, w.place = before, place
    direction = int(op["reverse"])
    stacked = len(node.types) - carries
    attributes = {"scan_input_axes": axes, "scan_input_directions": [direction] * len(axes)}
    if stacked:
        attributes |= {"scan_output_axes": [axis] * stacked, "scan_output_directions": [direction] * stacked}
    return w.op_all(
        "Scan", *given, outputs=len(node.types), body=graph, num_scan_inputs=len(axes), **attributes
    )


def _invariant(body: Graph, captured: set[Value]) -> list[Node]:
    """Nodes of a body that are the same in every turn, in order."""
    known = set(captured)
    found = []
    for node in body.nodes():
        if not isinstance(node.op, Input) and all(v in known for v in node.inputs):
            known.update(node.outputs)
            found.append(node)
    return found
