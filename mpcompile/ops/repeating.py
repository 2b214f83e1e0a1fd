"""Repeated layers as one region: a body with its weights stacked, and the same graph without regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mpcompile.ir import (
    Abstract,
    Array,
    Builder,
    Cut,
    Domain,
    DType,
    Example,
    Graph,
    Node,
    Parameter,
    Primitive,
    Scope,
    Stack,
    Type,
    Unsettled,
    Value,
    float_type,
)
from mpcompile.ir.facts import same
from mpcompile.ops._abstract import run_body
from mpcompile.ops._base import require
from mpcompile.ops.arithmetic import Add
from mpcompile.ops.control import Scan, position, stack
from mpcompile.ops.elementwise import Tanh
from mpcompile.ops.linear import MatMul
from mpcompile.ops.parts import Concat, Slice
from mpcompile.ops.structure import Reshape


@dataclass(frozen=True)
class Repeat(Scan):
    """`repeat i in 1..n { ... }`: a `Scan` over layers, all of which are one body with weights of their own.

    Iteration k reads row k of each scanned value along axis 0, most of which are a `Stack` of weights. The body does not
    read the number of the iteration. Its nodes stand in the frames of iteration 0: a frame of `frames` directly inside
    of the scope of the `Repeat` has a number there, `layer_0`, which grows by `step` from one iteration to the next.
    """

    name: ClassVar[str] = "repeat"
    axis: int = 0
    frames: tuple[tuple[str, int], ...] = ()

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        require((self.axis, self.reverse, self.until_fixed_point) == (0, False, False),
                "iterations along axis 0, all of them, in their order", "others")  # fmt: skip
        require(not self.reads_step, "a body that does not read the number of the iteration", "one that does")
        results = super().infer(*inputs)
        require(isinstance(self.trip_count(inputs), int), "a number of iterations", self.trip_count(inputs))
        return results

    def iterations(self, inputs: Sequence[Type]) -> int:
        """Number of iterations, from the types of the inputs."""
        count = self.trip_count(inputs)
        assert isinstance(count, int)  # `infer` has refused the other case
        return count

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        """Run iterations on abstract values until one leaves all facts unchanged: then so does every later one.

        A rule is a function of facts, so equal facts of the carries and equal rows give equal results.

        Raises `ValueError` for a region of no iterations.
        """
        carries, scanned, captured = self.split(inputs)
        steps, plan, number = self._steps(scanned), self.body.nodes(), domain.unknown(())
        alike = all(_rows_alike(x) for x in scanned)
        rows: list[list[Abstract]] = []
        for t in steps:
            slices = [position(domain, x, self.axis, t) for x in scanned]
            results = run_body(domain, self.body, [*carries, *slices, *captured, number], plan)
            before, (carries, ys) = carries, self.divide(results)
            rows.append(ys)
            if alike and all(map(same, before, carries)):
                rows += [ys] * (len(steps) - len(rows))
                break
        if not rows:
            raise ValueError("a loop of no iterations has no results")
        return (*carries, *(stack(domain, ys, self.axis) for ys in zip(*rows, strict=True)))

    @classmethod
    def examples(cls) -> list[Example]:
        def sample(*shape: int, seed: int = 0) -> Array:
            return np.random.default_rng(seed).uniform(0.3, 0.9, shape)

        layers = cls(_layers(), carries=1, scanned=2, frames=(("layer_0", 1),))
        shared = cls(_shared(), carries=1, length=3)
        return [
            Example(
                layers, (sample(2, 3), sample(4, 3, 3, seed=1), sample(4, 3, seed=2), sample(2, 3, seed=3))
            ),
            Example(shared, (sample(2, 3), sample(3, 3, seed=1))),
        ]


@dataclass(frozen=True)
class Places:
    """Scopes of an iteration, from those of iteration 0: `layer_0` directly inside of `outside` becomes `layer_5`."""

    outside: Scope
    frames: Mapping[str, int]
    iteration: int

    def scope(self, scope: Scope) -> Scope:
        """A scope in the iteration."""
        depth = len(self.outside)
        if len(scope) <= depth or scope[depth].name not in self.frames or scope[:depth] != self.outside:
            return scope
        base, _, number = scope[depth].name.rpartition("_")
        name = f"{base}_{int(number) + self.frames[scope[depth].name] * self.iteration}"
        return (*self.outside, replace(scope[depth], name=name), *scope[depth + 1 :])

    def op(self, op: Primitive) -> Primitive:
        """A primitive in the iteration: itself, or a loop with a body whose nodes have the scopes of the iteration."""
        if not op.bodies() or not self.frames or not self.iteration:
            return op
        graphs = {k: self._body(a) for k, a in op.attributes().items() if isinstance(a, Graph)}
        return replace(op, **graphs)

    def _body(self, graph: Graph) -> Graph:
        new = Graph(graph.name)
        moved: dict[Value, Value] = {}
        for node in graph.nodes():
            inputs = tuple(moved[v] for v in node.inputs)
            copy = new.copy(replace(node, op=self.op(node.op)), inputs, self.scope(node.scope))
            moved.update(zip(node.outputs, copy.outputs, strict=True))
        new.inputs = {k: moved[v] for k, v in graph.inputs.items()}
        new.outputs = {k: moved[v] for k, v in graph.outputs.items()}
        return new


def _rows_alike(x: Abstract) -> bool:
    """Whether all that is known of a scanned value is the same for every row."""
    return x.constant is None and all(m.shape[0] == 1 for m in (x.facts, x.zero, x.neginf))


# --- without regions ---


def has_repeats(graph: Graph) -> bool:
    """Return whether a graph, or the body of a loop in it, has a region."""
    return any(isinstance(n.op, Repeat) or any(map(has_repeats, n.op.bodies())) for n in graph.nodes())


def unrolled(graph: Graph) -> Graph:
    """Return the same function without regions: each iteration where it runs, with its own frames and weights."""
    return _Unrolling(graph, None).run().live() if has_repeats(graph) else graph


def shortened(graph: Graph, most: int) -> Graph:
    """Unroll a graph with at most `most` iterations of each region, and return it with its `cuts`.

    It is the function of a model of fewer layers. What an analysis finds of it holds of the whole where `Graph.settle`
    says so.
    """
    return _Unrolling(graph, most).run().live() if has_repeats(graph) else graph


class _Unrolling:
    """One graph while its regions are unrolled; a weight that is read twice is one node."""

    def __init__(self, graph: Graph, most: int | None) -> None:
        self.graph, self.most = graph, most
        self.new = Graph(graph.name)
        self.b = Builder(self.new)
        self.moved: dict[Value, Value] = {}
        self.weights: dict[str, Value] = {}
        self.cuts: list[Cut] = []

    def run(self) -> Graph:
        graph, new = self.graph, self.new
        for node in graph.nodes():
            if isinstance(node.op, Stack):
                continue  # its weights stand where an iteration reads them
            if isinstance(node.op, Repeat):
                made = self._iterations(node, node.op)
            elif isinstance(node.op, Parameter):
                made = (self._weight(node, node.op.path, node.types[0], node.scope),)
            else:
                made = new.copy(node, tuple(map(self._at, node.inputs))).outputs
            self.moved.update(zip(node.outputs, made, strict=True))
        new.inputs = {k: self.moved[v] for k, v in graph.inputs.items()}
        new.outputs = {k: self._at(v) for k, v in graph.outputs.items()}
        new.cuts = tuple(self.cuts)
        return new

    def _at(self, value: Value) -> Value:
        """A value of the graph in the new one. A stack that something else reads than a region is made of its weights."""
        if value not in self.moved:
            leaf = self.graph.node(value)
            assert isinstance(leaf.op, Stack)
            each = leaf.op.each
            rows = [self._weight(leaf, path, each, leaf.scope) for path in leaf.op.paths]
            self.moved[value] = self._together(rows)
        return self.moved[value]

    def _together(self, rows: Sequence[Value]) -> Value:
        """Values under one another along a new first axis."""
        tall = [self.b.emit(Reshape((1, *v.shape)), v) for v in rows]
        return self.b.emit(Concat(0), *tall)

    def _weight(self, leaf: Node, path: str, type: Type, scope: Scope) -> Value:
        if path not in self.weights:
            node = self.new.add(Parameter(path, type), (), leaf.span, scope)
            self.weights[path] = node.outputs[0]
        return self.weights[path]

    def _iterations(self, node: Node, op: Repeat) -> tuple[Value, ...]:
        body, formals = op.body, op.formals
        starts, scanned, captured = op.split(node.inputs)
        whole = op.iterations([v.type for v in node.inputs])
        count = whole if self.most is None else min(whole, self.most)
        carries = [self._at(v) for v in starts]
        fixed = dict(zip(formals.captured.values(), map(self._at, captured), strict=True))
        of_formal = dict(zip(formals.scanned.values(), scanned, strict=True))
        rows: list[list[Value]] = []
        for k in range(count):
            places = Places(node.scope, dict(op.frames), k)
            known = dict(zip(formals.carries.values(), carries, strict=True)) | fixed
            for n in body.nodes():
                (first, *_) = n.outputs
                if first in of_formal:
                    known[first] = self._row(of_formal[first], k, places)
                elif first not in known and first != formals.step:
                    inputs = tuple(known[v] for v in n.inputs)
                    placed = replace(n, op=places.op(n.op)) if n.op.bodies() else n
                    copy = self.new.copy(placed, inputs, places.scope(n.scope))
                    known.update(zip(n.outputs, copy.outputs, strict=True))
            before, (carries, ys) = carries, op.divide([known[v] for v in body.outputs.values()])
            rows.append(ys)
        if count < whole:
            if ys:
                raise Unsettled  # their type has the number of iterations
            self.cuts.append(Cut(op, whole - count, tuple(zip(before, carries, strict=True))))
        return (*carries, *(self._together(ys) for ys in zip(*rows, strict=True)))

    def _row(self, scanned: Value, k: int, places: Places) -> Value:
        """What iteration k reads of a scanned value."""
        leaf = self.graph.node(scanned)
        if isinstance(leaf.op, Stack):
            return self._weight(leaf, leaf.op.paths[k], leaf.op.each, places.scope(leaf.scope))
        one = self.b.emit(Slice(0, k, k + 1), self._at(scanned))
        return self.b.emit(Reshape(scanned.shape[1:]), one)


# --- examples ---


def _layers() -> Graph:
    """h' = tanh(h w + b) + x"""
    g = Graph("layers")
    b = Builder(g)
    h, w, bias = (
        b.input("h", float_type(2, 3)),
        b.input("w", float_type(3, 3)),
        b.input("bias", float_type(3)),
    )
    x = b.input("x", float_type(2, 3))
    b.input("step", Type(DType.INT, ()))
    g.outputs["h"] = b.emit(Add(), b.emit(Tanh(), b.emit(Add(), b.emit(MatMul(), h, w), bias)), x)
    return g


def _shared() -> Graph:
    """h' = tanh(h w), with weights that all iterations share."""
    g = Graph("shared")
    b = Builder(g)
    h, w = b.input("h", float_type(2, 3)), b.input("w", float_type(3, 3))
    b.input("step", Type(DType.INT, ()))
    g.outputs["h"] = b.emit(Tanh(), b.emit(MatMul(), h, w))
    return g


__all__ = ["Places", "Repeat", "has_repeats", "shortened", "unrolled"]
