"""Drop what computes nothing: neutral elements, broadcasts that an operation does itself, maps that undo each other,
and whatever is computed twice in the same place.

Every rule keeps each element's value bit for bit, but for the sign of a zero (`x + 0`), and never adds an operation.
Equal operations become one only within one scope, and maps undo each other only within one function, so that the
functions that emitted code is cut into stay whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mpcompile.ir import (
    Builder,
    Constant,
    Graph,
    Input,
    Node,
    Parameter,
    TypeMismatch,
    Value,
    broadcast_shapes,
)
from mpcompile.ops import BroadcastTo, Cast, Neg, Reshape, Slice, Transpose

#: The element that changes nothing, and whether it does so on the left, too.
NEUTRAL = {"add": (0.0, True), "sub": (0.0, False), "mul": (1.0, True), "div": (1.0, False)}
#: Operations that repeat shorter operands themselves.
BROADCASTS = frozenset({
    "add", "sub", "mul", "div", "maximum", "minimum", "less", "less_equal", "equal", "logical_and", "logical_or",
    "where",
})  # fmt: skip

Rule = Callable[[Builder, Node, tuple[Value, ...]], "Value | None"]


def simplify(graph: Graph) -> Graph:
    """The same function with fewer operations; bodies of loops are simplified as well."""
    kept = set(graph.outputs.values())  # outputs stay values of their own
    seen: dict[Any, tuple[Value, ...]] = {}

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Input | Constant):
            return None
        if isinstance(node.op, Parameter):
            return _once(seen, node.op.path, b, node, inputs)
        body = node.op.attributes().get("body")
        if isinstance(body, Graph):
            return b.emit_all(replace(node.op, body=simplify(body)), *inputs)  # type: ignore[call-arg]  # has a body
        found = _apply(b, node, inputs)
        if found is not None and not (kept & set(node.outputs)):
            return (found,)
        inputs = _without_broadcasts(b, node, inputs)
        if kept & set(node.outputs):
            return b.emit_all(node.op, *inputs)
        return _once(seen, (node.scope, node.op, inputs), b, node, inputs)

    return graph.rebuild(rewrite).live()


def _once(
    seen: dict[Any, tuple[Value, ...]], key: Any, b: Builder, node: Node, inputs: tuple[Value, ...]
) -> tuple[Value, ...]:
    if key not in seen:
        seen[key] = b.emit_all(node.op, *inputs)
    return seen[key]


def _apply(b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """A value that stands for the node's, made of what there is."""
    rule = RULES.get(node.op.name)
    return rule(b, node, inputs) if rule is not None else None


def _without_broadcasts(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    """Operands before they were repeated, where the operation gives the same shape without."""
    if node.op.name not in BROADCASTS:
        return inputs
    current = list(inputs)
    for i, v in enumerate(inputs):
        made = b.graph.node(v)
        if not isinstance(made.op, BroadcastTo):
            continue
        trial = [*current[:i], made.inputs[0], *current[i + 1 :]]
        if _shape(trial) == node.types[0].shape:
            current = trial
    return tuple(current)


def _shape(values: list[Value]) -> Any:
    try:
        shape = values[0].shape
        for v in values[1:]:
            shape = broadcast_shapes(shape, v.shape)
    except TypeMismatch:
        return None
    return shape


# --- rules: the value that a node may be replaced by ---


def _filled(b: Builder, value: Value) -> float | None:
    """The number that all elements of a constant are, seen through broadcasts."""
    node = b.graph.node(value)
    while isinstance(node.op, BroadcastTo):
        node = b.graph.node(node.inputs[0])
    if not isinstance(node.op, Constant) or not node.op.stored.size:
        return None
    first = node.op.stored.flat[0]
    return float(first) if bool((node.op.stored == first).all()) else None


def _neutral(b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
    number, both = NEUTRAL[node.op.name]
    left, right = inputs
    if _filled(b, right) == number:
        return _spread(b, node, left)
    if both and _filled(b, left) == number:
        return _spread(b, node, right)
    return None


def _spread(b: Builder, node: Node, value: Value) -> Value:
    return value if value.type == node.types[0] else b.emit(BroadcastTo(node.types[0].shape), value)


def _neg(b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
    made, source = _through(b, node, inputs[0])
    return source if made is not None else None


def _home(node: Node) -> tuple[str, ...]:
    """The function that a node is in."""
    inner = max((i for i, f in enumerate(node.scope) if f.function), default=-1)
    return tuple(f.name for f in node.scope[: inner + 1])


def _through(b: Builder, node: Node, value: Value) -> tuple[Node | None, Value]:
    """The operation of the same kind and function that made a value, and what it was made of; else the value."""
    made = b.graph.node(value)
    if type(made.op) is type(node.op) and _home(made) == _home(node):
        return made, made.inputs[0]
    return None, value


def _cast(b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
    return inputs[0] if inputs[0].type == node.types[0] else None


def _last(b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """The last of several shapes; also of broadcasts, each of which repeats what the one before has."""
    made, source = _through(b, node, inputs[0])
    if source.type == node.types[0]:
        return source
    return b.emit(node.op, source) if made is not None else None


def _transpose(b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
    made, source = _through(b, node, inputs[0])
    order = tuple(node.op.attributes()["permutation"])
    if made is not None:
        first = made.op.attributes()["permutation"]
        order = tuple(first[i] for i in order)
    if order == tuple(range(len(order))):
        return source
    return b.emit(Transpose(order), source) if made is not None else None


def _slice(b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
    assert isinstance(node.op, Slice)
    return inputs[0] if inputs[0].type == node.types[0] and node.op.step == 1 else None


def _pad(b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
    op = node.op.attributes()
    return inputs[0] if not any(op["before"]) and not any(op["after"]) else None


def _gather(b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """All elements in their order."""
    index = b.graph.node(inputs[1]).op
    if not isinstance(index, Constant) or inputs[0].type != node.types[0]:
        return None
    size = inputs[0].shape[node.op.attributes()["axis"]]
    return inputs[0] if isinstance(size, int) and np.array_equal(index.stored, np.arange(size)) else None


RULES: dict[str, Rule] = {
    "add": _neutral,
    "sub": _neutral,
    "mul": _neutral,
    "div": _neutral,
    Neg.name: _neg,
    Cast.name: _cast,
    Reshape.name: _last,
    Transpose.name: _transpose,
    BroadcastTo.name: _last,
    Slice.name: _slice,
    "pad": _pad,
    "gather": _gather,
}
