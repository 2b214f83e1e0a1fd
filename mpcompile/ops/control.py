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
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import WHOLE_LINE, Lattice, Stencil, still, whole
from mpcompile.ops._abstract import bind_body, evaluate_body, run_body
from mpcompile.ops._base import Cotangents, Operation, number, require, require_axis
from mpcompile.ops._loop_gradient import loop_gradient
from mpcompile.ops._stencil import exact, fit, no_rule
from mpcompile.ops._stencil import run_body as run_stencils
from mpcompile.ops.elementwise import Add, Mul, Tanh
from mpcompile.ops.linear import MatMul
from mpcompile.ops.structure import join_maps

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
        return self._loop(lambda op, *given: op.evaluate(*given), *inputs)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        return self._loop(lambda op, *given: op.over_field(field, *given), *inputs)

    def _loop(self, apply: Callable[..., tuple[Array, ...]], *inputs: Array) -> tuple[Array, ...]:
        """All steps, each primitive of the body by `apply`."""
        carries, scanned, captured = self._split(inputs)
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

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        return _Recurrence(self, lattice, inputs).run()

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
    from mpcompile.ops.elementwise import Cast

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


def _same(x: Abstract, y: Abstract) -> bool:
    """Whether two abstract values of one shape say the same."""
    if x is y:
        return True
    if x.constant is not None or y.constant is not None:
        return x.constant is not None and y.constant is not None and np.array_equal(x.constant, y.constant)
    pairs = ((x.facts, y.facts), (x.zero, y.zero), (x.neginf, y.neginf))
    return all(np.array_equal(p, q) for p, q in pairs)


# --- offset sets ---

#: The slot of the place of the current step, inside of a body.
_STEP = -1


class _Recurrence:
    """Offset sets of a loop along a spatial axis, lag by lag.

    What step t reads of step t - m goes m times through the body. As the body joins, once the sets of one lag are
    those of the lag before moved by one step, so are all later ones, and their sum is a half-line.
    """

    #: Lags that are followed one by one. Boolean matrices of the sizes that occur settle within a few.
    LAGS: ClassVar[int] = 32

    def __init__(self, scan: Scan, lattice: Lattice, inputs: Sequence[Stencil]) -> None:
        self.scan, self.lattice, self.inputs = scan, lattice, inputs
        self.carries, self.scanned, self.captured = scan._split(inputs)
        at = [x.axes[scan.axis] for x in self.scanned]
        axis = next((a for a in at if a is not None), None)
        if axis is None:
            raise no_rule(scan, "steps along an axis that is not spatial")
        if any(x.band is not None for x in inputs) or (axis.own, axis.step) != (1, 1):
            raise no_rule(scan, "a strided loop")
        self.axis = axis
        self.here = replace(axis, slot=_STEP)
        self.by = 1 if scan.reverse else -1

    def run(self) -> tuple[Stencil, ...]:
        scan, lattice = self.scan, self.lattice
        slices = [self._slice(x) for x in self.scanned]
        step = still(Type(DType.INT, ()), lattice.domain.unknown(()))
        carries = [
            replace(x, known=None, regions=x.each(lambda c: replace(c, constant=None))) for x in self.carries
        ]
        outs: list[Stencil] = []
        for _ in range(self.LAGS):  # what stays zero, or minus infinity, through every step
            outs = run_stencils(lattice, scan.body, [*carries, *slices, *self.captured, step])
            if any(len(x.regions) > 1 for x in outs):
                raise no_rule(scan, "regions of positions in the body")
            kept = [self._known(x, y) for x, y in zip(carries, outs, strict=False)]
            if all(_same(x.cell, y.cell) for x, y in zip(carries, kept, strict=True)):
                break
            carries = kept
        else:
            raise no_rule(scan, "known zeros that do not settle")
        total = [x.cell.facts for x in outs]
        still_inputs = [_quiet(lattice, x) for x in (*slices, *self.captured)]
        for _ in range(self.LAGS):
            moved = [
                self._facts(x, lattice.shift(y.cell.facts, self.here, self.by))
                for x, y in zip(carries, outs, strict=False)
            ]
            again = run_stencils(lattice, scan.body, [*moved, *still_inputs, step])
            if all(_equal(y.cell.facts, x.cell.facts) for x, y in zip(moved, again, strict=False)):
                line = Offsets.up_to(0).mirror() if scan.reverse else Offsets.up_to(0)
                past = [lattice.absorb(y.cell.facts, self.here, _STEP, line) for y in again]
                total = [lattice.domain.union(t, p) for t, p in zip(total, past, strict=True)]
                break
            total = [lattice.domain.union(t, y.cell.facts) for t, y in zip(total, again, strict=True)]
            outs = again
        else:
            raise no_rule(scan, "lags that do not settle")
        uses_step = bool(scan.body.users(list(scan.body.inputs.values())[-1].node))
        return self._results(again, total, exact(self.inputs) and exact(again) and not uses_step)

    def _slice(self, x: Stencil) -> Stencil:
        """The element of a scanned value at the current step."""
        a = self.scan.axis
        x = fit(self.scan, self.lattice, x, a, self.axis)

        def at(cell: Abstract) -> Abstract:
            facts = self.lattice.relabel(cell.facts, self.axis.source, self.axis.slot, _STEP)
            shape = cell.shape[:a] + cell.shape[a + 1 :]
            return self.lattice.domain.make(
                shape, *(np.squeeze(m, a) for m in (facts, cell.zero, cell.neginf))
            )

        shape, axes = x.shape[:a] + x.shape[a + 1 :], x.axes[:a] + x.axes[a + 1 :]
        return replace(x, type=x.type.with_shape(shape), axes=axes, regions=x.each(at), known=None)

    def _known(self, x: Stencil, y: Stencil) -> Stencil:
        """A carry of which is known what is known before and after a step."""
        if x.axes != y.axes or len(y.regions) > 1:
            raise no_rule(self.scan, "a carry whose axes change")
        c, d = x.cell, y.cell
        return replace(
            x, regions=whole(self.lattice.domain.make(c.shape, c.facts, c.zero & d.zero, c.neginf & d.neginf))
        )

    def _facts(self, x: Stencil, facts: Array) -> Stencil:
        c = x.cell
        return replace(x, regions=whole(self.lattice.domain.make(c.shape, facts, c.zero, c.neginf)))

    def _results(self, outs: Sequence[Stencil], total: Sequence[Array], precise: bool) -> tuple[Stencil, ...]:
        """The last carries, which read everything along the axis, and the ys, which have the axis again."""
        scan, lattice, made = self.scan, self.lattice, list[Stencil]()
        types = scan.infer(*(x.type for x in self.inputs))
        for n, (y, facts, type) in enumerate(zip(outs, total, types, strict=True)):
            c = y.cell
            if n < scan.carries:
                facts = lattice.absorb(facts, self.here, 0, WHOLE_LINE)
                cell, axes = lattice.domain.make(c.shape, facts, c.zero, c.neginf), y.axes
            else:
                if any(a is not None and a.source == self.axis.source for a in y.axes):
                    raise no_rule(scan, "a second axis along that of the steps")
                facts = lattice.relabel(facts, self.axis.source, _STEP, self.axis.slot)
                maps = (np.expand_dims(m, scan.axis) for m in (facts, c.zero, c.neginf))
                cell = lattice.domain.make((*c.shape[: scan.axis], 1, *c.shape[scan.axis :]), *maps)
                axes = (*y.axes[: scan.axis], self.axis, *y.axes[scan.axis :])
            made.append(Stencil(type, axes, whole(cell), exact=precise))
        return tuple(made)


def _quiet(lattice: Lattice, x: Stencil) -> Stencil:
    """The same value as one that reads nothing."""
    nothing = lattice.domain.make(()).facts
    return replace(x, regions=x.each(lambda c: replace(c, facts=nothing.reshape((1,) * (len(c.shape) + 1)))))


def _equal(x: Array, y: Array) -> bool:
    """Whether two maps that broadcast against each other are the same."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    return bool(np.array_equal(np.broadcast_to(x, shape), np.broadcast_to(y, shape)))
