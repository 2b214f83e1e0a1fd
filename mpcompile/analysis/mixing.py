"""Path lengths at every length of a sequence: offset sets in which the kind of an anchor counts mixing operations.

The definition is that of `analysis/paths.py`: an operation mixes where it joins, within one of its inputs, elements that
differ in what they see or in how far away they see it. Which elements do is read off the operation's own stencil rule:
it runs on the input with one token for each distinct fact, and a result mixes if it gets two tokens, or one token from
two places. So no operation needs a rule of its own for this. A token that sees the same at every place along an axis has
no place along it.

Counts are capped: what takes more than the cap allows counts as the cap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mpcompile import ops
from mpcompile.analysis.stencils import (
    OffsetSets,
    axes_of,
    reads_any,
    same_sets,
    source_of,
    spatial_axes,
    unread,
)
from mpcompile.ir import (
    Abstract,
    Array,
    DType,
    Graph,
    Input,
    NoRule,
    Parameter,
    Primitive,
    Symbolic,
    Type,
    Value,
)
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import Anchor, Lattice, Reads, Region, Stencil, extent, still
from mpcompile.ops._loop_stencil import Recurrence
from mpcompile.ops.traits import OneToOne

#: A cap above this is not attempted.
MAX_CAP = 64


def mixing_sets(graph: Graph, source: str, cap: int) -> OffsetSets:
    """Compute offset sets about a sequence by the mixing operations on the shortest path, `cap` standing for more.

    A value keeps the `NoRule` of the operation where counting stops.
    """
    type = graph.inputs[source].type
    axes = spatial_axes(type, axes_of(graph, source))
    lattice = Lattice(len(axes))
    for k, i in enumerate(axes):
        if isinstance(type.shape[i], Symbolic):
            lattice.along[type.shape[i]] = k
    counter = _Counter(lattice, cap)
    values: dict[Value, Stencil | NoRule] = {}
    for node in graph.nodes():
        if isinstance(node.op, Input | Parameter):
            own = isinstance(node.op, Input) and node.op.path == source
            cell = lattice.domain.unknown([extent(s) for s in node.types[0].shape])
            values[node.outputs[0]] = (
                source_of(lattice, type, axes, False) if own else still(node.types[0], cell)
            )
            continue
        inputs = [values[v] for v in node.inputs]
        reason = next((x for x in inputs if isinstance(x, NoRule)), None)
        results: Sequence[Stencil] = ()
        if reason is None:
            given = [x for x in inputs if isinstance(x, Stencil)]
            try:
                results = counter.apply(node.op, given)
            except NoRule as missing:
                reason = missing
            if not reads_any(given):
                results, reason = unread(lattice, graph, node, results), None
        values.update(
            zip(node.outputs, results, strict=True) if reason is None else dict.fromkeys(node.outputs, reason)
        )
    graph.settle(lambda v, w: same_sets(values[v], values[w]))
    return OffsetSets(lattice, axes, values)


@dataclass(frozen=True)
class _Counter:
    """Applies operations to offset sets whose kinds count."""

    lattice: Lattice
    cap: int
    pruned: dict[int, Reads | int] = field(default_factory=dict)

    def apply(self, op: Primitive, inputs: Sequence[Stencil]) -> tuple[Stencil, ...]:
        """Results of an operation, one more on the paths through elements that mix. Raises `NoRule`."""
        if not any(map(_reads, inputs)):
            return op.stencil(self.lattice, *inputs)
        if isinstance(op, ops.Scan):
            return _CountedLoop(op, self, inputs).run()
        outs = op.stencil(self.lattice, *inputs)
        mixed = [] if isinstance(op, OneToOne) else [
            self._mixes(op, inputs, i) for i, x in enumerate(inputs) if _varies(x)
        ]  # fmt: skip
        return tuple(self.nearest(self._longer(y, [m[n] for m in mixed])) for n, y in enumerate(outs))

    def nearest(self, x: Stencil) -> Stencil:
        """Each offset under its least count alone, so that equal distances are equal sets."""

        def one(r: object) -> Reads | int:
            if not isinstance(r, Reads):
                return 0
            if id(r) not in self.pruned:
                seen: dict[tuple[int, ...], Offsets] = {}
                sets: dict[Anchor, Offsets] = {}
                for (count, slots), s in r.sets:  # in order of counts
                    before = seen.get(slots)
                    sets[count, slots] = s if before is None else s.intersection(before.complement())
                    seen[slots] = s if before is None else s.union(before)
                self.pruned[id(r)] = self.lattice.intern(sets)
            return self.pruned[id(r)]

        change = np.frompyfunc(one, 1, 1)

        def cell(c: Abstract) -> Abstract:
            return replace(c, facts=np.asarray(change(c.facts), object).reshape(c.facts.shape))

        return replace(x, regions=x.each(cell)) if _reads(x) else x

    def farthest(self, x: Stencil) -> Stencil:
        """Return all that the last step of a loop reads, under its greatest count.

        It has no place, so which elements take how many is forgotten; the first ones take the most. They take the cap
        where the loop goes on for ever, and fewer are no more than a bound.
        """
        counts = {c for region in x.regions for r in region.cell.facts.reshape(-1)
                  if isinstance(r, Reads) for (c, _), _ in r.sets}  # fmt: skip
        if len(counts) < 2:
            return x

        def one(r: object) -> Reads | int:
            if not isinstance(r, Reads):
                return 0
            sets: dict[Anchor, Offsets] = {}
            most = max(c for (c, _), _ in r.sets)
            for (_, slots), s in r.sets:
                sets[most, slots] = sets[most, slots].union(s) if (most, slots) in sets else s
            return self.lattice.intern(sets)

        change = np.frompyfunc(one, 1, 1)

        def cell(c: Abstract) -> Abstract:
            return replace(c, facts=np.asarray(change(c.facts), object).reshape(c.facts.shape))

        return replace(x, regions=x.each(cell), exact=x.exact and max(counts) == self.cap)

    def body(self, graph: Graph, inputs: Sequence[Stencil]) -> list[Stencil]:
        """Outputs of the body of a loop."""
        memory: dict[Value, Stencil] = dict(zip(graph.inputs.values(), inputs, strict=True))
        for node in graph.nodes():
            if not isinstance(node.op, Input):
                outs = self.apply(node.op, [memory[v] for v in node.inputs])
                memory.update(zip(node.outputs, outs, strict=True))
        return [memory[v] for v in graph.outputs.values()]

    def _mixes(self, op: Primitive, inputs: Sequence[Stencil], i: int) -> list[list[Array]]:
        """Return, for each region of each result, which elements join elements of input i that differ: bool, as its
        cell.
        """
        lattice = Lattice(self.lattice.axes)
        lattice.along = self.lattice.along
        numbers: dict[int, int] = {}
        free: dict[int, list[bool]] = {}

        def token(x: object) -> Reads | int:
            if not isinstance(x, Reads):
                return 0
            number = numbers.setdefault(id(x), len(numbers))
            axes = free.setdefault(number, [all(s.covers(k) for _, s in x.sets) for k in range(lattice.axes)])
            place = _place(axes)
            return lattice.intern({(number, slots): place for (_, slots), _ in x.sets})

        def quiet(x: object) -> int:
            return 0

        def mapped(x: Stencil, change: Callable[[object], Reads | int]) -> Stencil:
            every = np.frompyfunc(change, 1, 1)

            def cell(c: Abstract) -> Abstract:
                return replace(c, facts=np.asarray(every(c.facts), object).reshape(c.facts.shape))

            return replace(x, regions=x.each(cell))

        given = [mapped(x, token if k == i else quiet) for k, x in enumerate(inputs)]
        found = op.stencil(lattice, *given)

        def several(x: object) -> bool:
            if not isinstance(x, Reads):
                return False
            kinds = {kind for (kind, _), _ in x.sets}
            return len(kinds) > 1 or any(not _single(s, free[kind]) for (kind, _), s in x.sets)

        test = np.frompyfunc(several, 1, 1)
        return [[np.asarray(test(r.cell.facts[..., 0]), bool) for r in y.regions] for y in found]

    def _longer(self, x: Stencil, where: Sequence[Sequence[Array]]) -> Stencil:
        """One more on every path through the elements where any test holds, each a mask for each region."""
        regions = []
        for n, region in enumerate(x.regions):
            cell = region.cell
            tests = [w[n] if len(w) == len(x.regions) else np.ones((1,) * x.type.rank, bool) for w in where]
            mixed: Array = tests[0] if tests else np.zeros((), bool)
            for test in tests[1:]:
                mixed = np.logical_or(mixed, test)
            if mixed.any():
                more = self.more(cell.facts)
                facts = np.where(mixed[..., None], more, cell.facts)
                cell = self.lattice.domain.make(cell.shape, facts, cell.zero, cell.neginf)
            regions.append(Region(region.where, cell))
        return replace(x, regions=tuple(regions))

    def more(self, facts: Array) -> Array:
        """The same sets, each of one kind more."""

        def change(anchor: Anchor, s: Offsets) -> tuple[Anchor, Offsets]:
            return (min(anchor[0] + 1, self.cap), anchor[1]), s

        return self.lattice.map(facts, ("more", self.cap), change)


def _reads(x: Stencil) -> bool:
    return any(r.cell.facts.any() for r in x.regions)


def _varies(x: Stencil) -> bool:
    """Whether elements of a value may differ in what they see."""
    seen = {id(r) for region in x.regions for r in region.cell.facts.reshape(-1) if isinstance(r, Reads)}
    return len(seen) > 1 or any(
        not s.covers(k)
        for region in x.regions
        for r in region.cell.facts.reshape(-1)
        if isinstance(r, Reads)
        for _, s in r.sets
        for k in range(s.rank)
    )


def _place(free: Sequence[bool]) -> Offsets:
    """The own place along axes where it matters, every place along the others."""
    bits = np.zeros([1 if f else 3 for f in free], bool)
    bits[tuple(0 if f else 1 for f in free)] = True
    return Offsets(tuple(0 if f else -1 for f in free), bits)


def _single(s: Offsets, free: Sequence[bool]) -> bool:
    """Whether a set has one place along the axes where places matter."""
    bits = s.bits
    for k, f in enumerate(free):
        if f:
            bits = np.asarray(bits.any(k, keepdims=True))
        else:
            edges = bits.take([0, -1], k)
            if edges.any():
                return False
    return int(bits.sum()) == 1


class _CountedLoop(Recurrence):
    """A loop along the sequence: what step t reads of step t - m takes m more where it is handed on.

    Step after step from the first one. After as many steps as the cap, new ones only add offsets of the capped kind; with
    those continued for ever, the carries must stay as they are in one more step, which is checked.
    """

    def __init__(self, scan: ops.Scan, counter: _Counter, inputs: Sequence[Stencil]) -> None:
        super().__init__(scan, counter.lattice, inputs)
        self.counter = counter

    def run(self) -> tuple[Stencil, ...]:
        scan, lattice = self.scan, self.lattice
        if any(map(_reads, self.carries)):
            raise self.refusal("a loop that starts from the sequence")
        slices = [self.slice(x) for x in self.scanned]
        step = still(Type(DType.INT, ()), lattice.domain.unknown(()))
        quiet, _ = self.settled([self.quiet(x) for x in slices], [self.quiet(x) for x in self.captured], step)
        carries = quiet
        for n in range(self.counter.cap + 4):
            handed = self._handed(quiet, self._body(carries, slices, step))
            if n > self.counter.cap:
                continued = [self.counter.nearest(self._continued(x)) for x in handed]
                again = self._handed(quiet, self._body(continued, slices, step))
                if all(map(_alike, continued, again)):
                    carries = continued
                    break
            carries = handed
        else:
            raise self.refusal("lags that do not settle")
        outs = self._body(carries, slices, step)
        precise = all(x.exact for x in (*self.inputs, *outs)) and not scan.reads_step
        last, ys = scan.divide(self.results(outs, [y.cell.facts for y in outs], precise))
        return (*map(self.counter.farthest, last), *ys)

    def _body(self, carries: Sequence[Stencil], slices: Sequence[Stencil], step: Stencil) -> list[Stencil]:
        outs = self.counter.body(self.scan.body, [*carries, *slices, *self.captured, step])
        if any(len(x.regions) > 1 for x in outs):
            raise self.refusal("regions of positions in the body")
        return outs

    def _handed(self, carries: Sequence[Stencil], outs: Sequence[Stencil]) -> list[Stencil]:
        """The carries of a step as the next one sees them."""
        return [
            self.counter.nearest(
                self.with_facts(x, self.counter.more(self.lattice.shift(y.cell.facts, self.here, self.by)))
            )
            for x, y in zip(carries, outs, strict=False)
        ]

    def _continued(self, x: Stencil) -> Stencil:
        """A carry with all steps before those of the capped kind in it."""
        line = Offsets.up_to(0).mirror() if self.scan.reverse else Offsets.up_to(0)
        axis = self.here

        def change(anchor: Anchor, s: Offsets) -> tuple[Anchor, Offsets]:
            far = anchor[0] == self.counter.cap and anchor[1][axis.source] == axis.slot
            return anchor, s.smear(axis.source, line) if far else s

        key = ("continued", self.scan.reverse, axis.source)
        return self.with_facts(x, self.lattice.map(x.cell.facts, key, change))


def _alike(x: Stencil, y: Stencil) -> bool:
    a, b = x.cell.facts, y.cell.facts
    first, second = np.broadcast_arrays(a, b)
    return bool(np.array_equal(first, second))


__all__ = ["MAX_CAP", "mixing_sets"]
