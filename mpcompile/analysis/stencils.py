"""Offset sets of a whole program: what each value reads of one input, relative to its own place, at every size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from mpcompile.analysis.bits import BitMatrix
from mpcompile.analysis.bounds import AtMost
from mpcompile.analysis.dependence import identity
from mpcompile.ir import (
    Abstract,
    Array,
    Domain,
    DType,
    Graph,
    Input,
    Node,
    NoRule,
    Parameter,
    Symbolic,
    Type,
    Value,
    symbols,
)
from mpcompile.ir.axes import Axes, Role, role, usual_axes
from mpcompile.ir.facts import same
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import Axis, Lattice, Stencil, extent, still, whole


@dataclass(frozen=True)
class OffsetSets:
    """Offset sets of the values of a graph about one source; a value that has none keeps the reason.

    `axes` are the spatial axes of the source, in the order of the sets' dimensions.
    """

    lattice: Lattice
    axes: tuple[int, ...]
    values: Mapping[Value, Stencil | NoRule]

    def of(self, value: Value) -> Stencil:
        """The offset sets of a value. Raises `NoRule` where a primitive before it has no rule."""
        found = self.values[value]
        if isinstance(found, NoRule):
            raise found
        return found


def axes_of(graph: Graph, source: str) -> Axes:
    """Return the names of the axes of an input; where nobody gave it names, the usual ones for its shape."""
    op = graph.node(graph.inputs[source]).op
    return (op.axes if isinstance(op, Input) else ()) or usual_axes(graph.inputs[source].shape[1:])


def spatial_axes(type: Type, axes: Axes = ()) -> tuple[int, ...]:
    """Return the axes along which a source is extended: symbolic ones, else those of space and order, by their names.

    `axes` are the names of all but the batch; without them they are the usual ones for the shape.
    """
    symbolic = tuple(i for i, s in enumerate(type.shape) if i and isinstance(s, Symbolic))
    names = axes or usual_axes(type.shape[1:])
    extended = (Role.SPACE, Role.ORDERED)
    return symbolic or tuple(i for i, name in enumerate(names, 1) if role(name, type.shape[i]) in extended)


def offset_sets(
    graph: Graph, source: str, by_channel: bool = False, axes: tuple[int, ...] | None = None
) -> OffsetSets:
    """Interpret a graph over offset sets about input `source`; other inputs read nothing.

    With `by_channel` the elements of axis 1 are told apart: they are the kinds of the anchors. `axes` are those along
    which the source is extended, by default `spatial_axes`.
    """
    type = graph.inputs[source].type
    axes = spatial_axes(type, axes_of(graph, source)) if axes is None else axes
    lattice = Lattice(len(axes))
    for k, i in enumerate(axes):
        if isinstance(type.shape[i], Symbolic):
            lattice.along[type.shape[i]] = k
    values = _run(lattice, graph, {graph.inputs[source]: source_of(lattice, type, axes, by_channel)})
    return OffsetSets(lattice, axes, values)


def at_every_length(
    graph: Graph, domain: Domain, seeds: Mapping[Value, Array]
) -> dict[Value, Abstract | NoRule]:
    """Compute upper bounds of facts over `domain` that hold whatever numbers the symbols have.

    `seeds` gives facts of inputs, or of values in the middle, [*shape, words] with one element along axes of symbolic
    size, all of whose elements are alike; such an axis has two of them here. A value without a rule keeps the reason.
    """
    cells = {v: domain.make([extent(s) for s in v.shape], facts) for v, facts in seeds.items()}
    return facts_of(graph, domain, cells)


def facts_of(graph: Graph, domain: Domain, cells: Mapping[Value, Abstract]) -> dict[Value, Abstract | NoRule]:
    """Compute the facts of `at_every_length` from all that is known of some values: facts, zeros, minus infinity."""
    found = _run(Lattice(0, domain), graph, {v: still(v.type, cell) for v, cell in cells.items()})
    return {v: s if isinstance(s, NoRule) else s.cell for v, s in found.items()}


def sets_at_every_length(graph: Graph, source: str, output: str) -> AtMost[BitMatrix]:
    """Compute `dependence.sets` for every number that the symbols have; source and output have fixed sizes.

    Raises `NoRule` and `TooLarge`.
    """
    shape = graph.inputs[source].type.concrete({"N": 1})
    size = int(np.prod(shape))
    domain, seed = identity(size)
    facts = at_every_length(graph, domain, {graph.inputs[source]: seed.reshape(*shape, domain.words)})
    found = facts[graph.outputs[output]]
    if isinstance(found, NoRule):
        raise found
    words = np.ascontiguousarray(found.full()[:1])
    return AtMost(BitMatrix(words.reshape(-1, domain.words), size))


def _run(lattice: Lattice, graph: Graph, sources: Mapping[Value, Stencil]) -> dict[Value, Stencil | NoRule]:
    """Interpret a graph by the primitives' stencil rules; inputs that are no source read nothing."""
    values: dict[Value, Stencil | NoRule] = {}
    for node in graph.nodes():
        if node.outputs[0] in sources:
            values[node.outputs[0]] = sources[node.outputs[0]]
            continue
        if isinstance(node.op, Input | Parameter):
            cell = lattice.domain.unknown([extent(s) for s in node.types[0].shape])
            values[node.outputs[0]] = still(node.types[0], cell)
            continue
        inputs, reason = list[Stencil](), None
        results: Sequence[Stencil] = ()
        for v in node.inputs:
            known = values[v]
            if isinstance(known, NoRule):
                reason = known
            else:
                inputs.append(known)
        if reason is None:
            try:
                results = node.op.stencil(lattice, *inputs)
            except NoRule as missing:
                results, reason = (), missing
            if not reads_any(inputs):
                results, reason = unread(lattice, graph, node, results), None
        values.update(
            zip(node.outputs, results, strict=True) if reason is None else dict.fromkeys(node.outputs, reason)
        )
    graph.settle(lambda v, w: same_sets(values[v], values[w]))
    return values


def same_sets(x: Stencil | NoRule, y: Stencil | NoRule) -> bool:
    """Return whether all that is known of two values is the same; False for a value that has no rule."""
    if isinstance(x, NoRule) or isinstance(y, NoRule):
        return False
    known = [(s.type, s.axes, s.band, s.known, s.exact, [r.where for r in s.regions]) for s in (x, y)]
    return known[0] == known[1] and all(
        same(r.cell, s.cell) for r, s in zip(x.regions, y.regions, strict=True)
    )


def reads_any(inputs: Iterable[Stencil]) -> bool:
    """Return whether any of these reads the source."""
    return any(r.cell.facts.any() for x in inputs for r in x.regions)


def unread(lattice: Lattice, graph: Graph, node: Node, results: Sequence[Stencil]) -> Sequence[Stencil]:
    """Return the results of an operation whose operands do not read the source, with no facts where it has no rule.

    That they read nothing is exact. What they mask may be forgotten, which leaves sets behind them inexact; so does a
    mask that places alone decide, and that is no band. But numbers that come from weights or data are zero nowhere by
    structure alone.
    """
    if not results:
        results = [
            replace(still(t, lattice.domain.unknown([extent(s) for s in t.shape])), exact=False)
            for t in node.types
        ]
    if all(x.exact for x in results) and not any(map(_unknown_mask, results)):
        return results
    leaves = _leaves(graph, node)
    if any(isinstance(v.op, Parameter) or (isinstance(v.op, Input) and v.types[0].rank > 1) for v in leaves):
        return [replace(x, exact=x.exact or x.type.dtype is DType.FLOAT) for x in results]
    if any(isinstance(v.op, Input) for v in leaves):  # one number for each example: where it ends
        return results
    return [replace(x, exact=x.exact and not _unknown_mask(x)) for x in results]


def _unknown_mask(x: Stencil) -> bool:
    """Whether these are truths along a length, of the source or another, of which it is not known which are false."""
    if x.type.dtype is not DType.BOOL or len(x.regions) > 1 or x.cell.constant is not None:
        return False
    return x.spatial or any(symbols(s) - {"N"} for s in x.type.shape)


def _leaves(graph: Graph, node: Node) -> set[Node]:
    """Nodes without operands that lead to a node: weights, inputs, constants, places."""
    seen, open_ = set[Node](), [node]
    while open_:
        for v in open_.pop().inputs:
            before = graph.node(v)
            if before not in seen:
                seen.add(before)
                open_.append(before)
    return {n for n in seen if not n.inputs}


def source_of(lattice: Lattice, type: Type, axes: Sequence[int], by_channel: bool) -> Stencil:
    """Return the source itself: each element reads itself."""
    kinds = type.shape[1] if by_channel and 1 not in axes else 1
    assert isinstance(kinds, int)
    facts = np.empty((1, kinds, *(1,) * (type.rank - 2), 1) if type.rank > 1 else (1, 1), object)
    for kind in range(kinds):
        facts[(slice(None), slice(kind, kind + 1))] = lattice.here(kind)
    along = tuple(Axis(axes.index(i)) if i in axes else None for i in range(type.rank))
    shape = [extent(s) if a is None else 1 for s, a in zip(type.shape, along, strict=True)]
    return Stencil(type, along, whole(lattice.domain.make(shape, facts)))


# --- reading results ---


def inexact(graph: Graph, sets: OffsetSets) -> str:
    """Find the first primitive with exact operands whose result is known from above only; empty where there is none."""
    for node in graph.nodes():
        found = [sets.values[v] for v in node.outputs]
        before = [sets.values[v] for v in node.inputs]
        if any(isinstance(s, Stencil) and not s.exact for s in found) and not any(
            isinstance(s, NoRule) or not s.exact for s in before
        ):
            return node.op.name
    return ""


def elements(stencil: Stencil) -> Iterator[tuple[tuple[int, ...], list[tuple[int, Offsets]]]]:
    """Yield (index in the cell, [(kind, set)]) of every element that reads anything; indices run over distinct facts.

    Raises `AssertionError` for a value with two axes along one source axis.
    """
    facts = stencil.cell.facts
    for index in product(*(range(n) for n in facts.shape[:-1])):
        reads = facts[(*index, 0)]
        if reads:
            yield index, [(kind, s) for (kind, _), s in reads.sets]


def phases(stencil: Stencil, index: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Return the place of an element within its period, along each source axis; 0 where it does not move with one."""
    at = [0] * rank
    for i, axis in enumerate(stencil.axes):
        if axis is not None and stencil.cell.facts.shape[i] > 1:
            at[axis.source] = index[i]
    return tuple(at)


def expanded(stencil: Stencil) -> Stencil:
    """Write out the facts of a value for every phase."""
    cell = stencil.cell
    shape = tuple(
        n if axis is None else axis.own for n, axis in zip(cell.facts.shape[:-1], stencil.axes, strict=True)
    )
    facts = np.broadcast_to(cell.facts, (*shape, 1))
    regions = stencil.each(lambda c: type(c)(c.shape, facts, c.zero, c.neginf))
    return Stencil(stencil.type, stencil.axes, regions, stencil.band, stencil.known, stencil.exact)


def places(axes: Sequence[int], parameter: int | None) -> tuple[int, ...]:
    """Return where a source's axes are in a distribution's parameters, which have one axis more (or, None, have not)."""
    return tuple(i + (parameter is not None and i >= parameter) for i in axes)


def aligned_with(stencil: Stencil, axes: Sequence[int]) -> bool:
    """Return whether a value has the source's own places along the given axes of it, and no other spatial axis."""
    return all(
        (
            axis is not None
            and i in axes
            and axis.source == axes.index(i)
            and axis.own == axis.step
            and (axis.slot, axis.outer) == (0, 1)
        )
        or (axis is None and i not in axes)
        for i, axis in enumerate(stencil.axes)
    )


def not_before(offsets: Offsets, place: Sequence[int], strictly: bool) -> Array:
    """Return the vectors of the set that do not precede `place` in row-major order (or, `strictly`, that follow it)."""
    low = [min(o, p - 1) for o, p in zip(offsets.origin, place, strict=True)]
    high = [max(o + n, p + 2) for o, n, p in zip(offsets.origin, offsets.bits.shape, place, strict=True)]
    size = [h - lo for h, lo in zip(high, low, strict=True)]
    bits = offsets.window(low, size).copy()
    here = int(np.ravel_multi_index([p - lo for p, lo in zip(place, low, strict=True)], size))
    bits.reshape(-1)[: here + strictly] = False
    late: Array = np.argwhere(bits) + np.asarray(low)
    return late
