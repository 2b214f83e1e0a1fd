"""An axis taken apart, into its elements or into stretches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Node, Symbolic, Value
from mpcompile.kernels.base import Kernel, Rule, Site
from mpcompile.ops import Reshape, Slice


@dataclass(frozen=True)
class Unbind(Kernel):
    """Every element of an axis of x, in order, without the axis: queries, keys and values of one product.

    result   the element that is sliced first, in whose place all are written
    parts    the results, one for each element of the axis
    """

    name: ClassVar[str] = "unbind"
    x: Value
    axis: int
    parts: tuple[Value, ...]
    first: int

    @property
    def results(self) -> tuple[Value, ...]:
        return self.parts

    @property
    def place(self) -> int:
        return self.first


def _unbind(site: Site) -> Iterator[Kernel]:
    """The slices of length one of a value that fill an axis, each read by one reshape that drops it."""
    op, (x,) = site.node.op, site.node.inputs
    assert isinstance(op, Slice)
    count = x.shape[op.axis]
    without = (*x.shape[: op.axis], *x.shape[op.axis + 1 :])
    parts: dict[int, Value] = {}
    slices: list[int] = []
    for node in site.graph.users(x.node):
        if not isinstance(node.op, Slice) or node.inputs != (x,) or node.id not in site.within:
            continue
        readers = site.graph.users(node.id)
        alone = len(readers) == 1 and isinstance(readers[0].op, Reshape) and readers[0].id in site.within
        start = node.op.start
        if not alone or not isinstance(start, int) or start in parts or node.op.step != 1:
            return
        if node.op.axis != op.axis or node.op.stop != start + 1 or readers[0].types[0].shape != without:
            return
        parts[start] = readers[0].outputs[0]
        slices.append(node.id)
    if not isinstance(count, int) or count < 2 or sorted(parts) != list(range(count)):
        return
    if site.node.id == min(slices):
        inside = frozenset((*slices, *(v.node for v in parts.values()))) - {site.node.id}
        results = tuple(parts[i] for i in range(count))
        yield Unbind(site.graph.users(site.node.id)[0].outputs[0], inside, x, op.axis, results, site.node.id)


@dataclass(frozen=True)
class Split(Kernel):
    """Stretches of x that follow each other and fill an axis: mean and scale of one net, the gates of a cell.

    One operation of a library gives them all, and its gradient is one concatenation; each slice alone would have a
    gradient as large as x, and those be added.

    result   the stretch that is sliced first, in whose place all are written
    parts    the stretches along the axis, from the first to the last
    """

    name: ClassVar[str] = "split"
    x: Value
    axis: int
    parts: tuple[Value, ...]

    @property
    def results(self) -> tuple[Value, ...]:
        return self.parts

    @property
    def lengths(self) -> tuple[int | Symbolic, ...]:
        """Return the length of each part."""
        return tuple(v.shape[self.axis] for v in self.parts)


def _split(site: Site) -> Iterator[Kernel]:
    """Find the slices of a value along an axis, where each begins at 0 or at the end of another, up to the size."""
    op, (x,) = site.node.op, site.node.inputs
    assert isinstance(op, Slice)
    starting: dict[int | Symbolic, tuple[int | Symbolic, Node]] = {}
    for node in site.graph.users(x.node):
        if not isinstance(node.op, Slice) or node.inputs != (x,) or node.id not in site.within:
            continue
        if node.op.axis != op.axis:
            continue
        if node.op.step != 1 or node.op.start in starting or node.op.stop == node.op.start:
            return
        starting[node.op.start] = node.op.stop, node
    at: int | Symbolic = 0
    nodes = list[Node]()
    while at in starting:
        at, node = starting.pop(at)
        nodes.append(node)
    if starting or len(nodes) < 2 or at != x.shape[op.axis] or site.node.id != min(n.id for n in nodes):
        return
    inside = frozenset(n.id for n in nodes) - {site.node.id}
    yield Split(site.node.outputs[0], inside, x, op.axis, tuple(n.outputs[0] for n in nodes))


RULES: tuple[Rule, ...] = (Rule(Unbind, (Slice,), _unbind), Rule(Split, (Slice,), _split))
