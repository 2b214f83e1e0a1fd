"""Offset sets of loops.

Along a spatial axis lag by lag (`Recurrence`). Along any other axis step by step while the steps are few, and else by
a fixed point of joins, which is an upper bound at every number of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mpcompile.ir import Abstract, Array, DType, NoRule, Type
from mpcompile.ir.facts import same
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import WHOLE_LINE, Lattice, Stencil, extent, still, whole
from mpcompile.ops._stencil import align, exact, fit, joined, no_rule, run_body
from mpcompile.ops.parts import Concat, Slice
from mpcompile.ops.structure import Reshape

if TYPE_CHECKING:
    from mpcompile.ops.control import Scan

#: Loops of at most this many steps along an axis that is not spatial are followed step by step.
STEPS = 64
#: Rounds after which a fixed point must have been found.
ROUNDS = 64
#: The slot of the place of the current step, inside of a body.
_STEP = -1


def loop_stencil(scan: Scan, lattice: Lattice, inputs: Sequence[Stencil]) -> tuple[Stencil, ...]:
    """Return the offset sets of a loop's results. Raises `NoRule`."""
    _, scanned, _ = scan.split(inputs)
    if any(x.axes[scan.axis] is not None for x in scanned):
        return Recurrence(scan, lattice, inputs).run()
    steps = scanned[0].shape[scan.axis] if scanned else scan.length
    if isinstance(steps, int) and 0 < steps <= STEPS:
        return _unrolled(scan, lattice, inputs, steps)
    return _fixed_point(scan, lattice, inputs, steps == 0)


def _unrolled(scan: Scan, lattice: Lattice, inputs: Sequence[Stencil], steps: int) -> tuple[Stencil, ...]:
    """Step after step. As exact as the body."""
    carries, scanned, captured = scan.split(inputs)
    rows: dict[int, list[Stencil]] = {}
    for t in reversed(range(steps)) if scan.reverse else range(steps):
        slices = [_at(lattice, x, scan.axis, t) for x in scanned]
        step = still(Type(DType.INT, ()), lattice.domain.constant(np.asarray(t)))
        outs = run_body(lattice, scan.body, [*carries, *slices, *captured, step])
        carries, rows[t] = scan.divide(outs)
    stacks = zip(*(rows[t] for t in range(steps)), strict=True)
    return (*carries, *(_stack(lattice, ys, scan.axis) for ys in stacks))


def _at(lattice: Lattice, x: Stencil, axis: int, t: int) -> Stencil:
    """Element t along an axis that is not spatial, without the axis."""
    (one,) = Slice(axis, t, t + 1).stencil(lattice, x)
    return Reshape((*x.shape[:axis], *x.shape[axis + 1 :])).stencil(lattice, one)[0]


def _stack(lattice: Lattice, parts: Sequence[Stencil], axis: int) -> Stencil:
    """Values along a new axis."""
    wide = [Reshape((*x.shape[:axis], 1, *x.shape[axis:])).stencil(lattice, x)[0] for x in parts]
    return Concat(axis).stencil(lattice, *wide)[0]


def _fixed_point(scan: Scan, lattice: Lattice, inputs: Sequence[Stencil], empty: bool) -> tuple[Stencil, ...]:
    """Conservative: a carry of which is known what holds before the first step and after every step.

    Facts only grow and knowledge only shrinks from one round to the next, so the rounds end.
    """
    if empty:
        raise no_rule(scan, "no steps")
    carries, scanned, captured = scan.split(inputs)
    slices = [_any_of(scan, lattice, x) for x in scanned]
    step = still(Type(DType.INT, ()), lattice.domain.unknown(()))
    carries = [replace(x, known=None, exact=False, regions=x.each(_unfolded)) for x in carries]
    for _ in range(ROUNDS):
        outs = run_body(lattice, scan.body, [*carries, *slices, *captured, step])
        grown = [_either(scan, lattice, c, y) for c, y in zip(carries, outs, strict=False)]
        if all(c.axes == g.axes and same(c.cell, g.cell) for c, g in zip(carries, grown, strict=True)):
            break
        carries = grown
    else:
        raise no_rule(scan, "carries that do not settle")
    _, types = scan.divide(scan.infer(*(x.type for x in inputs)))
    ys = [_along(scan, y, type) for y, type in zip(scan.divide(outs)[1], types, strict=True)]
    return (*carries, *ys)


def _unfolded(cell: Abstract) -> Abstract:
    return replace(cell, constant=None)


def _any_of(scan: Scan, lattice: Lattice, x: Stencil) -> Stencil:
    """Return what is known of every element along the axis of the steps, without the axis."""
    a = scan.axis
    if len(x.regions) > 1:
        raise no_rule(scan, "regions of positions")
    cell = joined(lattice, x.cell, a)
    maps = (np.squeeze(m, a) for m in (cell.facts, cell.zero, cell.neginf))
    shape = (*x.shape[:a], *x.shape[a + 1 :])
    made = lattice.domain.make((*cell.shape[:a], *cell.shape[a + 1 :]), *maps)
    axes = (*x.axes[:a], *x.axes[a + 1 :])
    return replace(x, type=x.type.with_shape(shape), axes=axes, regions=whole(made), known=None, exact=False)


def _either(scan: Scan, lattice: Lattice, x: Stencil, y: Stencil) -> Stencil:
    """A value that is one of two."""
    if len(x.regions) > 1 or len(y.regions) > 1:
        raise no_rule(scan, "regions of positions in the body")
    axes = x.axes
    if x.spatial or y.spatial:
        (x, y), axes = align(scan, lattice, (x, y), x.shape)
    c, d = x.cell, y.cell
    facts, zero, neginf = lattice.domain.union(c.facts, d.facts), c.zero & d.zero, c.neginf & d.neginf
    cell = lattice.domain.make(c.shape, facts, zero, neginf)
    return replace(x, axes=axes, regions=whole(cell), known=None, exact=False)


def _along(scan: Scan, y: Stencil, type: Type) -> Stencil:
    """The same value at every step, along the axis of the steps."""
    a = scan.axis
    if len(y.regions) > 1:
        raise no_rule(scan, "regions of positions in the body")
    c, n = y.cell, extent(type.shape[a])
    facts, zero, neginf = (np.expand_dims(m, a) for m in (c.facts, c.zero, c.neginf))
    cell = Abstract((*c.shape[:a], n, *c.shape[a:]), facts, zero, neginf)
    return Stencil(type, (*y.axes[:a], None, *y.axes[a:]), whole(cell), exact=False)


class Recurrence:
    """Offset sets of a loop along a spatial axis, lag by lag.

    What step t reads of step t - m goes m times through the body. As the body joins, once the sets of one lag are
    those of the lag before moved by one step, so are all later ones, and their sum is a half-line.
    """

    #: Lags that are followed one by one. Boolean matrices of the sizes that occur settle within a few.
    LAGS: ClassVar[int] = 32

    def __init__(self, scan: Scan, lattice: Lattice, inputs: Sequence[Stencil]) -> None:
        self.scan, self.lattice, self.inputs = scan, lattice, inputs
        self.carries, self.scanned, self.captured = scan.split(inputs)
        at = [x.axes[scan.axis] for x in self.scanned]
        axis = next((a for a in at if a is not None), None)
        if axis is None:
            raise no_rule(scan, "steps along an axis that is not spatial")
        if any(x.band is not None for x in inputs) or (axis.own, axis.step, axis.outer) != (1, 1, 1):
            raise no_rule(scan, "a strided loop")
        self.axis = axis
        self.here = replace(axis, slot=_STEP)
        self.by = 1 if scan.reverse else -1

    def run(self) -> tuple[Stencil, ...]:
        """Return the offset sets of a recurrence along a spatial axis.

        Raises `NoRule` for lags without a fixed point.
        """
        scan, lattice = self.scan, self.lattice
        slices = [self.slice(x) for x in self.scanned]
        step = still(Type(DType.INT, ()), lattice.domain.unknown(()))
        carries, outs = self.settled(slices, self.captured, step)
        total = [x.cell.facts for x in outs]
        still_inputs = [self.quiet(x) for x in (*slices, *self.captured)]
        for _ in range(self.LAGS):
            moved = [
                self.with_facts(x, lattice.shift(y.cell.facts, self.here, self.by))
                for x, y in zip(carries, outs, strict=False)
            ]
            again = run_body(lattice, scan.body, [*moved, *still_inputs, step])
            if all(_equal(y.cell.facts, x.cell.facts) for x, y in zip(moved, again, strict=False)):
                line = Offsets.up_to(0).mirror() if scan.reverse else Offsets.up_to(0)
                past = [lattice.absorb(y.cell.facts, self.here, _STEP, line) for y in again]
                total = [lattice.domain.union(t, p) for t, p in zip(total, past, strict=True)]
                break
            total = [lattice.domain.union(t, y.cell.facts) for t, y in zip(total, again, strict=True)]
            outs = again
        else:
            raise no_rule(scan, "lags that do not settle")
        uses_step = scan.reads_step
        return self.results(again, total, exact(self.inputs) and exact(again) and not uses_step)

    def settled(
        self, slices: Sequence[Stencil], captured: Sequence[Stencil], step: Stencil
    ) -> tuple[list[Stencil], list[Stencil]]:
        """The first carries with what stays zero, or minus infinity, through every step; and the results of that step."""
        carries = [
            replace(x, known=None, regions=x.each(lambda c: replace(c, constant=None))) for x in self.carries
        ]
        for _ in range(self.LAGS):
            outs = run_body(self.lattice, self.scan.body, [*carries, *slices, *captured, step])
            if any(len(x.regions) > 1 for x in outs):
                raise self.refusal("regions of positions in the body")
            kept = [self._known(x, y) for x, y in zip(carries, outs, strict=False)]
            if all(same(x.cell, y.cell) for x, y in zip(carries, kept, strict=True)):
                return carries, outs
            carries = kept
        raise self.refusal("known zeros that do not settle")

    def refusal(self, why: str) -> NoRule:
        return no_rule(self.scan, why)

    def quiet(self, x: Stencil) -> Stencil:
        """The same value as one that reads nothing."""
        nothing = self.lattice.domain.make(()).facts
        return replace(
            x, regions=x.each(lambda c: replace(c, facts=nothing.reshape((1,) * (len(c.shape) + 1))))
        )

    def slice(self, x: Stencil) -> Stencil:
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

    def with_facts(self, x: Stencil, facts: Array) -> Stencil:
        """A carry with other facts."""
        c = x.cell
        return replace(x, regions=whole(self.lattice.domain.make(c.shape, facts, c.zero, c.neginf)))

    def results(self, outs: Sequence[Stencil], total: Sequence[Array], precise: bool) -> tuple[Stencil, ...]:
        """Return the last carries, which read everything along the axis, and the ys, which have the axis again.

        Raises `NoRule` for ys with a second axis along that of the steps.
        """
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


def _equal(x: Array, y: Array) -> bool:
    """Whether two maps that broadcast against each other are the same."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    return bool(np.array_equal(np.broadcast_to(x, shape), np.broadcast_to(y, shape)))
