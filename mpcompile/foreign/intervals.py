"""Intervals of the numbers in a recording: what inputs that hold zeros and ones decide, whatever they are."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, Constant, DType, Input, Node, Value, numbers
from mpcompile.ops.traits import Movement


@dataclass(frozen=True)
class Interval:
    """Least and greatest number that an element may be; arrays that broadcast to the value. Truths are 0 and 1.

    truths  the inputs of which it was taken that they hold zeros and ones alone
    """

    low: Array
    high: Array
    truths: frozenset[str] = frozenset()

    @property
    def holds(self) -> Array:
        """Elements that are certainly no zero."""
        found: Array = np.logical_or(self.low > 0, self.high < 0)
        return found

    @property
    def fails(self) -> Array:
        """Elements that are certainly zero."""
        found: Array = np.logical_and(self.low == 0, self.high == 0)
        return found

    @property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())


@dataclass
class Intervals:
    """Interval arithmetic over a graph (Moore 1966, Interval Analysis), each value once.

    truths  names of inputs that hold zeros and ones
    """

    builder: Builder
    truths: set[str] = field(default_factory=set)
    _known: dict[Value, Interval] = field(default_factory=dict)

    def of(self, x: Value) -> Interval:
        """Return the interval of a value; from minus to plus infinity where nothing is known."""
        if x not in self._known:
            graph = self.builder.graph
            todo = [x]
            while todo:  # by hand: chains of sums are deeper than Python's stack
                value = todo[-1]
                node = graph.node(value)
                missing = (
                    [v for v in node.inputs if v not in self._known] if isinstance(node.op, _FOLLOWED) else []
                )
                if missing:
                    todo += missing
                    continue
                self._known[todo.pop()] = self._rule(node, value)
        return self._known[x]

    def _rule(self, node: Node, x: Value) -> Interval:
        op = node.op
        if isinstance(op, Constant):
            array = op.array.astype(np.float64)
            return Interval(array, array)
        if isinstance(op, Input) and x.dtype is not DType.BOOL and op.path in self.truths:
            return _between(x, 0.0, 1.0, frozenset({op.path}))
        if not isinstance(op, _FOLLOWED):
            return _nothing(x)
        given = [self._known[v] for v in node.inputs]
        if isinstance(op, _WHOLE) and not all(g.bounded for g in given):
            return _nothing(x)
        truths = frozenset[str]().union(*(g.truths for g in given))
        with np.errstate(all="ignore"):
            low, high = _arithmetic(node, given)
        low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
        if x.dtype is DType.BOOL:
            low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
        found = Interval(low, high, truths)
        return found if found.bounded else _nothing(x)


def _nothing(x: Value) -> Interval:
    return _between(x, 0.0, 1.0) if x.dtype is DType.BOOL else _between(x, -np.inf, np.inf)


def _between(x: Value, low: float, high: float, truths: frozenset[str] = frozenset()) -> Interval:
    ones = (1,) * x.type.rank
    return Interval(np.full(ones, low), np.full(ones, high), truths)


def _arithmetic(node: Node, given: list[Interval]) -> tuple[Array, Array]:
    """The ends of the interval of a result."""
    op, (x, *rest) = node.op, given
    if isinstance(op, ops.Where):
        y, z = rest
        on, off = x.holds, x.fails
        return (np.where(on, y.low, np.where(off, z.low, np.minimum(y.low, z.low))),
                np.where(on, y.high, np.where(off, z.high, np.maximum(y.high, z.high))))  # fmt: skip
    if isinstance(op, Movement):
        if x.low.size == x.high.size == 1:
            ones = (1,) * node.types[0].rank
            return x.low.reshape(ones), x.high.reshape(ones)
        shape = numbers(node.inputs[0].shape)
        low, high = (op.evaluate(np.broadcast_to(end, shape))[0] for end in (x.low, x.high))
        return low, high
    if isinstance(op, ops.Cast):
        if op.dtype is DType.BOOL and node.inputs[0].dtype is not DType.BOOL:
            return x.holds.astype(float), 1.0 - x.fails
        if op.dtype is DType.INT and node.inputs[0].dtype is DType.FLOAT:
            return np.trunc(x.low), np.trunc(x.high)
        return x.low, x.high
    if isinstance(op, ops.LogicalNot):
        return 1 - x.high, 1 - x.low
    if isinstance(op, ops.Neg):
        return -x.high, -x.low
    return _pair(op, x, rest[0])


def _pair(op: object, x: Interval, y: Interval) -> tuple[Array, Array]:
    if isinstance(op, ops.Add):
        return x.low + y.low, x.high + y.high
    if isinstance(op, ops.Sub):
        return x.low - y.high, x.high - y.low
    if isinstance(op, ops.Mul):
        ends = [np.where((a == 0) | (b == 0), 0.0, a * b) for a in (x.low, x.high) for b in (y.low, y.high)]
        return np.minimum.reduce(np.broadcast_arrays(*ends)), np.maximum.reduce(np.broadcast_arrays(*ends))
    if isinstance(op, ops.LogicalAnd | ops.Minimum):
        return np.minimum(x.low, y.low), np.minimum(x.high, y.high)
    if isinstance(op, ops.LogicalOr | ops.Maximum):
        return np.maximum(x.low, y.low), np.maximum(x.high, y.high)
    if isinstance(op, ops.Equal):
        apart = (x.high < y.low) | (y.high < x.low)
        same = (x.low == x.high) & (y.low == y.high) & (x.low == y.low)
        return same.astype(float), 1.0 - apart
    strict = isinstance(op, ops.Less)
    on = x.high < y.low if strict else x.high <= y.low
    off = x.low >= y.high if strict else x.low > y.high
    return on.astype(float), 1.0 - off


#: Operations whose results are not known where an operand is not.
_WHOLE = (ops.Add, ops.Sub, ops.Mul, ops.Neg, Movement)
_FOLLOWED = (
    ops.Add, ops.Sub, ops.Mul, ops.Neg, ops.Maximum, ops.Minimum, ops.Where, ops.Cast, ops.LogicalNot, ops.LogicalAnd,
    ops.LogicalOr, ops.Equal, ops.Less, ops.LessEqual, Movement,
)  # fmt: skip
