"""Receptive fields: which stretch of an input each layer sees, how far apart, how padded, how centred, and what it
misses. From offset sets, so for every size; the interior of a map, away from its borders, is what is described.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product

import numpy as np

from mpcompile.analysis.stencils import OffsetSets, elements, expanded, offset_sets, phases
from mpcompile.ir import Graph, NoRule, Value
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import Stencil


@dataclass(frozen=True, slots=True)
class Hull:
    """The range that one phase reads along one axis, from `low` to `high`; None: no end.

    Both are relative to the start of its period.
    """

    low: int | None
    high: int | None

    @property
    def size(self) -> int | None:
        return None if self.low is None or self.high is None else self.high - self.low + 1

    @property
    def centre(self) -> Fraction | None:
        return None if self.low is None or self.high is None else Fraction(self.low + self.high, 2)


@dataclass(frozen=True, slots=True)
class AxisField:
    """The receptive field along one axis of the source.

    axis      which axis of the source
    phases    the hull of each phase of a period (one, but after upsampling)
    jump      source positions between neighbours: the effective stride; 0 where the value has no such axis
    padding   source positions that position 0 reads before the start; None when unbounded
    centred   whether all phases are centred alike: centre - phase * jump is one number
    aligned   whether every join of paths before it brought together paths that are centred alike (a stride with
              SAME padding often does not)
    """

    axis: int
    phases: tuple[Hull, ...]
    jump: Fraction
    centred: bool
    aligned: bool

    @property
    def size(self) -> int | None:
        """The largest hull of any phase; None when unbounded."""
        sizes = [h.size for h in self.phases]
        return None if None in sizes else max((s for s in sizes if s is not None), default=0)

    @property
    def padding(self) -> int | None:
        low = self.phases[0].low if self.phases else 0
        return None if low is None else -low

    @property
    def centre(self) -> Fraction | None:
        """Centre of position 0, if all phases agree on it."""
        return self.phases[0].centre if self.phases and self.centred else None


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of a value: along each axis, and the exact offsets of every phase.

    `offsets` maps a phase (one number for each axis) to the set of offsets, relative to the start of the period.
    `exact` is false where a rule on the way is an upper bound.
    """

    axes: tuple[AxisField, ...]
    offsets: Mapping[tuple[int, ...], Offsets]
    exact: bool

    @property
    def size(self) -> int | None:
        """Along the axis where it is largest; None when unbounded."""
        sizes = [a.size for a in self.axes]
        return None if None in sizes else max((s for s in sizes if s is not None), default=0)

    @property
    def aligned(self) -> bool:
        return all(a.centred and a.aligned for a in self.axes)

    @property
    def blind(self) -> float:
        """Share of the box around the offsets that is not seen, of all phases; unbounded axes count by their windows."""
        seen = box = 0
        for s in self.offsets.values():
            inside = boxed(s)
            seen, box = seen + int(inside.sum()), box + inside.size
        return 1 - seen / box if box else 0.0


def boxed(s: Offsets) -> np.ndarray:
    """Return the bits of a set within the smallest box around it; unbounded sides are cut at its window."""
    bits = s.bits
    for axis in range(s.rank):
        hit = np.flatnonzero(np.moveaxis(bits, axis, 0).reshape(bits.shape[axis], -1).any(1))
        bits = bits.take(range(int(hit[0]), int(hit[-1]) + 1), axis) if hit.size else bits
    return bits


def unions(stencil: Stencil, rank: int) -> dict[tuple[int, ...], Offsets]:
    """Return the offsets of every phase, all channels together."""
    found: dict[tuple[int, ...], Offsets] = {}
    wide = expanded(stencil)
    for index, sets in elements(wide):
        phase = phases(wide, index, rank)
        for _, s in sets:
            found[phase] = found[phase].union(s) if phase in found else s
    return found


def field_of(stencil: Stencil, rank: int, aligned: tuple[bool, ...] | None = None) -> ReceptiveField:
    """Return the receptive field of a value with offset sets about a source of `rank` spatial axes."""
    found = unions(stencil, rank)
    axes = []
    for k in range(rank):
        own = next((a for a in stencil.axes if a is not None and a.source == k), None)
        jump = Fraction(own.step, own.own) if own is not None else Fraction(0)
        hulls: dict[int, Offsets] = {}
        for phase, s in found.items():
            hulls[phase[k]] = hulls[phase[k]].union(s) if phase[k] in hulls else s
        each = [(p, Hull(*hulls[p].bounds(k))) for p in sorted(hulls)]
        centres = {None if h.centre is None else h.centre - p * jump for p, h in each}
        axes.append(
            AxisField(k, tuple(h for _, h in each), jump, len(centres) <= 1, aligned is None or aligned[k])
        )
    return ReceptiveField(tuple(axes), found, stencil.exact)


@dataclass
class _Alignment:
    """The alignment of a source's axes: whether the paths that meet at a value, and before it, are centred alike."""

    sets: OffsetSets
    graph: Graph
    rank: int
    known: dict[Value, tuple[bool, ...]] = field(default_factory=dict)
    centres: dict[Value, tuple[Fraction | None, ...]] = field(default_factory=dict)

    def run(self) -> dict[Value, tuple[bool, ...]]:
        for node in self.graph.nodes():
            reading = [v for v in node.inputs if self._reads(v)]
            good = tuple(
                all(self.known[v][k] for v in reading)
                and len({c for v in reading if (c := self._centre(v)[k]) is not None}) <= 1
                for k in range(self.rank)
            )
            self.known.update(dict.fromkeys(node.outputs, good))
        self.graph.settle(lambda v, w: self.known[v] == self.known[w])
        return self.known

    def _reads(self, value: Value) -> bool:
        s = self.sets.values[value]
        return isinstance(s, Stencil) and any(r.cell.facts.any() for r in s.regions)

    def _centre(self, value: Value) -> tuple[Fraction | None, ...]:
        """Centres of position 0; None where there is no bound, or the value has two axes along one of the source."""
        if value not in self.centres:
            s = self.sets.of(value)
            sources = [a.source for a in s.axes if a is not None]
            if len(s.regions) > 1 or len(set(sources)) < len(sources):
                self.centres[value] = (None,) * self.rank
            else:
                self.centres[value] = tuple(a.centre for a in field_of(s, self.rank).axes)
        return self.centres[value]


def receptive_fields(graph: Graph, source: str) -> dict[str, ReceptiveField | NoRule]:
    """Return the receptive field of every named layer, under the dotted scope of its last value, and of every output.

    Where a primitive on the way has no rule for offset sets, that is the answer. Layers that read nothing of the
    source are left out.
    """
    sets = offset_sets(graph, source)
    rank = len(sets.axes)
    aligned = _Alignment(sets, graph, rank).run()
    named: dict[str, Value] = {}
    for node in graph.nodes():
        for depth in range(1, len(node.scope) + 1):
            named[".".join(f.name for f in node.scope[:depth])] = node.outputs[0]
    named |= graph.outputs
    out: dict[str, ReceptiveField | NoRule] = {}
    for name, value in named.items():
        s = sets.values[value]
        if isinstance(s, NoRule):
            out[name] = s
        elif any(r.cell.facts.any() for r in s.regions):
            sources = [a.source for a in s.axes if a is not None]
            if len(s.regions) > 1 or len(set(sources)) < len(sources):
                out[name] = NoRule(graph.node(value).op, "receptive field (a value of pairs of positions)")
            else:
                out[name] = field_of(s, rank, aligned[value])
    return out


def picture(seen: np.ndarray, allowed: np.ndarray, place: tuple[int, int]) -> str:
    """Draw a map of a plane: `#` seen, `o` allowed and not seen, `.` not allowed, `X` the element itself."""
    rows = []
    for i, j in product(*map(range, seen.shape)):
        mark = "X" if (i, j) == place else "#" if seen[i, j] else "o" if allowed[i, j] else "."
        rows.append(mark + ("\n" if j == seen.shape[1] - 1 else ""))
    return "".join(rows).rstrip("\n")
