"""Loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np

from mpcompile.ir import (
    Abstract,
    Along,
    Array,
    Builder,
    Domain,
    DType,
    Example,
    Graph,
    Reach,
    Shape,
    Symbolic,
    Type,
    Value,
    Work,
    float_type,
    number,
)
from mpcompile.ir.facts import same
from mpcompile.ir.field import Field
from mpcompile.ir.stencils import Lattice, Stencil
from mpcompile.ops._abstract import bind_body, evaluate_body, run_body
from mpcompile.ops._base import Cotangents, Operation, require, require_axis
from mpcompile.ops._loop_gradient import loop_gradient
from mpcompile.ops._loop_stencil import loop_stencil
from mpcompile.ops.arithmetic import Add, Mul
from mpcompile.ops.elementwise import Tanh
from mpcompile.ops.linear import MatMul
from mpcompile.ops.parts import join_maps
from mpcompile.ops.truth import Equal, Where

T = TypeVar("T")


class Parts(NamedTuple, Generic[T]):
    """Values of a loop, one for each input of the `Scan`, by what they are to it."""

    carries: list[T]
    scanned: list[T]
    captured: list[T]


class Formals(NamedTuple):
    """Inputs of a loop's body by name, and the number of the step, which comes last in the body's signature."""

    carries: dict[str, Value]
    scanned: dict[str, Value]
    captured: dict[str, Value]
    step: Value


@dataclass(frozen=True)
class Scan(Operation):
    """A recurrence: (carries, ys[t]) = body(carries, xs[t], captured, t), for t along an axis.

    Inputs are the first carries, the `scanned` values xs, which lose `axis` inside of the body, and captured
    values. The body takes them in this order and last `step`, an INT scalar: the position t, which counts
    down when `reverse`. It gives the next carries, then ys, which are stacked along `axis` in the order of
    positions. Results are the last carries, then the stacked ys. Without scanned values `length` is the
    number of steps.

    With `until_fixed_point` a step reads the carries and captured values alone, and the loop has neither scanned
    values nor ys. Once a step leaves the carries that it reads unchanged, later steps change nothing, and a backend
    may exit. Each element of a carry depends on earlier elements only. So the first carries are forgotten, the last
    carries are the only fixed point, and a backend may differentiate them as a fixed point.

    With `recompute` the gradient keeps of each step its carries alone, and computes the step anew: memory that grows with
    one step, for a second forward computation (Chen et al. 2016).
    """

    name: ClassVar[str] = "scan"
    body: Graph
    carries: int
    axis: int = 1
    reverse: bool = False
    scanned: int = 0
    length: int | Symbolic | None = None
    until_fixed_point: bool = False
    recompute: bool = False

    def bodies(self) -> tuple[Graph, ...]:
        return (self.body,)

    # --- layout: nothing outside of this class and `LoopBuilder` counts inputs or results of a loop ---

    def split(self, inputs: Sequence[T]) -> Parts[T]:
        """The inputs of the loop, or whatever stands for them one by one, by part."""
        c, s = self.carries, self.carries + self.scanned
        return Parts(list(inputs[:c]), list(inputs[c:s]), list(inputs[s:]))

    def divide(self, results: Sequence[T]) -> tuple[list[T], list[T]]:
        """The results of the loop as (last carries, stacked ys); those of its body as (next carries, ys)."""
        return list(results[: self.carries]), list(results[self.carries :])

    @property
    def formals(self) -> Formals:
        """The inputs of the body by part."""
        *first, (_, step) = self.body.inputs.items()
        carries, scanned, captured = map(dict, self.split(first))
        return Formals(carries, scanned, captured, step)

    @property
    def reads_step(self) -> bool:
        """Whether anything in the body, or a result of it, reads the number of the step."""
        step = self.formals.step
        return bool(self.body.users(step.node)) or step in self.body.outputs.values()

    def trip_count(self, inputs: Sequence[Type]) -> int | Symbolic:
        """Number of steps, from the types of the inputs."""
        scanned = self.split(inputs).scanned
        if scanned:
            return scanned[0].shape[self.axis]
        assert self.length is not None  # `infer` has refused the other case
        return self.length

    def slice_type(self, scanned: Type) -> Type:
        """Type of one step of a scanned value: without the axis of the steps."""
        return scanned.with_shape((*scanned.shape[: self.axis], *scanned.shape[self.axis + 1 :]))

    def stacked_type(self, y: Type, steps: int | Symbolic) -> Type:
        """Type of a result of the body once it is stacked along the axis of the steps."""
        return y.with_shape((*y.shape[: self.axis], steps, *y.shape[self.axis :]))

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
        found = [*carries, *map(self.slice_type, scanned), *captured, Type(DType.INT, ())]
        for (key, want), t in zip(self.body.inputs.items(), found, strict=True):
            require(t == want.type, f"{want.type} for '{key}' of the loop body", t)
        outputs = [v.type for v in self.body.outputs.values()]
        require(len(outputs) >= self.carries, f"{self.carries} carries from the loop body", len(outputs))
        for i, (before, after) in enumerate(zip(carries, outputs, strict=False)):
            require(before == after, f"carry {i} to stay {before}", after)
        last, ys = self.divide(outputs)
        if self.until_fixed_point:
            require(
                not scanned and not ys,
                "neither scanned nor stacked values in a loop with until_fixed_point",
                "some",
            )
            require(
                not self.reads_step,
                "a body that does not read the step in a loop with until_fixed_point",
                "one that does",
            )
        for y in ys:
            require(y.rank >= self.axis, f"results with at least {self.axis} axes to stack along", y)
        assert length is not None
        return (*last, *(self.stacked_type(y, length) for y in ys))

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
        """Run all steps, each primitive of the body by `apply`. Raises `ValueError` for a loop of no steps."""
        carries, scanned, captured = self.split(inputs)
        plan = self.body.nodes()
        rows: dict[int, list[Array]] = {}
        read = self.read_carries()
        for t in self._steps(scanned):
            slices = [x.take(t, self.axis) for x in scanned]
            results = evaluate_body(self.body, [*carries, *slices, *captured, np.asarray(t)], apply, plan)
            before, (carries, rows[t]) = carries, self.divide(results)
            if self.until_fixed_point and all(np.array_equal(before[i], carries[i]) for i in read):
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
        first = enumerate(self.formals.carries.values())
        return [i for i, v in first if self.body.users(v.node) or v in ends]

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        """Run all steps on abstract values. Raises `ValueError` for a loop of no steps."""
        carries, scanned, captured = self.split(inputs)
        plan = self.body.nodes()
        uses_step = self.reads_step
        rows: dict[int, list[Abstract]] = {}
        last: tuple[list[Abstract], list[Abstract]] | None = None
        for t in self._steps(scanned):
            given = [*carries, *(position(domain, x, self.axis, t) for x in scanned)]
            if last is not None and not uses_step and all(map(same, last[0], given)):
                results = last[1]  # nothing changed since the step before
            else:
                results = run_body(
                    domain, self.body, [*given, *captured, domain.constant(np.asarray(t))], plan
                )
            last = given, results
            carries, rows[t] = self.divide(results)
        if not rows:
            raise ValueError("a loop of no steps has no results")
        stacks = zip(*(rows[t] for t in sorted(rows)), strict=True)
        return (*carries, *(stack(domain, ys, self.axis) for ys in stacks))

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        return loop_stencil(self, lattice, inputs)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        """Return no axes: an analysis that needs more looks into the body."""
        return tuple({} for _ in shapes)

    def reach(self, shapes: Sequence[Shape]) -> Reach:
        """Return the reach of the scanned values: the place of the step itself."""
        return {self.axis: (0, 0)} if self.scanned and not self.reverse else {}

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        """The body, as often as the loop runs."""
        once = sum((n.cost for n in self.body.nodes()), Work())
        return once.times(self.trip_count(inputs))

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        length = self.trip_count([v.type for v in inputs])
        backward = LoopBuilder(
            b, axis=self.axis, reverse=not self.reverse, length=length, name=f"{self.body.name}_gradient"
        )
        return loop_gradient(self, backward, inputs, outputs, cotangents)

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
                cls(_fixed_point_body(), carries=2, length=9, until_fixed_point=True),
                (sample(2, 3) - 0.6, sample(2, 3, seed=1), sample(2, 3, seed=2)),
            ),
            Example(cls(_at_last(), carries=1, length=3), (sample(2, 3), sample(2, 3, seed=1))),
        ]


class LoopBuilder:
    """A loop under construction.

        loop = LoopBuilder(b, axis=1)
        h = loop.carry("h", start)                  # [N, D]
        x = loop.scan("x", xs)                      # xs: [N, time, D], x: [N, D]
        new = loop.body.emit(Tanh(), loop.body.emit(Add(), h, x))
        (last,), (ys,) = loop.close([new], {"y": new})  # last: [N, D], ys: [N, time, D]

    The body may use any value of the graph around it: such a value is captured. Formals may be declared in any order
    and at any time before `close`, which puts them into the order that a `Scan` asks for.
    """

    def __init__(
        self,
        outer: Builder,
        *,
        axis: int = 1,
        reverse: bool = False,
        length: int | Symbolic | None = None,
        until_fixed_point: bool = False,
        name: str = "body",
    ) -> None:
        """`length` is the number of steps of a loop that scans nothing; the rest is as `Scan` has it."""
        self.outer = outer
        self.body = Builder(Graph(name), outer.scope, outer.span, outer)
        self.axis, self.reverse, self.until_fixed_point = axis, reverse, until_fixed_point
        self._length = length
        self._starts: dict[str, Value] = {}
        self._scanned: dict[str, Value] = {}

    @property
    def length(self) -> int | Symbolic | None:
        """Number of steps, as far as it is known by now."""
        return next((xs.shape[self.axis] for xs in self._scanned.values()), self._length)

    @property
    def step(self) -> Value:
        """The number of the step, an INT scalar; counts down where the loop is reversed."""
        return self.body.input("step", Type(DType.INT, ()))

    def carry(self, name: str, start: Value) -> Value:
        """Declare a carry by its start and return its value in the body, of the same type."""
        self._starts[self._fresh(name)] = start
        return self.body.input(name, start.type)

    def scan(self, name: str, xs: Value) -> Value:
        """Declare a scanned value [..., steps, ...] and return its share of a step, without the axis of the steps."""
        self._scanned[self._fresh(name)] = xs
        shape = (*xs.shape[: self.axis], *xs.shape[self.axis + 1 :])
        return self.body.input(name, xs.type.with_shape(shape))

    def capture(self, name: str, value: Value) -> Value:
        """Declare a captured value under a name of its own and return it in the body."""
        if value not in self.body.captured:
            self.body.captured[value] = self.body.input(self._fresh(name), value.type)
        return self.body.captured[value]

    def close(
        self, carries: Sequence[Value], ys: Mapping[str, Value] | None = None
    ) -> tuple[list[Value], list[Value]]:
        """Emit the loop and return (last carries, stacked ys).

        `carries` are the next values of all carries in the order of their declaration, `ys` what a step adds to each
        stack. Raises `TypeMismatch` as a located error where a carry changes its type.
        """
        graph = self.body.graph
        following = [self.body.here(v) for v in carries]
        graph.outputs = dict(zip(self._starts, following, strict=True))
        graph.outputs |= {name: self.body.here(y) for name, y in (ys or {}).items()}
        names = {v: name for name, v in graph.inputs.items()}
        captured = [names[v] for v in self.body.captured.values()]
        step = self.step
        order = [*self._starts, *self._scanned, *captured]
        graph.inputs = {name: graph.inputs[name] for name in order} | {"step": step}
        op = self._op(Scan(
            body=graph, carries=len(self._starts), scanned=len(self._scanned), axis=self.axis, reverse=self.reverse,
            length=None if self._scanned else self._length, until_fixed_point=self.until_fixed_point,
        ))  # fmt: skip
        given = (*self._starts.values(), *self._scanned.values(), *self.body.captured)
        return op.divide(self.outer.emit_all(op, *given))

    def _op(self, scan: Scan) -> Scan:
        """Return the primitive that the loop becomes."""
        return scan

    def _fresh(self, name: str) -> str:
        if name in self.body.graph.inputs or name == "step":
            raise ValueError(f"the loop has a formal '{name}' already")
        return name


# --- examples ---


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


def _at_last() -> Graph:
    """h' = h, y = x in step 2 and h before it."""
    b = Builder(Graph("at_last"))
    h, x = b.input("h", float_type(2, 3)), b.input("x", float_type(2, 3))
    step = b.input("step", Type(DType.INT, ()))
    b.graph.outputs = {"h": h, "y": b.emit(Where(), b.emit(Equal(), step, b.constant(2)), x, h)}
    return b.graph


def _fixed_point_body() -> Graph:
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


def position(domain: Domain, x: Abstract, axis: int, t: int) -> Abstract:
    """Return one slice of an abstract value, without the axis."""

    def at(m: Array) -> Array:
        return np.asarray(m.take(0 if m.shape[axis] == 1 else t, axis))

    if x.constant is not None:
        return domain.constant(x.constant.take(t, axis))
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    return domain.make(shape, at(x.facts), at(x.zero), at(x.neginf))


def stack(domain: Domain, parts: Sequence[Abstract], axis: int) -> Abstract:
    """Stack abstract values along a new axis."""
    constants = [p.constant for p in parts if p.constant is not None]
    if len(constants) == len(parts):
        return domain.constant(np.stack(constants, axis))
    shape = (*parts[0].shape[:axis], len(parts), *parts[0].shape[axis:])
    ones = [1] * len(parts)
    maps = ([p.facts for p in parts], [p.zero for p in parts], [p.neginf for p in parts])
    return domain.make(shape, *(join_maps([np.expand_dims(m, axis) for m in ms], ones, axis) for ms in maps))
