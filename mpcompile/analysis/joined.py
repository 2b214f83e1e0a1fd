"""Decide whether positions that a path joins are certainly joined: the terms along the path do not cancel.

A path is one of the graph. Where everything on all paths between two positions cancels (a norm over one element, v - v),
the output is constant in the position, and nothing joins them. A position is all its elements, redrawn together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mpcompile.analysis.certain import Certain, cause, certain, doubt
from mpcompile.analysis.dependence import support
from mpcompile.analysis.field import afford
from mpcompile.analysis.paths import before, distances, order_of, positions_of
from mpcompile.analysis.verdict import free_symbols
from mpcompile.ir import Array, Graph, Module
from mpcompile.ir.field import PRIME

#: Positions of a long sequence that are redrawn.
POSITIONS = 64


@dataclass(frozen=True)
class Joined:
    """The lower bounds about pairs (output element, source position) at some sizes.

    assumptions  of what was seen
    seen         whether some wanted pair is certainly joined
    cancelled    a wanted pair (source, output, the output's name) that is not, with how many there are
    open         why pairs that were not seen may be joined all the same; empty where they cancel
    cause        what is known to cancel
    """

    assumptions: tuple[str, ...] = ()
    seen: bool = False
    cancelled: tuple[tuple[int, ...], tuple[int, ...], str] | None = None
    count: int = 0
    open: str = ""
    cause: str = ""

    @property
    def note(self) -> str:
        pairs = "1 pair is" if self.count == 1 else f"{self.count} pairs are"
        return f"{pairs} joined by paths alone: nothing changes modulo {PRIME}"


def joined(module: Module, name: str, graph: Graph, env: Mapping[str, int], least: int = 0) -> Joined:
    """Decide the pairs that the order allows and a path joins; with `least`, those that no shorter path joins.

    Raises `NoRule` and `TooLarge`.
    """
    positions = positions_of(graph, name, env)
    groups = [np.flatnonzero(positions.reshape(-1) == p) for p in range(int(positions.max()) + 1)]
    tables = distances(graph, name, env, positions) if least else {}
    out, order = Joined(), order_of(module, name)
    for output, value in graph.outputs.items():
        shape = value.type.concrete(env)[1:]
        if least:
            wanted = tables[output][0] >= least
        else:
            reads = support(graph, name, output, env).value
            wanted = np.stack([reads[:, g].any(1) for g in groups], 1).reshape(*shape, len(groups))
            if order is not None:
                wanted = wanted & before(graph, order, env, positions, wanted)
        wanted = wanted.reshape(-1, len(groups))
        wanted = _some(wanted) if free_symbols(graph) else wanted
        if not wanted.any():
            continue
        afford(graph, env, int(wanted.any(0).sum()))
        found = certain(module, graph, name, env, wanted, outputs=(output,), groups=groups)
        out = _with(out, found, wanted, positions, shape, output)
    return out if out.cancelled is None else _explained(out, graph)


def _some(wanted: Array) -> Array:
    """The wanted pairs of at most `POSITIONS` positions of a sequence, the first and the last among them."""
    columns = np.flatnonzero(wanted.any(0))
    kept = np.zeros(wanted.shape[1], bool)
    kept[columns[np.linspace(0, len(columns) - 1, min(POSITIONS, len(columns))).astype(int)]] = True
    return wanted & kept


def _with(
    out: Joined, found: Certain, wanted: Array, positions: Array, shape: tuple[int, ...], output: str
) -> Joined:
    """The answer with that of one more output."""
    unseen = wanted & ~found.bound.value
    seen = out.seen or bool((wanted & found.bound.value).any())
    assumptions = out.assumptions + tuple(a for a in found.assumptions if a not in out.assumptions)
    if not unseen.any():
        return Joined(assumptions, seen, out.cancelled, out.count, out.open)
    pair, open_ = out.cancelled, out.open or doubt(found)
    if pair is None:
        row, column = map(int, np.argwhere(unseen)[0])
        source = np.argwhere(positions == column)[0]
        pair = tuple(map(int, source)), tuple(map(int, np.unravel_index(row, shape))), output
    return Joined(assumptions, seen, pair, out.count + int(unseen.sum()), open_)


def _explained(out: Joined, graph: Graph) -> Joined:
    return Joined(out.assumptions, out.seen, out.cancelled, out.count, out.open, cause(graph))


__all__ = ["Joined", "joined"]
