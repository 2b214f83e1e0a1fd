"""Sets of offsets in the integer lattice: finite ones, half-lines, bands and their unions, in any dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpcompile.ir.primitive import Array


@dataclass(frozen=True, eq=False)
class Offsets:
    """A set of integer vectors as a window of bits whose edges go on for ever.

    `o` is in the set iff `bits[clip(o - origin)]`: outside of the window the nearest cell decides. A finite set has
    false edges, a half-line one true edge, everything is one true cell. Windows are as small as they can be, so
    equal sets have equal windows (`of` sees to it).
    """

    origin: tuple[int, ...]
    bits: Array

    @classmethod
    def of(cls, origin: Sequence[int], bits: Array) -> Offsets:
        """The set of a window, with repeated edges cut off."""
        start = list(origin)
        for axis in range(bits.ndim):
            size = bits.shape[axis]
            if size == 1:
                start[axis] = 0
                continue
            rows = np.moveaxis(bits, axis, 0).reshape(size, -1)
            change = np.flatnonzero((rows[1:] != rows[:-1]).any(1))
            if not change.size:
                bits, start[axis] = bits.take([0], axis), 0
            elif change[0] > 0 or change[-1] < size - 2:
                kept = (slice(None),) * axis + (slice(int(change[0]), int(change[-1]) + 2),)
                bits, start[axis] = bits[kept], start[axis] + int(change[0])
        return cls(
            tuple(start), np.ascontiguousarray(bits).reshape(bits.shape)
        )  # which has one axis at least

    @classmethod
    def point(cls, *at: int) -> Offsets:
        """One vector."""
        bits = np.zeros((3,) * len(at), bool)
        bits[(1,) * len(at)] = True
        return cls(tuple(a - 1 for a in at), bits)

    @classmethod
    def everything(cls, rank: int) -> Offsets:
        return cls((0,) * rank, np.ones((1,) * rank, bool))

    @classmethod
    def up_to(cls, last: int) -> Offsets:
        """The half-line of numbers that are at most `last`."""
        return cls((last,), np.array([True, False]))

    @cached_property
    def key(self) -> tuple[tuple[int, ...], tuple[int, ...], bytes]:
        return self.origin, self.bits.shape, self.bits.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Offsets) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __bool__(self) -> bool:
        return bool(self.bits.any())

    @property
    def rank(self) -> int:
        return len(self.origin)

    def window(self, low: Sequence[int], size: Sequence[int]) -> Array:
        """The bits of a box, from `low` on."""
        bits = self.bits
        for axis, (lo, n, at) in enumerate(zip(low, size, self.origin, strict=True)):
            if (lo, n) != (at, bits.shape[axis]):
                index = np.arange(lo - at, lo - at + n).clip(0, bits.shape[axis] - 1)
                bits = bits.take(index, axis)
        return bits

    def _box(self, other: Offsets) -> tuple[list[int], list[int]]:
        """The smallest box around both windows; an axis of length one has no place of its own."""
        low, size = [], []
        for axis in range(self.rank):
            spans = [
                (s.origin[axis], s.origin[axis] + s.bits.shape[axis])
                for s in (self, other)
                if s.bits.shape[axis] > 1
            ]
            lo = min((a for a, _ in spans), default=0)
            low.append(lo)
            size.append(max((b for _, b in spans), default=1) - lo)
        return low, size

    def union(self, other: Offsets) -> Offsets:
        low, size = self._box(other)
        return Offsets.of(low, self.window(low, size) | other.window(low, size))

    def intersection(self, other: Offsets) -> Offsets:
        low, size = self._box(other)
        return Offsets.of(low, self.window(low, size) & other.window(low, size))

    def complement(self) -> Offsets:
        return Offsets(self.origin, ~self.bits)

    def shift(self, axis: int, by: int) -> Offsets:
        if self.bits.shape[axis] == 1:
            return self
        at = self.origin
        return Offsets((*at[:axis], at[axis] + by, *at[axis + 1 :]), self.bits)

    def mirror(self) -> Offsets:
        """The negatives of a set of numbers."""
        if len(self.bits) == 1:
            return self
        return Offsets((1 - self.origin[0] - len(self.bits),), self.bits[::-1])

    def smear(self, axis: int, along: Offsets) -> Offsets:
        """The sum with a set of numbers along one axis: {o + m e_axis : m in along} (Minkowski)."""
        out = Offsets((0,) * self.rank, np.zeros((1,) * self.rank, bool))
        bits, start = along.bits, along.origin[0]
        if bits[0]:  # all numbers up to `start`: a running join from above
            run = np.flip(np.logical_or.accumulate(np.flip(self.bits, axis), axis), axis)
            out = out.union(Offsets.of(self.origin, run).shift(axis, start))
        if bits[-1]:
            run = np.logical_or.accumulate(self.bits, axis)
            out = out.union(Offsets.of(self.origin, run).shift(axis, start + len(bits) - 1))
        edges = np.flatnonzero(np.diff(np.concatenate([[False], bits[1:-1], [False]]).astype(np.int8)))
        for first, stop in edges.reshape(-1, 2):
            reach, width = self, 1
            while width < stop - first:  # a run of n numbers by doubling
                step = min(width, int(stop - first) - width)
                reach, width = reach.union(reach.shift(axis, step)), width + step
            out = out.union(reach.shift(axis, start + 1 + int(first)))
        return out

    def repeated(self, axis: int, start: int, step: int, count: int) -> Offsets:
        """The union of `count` translates along one axis: by `start`, `start + step`, ...; by doubling."""
        reach, many = self.shift(axis, start), 1
        while many < count:
            more = min(many, count - many)
            reach, many = reach.union(reach.shift(axis, more * step)), many + more
        return reach

    def bounds(self, axis: int) -> tuple[int | None, int | None]:
        """Least and greatest number along an axis; None where there is no bound. The set is not empty."""
        rows = np.asarray(np.moveaxis(self.bits, axis, 0).reshape(self.bits.shape[axis], -1).any(1))
        hit = np.flatnonzero(rows)
        low = None if rows[0] else self.origin[axis] + int(hit[0])
        high = None if rows[-1] else self.origin[axis] + int(hit[-1])
        return low, high

    def periodic(self, axis: int, step: int) -> bool:
        """Whether its translates by multiples of `step` along an axis leave nothing out that any translate has."""
        rows = np.moveaxis(self.bits, axis, 0)
        if step == 1 or rows[0].any() or rows[-1].any():
            return step == 1 or len(rows) == 1
        each = [rows[r::step].any(0) for r in range(step)]
        return all(bool(np.array_equal(e, each[0])) for e in each)

    def covers(self, axis: int) -> bool:
        """Whether the set is the same for every number along an axis."""
        return bool(self.bits.shape[axis] == 1)

    def __repr__(self) -> str:
        return f"Offsets({self.origin}, {self.bits.astype(int).tolist()})"
