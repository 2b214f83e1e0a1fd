"""Loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    Symbolic,
    Type,
    Value,
    float_type,
)
from mpcompile.ir.field import Field
from mpcompile.ir.stencils import Lattice, Stencil
from mpcompile.ops._abstract import bind_body, evaluate_body, run_body
from mpcompile.ops._base import Cotangents, Operation, number, require, require_axis
from mpcompile.ops._loop_gradient import loop_gradient
from mpcompile.ops._loop_stencil import loop_stencil, same
from mpcompile.ops.arithmetic import Add, Mul
from mpcompile.ops.elementwise import Tanh
from mpcompile.ops.linear import MatMul
from mpcompile.ops.parts import join_maps

T = TypeVar("T")


@dataclass(frozen=True)
class Scan(Operation):
    """A recurrence: (carries, ys[t]) = body(carries, xs[t], captured, t), for t along an axis.

    Inputs are the first carries, the `scanned` values xs, which lose `axis` inside of the body, and captured
    values. The body takes them in this order and last `step`, an INT scalar: the position t, which counts
    down when `reverse`. It gives the next carries, then ys, which are stacked along `axis` in the order of
    positions. Results are the last carries, then the stacked ys. Without scanned values `length` is the
    number of steps.

    With `settles` a step is a function of the carries and captured values alone: once it leaves those carries that
    it reads as they were, later steps would change nothing, and need not be run. Each element of a carry is made of
    earlier ones, so that the first carries are forgotten and the last ones are the only fixed point; a backend may
    differentiate them as one. It has neither scanned values nor ys.
    """

    name: ClassVar[str] = "scan"
    body: Graph
    carries: int
    axis: int = 1
    reverse: bool = False
    scanned: int = 0
    length: int | Symbolic | None = None
    settles: bool = False

    def split(self, inputs: Sequence[T]) -> tuple[list[T], list[T], list[T]]:
        """First carries, scanned, captured."""
        c, s = self.carries, self.carries + self.scanned
        return list(inputs[:c]), list(inputs[c:s]), list(inputs[s:])

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        carries, scanned, captured = self.split(inputs)
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
        if self.settles:
            require(
                not scanned and not ys,
                "neither scanned values nor stacked ones in a loop that settles",
                "some",
            )
            step = list(self.body.inputs.values())[-1]
            used = self.body.users(step.node) or step in self.body.outputs.values()
            require(not used, "a body that does not read the step in a loop that settles", "one that does")
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
        return self.evaluate_by(lambda op, *given: op.evaluate(*given), *inputs)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        return self.evaluate_by(lambda op, *given: op.over_field(field, *given), *inputs)

    def evaluate_by(self, apply: Callable[..., tuple[Array, ...]], *inputs: Array) -> tuple[Array, ...]:
        """All steps, each primitive of the body by `apply`."""
        carries, scanned, captured = self.split(inputs)
        plan = self.body.nodes()
        rows: dict[int, list[Array]] = {}
        read = self.read_carries()
        for t in self._steps(scanned):
            slices = [x.take(t, self.axis) for x in scanned]
            results = evaluate_body(self.body, [*carries, *slices, *captured, np.asarray(t)], apply, plan)
            before, carries, rows[t] = carries, results[: self.carries], results[self.carries :]
            if self.settles and all(np.array_equal(before[i], carries[i]) for i in read):
                break
        if not rows:
            raise ValueError("a loop of no steps has no results")
        return (
            *carries,
            *(np.stack(ys, self.axis) for ys in zip(*(rows[t] for t in sorted(rows)), strict=True)),
        )

    def read_carries(self) -> list[int]:
        """Numbers of the carries that the body reads."""
        ends = set(self.body.outputs.values())
        first = list(self.body.inputs.values())[: self.carries]
        return [i for i, v in enumerate(first) if self.body.users(v.node) or v in ends]

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        carries, scanned, captured = self.split(inputs)
        plan = self.body.nodes()
        uses_step = bool(self.body.users(list(self.body.inputs.values())[-1].node))
        rows: dict[int, list[Abstract]] = {}
        last: tuple[list[Abstract], list[Abstract]] | None = None
        for t in self._steps(scanned):
            given = [*carries, *(_position(domain, x, self.axis, t) for x in scanned)]
            if last is not None and not uses_step and all(map(same, last[0], given)):
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

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        return loop_stencil(self, lattice, inputs)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        return loop_gradient(self, b, inputs, outputs, cotangents)

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
            Example(
                cls(_settling(), carries=2, length=9, settles=True),
                (sample(2, 3) - 0.6, sample(2, 3, seed=1), sample(2, 3, seed=2)),
            ),
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
    from mpcompile.ops.identity import Cast

    g = Graph("power")
    b = Builder(g)
    c, a = b.input("c", float_type()), b.input("a", float_type())
    step = b.input("step", Type(DType.INT, ()))
    g.outputs["c"] = b.emit(Mul(), c, a)
    g.outputs["y"] = b.emit(Add(), c, b.emit(Cast(DType.FLOAT), step))
    return g


def _settling() -> Graph:
    """x' = tanh(x U) + a for a strictly triangular U, h' = x a: after four steps nothing changes."""
    g = Graph("settling")
    b = Builder(g)
    x, _ = b.input("x", float_type(2, 3)), b.input("h", float_type(2, 3))
    a = b.input("a", float_type(2, 3))
    b.input("step", Type(DType.INT, ()))
    later = b.constant(np.triu(np.ones((3, 3)), 1))
    g.outputs["x"] = b.emit(Add(), b.emit(Tanh(), b.emit(MatMul(), x, later)), a)
    g.outputs["h"] = b.emit(Mul(), x, a)
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
