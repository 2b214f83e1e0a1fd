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
    """Hold everything that an iteration can ask of the values before it."""

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
    """Hold the nodes, operands and results of iterations that were lowered together.

    `starts` are the numbers of nodes of the graph and of the program before them. `leaves` are their weights: inside of a
    loop nodes of the program, which inputs of the loop's body among `nodes` capture.
    """

    starts: tuple[int, int]
    nodes: list[Node]
    leaves: list[Node]
    given: tuple[Value, ...]
    made: tuple[Value, ...]
    found: _Found
    names: Counter[str]  # layers in the scope of the repeat before it
    own: bool  # whether it drew noise or took statistics


class Region:
    """Lower a repeat."""

    def __init__(self, ctx: Context, count: int, period: int, run: Iteration, span: Span) -> None:
        """`period` iterations are a group; `run` lowers one of them; `span` is that of the repeat."""
        self.ctx, self.count, self.period, self.run, self.span = ctx, count, period, run, span
        self.groups = count // period
        self.skipped = 0  # groups that were not lowered
        self.size = 0  # nodes of each of them

    def lower(self, current: Sequence[Value]) -> tuple[Value, ...]:
        """Lower all iterations, as a region where they are alike; return the values after them."""
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
        outer = ctx.root.graph
        starts, found, names = (
            (len(graph), len(outer)),
            _Found.of(ctx, values),
            Counter(ctx.naming.repeated(ctx.b.scope)),
        )
        before, given = (len(ctx.noise), len(ctx.updates), len(outer.inputs)), values
        for i in range(self.period):
            values = self.run(len(lowered) * self.period + i, values)
        own = before != (len(ctx.noise), len(ctx.updates), len(outer.inputs))
        nodes, leaves = graph.nodes()[starts[0] :], outer.nodes()[starts[1] :]
        if graph is outer:
            leaves = [n for n in nodes if isinstance(n.op, Parameter)]
        lowered.append(_Group(starts, nodes, leaves, given, values, found, names, own))
        return values

    def _frames(self, group: _Group) -> dict[str, int]:
        """Return the frames of a group's layers in the scope of the repeat, with the step of their numbers."""
        new = self.ctx.naming.repeated(self.ctx.b.scope) - group.names
        each = {name: n // 2 for name, n in new.items()}  # since the group there were two
        return {
            f"{name}.{group.names[name] + k}": count for name, count in each.items() for k in range(count)
        }

    def _region(
        self, body: _Body, frames: Mapping[str, int], first: int, second: _Group
    ) -> tuple[Value, ...]:
        """Emit a `Repeat` in place of all groups from the first of those that are alike; return its results."""
        ctx, count = self.ctx, self.groups - first
        self.skipped, self.size = count - 2, len(second.nodes)
        ctx.b.forget(body.group.starts[0])
        ctx.root.forget(body.group.starts[1])
        outside = ctx.b.scope
        paths = {leaf: _paths(leaf, outside, frames, count) for leaf in body.group.leaves}
        self._declare(paths, frames, count)
        made: dict[Node, Value] = {}
        for leaf in body.group.leaves:
            with ctx.root.within(leaf.scope, leaf.span):
                made[leaf] = ctx.stack(paths[leaf], leaf.types[0])
        stacks = [made[leaf] for leaf in body.weights.values()]
        op = ops.Repeat(
            body.graph, carries=len(body.group.given), scanned=len(stacks), length=None if stacks else count,
            frames=tuple(frames.items()),
        )  # fmt: skip
        with ctx.b.within(outside, self.span):
            results = ctx.b.emit_all(op, *body.group.given, *stacks, *body.captured)
        given = ctx.naming.repeated(outside)
        for name, each in {frame.partition(".")[0]: n for frame, n in frames.items()}.items():
            given[name] += (count - 2) * each
        ctx.same_units(second.made, results)
        return results

    def _declare(self, paths: Mapping[Node, Sequence[str]], frames: Mapping[str, int], count: int) -> None:
        """Declare the weights of iterations that are not lowered, each like that of the first one."""
        ctx, depth = self.ctx, len(self.ctx.b.scope)
        inside = list(
            {leaf.scope[:n]: None for leaf in paths for n in range(depth + 1, len(leaf.scope) + 1)}
        )  # each scope once, outer ones first
        weights = [
            (
                ctx.parameters[names[0]],
                names,
                leaf.span,
                inside.index(leaf.scope) if leaf.scope in inside else -1,
            )
            for leaf, names in paths.items()
        ]
        for k in range(2, count):
            known = [ctx.parameters.get(names[k]) for _, names, _, _ in weights]
            if all(p is not None and p.shape == w[0].shape for p, w in zip(known, weights, strict=True)):
                continue
            places = Places(ctx.b.scope, frames, k)
            later = [places.scope(scope) for scope in inside]
            for scope, moved in zip(inside, later, strict=True):
                ctx.naming.alike(scope, moved, frames.get(scope[depth].name, 0) * k)
            for like, names, span, at in weights:
                with ctx.b.within(later[at] if at >= 0 else ctx.b.scope, span):
                    ctx.declare(names[k], like.shape, like.init, trainable=like.trainable)


@dataclass(frozen=True)
class _Body:
    """Hold the body of a region: its graph, the weights that each iteration has of its own, its captured values."""

    group: _Group
    graph: Graph
    weights: dict[Value, Node]
    captured: list[Value]


class _Pairing:
    """Compare two groups of nodes, and build the body that both are uses of."""

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
        self.alike: dict[Node, Node] = {}
        #: Inputs of the body of the loop around, by what they capture of the program.
        self.outside = {inner: outer for outer, inner in ctx.b.captured.items()} if ctx.b.outer else {}

    def body(self) -> _Body | None:
        """Return the body; None where the groups are not alike."""
        first, second = self.first, self.second
        if (
            first.own or second.own or len(first.nodes) != len(second.nodes) or not first.nodes
            or not self._leaves()
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
        if set(self.weights.values()) != set(first.leaves):
            return None  # a weight that nothing reads
        names = {v: name for name, v in self.graph.inputs.items()}
        step = self.b.input("step", Type(DType.INT, ()))
        order = [*carries, *(names[v] for v in (*self.weights, *self.captured.values()))]
        self.graph.inputs = {name: self.graph.inputs[name] for name in order} | {"step": step}
        self.graph.outputs = {name: v for name, v in zip(carries, ends, strict=True) if v is not None}
        return _Body(first, self.graph, self.weights, list(self.captured))

    def _pair(self, m: Node, n: Node) -> bool:
        """Return whether two nodes are alike, and add them to the body as one."""
        if (m.types, m.span) != (n.types, n.span) or n.scope != self.places.scope(m.scope):
            return False
        if (leaf := self._leaf(m, self.first)) is not None:
            if self._leaf(n, self.second) != self.alike.get(leaf):
                return False
            with self.b.within((), m.span):
                formal = self.b.input(self._fresh(leaf), m.types[0])
            self.weights[formal] = leaf
            self.moved[n.outputs[0]], self.twins[n.outputs[0]] = formal, m.outputs[0]
            return True
        if isinstance(m.op, Input | Parameter | ops.Repeat) or not same_primitive(
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
        """Return the body's value for one that the groups read as `v` and as `w`; None if these differ."""
        if w in self.moved:
            return self.moved[w] if self.twins[w] == v else None
        if v != w or self._own(v):
            return None
        if w not in self.captured:
            self.captured[w] = self.b.input(f"captured_{len(self.captured)}", w.type)
        return self.captured[w]

    def _leaves(self) -> bool:
        """Pair the weights of the groups, and return whether they are alike but for the numbers in their names."""
        first, second = self.first.leaves, self.second.leaves
        self.alike = dict(zip(first, second, strict=False))
        return len(first) == len(second) and all(
            isinstance(m.op, Parameter) and isinstance(n.op, Parameter) and not isinstance(m.op, Stack)
            and (m.types, m.span, self.places.scope(m.scope)) == (n.types, n.span, n.scope)
            and n.op.path == self._path(m) != m.op.path and self._init(m, n)
            for m, n in self.alike.items()
        )  # fmt: skip

    def _path(self, leaf: Node) -> str:
        """Return the name in the second group of a weight of the first."""
        return _paths(leaf, self.places.outside, self.places.frames, 2)[1]

    def _leaf(self, node: Node, group: _Group) -> Node | None:
        """Return the weight of a group that a node is, or captures."""
        value = self.outside.get(node.outputs[0], node.outputs[0])
        return next((leaf for leaf in group.leaves if leaf.outputs[0] == value), None)

    def _own(self, v: Value) -> bool:
        """Return whether a value from before both groups is a weight that is named after one of them."""
        outer = self.outside.get(v, v)
        graph = self.ctx.b.graph if outer == v else self.ctx.root.graph
        node = graph.node(outer)
        if not isinstance(node.op, Parameter):
            return False
        return isinstance(node.op, Stack) or self._path(node) != node.op.path

    def _init(self, m: Node, n: Node) -> bool:
        assert isinstance(m.op, Parameter) and isinstance(n.op, Parameter)
        a, b = self.ctx.parameters[m.op.path], self.ctx.parameters[n.op.path]
        return (a.shape, a.trainable, a.span) == (b.shape, b.trainable, b.span) and _same_init(a.init, b.init)

    def _fresh(self, leaf: Node) -> str:
        """Return a name for the formal that stands for a weight."""
        assert isinstance(leaf.op, Parameter)
        stem = leaf.op.path.rpartition(".")[2]
        name, n = stem, 1
        while name in self.graph.inputs or name == "step":
            n += 1
            name = f"{stem}_{n}"
        return name


def _same_init(a: Init, b: Init) -> bool:
    if a.array is None or b.array is None:
        return a == b
    return (a.kind, a.scale) == (b.kind, b.scale) and np.array_equal(a.array, b.array)


def _paths(leaf: Node, outside: Scope, frames: Mapping[str, int], count: int) -> tuple[str, ...]:
    """Return the names in all iterations of a weight of iteration 0."""
    assert isinstance(leaf.op, Parameter)
    depth = len(outside)
    own = leaf.scope[depth:] if leaf.scope[:depth] == outside else ()
    if not own or own[0].name not in frames or not leaf.op.path.startswith(f"{leaf.path}."):
        return (leaf.op.path,) * count
    head = "".join(f"{f.name}." for f in outside)
    tail = leaf.op.path[len(head) + len(own[0].name) :]
    return tuple(f"{head}{Places(outside, frames, k).name(own[0].name)}{tail}" for k in range(count))


__all__ = ["Region"]
