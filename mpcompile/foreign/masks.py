"""Finite masks: scores that a large negative number was added to, or filled in for, before a softmax.

exp(x) is 0 in single precision below -103.97. A score that is masked by a number m, in a row with a score that is not,
has weight exactly zero while the scores of the row differ by less than |m| - 104 (m added), or the largest of them
is above m + 104 (m filled in). Such elements become minus infinity; what was assumed is kept as a `Margin`. In a row
where every element is masked the softmax is uniform, and nothing is masked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, Constant, Value, numbers
from mpcompile.ops.build import where
from mpcompile.ops.traits import Movement

#: A number that masks is at most this.
MASK = -1e4


@dataclass(frozen=True)
class _Shift:
    """x = unknown + `by`, but `by` itself where `filled`; arrays that broadcast to the shape of x."""

    by: Array
    filled: Array


def masked(b: Builder, x: Value, axis: int) -> tuple[Value, float | None, bool]:
    """Return x with minus infinity where a finite mask removes it from a softmax along `axis`.

    Also the largest number that masks, None where nothing does, and whether it is added to scores.
    """
    shift = _shift(b, x)
    if shift is None or x.type.rank == 0:
        return x, None, False
    shape = numbers(x.shape)
    by = np.broadcast_to(shift.by, shape)
    off = by <= MASK
    rows = off.all(axis=axis, keepdims=True)
    off = off & ~rows
    if not off.any():
        return x, None, False
    seen = where(b, b.constant(_shrunk(off)), b.constant(-np.inf), x)
    finite = off & ~np.isneginf(by)
    if not finite.any():
        return seen, None, False
    added = bool((~np.broadcast_to(shift.filled, shape))[finite].any())
    return seen, float(by[finite].max()), added


def _shrunk(mask: Array) -> Array:
    """The mask with length one along axes where it does not change."""
    for axis in range(mask.ndim):
        first = mask.take([0], axis)
        if mask.shape[axis] > 1 and bool((mask == first).all()):
            mask = first
    return mask


def _shift(b: Builder, x: Value) -> _Shift | None:
    """The number that is known to be added to a value, or to stand in its place; None where nothing is."""
    node = b.graph.node(x)
    op, inputs = node.op, node.inputs
    if isinstance(op, Constant):
        array = op.stored
        return _Shift(array, np.ones((1,) * array.ndim, bool)) if array.dtype.kind == "f" else None
    if isinstance(op, ops.Add | ops.Sub):
        return _sum(b, op, *inputs)
    if isinstance(op, ops.Where):
        return _choice(b, *inputs)
    if isinstance(op, Movement | ops.Cast):
        inner = _shift(b, inputs[0])
        if inner is None:
            return None
        shape = numbers(inputs[0].shape)
        by, filled = (op.evaluate(np.broadcast_to(a, shape))[0] for a in (inner.by, inner.filled))
        return _Shift(by, filled.astype(bool)) if by.dtype.kind == "f" else None
    if isinstance(op, ops.Concat):  # attention sinks stand beside scores
        parts = [_shift(b, v) for v in inputs]
        if all(p is None for p in parts):
            return None
        wide = [numbers(v.shape) for v in inputs]
        whole = [p or _Shift(np.zeros(()), np.zeros((), bool)) for p in parts]
        by, filled = (
            np.concatenate([np.broadcast_to(a, w) for a, w in zip(arrays, wide, strict=True)], op.axis)
            for arrays in ([p.by for p in whole], [p.filled for p in whole])
        )
        return _Shift(by, filled)
    if isinstance(op, ops.Maximum):  # as in max(scores + mask, finfo.min): the larger of two
        return next((s for s in (_shift(b, v) for v in inputs) if s is not None and not s.filled.all()), None)
    return None


def _sum(b: Builder, op: ops.Add | ops.Sub, x: Value, y: Value) -> _Shift | None:
    left, right = _shift(b, x), _shift(b, y)
    if right is not None and isinstance(op, ops.Sub):
        right = _Shift(-right.by, right.filled)
    if left is None or right is None:
        one = left or right
        # the unknown operand joins every element
        return None if one is None else _Shift(one.by, np.zeros((1,) * one.by.ndim, bool))
    return _Shift(left.by + right.by, left.filled & right.filled)


def _choice(b: Builder, condition: Value, x: Value, y: Value) -> _Shift | None:
    on, off = known(b, condition)
    if on is None or off is None:
        return None
    parts = [_shift(b, v) for v in (x, y)]
    if all(p is None for p in parts):
        return None
    nothing = _Shift(np.zeros(()), np.zeros((), bool))
    left, right = (p or nothing for p in parts)
    # where the condition is not known, no more than what both have in common
    both = np.maximum(left.by, right.by)
    by = np.where(on, left.by, np.where(off, right.by, both))
    filled = np.where(on, left.filled, np.where(off, right.filled, left.filled & right.filled))
    return _Shift(by, filled)


def known(b: Builder, x: Value) -> tuple[Array | None, Array | None]:
    """Return where a truth value certainly holds, and where it certainly does not."""
    node = b.graph.node(x)
    op, inputs = node.op, node.inputs
    if isinstance(op, Constant):
        return op.stored.astype(bool), ~op.stored.astype(bool)
    nothing = np.zeros((1,) * x.type.rank, bool)
    if isinstance(op, ops.LogicalNot):
        on, off = known(b, inputs[0])
        return off, on
    if isinstance(op, ops.LogicalAnd | ops.LogicalOr):
        (x_on, x_off), (y_on, y_off) = (known(b, v) for v in inputs)
        assert x_on is not None and x_off is not None and y_on is not None and y_off is not None
        if isinstance(op, ops.LogicalAnd):
            return x_on & y_on, x_off | y_off
        return x_on | y_on, x_off & y_off
    if isinstance(op, Movement):
        shape = numbers(inputs[0].shape)
        sides = known(b, inputs[0])
        on, off = (op.evaluate(np.broadcast_to(s, shape))[0] for s in sides if s is not None)
        return on, off
    if isinstance(op, ops.Cast):
        return known(b, inputs[0]) if inputs[0].dtype is x.dtype else (nothing, nothing)
    return nothing, nothing
