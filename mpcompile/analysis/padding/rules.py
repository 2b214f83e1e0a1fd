"""The parts of a result from those of the operands: what traits say, and operations that move ends or count steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mpcompile import ops
from mpcompile.analysis.padding.parts import (
    FALSE,
    KINDS,
    NEGINF,
    TRUE,
    ZERO,
    Parts,
    Size,
    everywhere,
    kind_at,
    kind_of,
)
from mpcompile.ir import (
    Constant,
    DType,
    Node,
    NoRule,
    Primitive,
    Shape,
    Symbolic,
    product,
    symbols,
)
from mpcompile.ops.normalisation import Normalisation
from mpcompile.ops.pooling import Pool
from mpcompile.ops.traits import Elementwise, Free

if TYPE_CHECKING:
    from mpcompile.analysis.padding.walk import Walk

Rule = Callable[["Walk", Node, Sequence[Parts]], Parts]


def rule_of(op: Primitive) -> Rule:
    """Return the rule of a primitive that moves ends, counts steps or reads behind an end; else what traits say."""
    return next((RULES[kind] for kind in type(op).__mro__ if kind in RULES), _general)


def _constant(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    assert isinstance(node.op, Constant)
    array = node.op.stored
    if node.types[0].dtype is DType.BOOL:
        return Parts(real=TRUE if array.all() else None if array.any() else FALSE)
    if not array.any():
        return Parts(real=ZERO)
    return Parts(real=NEGINF if array.dtype.kind == "f" and np.isneginf(array).all() else None)


def _general(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """Before the end from before the end, and behind it from behind it, along axes that run along.

    Along all others elements are joined: those behind an end must be absent. What only moves the elements of its first
    operand may move them where all are the same.
    """
    op, maps, (type_, *_) = node.op, node.along, node.types
    clean, real = True, []
    for i, (x, moves) in enumerate(zip(inputs, maps, strict=True)):
        joined = [a for a in _own(walk, node, i) if a not in moves]
        same = isinstance(op, Free) and i == 0 and everywhere(x) is not None
        clean = (
            clean
            and x.clean
            and (same or all(_absent(walk, node, x, a, KINDS.get(op.absent), i) for a in joined))
        )
        real.append(everywhere(x) if joined else x.real)
    behind: dict[int, str | None] = {}
    for r in walk.axes(type_):
        own = [next((a for a, to in moves.items() if to == r), None) for moves in maps]
        if isinstance(op, Normalisation) and r == op.axis:  # an element that is absent has no share
            own = [r]
        if any(a is not None for a in own):
            kinds = [everywhere(x) if a is None else kind_at(x, a) for x, a in zip(inputs, own, strict=True)]
            behind[r] = kind_of(node, kinds)
    return Parts(clean, kind_of(node, real), behind)


def _pointwise(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """Each element from its own place; a choice that is made is that of one branch alone."""
    found = _general(walk, node, inputs)
    if isinstance(node.op, ops.Where) and inputs[0].clean and inputs[0].real in (TRUE, FALSE):
        chosen = inputs[1 if inputs[0].real == TRUE else 2]
        return Parts(chosen.clean, chosen.real, found.behind, same=chosen.same)
    return _numbers(walk, node, inputs, found)


def _numbers(walk: Walk, node: Node, inputs: Sequence[Parts], found: Parts) -> Parts:
    """Places along an axis, lengths, and comparisons of the two."""
    op, rank = node.op, node.types[0].rank
    if isinstance(op, ops.Cast | ops.StopGradient | ops.BroadcastTo):
        (x,) = inputs
        steps = x.steps and (
            x.steps[0] if x.steps[0] < 0 else x.steps[0] - node.inputs[0].type.rank + rank,
            *x.steps[1:],
        )
        kept = not isinstance(op, ops.Cast) and node.types[0] == node.inputs[0].type
        return replace(found, steps=steps, counts=x.counts, same=x.same if kept else None)
    if not isinstance(op, ops.Add | ops.Sub | ops.Mul | ops.Less | ops.LessEqual | ops.Equal):
        return found
    (x, y), (a, b) = inputs, (walk.numbers.get(v) for v in node.inputs)
    if isinstance(op, ops.Add | ops.Sub):
        sign = 1 if isinstance(op, ops.Add) else -1
        if b is not None and x.steps:
            axis = x.steps[0] if x.steps[0] < 0 else x.steps[0] - node.inputs[0].type.rank + rank
            return replace(found, steps=(axis, x.steps[1], x.steps[2] + sign * b))
        if b is not None and x.counts is not None:
            return replace(found, counts=x.counts + sign * b)
        if a is not None and sign > 0 and y.counts is not None:
            return replace(found, counts=y.counts + a)
        if x.counts is not None and y.counts is not None:
            return replace(found, counts=x.counts + sign * y.counts)
        return found
    if isinstance(op, ops.Mul):
        pairs = ((x, b), (y, a))
        scaled = [v.counts * n for v, n in pairs if v.counts is not None and n is not None]
        if x.counts is not None and y.counts is not None:
            scaled.append(x.counts * y.counts)
        return replace(found, counts=scaled[0]) if scaled else found
    # a place behind the end plus c against the number of real steps plus d: at least c - d more
    for left, v, right in ((x, node.inputs[0], y), (y, node.inputs[1], x)):
        if left.steps is None:
            continue
        axis, size, offset = left.steps
        own = axis if axis < 0 else axis - v.type.rank + rank
        if right.counts is not None:
            more = offset - (right.counts - size)
            if isinstance(more, int):
                answer = _compared(op, left is x, more)
                if own >= 0:
                    return replace(found, behind={**found.behind, own: answer})
                return replace(found, real=answer, behind=dict.fromkeys(found.behind, answer))
        apart = (
            right.steps is not None and {axis, right.steps[0]} > {-1} and right.steps[1:] == (size, offset)
        )
        if apart and isinstance(op, ops.Equal):  # a step behind the end is no place before it
            return replace(found, real=FALSE)
    return found


def _compared(op: Primitive, first: bool, more: int) -> str | None:
    """Return the answer of a comparison for all places that are at least `more` above the other side."""
    if isinstance(op, ops.Equal):
        return FALSE if more > 0 else None
    if first:
        return FALSE if more >= (0 if isinstance(op, ops.Less) else 1) else None
    return TRUE if more >= (1 if isinstance(op, ops.Less) else 0) else None


def _iota(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    assert isinstance(node.op, ops.Iota)
    size, axes = node.op.shape[node.op.axis], walk.axes(node.types[0])
    steps = (node.op.axis, size, 0) if node.op.axis in axes else None
    return Parts(behind=dict.fromkeys(axes), steps=steps)


def _own(walk: Walk, node: Node, i: int = 0) -> list[int]:
    return walk.axes(node.inputs[i].type)


def _absent(walk: Walk, node: Node, x: Parts, axis: int, kind: str | None, i: int = 0) -> bool:
    """Whether nothing behind the end of an axis of the i-th operand counts; yes where it has no end."""
    return axis not in _own(walk, node, i) or (kind is not None and kind_at(x, axis) == kind)


def _kinds(walk: Walk, node: Node, x: Parts, i: int = 0) -> list[tuple[int, str | None]]:
    return [(a, kind_at(x, a)) for a in _own(walk, node, i)]


def _summed(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    (x,), op = inputs, node.op
    assert isinstance(op, ops.CumSum)
    _ending(node, op.axis)
    clean = x.clean and (not op.reverse or _absent(walk, node, x, op.axis, ZERO))
    behind = {a: k if k == ZERO and (a != op.axis or op.reverse) else None for a, k in _kinds(walk, node, x)}
    return Parts(clean, ZERO if x.real == ZERO == everywhere(x) else None, behind)


def _sliced(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    (x,), op = inputs, node.op
    assert isinstance(op, ops.Slice)
    _ending(node, op.axis)
    kinds = dict(_kinds(walk, node, x))
    if op.axis not in kinds:
        return Parts(x.clean, x.real, kinds)
    before, after = node.inputs[0].shape[op.axis], node.types[0].shape[op.axis]
    if not isinstance(op.start, int) or isinstance(after, int):
        return Parts(False, None, {a: k for a, k in kinds.items() if a in walk.axes(node.types[0])})
    first_behind = (
        after * op.step + op.start - before
    )  # that stands behind the end, counted from the end of all
    inside = _at_most(first_behind - (op.step - 1), 0) or _at_most(first_behind, 0)
    kinds[op.axis] = kinds[op.axis] if first_behind == 0 or x.real == kinds[op.axis] else None
    return Parts(x.clean and inside, x.real, kinds)


def _at_most(size: Size, bound: int) -> bool:
    """Whether a size is at most a number, whatever its symbols are."""
    terms = size.terms if isinstance(size, Symbolic) else (((), size),)
    return all(c <= (0 if m else bound) for m, c in terms)


def _padded(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    (x,), op = inputs, node.op
    assert isinstance(op, ops.Pad)
    for axis, pads in enumerate(zip(op.before, op.after, strict=True)):
        if any(n != 0 for n in pads):
            _ending(node, axis)
    value = KINDS.get(op.value)
    clean, grown = x.clean, any(n != 0 for n in (*op.before, *op.after))
    behind: dict[int, str | None] = {}
    for a, k in _kinds(walk, node, x):
        clean = clean and (op.after[a] == 0 or (k == value and value is not None))
        others = any(op.before[b] != 0 or op.after[b] != 0 for b in range(len(op.before)) if b != a)
        behind[a] = k if k == value or (op.after[a] == 0 and not others) else None
    return Parts(clean, x.real if not grown or x.real == value else None, behind)


def _joined(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    op = node.op
    assert isinstance(op, ops.Concat)
    _ending(node, op.axis)
    clean = all(x.clean for x in inputs)
    early = [i for i in range(len(inputs) - 1) if op.axis in _own(walk, node, i)]
    kinds: dict[int, str | None] = {}
    for a in walk.axes(node.types[0]):
        each = {kind_at(x, a) for x in (inputs[-1:] if a == op.axis else inputs)}
        kinds[a] = each.pop() if len(each) == 1 else None
    real = {x.real for x in inputs}
    return Parts(clean and not early, real.pop() if len(real) == 1 else None, kinds)


def _windows(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """Windows reach beyond the end by what is padded behind it."""
    x, op, apart = inputs[0], node.op, node.along[0]
    slid = [a for a in _own(walk, node) if a not in apart]
    if any(_own(walk, node, i) for i in range(1, len(inputs))) or any(a < 2 for a in slid):
        raise NoRule(op, "padding")
    clean, absent = all(v.clean for v in inputs), KINDS.get(op.absent)
    if isinstance(op, ops.AvgPool) and op.count_padding:  # a zero counts as one of the border does
        absent = ZERO
    for a in slid:
        beyond = op.padding[a - 2][1] > 0  # type: ignore[attr-defined]  # of all windows
        clean = clean and (not beyond or _absent(walk, node, x, a, absent))
    return Parts(clean, None, dict.fromkeys(walk.axes(node.types[0])))


def _spread(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """A transposed convolution: elements behind the end reach before it."""
    x = inputs[0]
    if _own(walk, node, 1):
        raise NoRule(node.op, "padding")
    clean = all(v.clean for v in inputs) and all(kind_at(x, a) == ZERO for a in _own(walk, node))
    return Parts(clean, None, dict.fromkeys(walk.axes(node.types[0])))


def _multiplied(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """Apply the rule of a product.

    Elements behind the end of the inner axis are absent where either factor is zero there.
    """
    (x, y), ranks, rank = inputs, [v.type.rank for v in node.inputs], node.types[0].rank
    inner = (ranks[0] - 1, ranks[1] - 2)
    sums = inner[0] in _own(walk, node)
    clean = x.clean and y.clean and (not sums or ZERO in (kind_at(x, inner[0]), kind_at(y, inner[1])))
    behind: dict[int, str | None] = {}
    for a in walk.axes(node.types[0]):
        own = [
            kind_at(x, a - rank + ranks[0]) if a != rank - 1 else None,
            kind_at(y, a - rank + ranks[1]) if a != rank - 2 else None,
        ]
        behind[a] = ZERO if ZERO in own else None
    return Parts(clean, ZERO if ZERO in (everywhere(x), everywhere(y)) else None, behind)


def _transposed(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    (x,), op = inputs, node.op
    assert isinstance(op, ops.Transpose)
    moved = {own: to for to, own in enumerate(op.permutation)}
    steps = x.steps and (moved[x.steps[0]] if x.steps[0] >= 0 else -1, *x.steps[1:])
    return Parts(x.clean, x.real, {moved[a]: k for a, k in _kinds(walk, node, x)}, steps, x.counts)


def _reshaped(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """Steps before the end stay those of their axis if as many elements as before stand before the axis.

    Axes before it may be merged with it, as the batch in [N, nodes] -> [N * nodes], and split off again: then its steps
    repeat for each element of these, and nothing may act along it (`_ending`).
    """
    (x,), before, after = inputs, node.inputs[0].type, node.types[0]
    own, there = _own(walk, node), walk.axes(after)
    stay = [_stays(before.shape, a, after.shape, b) for a, b in zip(own, there, strict=False)]
    if len(own) != len(there) or not all(stay):
        raise NoRule(node.op, "padding")
    to = dict(zip(own, there, strict=True))
    steps = None
    if x.steps and (x.steps[0] < 0 or before.shape[x.steps[0]] == after.shape[to.get(x.steps[0], 0)]):
        steps = (to.get(x.steps[0], -1), *x.steps[1:])
    return Parts(x.clean, x.real, {to[a]: k for a, k in _kinds(walk, node, x)}, steps, x.counts, x.same)


def _stays(before: Shape, a: int, after: Shape, b: int) -> bool:
    """Whether axis `a` is axis `b` of another shape: alone, or with axes before it that are merged in or split off."""
    within, outside = product(before[:a]), product(after[:b])
    return within == outside or within * before[a] == outside * after[b]


def _ending(node: Node, axis: int) -> None:
    """Raise `NoRule` for an operation along an axis that the batch is merged with, where ends recur."""
    for v in node.inputs:
        if axis < v.type.rank and "N" in symbols(v.shape[axis]) and len(symbols(v.shape[axis])) > 1:
            raise NoRule(node.op, "padding")


#: Operations that move ends, count steps, or read of what is behind an end a part that their attributes tell.
RULES: Mapping[type, Rule] = {
    Constant: _constant,
    ops.Iota: _iota,
    Elementwise: _pointwise,
    ops.BroadcastTo: _pointwise,
    ops.Transpose: _transposed,
    ops.Reshape: _reshaped,
    ops.Slice: _sliced,
    ops.Pad: _padded,
    ops.Concat: _joined,
    ops.CumSum: _summed,
    ops.MatMul: _multiplied,
    ops.Conv: _windows,
    Pool: _windows,
    ops.ConvTranspose: _spread,
}
