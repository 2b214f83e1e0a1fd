"""Repeats of a spec as regions: iterations that are alike become one `Repeat`.

Iterations are lowered one by one until one is, but for the numbers of its layers, the one before it, and found what that
one found: values of the same types, degrees and classes, no noise and no statistics of its own. An iteration is a
function of what it finds, so all later ones are alike as well, and need not be lowered. Where the text of an iteration
names its number, iterations are taken together in groups that are alike: two of them for `i % 2`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpcompile import ops
from mpcompile.diagnostics import Span
from mpcompile.ir import (
    Array,
    Builder,
    DType,
    Graph,
    Init,
    Input,
    Node,
    Parameter,
    Scope,
    Stack,
    Type,
    Value,
)
from mpcompile.ir.same import same_primitive
from mpcompile.layers import Context
from mpcompile.ops.repeating import Places

#: A repeat of fewer groups of iterations than this stays as it is.
FEWEST = 2
#: Groups that are lowered at most before a repeat is taken to have none that are alike.
TRIED = 3

#: One iteration of a repeat: of its number in the repeat, and of the values that it finds.
Iteration = Callable[[int, Sequence[Value]], tuple[Value, ...]]


@dataclass(frozen=True)
class _Found:
    """All that an iteration can find of the values before it."""

    types: tuple[Type, ...]
    degrees: tuple[Array | None, ...]
    classes: tuple[int | None, ...]

    @classmethod
    def of(cls, ctx: Context, values: Sequence[Value]) -> _Found:
        return cls(
            tuple(v.type for v in values),
            tuple(ctx.degrees_of(v) for v in values),
            tuple(ctx.classes_of(v) for v in values),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Found) or (self.types, self.classes) != (other.types, other.classes):
            return False
        pairs = zip(self.degrees, other.degrees, strict=True)
        return all(a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs)


@dataclass(frozen=True)
class _Group:
    """Iterations that were lowered together: their nodes, and what they were given and made."""

    start: int
    nodes: list[Node]
    given: tuple[Value, ...]
    made: tuple[Value, ...]
    found: _Found
    names: Counter[str]  # layers in the scope of the repeat before it
    own: bool  # whether it drew noise or took statistics


class Region:
    """A repeat while it is lowered."""

    def __init__(self, ctx: Context, count: int, period: int, run: Iteration, span: Span) -> None:
        """`period` iterations are a group; `run` lowers one of them; `span` is that of the repeat."""
        self.ctx, self.count, self.period, self.run, self.span = ctx, count, period, run, span
        self.groups = count // period
        self.skipped = 0  # groups that were not lowered
        self.size = 0  # nodes of each of them

    def lower(self, current: Sequence[Value]) -> tuple[Value, ...]:
        """The values after all iterations."""
        values, lowered = tuple(current), list[_Group]()
        while len(lowered) < self.groups:
            values = self._group(lowered, values)
            if len(lowered) < FEWEST or len(lowered) > TRIED:
                continue
            first, second = lowered[-2:]
            frames = self._frames(first)
            body = _Pairing(self.ctx, first, second, frames, self.ctx.b.scope).body()
            if body is not None and _Found.of(self.ctx, values) == first.found == second.found:
                values = self._region(body, frames, len(lowered) - 2, second)
                break
        for i in range(self.groups * self.period, self.count):
            values = self.run(i, values)
        return values

    def _group(self, lowered: list[_Group], values: tuple[Value, ...]) -> tuple[Value, ...]:
        ctx, graph = self.ctx, self.ctx.b.graph
        start, found, names = len(graph), _Found.of(ctx, values), Counter(ctx.given_names())
        before, given = (len(ctx.noise), len(ctx.updates), len(graph.inputs)), values
        for i in range(self.period):
            values = self.run(len(lowered) * self.period + i, values)
        own = before != (len(ctx.noise), len(ctx.updates), len(graph.inputs))
        lowered.append(_Group(start, graph.nodes()[start:], given, values, found, names, own))
        return values

    def _frames(self, group: _Group) -> dict[str, int]:
        """Frames of a group's layers in the scope of the repeat, with how many of a name each group has."""
        new = self.ctx.given_names() - group.names
        each = {name: n // 2 for name, n in new.items()}  # since the group there were two
        return {
            f"{name}_{group.names[name] + k}": count for name, count in each.items() for k in range(count)
        }

    def _region(
        self, body: _Body, frames: Mapping[str, int], first: int, second: _Group
    ) -> tuple[Value, ...]:
        """A `Repeat` in place of all groups from the first one on of those that are alike."""
        ctx, count = self.ctx, self.groups - first
        self.skipped, self.size = count - 2, len(second.nodes)
        ctx.b.graph.cut(body.group.start)
        outside = ctx.b.scope
        for k in range(2, count):
            for leaf in body.weights.values():
                self._declare(leaf, _path(leaf, Places(outside, frames, k)), frames, k)
        stacks = []
        for leaf in body.weights.values():
            paths = tuple(_path(leaf, Places(outside, frames, k)) for k in range(count))
            with ctx.b.within(leaf.scope, leaf.span):
                stacks.append(ctx.stack(paths, leaf.types[0]))
        op = ops.Repeat(
            body.graph, carries=len(body.group.given), scanned=len(stacks), length=None if stacks else count,
            frames=tuple(frames.items()),
        )  # fmt: skip
        with ctx.b.within(outside, self.span):
            results = ctx.b.emit_all(op, *body.group.given, *stacks, *body.captured)
        names = ctx.given_names()
        for name in {frame.rpartition("_")[0] for frame in frames}:
            names[name] += (count - 2) * max(n for f, n in frames.items() if f.rpartition("_")[0] == name)
        ctx.same_units(second.made, results)
        return results

    def _declare(self, leaf: Node, path: str, frames: Mapping[str, int], k: int) -> None:
        """Declare a weight of an iteration that is not lowered, like that of the first one."""
        ctx = self.ctx
        assert isinstance(leaf.op, Parameter)
        like = ctx.parameters[leaf.op.path]
        with ctx.b.within(Places(ctx.b.scope, frames, k).scope(leaf.scope), leaf.span):
            ctx.declare(path, like.shape, like.init, trainable=like.trainable)


@dataclass(frozen=True)
class _Body:
    """The body of a region: its graph, the weights that each iteration has of its own, and what it captures."""

    group: _Group
    graph: Graph
    weights: dict[Value, Node]
    captured: list[Value]


class _Pairing:
    """Two groups of nodes side by side: whether they are alike, and the body that both are uses of."""

    def __init__(
        self, ctx: Context, first: _Group, second: _Group, frames: Mapping[str, int], scope: Scope
    ) -> None:
        self.ctx, self.first, self.second, self.places = ctx, first, second, Places(scope, frames, 1)
        self.graph = Graph("iteration")
        self.b = Builder(self.graph)
        self.moved: dict[Value, Value] = {}  # of the second group -> in the body
        self.twins: dict[Value, Value] = {}  # of the second group -> in the first
        self.weights: dict[Value, Node] = {}
        self.captured: dict[Value, Value] = {}

    def body(self) -> _Body | None:
        """The body; None where the groups are not alike."""
        first, second = self.first, self.second
        if (
            first.own or second.own or len(first.nodes) != len(second.nodes) or not first.nodes
            or first.given == first.made or first.found != second.found or len(set(first.given)) != len(first.given)
            or len(set(second.given)) != len(second.given)
        ):  # fmt: skip
            return None
        for k, (v, w) in enumerate(zip(first.given, second.given, strict=True)):
            self.moved[w], self.twins[w] = self.b.input(f"carry_{k}", v.type), v
        carries = list(self.graph.inputs)
        if not all(map(self._pair, first.nodes, second.nodes)):
            return None
        ends = [self._found(v, w) for v, w in zip(first.made, second.made, strict=True)]
        if any(v is None for v in ends):
            return None
        names = {v: name for name, v in self.graph.inputs.items()}
        step = self.b.input("step", Type(DType.INT, ()))
        order = [*carries, *(names[v] for v in (*self.weights, *self.captured.values()))]
        self.graph.inputs = {name: self.graph.inputs[name] for name in order} | {"step": step}
        self.graph.outputs = {name: v for name, v in zip(carries, ends, strict=True) if v is not None}
        return _Body(first, self.graph, self.weights, list(self.captured))

    def _pair(self, m: Node, n: Node) -> bool:
        """Whether two nodes are alike; then they are one in the body."""
        if (m.types, m.span) != (n.types, n.span) or n.scope != self.places.scope(m.scope):
            return False
        if isinstance(m.op, Parameter) and isinstance(n.op, Parameter):
            if isinstance(m.op, Stack) or n.op.path != _path(m, self.places) or not self._init(m, n):
                return False
            with self.b.within((), m.span):
                formal = self.b.input(self._fresh(m.op.path), m.types[0])
            self.weights[formal] = m
            self.moved[n.outputs[0]], self.twins[n.outputs[0]] = formal, m.outputs[0]
            return True
        if isinstance(m.op, Input | ops.Repeat) or not same_primitive(
            self.places.op(m.op), n.op, places=True
        ):
            return False
        inputs = [self._found(v, w) for v, w in zip(m.inputs, n.inputs, strict=True)]
        if len(m.inputs) != len(n.inputs) or any(v is None for v in inputs):
            return False
        copy = self.graph.copy(m, tuple(v for v in inputs if v is not None))
        self.moved.update(zip(n.outputs, copy.outputs, strict=True))
        self.twins.update(zip(n.outputs, m.outputs, strict=True))
        return True

    def _found(self, v: Value, w: Value) -> Value | None:
        """The value in the body for one that the groups read as `v` and as `w`; None if these differ."""
        if w in self.moved:
            return self.moved[w] if self.twins[w] == v else None
        if v != w or self._own(v):
            return None
        if w not in self.captured:
            self.captured[w] = self.b.input(f"captured_{len(self.captured)}", w.type)
        return self.captured[w]

    def _own(self, v: Value) -> bool:
        """Whether a value from before both groups is a weight that is named after one of them."""
        node = self.ctx.b.graph.node(v)
        if not isinstance(node.op, Parameter):
            return False
        return isinstance(node.op, Stack) or _path(node, self.places) != node.op.path

    def _init(self, m: Node, n: Node) -> bool:
        assert isinstance(m.op, Parameter) and isinstance(n.op, Parameter)
        a, b = self.ctx.parameters[m.op.path], self.ctx.parameters[n.op.path]
        return (a.shape, a.trainable, a.span) == (b.shape, b.trainable, b.span) and _same_init(a.init, b.init)

    def _fresh(self, path: str) -> str:
        """A name of a formal after a weight."""
        stem = path.rpartition(".")[2]
        name, n = stem, 1
        while name in self.graph.inputs or name == "step":
            n += 1
            name = f"{stem}_{n}"
        return name


def _same_init(a: Init, b: Init) -> bool:
    if a.array is None or b.array is None:
        return a == b
    return (a.kind, a.scale) == (b.kind, b.scale) and np.array_equal(a.array, b.array)


def _path(leaf: Node, places: Places) -> str:
    """The name in an iteration of a weight of iteration 0."""
    assert isinstance(leaf.op, Parameter)
    if not leaf.op.path.startswith(f"{leaf.path}."):
        return leaf.op.path
    return ".".join(f.name for f in places.scope(leaf.scope)) + leaf.op.path[len(leaf.path) :]


__all__ = ["Region"]
