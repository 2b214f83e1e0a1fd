"""Finite masks: scores that a large negative number was added to, or filled in for, before a softmax.

exp(x) is 0 in single precision below -103.97. A score that is masked by a number m, in a row with a score that is not,
has weight exactly zero while the scores of the row differ by less than |m| - 104 (m added), or the largest of them
is above m + 104 (m filled in). Such elements become minus infinity; what was assumed is kept as a `Margin`. In a row
where every element is masked the softmax is uniform, and nothing is masked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, Constant, DType, Value, numbers
from mpcompile.ops.build import where
from mpcompile.ops.traits import Movement

#: A number that masks is at most this.
MASK = -1e4


@dataclass(frozen=True)
class Masked:
    """Scores behind their finite masks.

    number  the largest number that masks; None where nothing finite does
    added   whether it is added to scores, not filled in for them
    rows    whether every row certainly has an element that no mask removes; else inputs decide it
    """

    value: Value
    number: float | None = None
    added: bool = False
    rows: bool = True


@dataclass(frozen=True)
class _Shift:
    """x = unknown + `by`, but `by` itself where `filled`; arrays that broadcast to the shape of x.

    Where it is not `sure`, x may be masked all the same: inputs decide it.
    """

    by: Array
    filled: Array
    sure: Array

    @classmethod
    def none(cls) -> _Shift:
        return cls(np.zeros(()), np.zeros((), bool), np.ones((), bool))

    def each(self, op: Callable[[Array], Array]) -> _Shift:
        """Return the three arrays behind a movement of elements."""
        return _Shift(op(self.by), op(self.filled).astype(bool), op(self.sure).astype(bool))


def masked(b: Builder, x: Value, axis: int) -> Masked:
    """Put minus infinity where a mask removes x from a softmax along `axis`."""
    shift = _shift(b, x)
    if shift is None or x.type.rank == 0:
        return Masked(x)
    shape = numbers(x.shape)
    by, filled, sure = (np.broadcast_to(a, shape) for a in (shift.by, shift.filled, shift.sure))
    off = (by <= MASK) & ~(by <= MASK).all(axis=axis, keepdims=True)
    if not off.any():
        return Masked(x)
    seen = where(b, b.constant(_shrunk(off)), b.constant(-np.inf), x)
    finite = off & ~np.isneginf(by)
    if not finite.any():
        return Masked(seen)
    left = ((by > MASK) & sure).any(axis=axis, keepdims=True)
    rows = bool(np.broadcast_to(left, shape)[finite].all())
    return Masked(seen, float(by[finite].max()), bool((~filled)[finite].any()), rows)


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
        yes = np.ones((1,) * array.ndim, bool)
        return _Shift(array, yes, yes) if array.dtype.kind == "f" else None
    if isinstance(op, ops.Add | ops.Sub):
        return _sum(b, op, *inputs)
    if isinstance(op, ops.Where):
        return _choice(b, *inputs)
    if isinstance(op, Movement | ops.Cast):
        inner, shape = _shift(b, inputs[0]), numbers(inputs[0].shape)
        if inner is None or x.dtype is not DType.FLOAT:
            return None
        return inner.each(lambda array: op.evaluate(np.broadcast_to(array, shape))[0])
    if isinstance(op, ops.Concat):  # attention sinks stand beside scores
        parts = [_shift(b, v) for v in inputs]
        if all(p is None for p in parts):
            return None
        wide = [numbers(v.shape) for v in inputs]
        whole = [p or _Shift.none() for p in parts]
        return _Shift(*(
            np.concatenate([np.broadcast_to(a, w) for a, w in zip(arrays, wide, strict=True)], op.axis)
            for arrays in ([p.by for p in whole], [p.filled for p in whole], [p.sure for p in whole])
        ))  # fmt: skip
    if isinstance(op, ops.Maximum):  # as in max(scores + mask, finfo.min)
        one, other = (_shift(b, v) for v in inputs)
        if one is None or other is None or not (one.filled.all() or other.filled.all()):
            return None
        return _Shift(np.maximum(one.by, other.by), one.filled & other.filled, one.sure & other.sure)
    return None


def _sum(b: Builder, op: ops.Add | ops.Sub, x: Value, y: Value) -> _Shift | None:
    left, right = _shift(b, x), _shift(b, y)
    if right is not None and isinstance(op, ops.Sub):
        right = replace(right, by=-right.by)
    if left is None and right is None:
        return None
    # what is not known joins every element, and fills none
    left, right = left or _Shift.none(), right or _Shift.none()
    return _Shift(left.by + right.by, left.filled & right.filled, left.sure & right.sure)


def _choice(b: Builder, condition: Value, x: Value, y: Value) -> _Shift | None:
    on, off = known(b, condition)
    if on is None or off is None:
        return None
    parts = [_shift(b, v) for v in (x, y)]
    if all(p is None for p in parts):
        return None
    left, right = (p or _Shift.none() for p in parts)
    # where the condition is not known, no more than what both have in common
    by = np.where(on, left.by, np.where(off, right.by, np.maximum(left.by, right.by)))
    filled = np.where(on, left.filled, np.where(off, right.filled, left.filled & right.filled))
    sure = np.where(on, left.sure, np.where(off, right.sure, False))
    return _Shift(by, filled, sure)


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
