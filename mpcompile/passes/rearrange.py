"""Compose slices, gathers, flips and concatenations along one axis, and read the result straight from its sources.

A coupling joins what passed and what moved, and the next one splits it again; permutations follow each other. Along one
axis slices, known gathers, flips and concatenations are all the same thing: a list of elements of some values. The list
of a composition is found without computing it, and where it is a whole value, or a stretch of one, that is what is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, Constant, Graph, Node, Value
from mpcompile.ops import build as F
from mpcompile.passes.base import LIVE, Condition, Pass


@dataclass(frozen=True)
class _Places:
    """Element i along `axis` of a value is element index[i] of sources[which[i]]."""

    axis: int
    sources: tuple[Value, ...]
    which: Array
    index: Array

    def at(self, index: Array) -> _Places:
        return _Places(self.axis, self.sources, self.which[index], self.index[index])


@dataclass(frozen=True)
class Rearrange(Pass):
    """Graph to graph: elements that several moves put somewhere are read where they come from.

    Keeps    every value bit for bit.
    Refuses  moves along an axis of unknown size, or by indices that are no constant.
    """

    name: ClassVar[str] = "rearrange"
    ensures: ClassVar[tuple[Condition, ...]] = (LIVE,)

    def call(self, graph: Graph) -> Graph:
        if not any(isinstance(n.op, ops.Concat | ops.Gather | ops.Flip) for n in graph.nodes()):
            return graph.live()
        known: dict[Value, _Places] = {}
        return graph.rebuild(lambda b, node, inputs: _moved(b, node, inputs, known)).live()


def _moved(
    b: Builder, node: Node, inputs: tuple[Value, ...], known: dict[Value, _Places]
) -> tuple[Value, ...] | None:
    """The value of a move, read from its sources; None for any other node."""
    places = _places(b.graph, node, inputs, known)
    if places is None:
        return None
    read = np.unique(places.which)
    if not len(read):  # a slice of nothing has no source
        return None
    if len(read) == 1:
        result = F.take(b, places.sources[read[0]], places.axis, places.index)
    elif isinstance(node.op, ops.Concat):
        result = b.emit(node.op, *inputs)
    else:
        sources = [places.sources[i] for i in read]
        start = np.cumsum([0, *(_size(v, places.axis) for v in sources)])
        index = start[np.searchsorted(read, places.which)] + places.index
        result = F.take(b, F.concat(b, sources, places.axis), places.axis, index)
    if result not in places.sources and not isinstance(b.graph.node(result).op, ops.Slice):
        known[result] = places
    return (result,)


def _size(value: Value, axis: int) -> int | None:
    size = value.shape[axis]
    return size if isinstance(size, int) else None


def _places(
    graph: Graph, node: Node, inputs: tuple[Value, ...], known: dict[Value, _Places]
) -> _Places | None:
    """Return where the elements of a rearrangement come from; None for another node, or one of unknown size."""
    op = node.op
    if not isinstance(op, ops.Concat | ops.Gather | ops.Flip | ops.Slice):
        return None
    axis, values = op.axis, inputs if isinstance(op, ops.Concat) else inputs[:1]
    if any(_size(v, axis) is None for v in values):
        return None
    parts = [_of(v, axis, known) for v in values]
    if isinstance(op, ops.Concat):
        return _joined(axis, parts)
    (of,) = parts
    count = len(of.index)
    if isinstance(op, ops.Flip):
        return of.at(np.arange(count)[::-1])
    if isinstance(op, ops.Slice):
        if not isinstance(op.start, int) or not isinstance(op.stop, int):
            return None
        return of.at(np.arange(op.start, op.stop, op.step))
    index = graph.node(inputs[1]).op
    if not isinstance(index, Constant) or index.array.ndim != 1:
        return None
    return of.at(np.arange(count)[index.array])


def _of(value: Value, axis: int, known: dict[Value, _Places]) -> _Places:
    found = known.get(value)
    if found is not None and found.axis == axis:
        return found
    count = _size(value, axis)
    assert count is not None
    return _Places(axis, (value,), np.zeros(count, int), np.arange(count))


def _joined(axis: int, parts: list[_Places]) -> _Places:
    sources = tuple(dict.fromkeys(v for p in parts for v in p.sources))
    number = {v: i for i, v in enumerate(sources)}
    which = [np.array([number[v] for v in p.sources])[p.which] for p in parts]
    return _Places(axis, sources, np.concatenate(which), np.concatenate([p.index for p in parts]))
