"""Elements of a value that read their own place of an input alone: then a sum over classes goes place by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpcompile.analysis.blame import readable
from mpcompile.analysis.dependence import identity, interpret, support, witness
from mpcompile.analysis.stencils import (
    aligned_with,
    at_every_length,
    elements,
    expanded,
    offset_sets,
    phases,
)
from mpcompile.analysis.verdict import free_symbols
from mpcompile.diagnostics import PathStep
from mpcompile.ir import Array, Graph, NoRule, Symbolic, Type, availability
from mpcompile.ir.offsets import Offsets

#: What symbols are where a path is shown that is not of every length.
SHOWN = 4


@dataclass(frozen=True)
class Elsewhere:
    """An element that reads another place, or may: a path from the place that it reads, empty where none was found."""

    path: tuple[PathStep, ...] = ()


def elsewhere(graph: Graph, source: str, output: str) -> Elsewhere | None:
    """Return how an output reads other places of `source` than its own; None if it is shown not to, at every size.

    Both have the shape [N, ...]. The bound on what is read is from above, so None is a proof.
    """
    if source not in graph.inputs:
        return None
    symbols = free_symbols(graph)
    sizes = dict.fromkeys(symbols, SHOWN)
    if not symbols:
        return _stray(graph, source, output, sizes)
    if _at_every_length(graph, source, output):
        return None
    return _stray(graph, source, output, sizes) or Elsewhere()


def _stray(graph: Graph, source: str, output: str, sizes: dict[str, int]) -> Elsewhere | None:
    """The first element that reads another place at some sizes, with the path on which it does."""
    env = {**sizes, "N": 1}
    reads = support(graph, source, output, env).value
    other = np.argwhere(reads & ~np.eye(len(reads), dtype=bool))
    if not len(other):
        return None
    reader, read = other[0]
    shape = graph.inputs[source].type.concrete(env)
    seed = np.zeros((*shape, 1), np.int32)
    seed.reshape(-1)[read] = 1
    memory = interpret(graph, availability(), {source: seed}, env)
    index = tuple(int(i) for i in np.unravel_index(reader, shape))
    return Elsewhere(tuple(readable(witness(graph, memory, env, graph.outputs[output], index))))


def _at_every_length(graph: Graph, source: str, output: str) -> bool:
    """Return whether an output is shown to read its own place alone, along axes of fixed and of symbolic size."""
    type_ = graph.inputs[source].type
    try:
        return _along_fixed(graph, source, output, type_) and _along_symbolic(graph, source, output, type_)
    except NoRule:
        return False


def _along_fixed(graph: Graph, source: str, output: str, type_: Type) -> bool:
    """Return it along fixed axes, by exact sets whose elements along symbolic axes count as one."""
    sizes = [s if isinstance(s, int) else 1 for s in type_.shape]
    count = int(np.prod(sizes))
    if count == 1:
        return True
    domain, seed = identity(count)
    facts = at_every_length(graph, domain, {graph.inputs[source]: seed.reshape(*sizes, domain.words)})
    found = facts[graph.outputs[output]]
    if isinstance(found, NoRule):
        raise found
    own = seed.reshape(*sizes, domain.words)
    return not (found.full() & ~own).any()


def _along_symbolic(graph: Graph, source: str, output: str, type_: Type) -> bool:
    """Return it along symbolic axes, by offset sets that have the place itself and no other one."""
    if not any(isinstance(s, Symbolic) for s in type_.shape[1:]):
        return True
    sets = offset_sets(graph, source)
    stencil = sets.of(graph.outputs[output])
    if not any(r.cell.facts.any() for r in stencil.regions):
        return True
    if len(stencil.regions) > 1 or not aligned_with(stencil, sets.axes):
        return False
    wide, rank = expanded(stencil), len(sets.axes)
    return all(
        not _beside(s, phases(wide, index, rank)).any() for index, kinds in elements(wide) for _, s in kinds
    )


def _beside(offsets: Offsets, place: Sequence[int]) -> Array:
    """The bits of a set without `place`, in a window that shows every vector that is in it."""
    low = [min(o, p - 1) for o, p in zip(offsets.origin, place, strict=True)]
    high = [max(o + n, p + 2) for o, n, p in zip(offsets.origin, offsets.bits.shape, place, strict=True)]
    bits = offsets.window(low, [h - lo for h, lo in zip(high, low, strict=True)]).copy()
    bits[tuple(p - lo for p, lo in zip(place, low, strict=True))] = False
    return bits


__all__ = ["Elsewhere", "elsewhere"]
