"""Offset sets: what a shift-equivariant value reads of the source, relative to its own place, at every size at once.

A value's *spatial* axes are those along which it is a translate of itself: its elements at positions q P + φ read the
source at q J + o for the offsets o of phase φ, whatever q is (stride multiplies J, upsampling P). So all there is to
know about it fits one period, a *cell* of P positions along each spatial axis and of the real size along the others.
A cell is an `Abstract` over a `Domain` whose elements are interned sets (`Reads`): every dependence rule that does not
act along a spatial axis holds on cells as it stands.

Borders are not seen: zero padding only cuts paths off, so a set is an upper bound near a border, and exact inside
unless `exact` is false.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import lcm
from typing import Any

import numpy as np

from mpcompile.budget import tick
from mpcompile.ir.facts import Abstract, Domain
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.primitive import Array
from mpcompile.ir.size import Symbolic
from mpcompile.ir.types import Shape, Type

#: What a set is relative to: a class of source elements (a channel), and for each source axis the slot of the axis of
#: the value that it moves with.
Anchor = tuple[int, tuple[int, ...]]

#: The whole line of differences of two positions.
WHOLE_LINE = Offsets.everything(1)


class Reads:
    """The source elements that one element reads: an offset set for each anchor. Interned: equal ones are identical."""

    __slots__ = ("sets",)

    def __init__(self, sets: tuple[tuple[Anchor, Offsets], ...]) -> None:
        self.sets = sets

    def __repr__(self) -> str:
        return f"Reads({self.sets})"


class Lattice:
    """The join-semilattice of `Reads` about a source with `axes` spatial axes; bottom is the number 0."""

    def __init__(self, axes: int, domain: Domain | None = None) -> None:
        """`domain` in place of offset sets: then no value may be spatial, so every axis is one number or all alike."""
        self.axes = axes
        self._pool: dict[tuple[tuple[Anchor, Offsets], ...], Reads] = {}
        self._memo: dict[tuple[Any, ...], Reads | int] = {}
        self.domain = domain or Domain(np.frompyfunc(self._join, 2, 1), np.dtype(object), 1)
        #: The spatial axis of the source that has a symbolic size.
        self.along: dict[int | Symbolic, int] = {}

    def intern(self, sets: dict[Anchor, Offsets]) -> Reads | int:
        kept = tuple(sorted(((a, s) for a, s in sets.items() if s), key=lambda pair: pair[0]))
        if not kept:
            return 0
        found = self._pool.get(kept)
        if found is None:
            found = self._pool[kept] = Reads(kept)
        return found

    def here(self, kind: int = 0) -> Reads | int:
        """The element at the same place."""
        return self.intern({(kind, (0,) * self.axes): Offsets.point(*(0,) * self.axes)})

    def _join(self, x: Reads | int, y: Reads | int) -> Reads | int:
        if x is y or not isinstance(y, Reads):
            return x
        if not isinstance(x, Reads):
            return y
        key = (id(x), id(y)) if id(x) < id(y) else (id(y), id(x))
        found = self._memo.get(key)
        if found is None:
            tick()
            sets = dict(x.sets)
            for anchor, s in y.sets:
                sets[anchor] = sets[anchor].union(s) if anchor in sets else s
            found = self._memo[key] = self.intern(sets)
        return found

    # --- maps of whole arrays ---

    def map(
        self, facts: Array, key: tuple[Any, ...], change: Callable[[Anchor, Offsets], tuple[Anchor, Offsets]]
    ) -> Array:
        """Apply one change to every set of every element, each distinct element once."""

        def one(x: Reads | int) -> Reads | int:
            if not isinstance(x, Reads):
                return 0
            found = self._memo.get((id(x), *key))
            if found is None:
                tick()
                sets: dict[Anchor, Offsets] = {}
                for before, s in x.sets:
                    anchor, new = change(before, s)
                    sets[anchor] = sets[anchor].union(new) if anchor in sets else new
                found = self._memo[(id(x), *key)] = self.intern(sets)
            return found

        if facts.size == 1:  # the common case, without the ufunc's overhead
            out = np.empty(facts.shape, object)
            out.fill(one(facts.item()))
            return out
        return np.asarray(np.frompyfunc(one, 1, 1)(facts))

    def shift(self, facts: Array, axis: Axis, by: int) -> Array:
        """Facts of the element `by` source positions further along an axis."""
        if by == 0:
            return facts

        def change(anchor: Anchor, s: Offsets) -> tuple[Anchor, Offsets]:
            return anchor, s.shift(axis.source, by) if anchor[1][axis.source] == axis.slot else s

        return self.map(facts, ("shift", axis.source, axis.slot, by), change)

    def windows(self, facts: Array, axis: Axis, start: int, step: int, count: int) -> Array:
        """Join of the facts of `count` elements: those `start`, `start + step`, ... source positions further along."""
        if (start, count) == (0, 1):
            return facts

        def change(anchor: Anchor, s: Offsets) -> tuple[Anchor, Offsets]:
            moves = anchor[1][axis.source] == axis.slot
            return anchor, s.repeated(axis.source, start, step, count) if moves else s

        return self.map(facts, ("windows", axis.source, axis.slot, start, step, count), change)

    def relabel(self, facts: Array, source: int, old: int, new: int) -> Array:
        """The same facts after an axis got another slot."""

        def change(anchor: Anchor, s: Offsets) -> tuple[Anchor, Offsets]:
            kind, slots = anchor
            if slots[source] != old:
                return anchor, s
            return (kind, (*slots[:source], new, *slots[source + 1 :])), s

        return self.map(facts, ("relabel", source, old, new), change)

    def absorb(self, facts: Array, axis: Axis, onto: int, along: Offsets) -> Array:
        """Join over the positions j of an axis with j - i in `along`, where i is the position of slot `onto`."""

        def change(anchor: Anchor, s: Offsets) -> tuple[Anchor, Offsets]:
            kind, slots = anchor
            k = axis.source
            if slots[k] != axis.slot:
                return anchor, s
            return (kind, (*slots[:k], onto, *slots[k + 1 :])), s.smear(k, along)

        return self.map(facts, ("absorb", axis.source, axis.slot, onto, along), change)

    def settled(self, facts: Array) -> Array:
        """Facts that read every anchor's own place and nothing else of it."""
        here = Offsets.point(*(0,) * self.axes)
        return self.map(facts, ("settled",), lambda anchor, s: (anchor, here))

    def fixed(self, facts: Array, axis: Axis) -> bool:
        """Whether no element moves with an axis: it reads nothing, or everything along it."""
        seen = {id(x): x for x in facts.reshape(-1) if isinstance(x, Reads)}
        return all(
            s.covers(axis.source)
            for x in seen.values()
            for (_, slots), s in x.sets
            if slots[axis.source] == axis.slot
        )


@dataclass(frozen=True, slots=True)
class Axis:
    """A spatial axis of a value: `own` positions of it for `step` positions along axis `source` of the source.

    Two axes of one value that run along the same source axis (queries and keys) differ in `slot`. An axis that others
    were merged with, as [N, time] -> [N * time], runs along the source `outer` times, once for each element of these
    others; no rule acts along it.
    """

    source: int
    own: int = 1
    step: int = 1
    slot: int = 0
    outer: int | Symbolic = 1


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a value with two axes along one source axis: where the difference of positions is in `where`."""

    where: Offsets
    cell: Abstract


@dataclass(frozen=True, slots=True)
class Linear:
    """An integer that is a linear function of the place.

    It is the sum of coefficient x position over (axis, coefficient), plus a constant. Axes are (source, slot)
    pairs.
    """

    terms: tuple[tuple[tuple[int, int], int], ...]
    constant: int = 0

    def plus(self, other: Linear, sign: int = 1) -> Linear:
        total = dict(self.terms)
        for axis, c in other.terms:
            total[axis] = total.get(axis, 0) + sign * c
        terms = tuple(sorted((a, c) for a, c in total.items() if c))
        return Linear(terms, self.constant + sign * other.constant)


@dataclass(frozen=True, slots=True)
class Places:
    """Positions chosen within windows by a max-pooling: per spatial axis its kernel, stride and padding."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Stencil:
    """The facts of a value that hold at every size.

    type     with its real shape
    axes     for each axis, whether and how it is spatial
    regions  cells; more than one when `band` = (source axis) has two slots and elements differ by region
    band     the source axis along which regions are told apart, by position of slot 1 minus that of slot 0
    known    what is known of integers: that they are linear in the place, or places within windows
    exact    whether the sets are exact inside; else they are upper bounds
    """

    type: Type
    axes: tuple[Axis | None, ...]
    regions: tuple[Region, ...]
    band: int | None = None
    known: Linear | Places | None = None
    exact: bool = field(default=True)

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def cell(self) -> Abstract:
        """The only cell."""
        (region,) = self.regions
        return region.cell

    @property
    def spatial(self) -> bool:
        return any(a is not None for a in self.axes)

    def each(self, change: Callable[[Abstract], Abstract]) -> tuple[Region, ...]:
        return tuple(Region(r.where, change(r.cell)) for r in self.regions)


def whole(cell: Abstract) -> tuple[Region, ...]:
    """Return the regions of a value that has only one."""
    return (Region(WHOLE_LINE, cell),)


def extent(size: int | Symbolic) -> int:
    """Return the length in a cell of an axis that is not spatial: symbolic axes have two elements, which are alike."""
    return 2 if isinstance(size, Symbolic) else size


def still(type: Type, cell: Abstract, exact: bool = True) -> Stencil:
    """Return a value without spatial axes."""
    return Stencil(type, (None,) * type.rank, whole(cell), exact=exact)


# --- changes of one cell along one axis ---


def reaxis(cell: Abstract, axis: int, length: int) -> Abstract:
    """Return the same maps over another length of an axis along which they are compressed."""
    shape = (*cell.shape[:axis], length, *cell.shape[axis + 1 :])
    return replace(cell, shape=shape, constant=None if cell.constant is None else _respread(cell, shape))


def _respread(cell: Abstract, shape: tuple[int, ...]) -> Array | None:
    """A constant that is one number everywhere, at another shape."""
    assert cell.constant is not None
    first = cell.constant.reshape(-1)[:1]
    if first.size and (cell.constant == first).all():
        return np.broadcast_to(first.reshape((1,) * len(shape)), shape)
    return None


def uniform(cell: Abstract, axis: int) -> bool:
    """Return whether nothing known of a cell changes along an axis."""
    return all(m.shape[axis] == 1 for m in (cell.facts, cell.zero, cell.neginf))


def sample(lattice: Lattice, cell: Abstract, axis: int, of: Axis, positions: list[int]) -> Abstract:
    """Return the elements at some positions along a spatial axis as a cell of their own.

    Positions may lie outside of the cell.
    """
    if positions == list(range(of.own)):
        return replace(cell, constant=None)
    parts = []
    for p in positions:
        period, phase = divmod(p, of.own)
        facts = cell.facts if cell.facts.shape[axis] == 1 else cell.facts.take([phase], axis)
        parts.append(lattice.shift(facts, of, period * of.step))
    index = [p % of.own for p in positions]

    def pick(m: Array) -> Array:
        return m if m.shape[axis] == 1 else m.take(index, axis)

    shape = (*cell.shape[:axis], len(positions), *cell.shape[axis + 1 :])
    facts = parts[0] if len(parts) == 1 else np.concatenate(parts, axis)
    return lattice.domain.make(shape, facts, pick(cell.zero), pick(cell.neginf))


def finer(lattice: Lattice, cell: Abstract, axis: int, of: Axis, own: int) -> tuple[Abstract, Axis]:
    """Return the same axis with a multiple of its period."""
    if own == of.own:
        return cell, of
    factor = own // of.own
    return sample(lattice, cell, axis, of, list(range(own))), replace(of, own=own, step=of.step * factor)


def common(axes: list[Axis]) -> int | None:
    """Return the period that axes of one rate have in common; None when their rates differ."""
    first = axes[0]
    if any(
        a.own * first.step != first.own * a.step or (a.source, a.outer) != (first.source, first.outer)
        for a in axes
    ):
        return None
    return lcm(*(a.own for a in axes))
