"""Reverse accumulation: gradients of some values for others, through the gradient rules of primitives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mpcompile.ir import Builder, DType, Node, Value


def backpropagate(
    b: Builder, nodes: Sequence[Node], seeds: Iterable[tuple[Value, Value]], wanted: Iterable[Value]
) -> dict[Value, Value]:
    """Emit the cotangents of the wanted values through `b`; a value that no cotangent reaches is left out.

    `nodes` are the forward nodes of b's graph in order; `seeds` are pairs (value, its cotangent). Only nodes
    between wanted values and seeds are differentiated, so others need no gradient rule.
    """
    from mpcompile.ops.arithmetic import Add

    wanted = list(wanted)
    active = set(wanted)
    for node in nodes:
        if any(v in active for v in node.inputs):
            active.update(v for v in node.outputs if v.dtype is DType.FLOAT)
    cotangents: dict[Value, Value] = {}

    def add(value: Value, cotangent: Value) -> None:
        before = cotangents.get(value)
        cotangents[value] = cotangent if before is None else b.emit(Add(), before, cotangent)

    for value, seed in seeds:
        if value in active:
            add(value, seed)
    for node in reversed(nodes):
        outputs = node.outputs
        given = [cotangents.get(v) for v in outputs]
        if all(ct is None for ct in given) or not any(v in active for v in node.inputs):
            continue
        with b.within(node.scope, node.span):
            grads = node.op.vjp(b, node.inputs, outputs, given)
            for value, grad in zip(node.inputs, grads, strict=True):
                if grad is not None and value in active:
                    add(value, grad)
    return {v: cotangents[v] for v in wanted if v in cotangents}
