"""Rewrites of a recorded call to what a person would have written: the same function, up to rounding.

Libraries flatten leading axes around products, multiply by reciprocals, and add masks that another mask covers. None of
these is left, so that kernels and layers are recognised.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, Constant, Graph, Node, Primitive, Shape, Value, product
from mpcompile.ops.traits import Elementwise

#: The value that a node becomes, given the builder of the new graph and its operands there; None where nothing changes.
Rule = Callable[[Builder, Primitive, tuple[Value, ...]], Value | None]

#: Rounds of rewriting: each moves a reshape past one operation.
_ROUNDS = 24


def tidy(graph: Graph) -> Graph:
    """Return a graph of the same function in which rules of this page find nothing more."""
    for _ in range(_ROUNDS):
        changed = False

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            nonlocal changed
            for kind, rule in _RULES:
                if isinstance(node.op, kind) and (found := rule(b, node.op, inputs)) is not None:
                    changed = True
                    return (found,)
            return None

        graph = graph.rebuild(rewrite).live()
        if not changed:
            break
    return graph


def _quotient(b: Builder, op: Primitive, inputs: tuple[Value, ...]) -> Value | None:
    """x (1 / y) -> x / y."""
    for x, y in (inputs, inputs[::-1]):
        node = b.graph.node(y)
        if isinstance(node.op, ops.Div) and _filled(b, node.inputs[0]) == 1.0:
            return b.emit(ops.Div(), x, node.inputs[1])
    return None


def _scaled(b: Builder, op: Primitive, inputs: tuple[Value, ...]) -> Value | None:
    """(x y) / c -> (x y) (1 / c) for a product and a number, as attention is scaled."""
    divisor = _filled(b, inputs[1])
    if divisor and not inputs[1].shape and isinstance(b.graph.node(inputs[0]).op, ops.MatMul):
        scale = _usual(1.0 / divisor, b.graph.node(inputs[0]).inputs[0])
        return b.emit(ops.Mul(), inputs[0], b.constant(scale))
    return None


def _usual(scale: float, queries: Value) -> float:
    """The scale; the root of the width of queries, where it is that up to rounding."""
    width = queries.shape[-1]
    root = width**-0.5 if isinstance(width, int) and width else scale
    return root if abs(scale - root) < 1e-12 else scale


def _number(b: Builder, op: Primitive, inputs: tuple[Value, ...]) -> Value | None:
    """A cast of a constant -> a constant."""
    source = b.graph.node(inputs[0]).op
    return b.constant(*op.evaluate(source.stored)) if isinstance(source, Constant) else None


def _short(b: Builder, op: Primitive, inputs: tuple[Value, ...]) -> Value | None:
    """A number in single precision -> the shortest one that is the same in it: 9.999999747e-06 is 1e-05."""
    assert isinstance(op, Constant)
    if op.stored.ndim or op.stored.dtype.kind != "f" or not np.isfinite(op.stored):
        return None
    number, single = float(op.stored), np.float32(op.stored)
    short = float(str(single))
    return b.constant(short) if float(single) == number != short else None


def _unbounded(b: Builder, op: Primitive, inputs: tuple[Value, ...]) -> Value | None:
    """min(x, inf) -> x, and max(x, -inf) -> x."""
    nothing = np.inf if isinstance(op, ops.Minimum) else -np.inf
    for x, y in (inputs, inputs[::-1]):
        if _filled(b, y) == nothing and len(y.shape) == 0:
            return x
    return None


def _flattened(b: Builder, x: Value) -> Value | None:
    """The value [..., C] of which x [M, C] is the reshape that joins all leading axes."""
    node = b.graph.node(x)
    if not isinstance(node.op, ops.Reshape) or x.type.rank != 2:
        return None
    whole = node.inputs[0]
    if whole.type.rank < 3:
        return None
    if whole.shape[-1] == x.shape[-1]:
        return whole
    leading = next((n for n in range(2, whole.type.rank) if product(whole.shape[n:]) == x.shape[-1]), None)
    return None if leading is None else b.emit(ops.Reshape((*whole.shape[:leading], x.shape[-1])), whole)


def _wide_product(b: Builder, op: Primitive, inputs: tuple[Value, ...]) -> Value | None:
    """reshape(x, [M, C]) w -> reshape(x w, [M, D]), and products of stacks whose leading axes were joined."""
    x, y = inputs
    if y.type.rank == 2 and (whole := _flattened(b, x)) is not None:
        made = b.emit(op, whole, y)
        return b.emit(ops.Reshape((*x.shape[:-1], y.shape[-1])), made)
    left, right = _unstacked(b, x), _unstacked(b, y)
    if left is None or right is None:
        return None
    leading = left.shape[:-2]
    right = right if right.shape[:-2] == leading else b.emit(ops.Reshape((*leading, *y.shape[1:])), right)
    return b.emit(ops.Reshape((x.shape[0], x.shape[1], y.shape[2])), b.emit(op, left, right))


def _unstacked(b: Builder, x: Value) -> Value | None:
    """The value [..., A, B] of which x [M, A, B] is the reshape that joins the leading axes."""
    node = b.graph.node(x)
    if not isinstance(node.op, ops.Reshape) or x.type.rank != 3:
        return None
    whole = node.inputs[0]
    return whole if whole.type.rank > 3 and whole.shape[-2:] == x.shape[-2:] else None


def _later(b: Builder, op: Primitive, inputs: tuple[Value, ...]) -> Value | None:
    """f(reshape(x, [M, C]), y [C]) -> reshape(f(x, y), [M, C])."""
    found = [_flattened(b, v) for v in inputs]
    wholes = [v for v in found if v is not None]
    if not wholes or any(w.shape != wholes[0].shape for w in wholes):
        return None
    shape: Shape = next(v.shape for v, w in zip(inputs, found, strict=True) if w is not None)
    if any(w is None and v.type.rank > 1 for v, w in zip(inputs, found, strict=True)):
        return None
    made = b.emit(op, *(v if w is None else w for v, w in zip(inputs, found, strict=True)))
    return b.emit(ops.Reshape((*shape[:-1], made.shape[-1])), made)


def _reshaped(b: Builder, op: Primitive, inputs: tuple[Value, ...]) -> Value | None:
    """reshape(reshape(x)) -> reshape(x), and a reshape to the same shape -> x."""
    assert isinstance(op, ops.Reshape)
    node = b.graph.node(inputs[0])
    if op.shape == inputs[0].shape:
        return inputs[0]
    return b.emit(op, node.inputs[0]) if isinstance(node.op, ops.Reshape) else None


def _masked(b: Builder, op: Primitive, inputs: tuple[Value, ...]) -> Value | None:
    """where(off, -inf, x + mask) -> where(on, x, -inf), where the mask adds nothing to what is on."""
    condition, low, scores = inputs
    off = _constant(b, condition)
    if off is None or off.ndim == 0 or _filled(b, low) != -np.inf:
        return None
    node = b.graph.node(scores)
    for x, added in (node.inputs, node.inputs[::-1]) if isinstance(node.op, ops.Add) else ():
        mask = _constant(b, added)
        if mask is not None and x.shape == scores.shape:
            masks, offs = np.broadcast_arrays(mask, off)
            scores = x if not masks[~offs].any() else scores
            break
    while off.ndim > 2 and off.shape[0] == 1:
        off = off[0]
    return b.emit(ops.Where(), b.constant(~off), scores, low)


def _guarded(b: Builder, op: Primitive, inputs: tuple[Value, ...]) -> Value | None:
    """where(max(x + mask) = -inf, 0, y) -> y, where the mask leaves each row a number, as a causal one does."""
    condition, zero, y = inputs
    test = b.graph.node(condition)
    if not isinstance(test.op, ops.Equal) or _filled(b, zero) != 0.0 or _filled(b, test.inputs[1]) != -np.inf:
        return None
    most = b.graph.node(test.inputs[0])
    scores = b.graph.node(most.inputs[0]) if isinstance(most.op, ops.Max) else None
    if scores is None or not isinstance(scores.op, ops.Add | ops.Where):
        return None
    seen = next((m for m in map(partial(_constant, b), scores.inputs) if m is not None and m.ndim), None)
    if seen is None or (isinstance(scores.op, ops.Where) and _filled(b, scores.inputs[2]) != -np.inf):
        return None
    seen = seen if seen.dtype.kind == "b" else np.isfinite(seen)
    rank = scores.types[0].rank
    along = [a % rank - (rank - seen.ndim) for a in most.op.attributes()["axes"]]
    rows = seen.any(axis=tuple(a for a in along if a >= 0))
    return y if rows.all() and y.shape == op.infer(*(v.type for v in inputs))[0].shape else None


def _scales(b: Builder, op: Primitive, inputs: tuple[Value, ...]) -> Value | None:
    """(x c) (y d) -> (x y) (c d) for numbers c and d, as attention scales queries and keys."""
    nodes = [b.graph.node(v) for v in inputs]
    if not all(isinstance(n.op, ops.Mul) and not n.inputs[1].shape for n in nodes):
        return None
    scales = [_filled(b, n.inputs[1]) for n in nodes]
    if None in scales:
        return None
    made = b.emit(op, *(n.inputs[0] for n in nodes))
    return b.emit(ops.Mul(), made, b.constant(_usual(float(np.prod(np.asarray(scales, float))), inputs[0])))


def _constant(b: Builder, x: Value) -> Array | None:
    """The array of a constant, of one element along axes where it is repeated; None for other values."""
    node = b.graph.node(x)
    if isinstance(node.op, ops.BroadcastTo):
        node = b.graph.node(node.inputs[0])
    return node.op.stored if isinstance(node.op, Constant) else None


def _filled(b: Builder, x: Value) -> float | None:
    """The number that all elements of a constant are; None for other values."""
    stored = _constant(b, x)
    if stored is None or not stored.size or stored.dtype.kind == "b":
        return None
    first = stored.flat[0]
    return float(first) if bool((stored == first).all()) else None


#: Rules by the primitives, or the trait, of the nodes that they rewrite; the first that says something is applied.
_RULES: tuple[tuple[type | tuple[type, ...], Rule], ...] = (
    (Constant, _short),
    (ops.Mul, _quotient),
    (ops.Div, _scaled),
    (ops.Cast, _number),
    ((ops.Minimum, ops.Maximum), _unbounded),
    (ops.MatMul, _wide_product),
    (ops.MatMul, _scales),
    (ops.Where, _masked),
    (ops.Where, _guarded),
    (Elementwise, _later),
    (ops.Reshape, _reshaped),
)
