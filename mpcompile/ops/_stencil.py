"""Helpers of the offset-set rules of primitives: aligning operands, and acting along a spatial axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import gcd

import numpy as np

from mpcompile.ir import Abstract, Array, Graph, NoRule, Primitive, Shape, Type, Value
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import (
    WHOLE_LINE,
    Axis,
    Lattice,
    Linear,
    Region,
    Stencil,
    common,
    finer,
    reaxis,
    sample,
    still,
    uniform,
    whole,
)
from mpcompile.ir.walk import run


class _Two(dict[str, int]):
    """An environment in which every symbol is two."""

    def __missing__(self, key: str) -> int:
        return 2


TWO = _Two()


def no_rule(op: Primitive, why: str) -> NoRule:
    """Return the error for operands that the stencil rule of a primitive does not cover, ready to raise."""
    return NoRule(op, f"stencil ({why})")


def results(op: Primitive, inputs: Sequence[Stencil]) -> tuple[Type, ...]:
    """Return the types of a primitive's results for stencils as inputs."""
    return op.infer(*(x.type for x in inputs))


def exact(inputs: Sequence[Stencil]) -> bool:
    """Return whether all inputs are exact."""
    return all(x.exact for x in inputs)


def pointwise(op: Primitive, lattice: Lattice, inputs: Sequence[Stencil]) -> tuple[Stencil, ...]:
    """Apply the rule of a primitive that broadcasts its operands and acts on each element alone.

    Its dependence rule holds on every cell as it is; regions are refined until each operand has one cell in each.
    """
    types = results(op, inputs)
    if not any(x.spatial for x in inputs):
        cells = op.bind(TWO).depend(lattice.domain, *(x.cell for x in inputs))
        return tuple(still(t, c, exact(inputs)) for t, c in zip(types, cells, strict=True))
    operands, axes = align(op, lattice, inputs, types[0].shape)
    band = next((x.band for x in operands if x.band is not None), None)
    made = [(where, op.depend(lattice.domain, *cells)) for where, cells in refine(op, operands)]
    return tuple(
        Stencil(t, axes, tuple(Region(w, cells[i]) for w, cells in made), band, exact=exact(inputs))
        for i, t in enumerate(types)
    )


def refine(op: Primitive, inputs: Sequence[Stencil]) -> Iterator[tuple[Offsets, list[Abstract]]]:
    """Yield the regions on which every operand has one cell, with these cells.

    Raises `NoRule` for bands along two axes.
    """
    if len({x.band for x in inputs if x.band is not None}) > 1:
        raise no_rule(op, "bands along two axes")

    def split(
        where: Offsets, cells: list[Abstract], rest: Sequence[Stencil]
    ) -> Iterator[tuple[Offsets, list[Abstract]]]:
        if not rest:
            yield where, cells
            return
        for region in rest[0].regions:
            both = where if region.where is WHOLE_LINE else where.intersection(region.where)
            if both:
                yield from split(both, [*cells, region.cell], rest[1:])

    yield from split(WHOLE_LINE, [], inputs)


# --- alignment ---


def align(
    op: Primitive, lattice: Lattice, inputs: Sequence[Stencil], shape: Shape
) -> tuple[list[Stencil], tuple[Axis | None, ...]]:
    """Spread the cells of operands over one period; return them with the axes of the shape to which they broadcast.

    Raises `NoRule` where operands run at different rates, or one is not the same all along a spatial axis of
    another.
    """
    rank, operands, axes = len(shape), list(inputs), list[Axis | None]()
    simple = _already(operands, shape)
    if simple is not None:
        return operands, simple
    taken: set[tuple[int, int]] = set()
    for a in range(rank):
        held: list[Axis] = []
        for n, x in enumerate(operands):
            i = a - rank + len(x.axes)
            axis = x.axes[i] if i >= 0 else None
            if axis is None:
                continue
            if x.shape[i] == 1 and shape[a] != 1:
                operands[n] = release(op, lattice, x, i)
            else:
                held.append(axis)
        if not held:
            axes.append(None)
            continue
        own = common(held)
        if own is None:
            raise no_rule(op, "operands run at different rates")
        slot = held[0].slot
        while (held[0].source, slot) in taken:
            slot += 1
        taken.add((held[0].source, slot))
        target = replace(held[0], own=own, step=held[0].step * own // held[0].own, slot=slot)
        axes.append(target)
        for n, x in enumerate(operands):
            i = a - rank + len(x.axes)
            if (i >= 0 and x.shape[i] != 1) or (i >= 0 and x.axes[i] is not None):
                operands[n] = fit(op, lattice, x, i, target)
    return operands, tuple(axes)


def _already(operands: Sequence[Stencil], shape: Shape) -> tuple[Axis | None, ...] | None:
    """The axes that all spatial operands share, when no other operand reaches along them; else None."""
    axes = next(x.axes for x in operands if x.spatial)
    if len(axes) != len(shape):
        return None
    for x in operands:
        if x.spatial:
            if x.axes != axes or (
                x.shape != shape
                and any(s != t for s, t, a in zip(x.shape, shape, axes, strict=True) if a is not None)
            ):
                return None
        else:
            tail = axes[len(axes) - len(x.axes) :] if x.axes else ()
            if any(a is not None and s != 1 for s, a in zip(x.shape, tail, strict=True)):
                return None
    return axes


def fit(op: Primitive, lattice: Lattice, x: Stencil, i: int, target: Axis) -> Stencil:
    """Bring one axis of an operand to the period and the slot of `target`.

    Raises `NoRule` where the axis cannot have them.
    """
    axis = x.axes[i]
    if axis is None:
        if not all(uniform(r.cell, i) for r in x.regions):
            raise no_rule(op, "an operand that changes from place to place")
        return _with(x, i, target, lambda c: reaxis(c, i, target.own))
    if axis == target:
        return x
    if axis.slot != target.slot:
        if x.band is not None or any(
            a is not None and (a.source, a.slot) == (target.source, target.slot) for a in x.axes
        ):
            raise no_rule(op, "axes along one source axis in another order")
        moved = x.each(
            lambda c: replace(c, facts=lattice.relabel(c.facts, axis.source, axis.slot, target.slot))
        )
        x = replace(x, regions=moved)
    old = replace(axis, slot=target.slot)
    return _with(x, i, target, lambda c: finer(lattice, c, i, old, target.own)[0])


def _with(x: Stencil, i: int, axis: Axis | None, change: Callable[[Abstract], Abstract]) -> Stencil:
    return replace(x, axes=(*x.axes[:i], axis, *x.axes[i + 1 :]), regions=x.each(change), known=None)


def release(op: Primitive, lattice: Lattice, x: Stencil, i: int) -> Stencil:
    """Make an axis of length one of a value no longer spatial. Raises `NoRule` where an element moves with the axis."""
    axis = x.axes[i]
    assert axis is not None
    if x.band == axis.source or not all(lattice.fixed(r.cell.facts, axis) for r in x.regions):
        raise no_rule(op, "an element at one place is read from everywhere")
    return _with(x, i, None, lambda c: reaxis(joined(lattice, c, i), i, 1))


def joined(lattice: Lattice, cell: Abstract, axis: int) -> Abstract:
    """Join the phases of a cell along an axis; zeros and -inf that hold for all phases stay known."""
    if uniform(cell, axis):
        return cell
    facts = cell.facts
    if facts.shape[axis] > 1:
        facts = lattice.domain.join.reduce(facts, axis=axis, keepdims=True)
    zero, neginf = (np.all(m, axis=axis, keepdims=True) for m in (cell.zero, cell.neginf))
    return Abstract(cell.shape, facts, zero, neginf)


def beside(op: Primitive, lattice: Lattice, inputs: Sequence[Stencil]) -> tuple[Stencil, ...]:
    """Apply the rule of a primitive that acts along one axis and, for each place of the others, alone.

    The axis is spatial in no operand.
    """
    if not any(x.spatial for x in inputs):
        return pointwise(op, lattice, inputs)
    (type,) = results(op, inputs)
    operands, axes = align(op, lattice, inputs, type.shape)
    band = next((x.band for x in operands if x.band is not None), None)
    made = [Region(where, op.depend(lattice.domain, *cells)[0]) for where, cells in refine(op, operands)]
    return (Stencil(type, axes, tuple(made), band, exact=exact(inputs)),)


# --- acting along a spatial axis ---


def absorbed(op: Primitive, lattice: Lattice, x: Stencil, i: int) -> tuple[Abstract, bool]:
    """Join everything along one spatial axis to one cell in which that axis has two equal elements. Raises `NoRule`.

    With a second axis along the same source axis, the join is over the positions that each region relates to it.
    """
    axis = x.axes[i]
    assert axis is not None
    partner = next(
        (a for n, a in enumerate(x.axes) if a is not None and n != i and a.source == axis.source), None
    )
    if x.band is not None and (partner is None or x.band != axis.source):
        raise no_rule(op, "regions along another axis")
    total: Abstract | None = None
    precise = x.exact
    for region in x.regions:
        cell = joined(lattice, region.cell, i)
        where = region.where if axis.slot > (partner.slot if partner else -1) else region.where.mirror()
        if where is not WHOLE_LINE and (axis.own, axis.step) != (1, 1):
            raise no_rule(op, "a band of a strided axis")
        precise &= _covered(cell.facts, axis)
        facts = lattice.absorb(cell.facts, axis, partner.slot if partner else 0, where)
        cell = replace(cell, facts=facts, constant=None)
        if total is not None:
            facts = lattice.domain.union(total.facts, facts)
            cell = Abstract(cell.shape, facts, total.zero & cell.zero, total.neginf & cell.neginf)
        total = cell
    assert total is not None
    return reaxis(total, i, 2), precise


def _covered(facts: Array, axis: Axis) -> bool:
    """Whether a join along a whole axis of some stride misses nothing, so that "everything" is exact."""
    if axis.step == 1:
        return True
    sets = {s for x in facts.reshape(-1) if x for (_, slots), s in x.sets if slots[axis.source] == axis.slot}
    return all(s.periodic(axis.source, axis.step) for s in sets)


def without(op: Primitive, lattice: Lattice, x: Stencil, over: Sequence[int]) -> Stencil:
    """Prepare some axes of x for a rule that is not spatial: they are spatial no longer, and have no constants."""
    for i in over:
        if x.axes[i] is not None:
            cell, precise = absorbed(op, lattice, x, i)
            axes = (*x.axes[:i], None, *x.axes[i + 1 :])
            x = replace(x, axes=axes, regions=whole(cell), band=None, exact=precise, known=None)
        elif not isinstance(x.shape[i], int):
            x = replace(x, regions=x.each(lambda c: replace(c, constant=None)))
    return x


def forget(lattice: Lattice, x: Stencil) -> Stencil:
    """Return an upper bound in which no axis is spatial.

    An element that reads anything along a source axis reads all of it.
    """
    cell: Abstract | None = None
    for region in x.regions:
        c = region.cell
        for i, axis in enumerate(x.axes):
            if axis is None:
                continue
            c = joined(lattice, c, i)
            size = x.shape[i]
            facts = lattice.absorb(c.facts, axis, 0, WHOLE_LINE)
            c = reaxis(replace(c, facts=facts, constant=None), i, size if isinstance(size, int) else 2)
        if cell is not None:
            c = Abstract(
                c.shape, lattice.domain.union(cell.facts, c.facts), cell.zero & c.zero, cell.neginf & c.neginf
            )
        cell = c
    assert cell is not None
    lost = any(r.cell.facts.any() for r in x.regions)
    return still(x.type, cell, x.exact and not lost)


def read_at(
    op: Primitive,
    lattice: Lattice,
    x: Stencil,
    i: int,
    first: Callable[[int], int],
    stride: int,
    count: int = 1,
) -> tuple[Stencil, int]:
    """Return x along one axis as result position φ reads it: `count` elements for each φ of one period of the result.

    Result position φ reads positions `first(φ), first(φ) + ...`: `first` takes φ * count + tap and moves on by `stride`
    from one φ to the next. Gives the value and the period of the result, whose axis is set.

    Raises `NoRule` where x has a band along the axis, or others are merged with it.
    """
    axis = unmerged(op, x, i)
    if x.band == axis.source:
        raise no_rule(op, "a shift of a band")
    own = axis.own // gcd(axis.own, stride)
    positions = [first(n) for n in range(own * count)]
    target = replace(axis, own=own, step=axis.step * own * stride // axis.own)
    return _with(x, i, target, lambda c: sample(lattice, c, i, axis, positions)), own


def unmerged(op: Primitive, x: Stencil, i: int) -> Axis:
    """Return a spatial axis that a primitive acts along. Raises `NoRule` where others are merged with it."""
    axis = x.axes[i]
    assert axis is not None
    if axis.outer != 1:
        raise no_rule(op, "along an axis that others are merged with")
    return axis


def shifted(op: Primitive, lattice: Lattice, x: Stencil, i: int, by: int, stride: int = 1) -> Stencil:
    """Return y[p] = x[p * stride + by] along one axis. Raises `NoRule` where others are merged with it."""
    unmerged(op, x, i)
    if by == 0 and stride == 1:
        return x
    return read_at(op, lattice, x, i, lambda n: n * stride + by, stride)[0]


# --- loops ---


def run_body(lattice: Lattice, graph: Graph, inputs: Sequence[Stencil]) -> list[Stencil]:
    """Return the stencils of a loop body's outputs, inputs and outputs in the order of its signature."""
    known: dict[Value, Stencil] = dict(zip(graph.inputs.values(), inputs, strict=True))
    found = run(graph.nodes(), known, lambda node, *xs: node.op.stencil(lattice, *xs))
    return [found[v] for v in graph.outputs.values()]


def unsure(x: Stencil, border: float | None = None) -> Stencil:
    """Return x with other elements beyond its borders: zeros stay known where `border` is 0, -inf where it is -inf."""

    def forgetful(cell: Abstract) -> Abstract:
        zero, neginf = cell.zero & (border == 0), cell.neginf & (border == -np.inf)
        return Abstract(cell.shape, cell.facts, zero, neginf)

    return replace(x, regions=x.each(forgetful))


# --- whole numbers that are known from their place ---


def linear(x: Stencil) -> Linear | None:
    """Return x as a linear function of the place, or None where it is not known to be one."""
    if isinstance(x.known, Linear):
        return x.known
    constant = x.regions[0].cell.constant
    if len(x.regions) == 1 and constant is not None and constant.size == 1 and constant.dtype.kind == "i":
        return Linear((), int(constant.reshape(-1)[0]))
    return None


def half_plane(difference: Linear) -> tuple[int, Offsets] | None:
    """Return where `difference` is at most zero.

    The answer is (source axis, positions of slot 1 minus slot 0), or None where this is no such band.
    """
    if len(difference.terms) != 2:
        return None
    ((s, a), ca), ((t, b), cb) = difference.terms
    if s != t or (a, b) != (0, 1) or (ca, cb) not in ((1, -1), (-1, 1)):
        return None
    c = difference.constant
    if cb == 1:  # d + c <= 0
        return s, Offsets.up_to(-c)
    return s, Offsets.up_to(c - 1).complement()  # -d + c <= 0
