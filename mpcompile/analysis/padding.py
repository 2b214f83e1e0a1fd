"""Whether what stands behind the end of a sequence, or how much of it there is, changes anything before the end.

A model may state how many steps of an axis are real. Each value is cut in two along such an axis: the steps before the
end, and those behind. Of the part before the end it is known whether it is *clean*: the same whatever is behind, and
however much. Of the part behind nothing needs to be known but where it is the same everywhere: zero, minus infinity,
true or false. An operation along the axis keeps what is before the end clean if what it reads behind is absent: zero
for sums and products, minus infinity for maxima and softmax. One walk decides for every length.

The end is known by its size: of an axis of size 2 * time - 1 the first 2 * length - 1 steps are real.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mpcompile import ops
from mpcompile.ir import (
    Constant,
    DType,
    Graph,
    Input,
    Node,
    NoRule,
    Parameter,
    Primitive,
    Symbolic,
    Type,
    Value,
    product,
    symbol,
    symbols,
)
from mpcompile.ops.normalisation import Normalisation
from mpcompile.ops.pointwise import Binary, Unary
from mpcompile.ops.pooling import Pool
from mpcompile.ops.reduction import Reduction

Size = int | Symbolic
#: What all elements of a part are; anything where it is not one of these.
ZERO, NEGINF, TRUE, FALSE = "zero", "minus infinity", "true", "false"


@dataclass(frozen=True, slots=True)
class Parts:
    """What is known of a value.

    clean   the part before every end does not depend on what is behind one
    real    what all elements of that part are
    behind  the same of the part behind the end of an axis, by axis; nothing is known of an axis that is not there
    steps   axis, its size and c, where an element is its place along the axis plus c
    counts  the number of real steps of axes of this size
    same    the carry of a loop that the part before the end equals
    """

    clean: bool = True
    real: str | None = None
    behind: Mapping[int, str | None] = field(default_factory=dict)
    steps: tuple[int, Size, int] | None = None
    counts: Size | None = None
    same: int | None = None


@dataclass(frozen=True, slots=True)
class Reads:
    """A node that reads what is behind an end, in a loop or not."""

    node: Node


class Walk:
    """The parts of every value of a program; `reads` are the operations that read behind an end."""

    def __init__(self, graph: Graph, counted: Mapping[str, str]) -> None:
        """`counted`: the symbols that have a length, with the input that says it."""
        self.ends = set(counted)
        self.reads: list[Reads] = []
        lengths = {name: symbol(s) for s, name in counted.items()}
        self.known: dict[Value, Parts] = {}
        self.numbers: dict[Value, int] = {}
        for node in graph.nodes():
            if isinstance(node.op, Input):
                found = [Parts(counts=lengths.get(node.op.path))]
            else:
                found = self.node(node, [self.known[v] for v in node.inputs])
            self.known.update(zip(node.outputs, found, strict=True))

    def axes(self, type_: Type) -> list[int]:
        """Axes along which sequences end."""
        return [i for i, s in enumerate(type_.shape) if not isinstance(s, int) and symbols(s) & self.ends]

    def node(self, node: Node, inputs: Sequence[Parts]) -> list[Parts]:
        """Parts of the results of a node."""
        if isinstance(node.op, ops.Scan):
            return self.loop(node, node.op, inputs)
        if isinstance(node.op, Parameter):
            return [Parts()]
        if (
            isinstance(node.op, Constant)
            and node.op.stored.size == 1
            and float(node.op.stored.item()).is_integer()
        ):
            self.numbers[node.outputs[0]] = int(node.op.stored.item())
        found = _rule(node.op)(self, node, inputs)
        found = replace(found, behind={a: found.behind.get(a) for a in self.axes(node.types[0])})
        if not found.clean and all(x.clean for x in inputs):
            self.reads.append(Reads(node))
        return [found] * len(node.types)

    # --- loops ---

    def loop(self, node: Node, op: ops.Scan, inputs: Sequence[Parts]) -> list[Parts]:
        """Steps before the end, then those behind it; the other way round in reverse."""
        carries, scanned, captured = op.split(inputs)
        size = op.trip_count([v.type for v in node.inputs])
        ends = isinstance(size, Symbolic) and bool(symbols(size) & self.ends)
        before = [_slice(x, op.axis, behind=False) for x in scanned]
        if not ends:
            carries, ys = self._steps(op, carries, [*before, *captured], None)
            return [*carries, *(_stacked(y, op.axis) for y in ys)]
        behind = [_slice(x, op.axis, behind=True) for x in scanned]
        first, then = (behind, before) if op.reverse else (before, behind)
        carries, ys = self._steps(op, carries, [*first, *captured], size if op.reverse else None)
        carries, others = self._steps(op, carries, [*then, *captured], None if op.reverse else size)
        real, late = (others, ys) if op.reverse else (ys, others)
        if not all(c.clean for c in carries) and all(x.clean for x in inputs) and not self.reads:
            self.reads.append(Reads(node))
        return [*carries, *(_stacked(y, op.axis, z) for y, z in zip(real, late, strict=True))]

    def _steps(
        self, op: ops.Scan, carries: Sequence[Parts], given: Sequence[Parts], behind: Size | None
    ) -> tuple[list[Parts], list[Parts]]:
        """Carries and results after any number of steps; steps `behind` the end of an axis must leave carries alone."""
        state = [replace(c, same=i, steps=None, counts=None) for i, c in enumerate(carries)]
        step = Parts() if behind is None else Parts(steps=(-1, behind, 0))
        while True:
            kept = len(self.reads)
            known = dict(zip(op.body.inputs.values(), [*state, *(replace(g, same=None) for g in given), step],
                             strict=True))  # fmt: skip
            for node in op.body.nodes():
                if not isinstance(node.op, Input):
                    known.update(
                        zip(node.outputs, self.node(node, [known[v] for v in node.inputs]), strict=True)
                    )
            handed, ys = op.divide([known[v] for v in op.body.outputs.values()])
            following = []
            for i, (old, new) in enumerate(zip(state, handed, strict=True)):
                alone = new.same == i
                clean = old.clean and (alone if behind is not None else new.clean)
                real = old.real if alone or old.real == new.real else None
                kinds = {a: k if new.behind.get(a) == k else None for a, k in old.behind.items()}
                following.append(Parts(clean, real, kinds, same=i))
            if following == state:
                return [replace(c, same=None) for c in state], [replace(y, same=None) for y in ys]
            del self.reads[kept:]
            state = following


def _slice(x: Parts, axis: int, behind: bool) -> Parts:
    """One step of a scanned value, before or behind the end of its axis."""
    kinds = {a - (a > axis): k for a, k in x.behind.items() if a != axis}
    if not behind:
        return Parts(x.clean, x.real, kinds)
    kind = x.behind.get(axis)
    return Parts(kind is not None, kind, dict.fromkeys(kinds, kind))


def _stacked(real: Parts, axis: int, behind: Parts | None = None) -> Parts:
    kinds = {a + (a >= axis): k for a, k in real.behind.items()}
    if behind is not None:
        kinds[axis] = behind.real if all(k == behind.real for k in behind.behind.values()) else None
    return Parts(real.clean, real.real, kinds)


# --- rules ---

Rule = Callable[[Walk, Node, Sequence[Parts]], Parts]


def _rule(op: Primitive) -> Rule:
    for kind in type(op).__mro__:
        if kind in RULES:
            return RULES[kind]
    raise NoRule(op, "padding")


def _everywhere(x: Parts) -> str | None:
    """What all elements are, before and behind every end."""
    return x.real if all(k == x.real for k in x.behind.values()) else None


def _at(x: Parts, own: int) -> str | None:
    """What the elements behind the end of an axis are, of a value that broadcasts where it has not got the axis."""
    return x.behind[own] if own in x.behind else _everywhere(x)


def _constant(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    assert isinstance(node.op, Constant)
    array = node.op.stored
    if node.types[0].dtype is DType.BOOL:
        return Parts(real=TRUE if array.all() else None if array.any() else FALSE)
    if not array.any():
        return Parts(real=ZERO)
    return Parts(real=NEGINF if array.dtype.kind == "f" and np.isneginf(array).all() else None)


def _pointwise(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """Before the end from before the end, and behind it from behind it."""
    (type_,), op = node.types, node.op
    ranks = [v.type.rank for v in node.inputs]
    kind = _kind_of(op)
    behind = {
        a: kind([_at(x, a - type_.rank + r) for x, r in zip(inputs, ranks, strict=True)])
        for a in walk.axes(type_)
    }
    real = kind([x.real for x in inputs])
    clean = all(x.clean for x in inputs)
    if isinstance(op, ops.Where) and inputs[0].clean and inputs[0].real in (TRUE, FALSE):
        chosen = inputs[1 if inputs[0].real == TRUE else 2]
        return Parts(chosen.clean, chosen.real, behind, same=chosen.same)
    found = Parts(clean, real, behind)
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
    """Of places that are at least `more` above what they are compared with: what the comparison says of all of them."""
    if isinstance(op, ops.Equal):
        return FALSE if more > 0 else None
    if first:
        return FALSE if more >= (0 if isinstance(op, ops.Less) else 1) else None
    return TRUE if more >= (1 if isinstance(op, ops.Less) else 0) else None


def _kind_of(op: Primitive) -> Callable[[Sequence[str | None]], str | None]:
    """What elements are, from what those of the operands are."""
    if isinstance(op, ops.Where):
        return lambda k: (
            k[1] if k[0] == TRUE or (k[0] != FALSE and k[1] == k[2]) else k[2] if k[0] == FALSE else None
        )
    if isinstance(op, ops.LogicalAnd):
        return lambda k: FALSE if FALSE in k else TRUE if k == [TRUE, TRUE] else None
    if isinstance(op, ops.LogicalOr):
        return lambda k: TRUE if TRUE in k else FALSE if k == [FALSE, FALSE] else None
    if isinstance(op, ops.LogicalNot):
        return lambda k: {TRUE: FALSE, FALSE: TRUE}.get(k[0] or "")
    if isinstance(op, ops.Mul):
        return lambda k: ZERO if ZERO in k else None
    if isinstance(op, ops.Add | ops.Sub | ops.Maximum | ops.Minimum):
        both = not isinstance(op, ops.Add)
        return lambda k: (ZERO if k[0] == k[1] == ZERO else NEGINF if (k[0] == NEGINF and not both)
                          or (not both and k[1] == NEGINF) else None)  # fmt: skip
    if isinstance(op, ops.Cast):
        names = (
            {ZERO: ZERO, FALSE: ZERO}
            if op.dtype is not DType.BOOL
            else {ZERO: FALSE, FALSE: FALSE, TRUE: TRUE}
        )
        return lambda k: names.get(k[0] or "")
    if isinstance(op, Unary):
        table = {ZERO: ZERO if op.keeps_zero else NEGINF if op.neginf_at_zero else None,
                 NEGINF: ZERO if op.zero_at_neginf else NEGINF if op.keeps_neginf else None}  # fmt: skip
        return lambda k: table.get(k[0] or "")
    if isinstance(op, ops.BroadcastTo):
        return lambda k: k[0]
    return lambda k: None


def _iota(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    assert isinstance(node.op, ops.Iota)
    size, axes = node.op.shape[node.op.axis], walk.axes(node.types[0])
    steps = (node.op.axis, size, 0) if node.op.axis in axes else None
    return Parts(behind=dict.fromkeys(axes), steps=steps)


def _own(walk: Walk, node: Node, i: int = 0) -> list[int]:
    return walk.axes(node.inputs[i].type)


def _absent(walk: Walk, node: Node, x: Parts, axis: int, kind: str | None, i: int = 0) -> bool:
    """Whether nothing behind the end of an axis of the i-th operand counts; yes where it has no end."""
    return axis not in _own(walk, node, i) or (kind is not None and _at(x, axis) == kind)


def _reduced(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    (x,), op = inputs, node.op
    assert isinstance(op, Reduction | ops.ArgMax)
    axes = op.axes if isinstance(op, Reduction) else (op.axis,)
    kind = ZERO if isinstance(op, ops.Sum) else NEGINF
    clean = x.clean and all(_absent(walk, node, x, a, kind) for a in axes)
    keep = [a for a in range(node.inputs[0].type.rank) if op.keepdims or a not in axes]
    passed = ZERO if isinstance(op, ops.Sum | ops.Max) else None
    behind = {
        keep.index(a): k if k == passed else None for a, k in x.behind.items() if a in keep and a not in axes
    }
    return Parts(clean, ZERO if x.real == ZERO == passed else None, behind)


def _normalised(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    (x,), op = inputs, node.op
    assert isinstance(op, Normalisation)
    clean = x.clean and _absent(walk, node, x, op.axis, NEGINF)
    kept = {NEGINF: ZERO if isinstance(op, ops.Softmax) else NEGINF}
    return Parts(
        clean, None, {a: kept.get(k or "") if a == op.axis else None for a, k in _kinds(walk, node, x)}
    )


def _kinds(walk: Walk, node: Node, x: Parts, i: int = 0) -> list[tuple[int, str | None]]:
    return [(a, _at(x, a)) for a in _own(walk, node, i)]


def _summed(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    (x,), op = inputs, node.op
    assert isinstance(op, ops.CumSum)
    clean = x.clean and (not op.reverse or _absent(walk, node, x, op.axis, ZERO))
    behind = {a: k if k == ZERO and (a != op.axis or op.reverse) else None for a, k in _kinds(walk, node, x)}
    return Parts(clean, ZERO if x.real == ZERO == _everywhere(x) else None, behind)


def _moved(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """Anything of an axis may come to stand before its end: a flip, a place that is computed."""
    axis = node.op.axis  # type: ignore[attr-defined]  # of all that have this rule
    clean = all(x.clean for x in inputs)
    for i, x in enumerate(inputs):
        inside = axis in _own(walk, node, i)
        clean = clean and (not inside or (_everywhere(x) is not None))
    kinds = {a: k if a != axis else None for a, k in _kinds(walk, node, inputs[0])}
    if isinstance(node.op, ops.Flip | ops.TakeAlong):
        return Parts(clean, _everywhere(inputs[0]), kinds)
    return Parts(clean, None, dict.fromkeys(walk.axes(node.types[0])))


def _sliced(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    (x,), op = inputs, node.op
    assert isinstance(op, ops.Slice)
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
    return all(c <= (0 if m else bound) for m, c in terms) if terms else bound >= 0


def _padded(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    (x,), op = inputs, node.op
    assert isinstance(op, ops.Pad)
    value = ZERO if op.value == 0 else NEGINF if op.value == float("-inf") else None
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
    clean = all(x.clean for x in inputs)
    early = [i for i in range(len(inputs) - 1) if op.axis in _own(walk, node, i)]
    kinds: dict[int, str | None] = {}
    for a in walk.axes(node.types[0]):
        each = {_at(x, a) for x in (inputs[-1:] if a == op.axis else inputs)}
        kinds[a] = each.pop() if len(each) == 1 else None
    real = {x.real for x in inputs}
    return Parts(clean and not early, real.pop() if len(real) == 1 else None, kinds)


def _gathered(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    (data, indices), op = inputs, node.op
    assert isinstance(op, ops.Gather)
    clean = (
        data.clean and indices.clean and (op.axis not in _own(walk, node) or _everywhere(data) is not None)
    )
    width = node.inputs[1].type.rank
    behind: dict[int, str | None] = {a + op.axis: _everywhere(data) for a in _own(walk, node, 1)}
    behind |= {a if a < op.axis else a + width - 1: k for a, k in _kinds(walk, node, data) if a != op.axis}
    return Parts(clean, _everywhere(data), behind)


def _windows(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """Windows reach beyond the end by what is padded behind it."""
    x, op = inputs[0], node.op
    if any(_own(walk, node, i) for i in range(1, len(inputs))) or any(
        a < 2 and a > 0 for a in _own(walk, node)
    ):
        raise NoRule(op, "padding")
    clean = all(v.clean for v in inputs)
    absent = ZERO if isinstance(op, ops.Conv) else NEGINF if isinstance(op, ops.MaxPool) else None
    for a in _own(walk, node):
        beyond = op.padding[a - 2][1] > 0  # type: ignore[attr-defined]  # of all windows
        clean = clean and (not beyond or (absent is not None and _at(x, a) == absent))
    return Parts(clean, None, dict.fromkeys(walk.axes(node.types[0])))


def _spread(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """A transposed convolution: elements behind the end reach before it."""
    x = inputs[0]
    if _own(walk, node, 1):
        raise NoRule(node.op, "padding")
    clean = all(v.clean for v in inputs) and all(_at(x, a) == ZERO for a in _own(walk, node))
    return Parts(clean, None, dict.fromkeys(walk.axes(node.types[0])))


def _multiplied(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """What stands behind the end of the inner axis is absent where either factor is zero there."""
    (x, y), ranks, rank = inputs, [v.type.rank for v in node.inputs], node.types[0].rank
    inner = (ranks[0] - 1, ranks[1] - 2)
    sums = inner[0] in _own(walk, node)
    clean = x.clean and y.clean and (not sums or ZERO in (_at(x, inner[0]), _at(y, inner[1])))
    behind: dict[int, str | None] = {}
    for a in walk.axes(node.types[0]):
        own = [
            _at(x, a - rank + ranks[0]) if a != rank - 1 else None,
            _at(y, a - rank + ranks[1]) if a != rank - 2 else None,
        ]
        behind[a] = ZERO if ZERO in own else None
    return Parts(clean, ZERO if ZERO in (_everywhere(x), _everywhere(y)) else None, behind)


def _transposed(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    (x,), op = inputs, node.op
    assert isinstance(op, ops.Transpose)
    moved = {own: to for to, own in enumerate(op.permutation)}
    steps = x.steps and (moved[x.steps[0]] if x.steps[0] >= 0 else -1, *x.steps[1:])
    return Parts(x.clean, x.real, {moved[a]: k for a, k in _kinds(walk, node, x)}, steps, x.counts)


def _reshaped(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    """Steps before the end stay the first of their axis if as many elements as before stand before the axis."""
    (x,), before, after = inputs, node.inputs[0].type, node.types[0]
    own, there = _own(walk, node), walk.axes(after)
    fits = [product(before.shape[:a]) for a in own] == [product(after.shape[:a]) for a in there]
    if not fits:
        raise NoRule(node.op, "padding")
    to = dict(zip(own, there, strict=True))
    steps = None
    if x.steps and (x.steps[0] < 0 or before.shape[x.steps[0]] == after.shape[to.get(x.steps[0], 0)]):
        steps = (to.get(x.steps[0], -1), *x.steps[1:])
    return Parts(x.clean, x.real, {to[a]: k for a, k in _kinds(walk, node, x)}, steps, x.counts, x.same)


def _hot(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    return Parts(inputs[0].clean, None, dict.fromkeys(_own(walk, node)))


def _square(walk: Walk, node: Node, inputs: Sequence[Parts]) -> Parts:
    if _own(walk, node):
        raise NoRule(node.op, "padding")
    return Parts(inputs[0].clean)


RULES: Mapping[type, Rule] = {
    Constant: _constant,
    **dict.fromkeys((Unary, Binary, ops.Where, ops.BroadcastTo), _pointwise),
    **dict.fromkeys((Reduction, ops.ArgMax), _reduced),
    **dict.fromkeys(
        (ops.Flip, ops.SliceAt, ops.UpdateAt, ops.TakeAlong, ops.ScatterAlong), _moved
    ),
    **dict.fromkeys((Pool, ops.Conv), _windows),
    **dict.fromkeys((ops.Inverse, ops.LogAbsDet), _square),
    Normalisation: _normalised,
    ops.CumSum: _summed,
    ops.Slice: _sliced,
    ops.Pad: _padded,
    ops.Concat: _joined,
    ops.Gather: _gathered,
    ops.ConvTranspose: _spread,
    ops.MatMul: _multiplied,
    ops.Transpose: _transposed,
    ops.Reshape: _reshaped,
    ops.Iota: _iota,
    ops.OneHot: _hot,
}  # fmt: skip
