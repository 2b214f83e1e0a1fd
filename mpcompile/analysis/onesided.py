"""Decide whether all operations on the way move in one direction, so that the borders of a sequence cut no path.

A path from an earlier place to a later one, each of whose steps stays or goes on, lies between the two; so it is there at
every length that has both. A step ahead and back may leave the sequence at its end, and then it is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mpcompile.analysis.stencils import OffsetSets
from mpcompile.ir import Graph, Node, NoRule, Value
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import Stencil


def two_sided(graph: Graph, sets: OffsetSets) -> Node | None:
    """Find the first operation between the source and an output that reads ahead of its own place; None if none does.

    Each operation's own rule is asked, of operands that read the source at their own place and nowhere else. An operation
    whose places are not those of the source (strides, several axes) counts as one that reads ahead.
    """
    return _first(graph, sets, _ahead)


def bordered(graph: Graph, sets: OffsetSets) -> Node | None:
    """Find the first operation on the way that reads some places beside its own, but not all; None if there is none.

    Without one, what an element reads is the same at the ends of a sequence as inside, whatever its direction.
    """
    return _first(graph, sets, _beside)


def _first(graph: Graph, sets: OffsetSets, test: Callable[[Stencil], bool]) -> Node | None:
    """The first operation on the way from the source to an output with a result for which a test holds."""
    used = set(graph.outputs.values())
    needed = {v.node for v in used}
    for node in reversed(graph.nodes()):
        if node.id in needed:
            used.update(node.inputs)
            needed.update(v.node for v in node.inputs)
    for node in graph.nodes():
        if node.id not in needed or not any(_reads(sets, v) for v in node.inputs):
            continue
        operands = [_still(sets, v) for v in node.inputs]
        try:
            found = node.op.stencil(sets.lattice, *operands)
        except NoRule:
            return node
        if any(test(s) for v, s in zip(node.outputs, found, strict=True) if v in used):
            return node
    return None


def _reads(sets: OffsetSets, value: Value) -> bool:
    return any(r.cell.facts.any() for r in sets.of(value).regions)


def _still(sets: OffsetSets, value: Value) -> Stencil:
    """The same value, as if each element read the source at its own place alone."""
    known = sets.of(value)
    regions = known.each(lambda c: replace(c, facts=sets.lattice.settled(c.facts)))
    return replace(known, regions=regions)


def _beside(s: Stencil) -> bool:
    """Whether any element reads other places than its own, but not all of them."""
    here = Offsets.point(0)
    sets = (o for r in s.regions for f in r.cell.facts.reshape(-1) if f for _, o in f.sets)
    return any(not (o.covers(0) or o == here) for o in sets)


def _ahead(s: Stencil) -> bool:
    """Whether any element reads a later place than its own, or has no place of its own to compare with."""
    if any(a is not None and (a.own, a.step) != (1, 1) for a in s.axes):
        return True
    for region in s.regions:
        for reads in {id(f): f for f in region.cell.facts.reshape(-1) if f}.values():
            for _, offsets in reads.sets:
                high = offsets.bounds(0)[1]
                if offsets.rank != 1 or high is None or high > 0:
                    return True
    return False
