"""Loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, TypeVar

import numpy as np

from mpcompile.ir import (
    Abstract,
    Array,
    Builder,
    Domain,
    DType,
    Example,
    Graph,
    Input,
    Symbolic,
    Type,
    Value,
    float_type,
)
from mpcompile.ops._abstract import bind_body, evaluate_body, run_body
from mpcompile.ops._base import Operation, number, require, require_axis, zeros
from mpcompile.ops._reverse import backpropagate
from mpcompile.ops.elementwise import Add, Mul, Tanh
from mpcompile.ops.linear import MatMul
from mpcompile.ops.structure import Reshape, join_maps

Cotangents = Sequence[Value | None]
T = TypeVar("T")


@dataclass(frozen=True)
class Scan(Operation):
    """A recurrence: (carries, ys[t]) = body(carries, xs[t], captured, t), for t along an axis.

    Inputs are the first carries, the `scanned` values xs, which lose `axis` inside of the body, and captured
    values. The body takes them in this order and last `step`, an INT scalar: the position t, which counts
    down when `reverse`. It gives the next carries, then ys, which are stacked along `axis` in the order of
    positions. Results are the last carries, then the stacked ys. Without scanned values `length` is the
    number of steps.
    """

    name: ClassVar[str] = "scan"
    body: Graph
    carries: int
    axis: int = 1
    reverse: bool = False
    scanned: int = 0
    length: int | Symbolic | None = None

    def _split(self, inputs: Sequence[T]) -> tuple[list[T], list[T], list[T]]:
        """First carries, scanned, captured."""
        c, s = self.carries, self.carries + self.scanned
        return list(inputs[:c]), list(inputs[c:s]), list(inputs[s:])

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        carries, scanned, captured = self._split(inputs)
        body_inputs = [v.type for v in self.body.inputs.values()]
        require(
            len(inputs) + 1 == len(body_inputs),
            f"{len(body_inputs) - 1} values for the loop body",
            len(inputs),
        )
        for x in scanned:
            require_axis(x, self.axis)
        length = scanned[0].shape[self.axis] if scanned else self.length
        if length is None:
            require(False, "a number of steps or a value to scan", "neither")
        for x in scanned:
            require(x.shape[self.axis] == length, f"{length} steps along axis {self.axis}", x)
        rest = [x.with_shape(x.shape[: self.axis] + x.shape[self.axis + 1 :]) for x in scanned]
        found = [*carries, *rest, *captured, Type(DType.INT, ())]
        for (key, want), t in zip(self.body.inputs.items(), found, strict=True):
            require(t == want.type, f"{want.type} for '{key}' of the loop body", t)
        outputs = [v.type for v in self.body.outputs.values()]
        require(len(outputs) >= self.carries, f"{self.carries} carries from the loop body", len(outputs))
        for i, (before, after) in enumerate(zip(carries, outputs, strict=False)):
            require(before == after, f"carry {i} to stay {before}", after)
        ys = outputs[self.carries :]
        for y in ys:
            require(y.rank >= self.axis, f"results with at least {self.axis} axes to stack along", y)
        assert length is not None
        stacked = [y.with_shape((*y.shape[: self.axis], length, *y.shape[self.axis :])) for y in ys]
        return (*outputs[: self.carries], *stacked)

    def bind(self, env: Mapping[str, int]) -> Self:
        bound = super().bind(env)
        body = bind_body(self.body, env)
        return bound if body is self.body else replace(bound, body=body)

    def _steps(self, scanned: Sequence[Array | Abstract]) -> list[int]:
        """Positions in the order in which they run."""
        if not scanned and self.length is None:
            raise ValueError("a loop needs a number of steps or a value to scan")
        count = scanned[0].shape[self.axis] if scanned else number(self.length or 0)
        return list(reversed(range(count)) if self.reverse else range(count))

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        carries, scanned, captured = self._split(inputs)
        plan = self.body.nodes()
        rows: dict[int, list[Array]] = {}
        for t in self._steps(scanned):
            slices = [x.take(t, self.axis) for x in scanned]
            results = evaluate_body(self.body, [*carries, *slices, *captured, np.asarray(t)], plan)
            carries, rows[t] = results[: self.carries], results[self.carries :]
        if not rows:
            raise ValueError("a loop of no steps has no results")
        return (
            *carries,
            *(np.stack(ys, self.axis) for ys in zip(*(rows[t] for t in sorted(rows)), strict=True)),
        )

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        carries, scanned, captured = self._split(inputs)
        plan = self.body.nodes()
        uses_step = bool(self.body.users(list(self.body.inputs.values())[-1].node))
        rows: dict[int, list[Abstract]] = {}
        last: tuple[list[Abstract], list[Abstract]] | None = None
        for t in self._steps(scanned):
            given = [*carries, *(_position(domain, x, self.axis, t) for x in scanned)]
            if last is not None and not uses_step and all(map(_same, last[0], given)):
                results = last[1]  # nothing changed since the step before
            else:
                results = run_body(
                    domain, self.body, [*given, *captured, domain.constant(np.asarray(t))], plan
                )
            last = given, results
            carries, rows[t] = results[: self.carries], results[self.carries :]
        if not rows:
            raise ValueError("a loop of no steps has no results")
        stacks = zip(*(rows[t] for t in sorted(rows)), strict=True)
        return (*carries, *(_stack(domain, ys, self.axis) for ys in stacks))

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        return _Backward(self, b, inputs, cotangents).run()

    @classmethod
    def examples(cls) -> list[Example]:
        def sample(*shape: int, seed: int = 0) -> Array:
            return np.random.default_rng(seed).uniform(0.3, 0.9, shape)

        rnn = cls(_recurrent(), carries=1, scanned=1)
        total = cls(_power(), carries=1, axis=0, length=3)
        return [
            Example(rnn, (sample(2, 3), sample(2, 4, 3, seed=1), sample(3, 3, seed=2))),
            Example(
                replace(rnn, reverse=True), (sample(2, 3), sample(2, 4, 3, seed=1), sample(3, 3, seed=2))
            ),
            Example(rnn, (sample(2, 3), sample(2, 1, 3, seed=1), sample(3, 3, seed=2))),
            Example(total, (sample(), sample(seed=3))),
        ]


def _recurrent() -> Graph:
    """h' = tanh(h w + x), y = h x"""
    g = Graph("recurrent")
    b = Builder(g)
    h, x = b.input("h", float_type(2, 3)), b.input("x", float_type(2, 3))
    w = b.input("w", float_type(3, 3))
    b.input("step", Type(DType.INT, ()))
    g.outputs["h"] = b.emit(Tanh(), b.emit(Add(), b.emit(MatMul(), h, w), x))
    g.outputs["y"] = b.emit(Mul(), h, x)
    return g


def _power() -> Graph:
    """c' = c a, y = c + step"""
    from mpcompile.ops.elementwise import Cast

    g = Graph("power")
    b = Builder(g)
    c, a = b.input("c", float_type()), b.input("a", float_type())
    step = b.input("step", Type(DType.INT, ()))
    g.outputs["c"] = b.emit(Mul(), c, a)
    g.outputs["y"] = b.emit(Add(), c, b.emit(Cast(DType.FLOAT), step))
    return g


# --- dependence ---


def _position(domain: Domain, x: Abstract, axis: int, t: int) -> Abstract:
    """One slice of an abstract value, without the axis."""

    def at(m: Array) -> Array:
        return np.asarray(m.take(0 if m.shape[axis] == 1 else t, axis))

    if x.constant is not None:
        return domain.constant(x.constant.take(t, axis))
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    return domain.make(shape, at(x.facts), at(x.zero), at(x.neginf))


def _stack(domain: Domain, parts: Sequence[Abstract], axis: int) -> Abstract:
    """Abstract values along a new axis."""
    constants = [p.constant for p in parts if p.constant is not None]
    if len(constants) == len(parts):
        return domain.constant(np.stack(constants, axis))
    shape = (*parts[0].shape[:axis], len(parts), *parts[0].shape[axis:])
    ones = [1] * len(parts)
    maps = ([p.facts for p in parts], [p.zero for p in parts], [p.neginf for p in parts])
    return domain.make(shape, *(join_maps([np.expand_dims(m, axis) for m in ms], ones, axis) for ms in maps))


def _same(x: Abstract, y: Abstract) -> bool:
    """Whether two abstract values of one shape say the same."""
    if x is y:
        return True
    if x.constant is not None or y.constant is not None:
        return x.constant is not None and y.constant is not None and np.array_equal(x.constant, y.constant)
    pairs = ((x.facts, y.facts), (x.zero, y.zero), (x.neginf, y.neginf))
    return all(np.array_equal(p, q) for p, q in pairs)


# --- gradient ---


def _is_float(v: Value) -> bool:
    return v.dtype is DType.FLOAT


class _Backward:
    """The gradient of a loop: the same loop once more, keeping each step's carries, then one the other way.

    The backward body takes the cotangents of the carries and running sums for the captured values as carries,
    and the kept carries, the scanned values and the cotangents of ys as scanned values.
    """

    def __init__(self, scan: Scan, b: Builder, inputs: Sequence[Value], cotangents: Cotangents) -> None:
        self.scan, self.b, self.cotangents = scan, b, cotangents
        self.inits, self.scanned, self.captured = scan._split(inputs)
        self.length = self.scanned[0].shape[scan.axis] if self.scanned else scan.length

    def run(self) -> tuple[Value | None, ...]:
        scan, b = self.scan, self.b
        d_carries, d_ys = self.cotangents[: scan.carries], self.cotangents[scan.carries :]
        if all(ct is None for ct in self.cotangents):
            return (None,) * (len(self.inits) + len(self.scanned) + len(self.captured))
        tape = self._tape()
        given = [(i, ct) for i, ct in enumerate(d_ys) if ct is not None]
        body = self._body([i for i, _ in given])
        starts = [
            ct if ct is not None else zeros(b, v.shape)
            for v, ct in zip(self.inits, d_carries, strict=True)
            if _is_float(v)
        ]
        sums = [zeros(b, v.shape) for v in self.captured if _is_float(v)]
        backward = Scan(
            body,
            carries=len(starts) + len(sums),
            axis=scan.axis,
            reverse=not scan.reverse,
            scanned=len(tape) + len(self.scanned) + len(given),
            length=self.length,
        )
        read = [*tape, *self.scanned, *(ct for _, ct in given)]
        results = list(b.emit_all(backward, *starts, *sums, *read, *self.captured))
        grads: list[Value | None] = []
        n, m = len(starts), len(starts) + len(sums)
        for values, made in (
            (self.inits, results[:n]),
            (self.scanned, results[m:]),
            (self.captured, results[n:m]),
        ):
            left = iter(made)
            grads += [self._restore(next(left), v) if _is_float(v) else None for v in values]
        return tuple(grads)

    def _restore(self, made: Value, like: Value) -> Value:
        return made if made.shape == like.shape else self.b.emit(Reshape(like.shape), made)

    def _tape(self) -> list[Value]:
        """Carries before each step, stacked, from an augmented copy of the loop."""
        scan = self.scan
        if not scan.carries:
            return []
        body = scan.body.rebuild(lambda _b, _node, _inputs: None)
        inside = Builder(body)
        for i, v in enumerate(list(body.inputs.values())[: scan.carries]):
            body.outputs[f"kept_{i}"] = inside.emit(Reshape(_tall(v, scan.axis)), v)
        made = self.b.emit_all(
            replace(scan, body=body, length=self.length), *self.inits, *self.scanned, *self.captured
        )
        return list(made[-scan.carries :])

    def _body(self, given: Sequence[int]) -> Graph:
        """The backward body; `given` are the ys that have a cotangent."""
        scan = self.scan
        inner_inputs = list(scan.body.inputs.items())
        carries, scanned, captured = scan._split(inner_inputs[:-1])
        outputs = list(scan.body.outputs.values())
        g = Graph(f"{scan.body.name}_gradient")
        b = Builder(g)
        d_next = [b.input(f"d_{k}", v.type) if _is_float(v) else None for k, v in carries]
        sums = [b.input(f"sum_{k}", v.type) if _is_float(v) else None for k, v in captured]
        moved: dict[Value, Value] = {}
        for i, (_, v) in enumerate(carries):
            kept = b.input(f"kept_{i}", v.type.with_shape(_tall(v, scan.axis)))
            moved[v] = kept if kept.shape == v.shape else b.emit(Reshape(v.shape), kept)
        for k, v in scanned:
            moved[v] = b.input(k, v.type)
        d_ys = [b.input(f"d_y_{i}", outputs[scan.carries + i].type) for i in given]
        for k, v in (*captured, inner_inputs[-1]):
            moved[v] = b.input(k, v.type)
        start = len(g)
        for node in scan.body.nodes():
            if not isinstance(node.op, Input):
                with b.within(node.scope, node.span):
                    made = b.emit_all(node.op, *(moved[v] for v in node.inputs))
                moved.update(zip(node.outputs, made, strict=True))
        forward = g.nodes()[start:]
        seeds: list[tuple[Value, Value]] = [
            (moved[v], d) for v, d in zip(outputs[: scan.carries], d_next, strict=True) if d is not None
        ]
        seeds += [
            (moved[outputs[scan.carries + i]], d) for i, d in zip(given, d_ys, strict=True) if _is_float(d)
        ]
        wanted = [moved[v] for _, v in (*carries, *scanned, *captured) if _is_float(v)]
        grads = backpropagate(b, forward, seeds, wanted)

        def gradient(v: Value) -> Value:
            found = grads.get(moved[v])
            return zeros(b, v.shape) if found is None else found

        for k, v in carries:
            if _is_float(v):
                g.outputs[f"d_{k}"] = gradient(v)
        for (k, v), total in zip(captured, sums, strict=True):
            if total is not None:
                found = grads.get(moved[v])
                g.outputs[f"sum_{k}"] = total if found is None else b.emit(Add(), total, found)
        for k, v in scanned:
            if _is_float(v):
                g.outputs[f"d_{k}"] = b.emit(Reshape(_tall(v, scan.axis)), gradient(v))
        return g


def _tall(v: Value, axis: int) -> tuple[int | Symbolic, ...]:
    """The shape of a value with enough leading axes to stack it along an axis."""
    return (*(1,) * (axis - len(v.shape)), *v.shape)
