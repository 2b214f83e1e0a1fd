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
from mpcompile.foreign.intervals import Intervals
from mpcompile.ir import Array, Constant, DType, Value, numbers
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
    truths  inputs that must hold zeros and ones alone for it
    """

    value: Value
    number: float | None = None
    added: bool = False
    rows: bool = True
    truths: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Shift:
    """x = unknown + s, with s between `low` and `high`, or s itself where `filled`; arrays that broadcast to x."""

    low: Array
    high: Array
    filled: Array
    truths: frozenset[str] = frozenset()

    @classmethod
    def none(cls) -> _Shift:
        return cls(np.zeros(()), np.zeros(()), np.zeros((), bool))

    def each(self, op: Callable[[Array], Array]) -> _Shift:
        """Return the three arrays behind a movement of elements."""
        return _Shift(op(self.low), op(self.high), op(self.filled).astype(bool), self.truths)


def masked(known: Intervals, x: Value, axis: int) -> Masked:
    """Put minus infinity where a mask removes x from a softmax along `axis`."""
    b, shift = known.builder, _shift(known, x)
    if shift is None or x.type.rank == 0:
        return Masked(x)
    shape = numbers(x.shape)
    low, high, filled = (np.broadcast_to(a, shape) for a in (shift.low, shift.high, shift.filled))
    off = (high <= MASK) & ~(high <= MASK).all(axis=axis, keepdims=True)
    if not off.any():
        return Masked(x)
    seen = where(b, b.constant(_shrunk(off)), b.constant(-np.inf), x)
    finite = off & ~np.isneginf(high)
    if not finite.any():
        return Masked(seen, truths=shift.truths)
    left = (low > MASK).any(axis=axis, keepdims=True)
    rows = bool(np.broadcast_to(left, shape)[finite].all())
    return Masked(seen, float(high[finite].max()), bool((~filled)[finite].any()), rows, shift.truths)


def _shrunk(mask: Array) -> Array:
    """The mask with length one along axes where it does not change."""
    for axis in range(mask.ndim):
        first = mask.take([0], axis)
        if mask.shape[axis] > 1 and bool((mask == first).all()):
            mask = first
    return mask


def _shift(known: Intervals, x: Value) -> _Shift | None:
    """The number that is known to be added to a value, or to stand in its place; None where nothing is."""
    node = known.builder.graph.node(x)
    op, inputs = node.op, node.inputs
    if isinstance(op, Constant):
        array = op.array
        return _Shift(array, array, np.ones((1,) * array.ndim, bool)) if array.dtype.kind == "f" else None
    if isinstance(op, ops.Add | ops.Sub):
        return _sum(known, op, *inputs)
    if isinstance(op, ops.Where):
        return _choice(known, *inputs)
    if isinstance(op, ops.Mul | ops.Div) and (found := _scaled(known, op, *inputs)) is not None:
        return found
    if isinstance(op, Movement) or (isinstance(op, ops.Cast) and inputs[0].dtype is x.dtype):
        inner, shape = _shift(known, inputs[0]), numbers(inputs[0].shape)
        if inner is None or x.dtype is not DType.FLOAT:
            return None
        return inner.each(lambda array: op.evaluate(np.broadcast_to(array, shape))[0])
    if isinstance(op, ops.Concat):  # attention sinks stand beside scores
        parts = [_shift(known, v) for v in inputs]
        if all(p is None for p in parts):
            return None
        wide = [numbers(v.shape) for v in inputs]
        whole = [p or _Shift.none() for p in parts]
        low, high, filled = (
            np.concatenate([np.broadcast_to(a, w) for a, w in zip(arrays, wide, strict=True)], op.axis)
            for arrays in ([p.low for p in whole], [p.high for p in whole], [p.filled for p in whole])
        )
        return _Shift(low, high, filled, _truths(*whole))
    if isinstance(op, ops.Maximum):  # as in max(scores + mask, finfo.min)
        one, other = (_shift(known, v) for v in inputs)
        if one is None or other is None or not (one.filled.all() or other.filled.all()):
            return None
        low, high = np.maximum(one.low, other.low), np.maximum(one.high, other.high)
        return _Shift(low, high, one.filled & other.filled, _truths(one, other))
    return _within(known, x)


def _within(known: Intervals, x: Value) -> _Shift | None:
    """A value that has bounds stands in its own place."""
    found = known.of(x) if x.dtype is DType.FLOAT else None
    if found is None or not np.isfinite(found.high).any():
        return None
    there = np.isfinite(found.high)
    low, high = (np.where(there, end, 0.0) for end in (found.low, found.high))
    return _Shift(low, high, there, found.truths)


def _truths(*shifts: _Shift) -> frozenset[str]:
    return frozenset[str]().union(*(s.truths for s in shifts))


def _sum(known: Intervals, op: ops.Add | ops.Sub, x: Value, y: Value) -> _Shift | None:
    left, right = _shift(known, x), _shift(known, y)
    if right is not None and isinstance(op, ops.Sub):
        right = replace(right, low=-right.high, high=-right.low)
    if left is None and right is None:
        return None
    # what is not known joins every element, and fills none
    left, right = left or _Shift.none(), right or _Shift.none()
    filled = left.filled & right.filled
    return _Shift(left.low + right.low, left.high + right.high, filled, _truths(left, right))


def _scaled(known: Intervals, op: ops.Mul | ops.Div, x: Value, y: Value) -> _Shift | None:
    """Scores that are scaled behind their mask: c (x + m) = c x + c m, for positive c that is known."""
    nodes = known.builder.graph.node
    if isinstance(op, ops.Mul) and isinstance(nodes(x).op, Constant):
        x, y = y, x
    scale = nodes(y).op
    if not isinstance(scale, Constant) or scale.array.dtype.kind != "f":
        return None
    with np.errstate(all="ignore"):
        c = scale.array if isinstance(op, ops.Mul) else 1 / scale.array
        if not (np.isfinite(c) & (c > 0)).all() or (inner := _shift(known, x)) is None:
            return None
        return replace(inner, low=inner.low * c, high=inner.high * c)


def _choice(known: Intervals, condition: Value, x: Value, y: Value) -> _Shift | None:
    parts = [_shift(known, v) for v in (x, y)]
    if all(p is None for p in parts):
        return None
    chosen = known.of(condition)
    on, off = chosen.holds, chosen.fails
    left, right = (p or _Shift.none() for p in parts)
    # where the condition is not known, no more than what both have in common
    low = np.where(on, left.low, np.where(off, right.low, np.minimum(left.low, right.low)))
    high = np.where(on, left.high, np.where(off, right.high, np.maximum(left.high, right.high)))
    filled = np.where(on, left.filled, np.where(off, right.filled, left.filled & right.filled))
    return _Shift(low, high, filled, _truths(left, right) | chosen.truths)


def selected(known: Intervals, condition: Value, x: Value, y: Value) -> Value:
    """Emit x where a condition holds, y elsewhere; where it is known, by a constant."""
    b = known.builder
    chosen = where(b, condition, x, y)
    if isinstance(b.graph.node(condition).op, Constant):
        return chosen
    found = known.of(condition)
    for certain, value in ((found.fails, y), (found.holds, x)):
        if certain.any():
            chosen = where(b, b.constant(_shrunk(certain)), value, chosen)
    return chosen
