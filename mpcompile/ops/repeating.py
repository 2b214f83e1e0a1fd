"""Repeated layers as one region: a body with its weights stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mpcompile.ir import (
    Abstract,
    Array,
    Builder,
    Domain,
    DType,
    Example,
    Graph,
    Primitive,
    Scope,
    Type,
    Value,
    float_type,
)
from mpcompile.ir.facts import same
from mpcompile.ir.names import element
from mpcompile.ops._abstract import run_body
from mpcompile.ops._base import require
from mpcompile.ops.arithmetic import Add
from mpcompile.ops.control import LoopBuilder, Scan, position, stack
from mpcompile.ops.elementwise import Tanh
from mpcompile.ops.linear import MatMul
from mpcompile.ops.truth import Less, Where


@dataclass(frozen=True)
class Repeat(Scan):
    """Run layers that share one body, each with weights of its own: `repeat i in 1..n { ... }` as a `Scan`.

    Iteration k reads row k of each scanned value along axis 0, most of which are a `Stack` of weights. The body does not
    read the number of the iteration. Its nodes stand in the frames of iteration 0: a frame of `frames` directly inside
    of the scope of the `Repeat` has a number there, `layer.0`, which grows by `step` from one iteration to the next.
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
        """Return the number of iterations, from the types of the inputs."""
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

        layers = cls(_layers(), carries=1, scanned=2, frames=(("layer.0", 1),))
        shared = cls(_shared(), carries=1, length=3)
        return [
            Example(
                layers, (sample(2, 3), sample(4, 3, 3, seed=1), sample(4, 3, seed=2), sample(2, 3, seed=3))
            ),
            Example(shared, (sample(2, 3), sample(3, 3, seed=1))),
            Example(cls(_chosen(), carries=1, scanned=1), (sample(2, 3), np.array([2, 3, 0]))),
        ]


class RegionBuilder(LoopBuilder):
    """A `Repeat` under construction, over `count` layers."""

    def __init__(self, outer: Builder, frames: tuple[tuple[str, int], ...], count: int) -> None:
        super().__init__(outer, axis=0, length=count, name="iteration")
        self.frames = frames

    def fresh(self, name: str) -> str:
        """Return a name that no formal has, of this stem."""
        stem, number = name, 1
        while name in self.body.graph.inputs or name == "step":
            number += 1
            name = f"{stem}_{number}"
        return name

    def _op(self, scan: Scan) -> Scan:
        return Repeat(
            body=scan.body, carries=scan.carries, scanned=scan.scanned, length=scan.length, frames=self.frames
        )


@dataclass(frozen=True)
class Places:
    """Map scopes of iteration 0 to those of an iteration: `layer.0` directly inside of `outside` becomes `layer.5`."""

    outside: Scope
    frames: Mapping[str, int]
    iteration: int

    def scope(self, scope: Scope) -> Scope:
        """Return a scope in the iteration."""
        depth = len(self.outside)
        if len(scope) <= depth or scope[depth].name not in self.frames or scope[:depth] != self.outside:
            return scope
        name = self.name(scope[depth].name)
        return (*self.outside, replace(scope[depth], name=name), *scope[depth + 1 :])

    def path(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names in the iteration of a scope of iteration 0."""
        depth = len(self.outside)
        if (
            len(path) <= depth
            or path[depth] not in self.frames
            or path[:depth] != tuple(f.name for f in self.outside)
        ):
            return path
        return (*path[:depth], self.name(path[depth]), *path[depth + 1 :])

    def name(self, name: str) -> str:
        """Return the name in the iteration of a frame of iteration 0."""
        found = element(name)
        assert found is not None
        return f"{found[0]}.{found[1] + self.frames[name] * self.iteration}"

    def op(self, op: Primitive) -> Primitive:
        """Return a primitive in the iteration: itself, or a loop whose body has the scopes of the iteration."""
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
    """Return whether the facts of a scanned value are the same for every row."""
    return x.constant is None and all(m.shape[0] == 1 for m in (x.facts, x.zero, x.neginf))


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
    """h' = tanh(h w), y = h', with weights that all iterations share."""
    g = Graph("shared")
    b = Builder(g)
    h, w = b.input("h", float_type(2, 3)), b.input("w", float_type(3, 3))
    b.input("step", Type(DType.INT, ()))
    g.outputs["h"] = b.emit(Tanh(), b.emit(MatMul(), h, w))
    g.outputs["y"] = g.outputs["h"]
    return g


def _chosen() -> Graph:
    """h' = tanh(h), y = h where the layer's number w is below one, else h'."""
    g = Graph("chosen")
    b = Builder(g)
    h, w = b.input("h", float_type(2, 3)), b.input("w", Type(DType.INT, ()))
    b.input("step", Type(DType.INT, ()))
    g.outputs["h"] = b.emit(Tanh(), h)
    g.outputs["y"] = b.emit(Where(), b.emit(Less(), w, b.constant(1)), h, g.outputs["h"])
    return g


__all__ = ["Places", "RegionBuilder", "Repeat"]
