"""Algebraic simplification: a table of rules, each with its condition.

Every rule keeps each element's value bit for bit, but for the sign of a zero (`x + 0`), and never adds an operation.
Maps undo each other only within one function, so that the functions that emitted code is cut into stay whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Builder, Constant, Graph, Node, Primitive, Shape, Type, Value, broadcast_shapes
from mpcompile.ops.traits import Elementwise
from mpcompile.passes.base import Pass, rewrite_bodies


@dataclass(frozen=True, slots=True)
class Site:
    """A node where a rule may apply: its primitive, its operands in the new graph, and the type of its result."""

    b: Builder
    op: Primitive
    inputs: tuple[Value, ...]
    type: Type
    node: Node

    def filled(self, operand: int) -> float | None:
        """The number that all elements of an operand are, seen through broadcasts; None where they are no constant."""
        node = self.b.graph.node(self.inputs[operand])
        while isinstance(node.op, ops.BroadcastTo):
            node = self.b.graph.node(node.inputs[0])
        if not isinstance(node.op, Constant) or not node.op.stored.size:
            return None
        first = node.op.stored.flat[0]
        return float(first) if bool((node.op.stored == first).all()) else None

    @property
    def inner(self) -> Node | None:
        """The node that made the first operand, where it is the same kind of primitive in the same function."""
        producer = self.b.graph.node(self.inputs[0])
        same = type(producer.op) is type(self.op) and _home(producer) == _home(self.node)
        return producer if same else None

    def spread(self, operand: int) -> Value:
        """An operand in the shape of the result."""
        value = self.inputs[operand]
        return value if value.type == self.type else self.b.emit(ops.BroadcastTo(self.type.shape), value)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rewrite of a node of one of the `primitives`, or with one of these traits.

    `becomes` gives the value that the node stands for, where `when` holds.
    """

    text: str
    primitives: tuple[type[Primitive], ...]
    when: Callable[[Site], bool]
    becomes: Callable[[Site], Value]


def _home(node: Node) -> tuple[str, ...]:
    """The function that a node is in."""
    inner = max((i for i, f in enumerate(node.scope) if f.function), default=-1)
    return tuple(f.name for f in node.scope[: inner + 1])


def _is(operand: int, number: float) -> Callable[[Site], bool]:
    return lambda s: s.filled(operand) == number


def _same_type(s: Site) -> bool:
    return s.inputs[0].type == s.type


def _number(s: Site) -> bool:
    """A cast of one number that stands in the program."""
    source = s.b.graph.node(s.inputs[0]).op
    return isinstance(source, Constant) and not source.stored.shape and not _same_type(s)


def _as_type(s: Site) -> Value:
    source = s.b.graph.node(s.inputs[0]).op
    assert isinstance(source, Constant)
    return s.b.constant(*s.op.evaluate(source.array))


def _nested(s: Site) -> bool:
    return s.inner is not None


def _source(s: Site) -> Value:
    """Return the operand of the inner of two nested nodes."""
    assert s.inner is not None
    return s.inner.inputs[0]


def _whole(s: Site) -> bool:
    """A gather of all elements in their order."""
    assert isinstance(s.op, ops.Gather)
    index, size = s.b.graph.node(s.inputs[1]).op, s.inputs[0].shape[s.op.axis]
    known = isinstance(index, Constant) and isinstance(size, int) and _same_type(s)
    return known and np.array_equal(index.stored, np.arange(size))  # type: ignore[attr-defined,arg-type]  # a constant


def _in_order(s: Site) -> bool:
    assert isinstance(s.op, ops.Transpose)
    return s.op.permutation == tuple(range(len(s.op.permutation)))


def _turns(permutation: Sequence[int]) -> bool:
    """Whether a permutation swaps the last two axes and nothing else, as a product takes a transposed operand."""
    rank = len(permutation)
    return rank > 2 and tuple(permutation) == (*range(rank - 2), rank - 1, rank - 2)


def _turned(s: Site) -> bool:
    """Two transposes, but for one that turns matrices behind one that does not: kernels look for it."""
    if s.inner is None:
        return False
    assert isinstance(s.op, ops.Transpose) and isinstance(s.inner.op, ops.Transpose)
    return not _turns(s.op.permutation) or _turns(s.inner.op.permutation)


def _composed(s: Site) -> Value:
    """One transpose for two."""
    assert s.inner is not None and isinstance(s.op, ops.Transpose) and isinstance(s.inner.op, ops.Transpose)
    first = s.inner.op.permutation
    return s.b.emit(ops.Transpose(tuple(first[i] for i in s.op.permutation)), _source(s))


def _repeats(s: Site) -> bool:
    return _without_broadcasts(s) != s.inputs


def _without_broadcasts(s: Site) -> tuple[Value, ...]:
    """Operands before they were repeated, where the operation gives the same shape without."""
    current = s.inputs
    for i, v in enumerate(s.inputs):
        producer = s.b.graph.node(v)
        if isinstance(producer.op, ops.BroadcastTo):
            trial = (*current[:i], producer.inputs[0], *current[i + 1 :])
            if _broadcast([t.shape for t in trial]) == s.type.shape:
                current = trial
    return current


def _broadcast(shapes: Sequence[Shape]) -> Shape | None:
    try:
        return broadcast_shapes(*shapes)
    except ValueError:
        return None


def _unpadded(s: Site) -> bool:
    assert isinstance(s.op, ops.Pad)
    return not any(s.op.before) and not any(s.op.after)


def _unstrided(s: Site) -> bool:
    assert isinstance(s.op, ops.Slice)
    return _same_type(s) and s.op.step == 1


def _tiles(s: Site) -> list[Value] | None:
    """Operands of the concatenation that a sum of pads is: zeros around parts that fill an axis side by side."""
    parts: list[tuple[int, Value]] = []
    axes: set[int] = set()
    todo = list(s.inputs)
    while todo:
        value = todo.pop()
        node = s.b.graph.node(value)
        if isinstance(node.op, ops.Add) and value.type == s.type and _home(node) == _home(s.node):
            todo += node.inputs
        elif isinstance(node.op, ops.Pad) and value.type == s.type and node.op.value == 0:
            axes |= {
                i for i, around in enumerate(zip(node.op.before, node.op.after, strict=True)) if any(around)
            }
            if len(axes) != 1:
                return None
            parts.append((node.op.before[min(axes)], node.inputs[0]))
        else:
            return None
    parts.sort(key=lambda part: part[0])
    (axis,), end = axes, 0
    for start, value in parts:
        size = value.shape[axis]
        if start != end or not isinstance(size, int):
            return None
        end = start + size
    return [value for _, value in parts] if end == s.type.shape[axis] else None


def _tiled(s: Site) -> Value:
    """The concatenation, along the only axis in which its parts are smaller."""
    parts = _tiles(s)
    assert parts is not None
    pairs = zip(parts[0].shape, s.type.shape, strict=True)
    return s.b.emit(ops.Concat(next(i for i, (a, b) in enumerate(pairs) if a != b)), *parts)


#: Rules in the order in which they are tried; the first that holds is applied, and what it gives is looked at again.
RULES = (
    Rule("x + 0 -> x", (ops.Add,), _is(1, 0.0), lambda s: s.spread(0)),
    Rule("0 + x -> x", (ops.Add,), _is(0, 0.0), lambda s: s.spread(1)),
    Rule(
        "pad(x) + pad(y) + ... -> concat(x, y, ...)",
        (ops.Add,),
        lambda s: _tiles(s) is not None,
        _tiled,
    ),
    Rule("x - 0 -> x", (ops.Sub,), _is(1, 0.0), lambda s: s.spread(0)),
    Rule("x * 1 -> x", (ops.Mul,), _is(1, 1.0), lambda s: s.spread(0)),
    Rule("1 * x -> x", (ops.Mul,), _is(0, 1.0), lambda s: s.spread(1)),
    Rule("x / 1 -> x", (ops.Div,), _is(1, 1.0), lambda s: s.spread(0)),
    Rule("-(-x) -> x", (ops.Neg,), _nested, _source),
    Rule(
        "f(x) -> x, of the type of x",
        (ops.Cast, ops.Reshape, ops.BroadcastTo),
        _same_type,
        lambda s: s.inputs[0],
    ),
    Rule("cast(number) -> number", (ops.Cast,), _number, _as_type),
    Rule("f(f(x)) -> f(x)", (ops.Reshape, ops.BroadcastTo), _nested, lambda s: s.b.emit(s.op, _source(s))),
    Rule("transpose(x, in order) -> x", (ops.Transpose,), _in_order, lambda s: s.inputs[0]),
    Rule("transpose(transpose(x)) -> transpose(x)", (ops.Transpose,), _turned, _composed),
    Rule("slice(x, all) -> x", (ops.Slice,), _unstrided, lambda s: s.inputs[0]),
    Rule("pad(x, by nothing) -> x", (ops.Pad,), _unpadded, lambda s: s.inputs[0]),
    Rule("gather(x, all in order) -> x", (ops.Gather,), _whole, lambda s: s.inputs[0]),
    Rule(
        "f(broadcast(x), y) -> f(x, y)",
        (Elementwise,),
        _repeats,
        lambda s: s.b.emit(s.op, *_without_broadcasts(s)),
    ),
)


_FOUND: dict[type[Primitive], tuple[Rule, ...]] = {}


def _rules(primitive: type[Primitive]) -> tuple[Rule, ...]:
    """The rules for a primitive, of its own or of its traits."""
    if primitive not in _FOUND:
        _FOUND[primitive] = tuple(r for r in RULES if issubclass(primitive, r.primitives))
    return _FOUND[primitive]


@dataclass(frozen=True)
class Simplify(Pass):
    """Graph to graph: nodes that a row of `RULES` holds for become what the row says, also in bodies of loops.

    Keeps    every value bit for bit up to the sign of a zero, and outputs as values of their own.
    Leaves   nodes that nothing reads any more, for `dce`.
    """

    name: ClassVar[str] = "simplify"

    def call(self, graph: Graph) -> Graph:
        outputs = set(graph.outputs.values())

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            op = rewrite_bodies(node.op, self.call)
            if op is not node.op:
                return b.emit_all(op, *inputs)
            own = not outputs.isdisjoint(node.outputs)
            result = _applied(Site(b, op, inputs, node.types[0], node), own)
            return None if result is None else (result,)

        return graph.rebuild(rewrite)


def _applied(site: Site, own: bool) -> Value | None:
    """The value that a node becomes, or None where no rule holds. One of its `own` only takes other operands."""
    for rule in _rules(type(site.op)):
        if (own and rule.primitives != (Elementwise,)) or not rule.when(site):
            continue
        before = len(site.b.graph)
        result = rule.becomes(site)
        if len(site.b.graph) == before:
            return result
        new = site.b.graph.node(result)
        again = _applied(Site(site.b, new.op, new.inputs, result.type, site.node), own)
        return result if again is None else again
    return None
