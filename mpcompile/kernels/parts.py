"""An axis taken apart into its elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Value
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


RULES: tuple[Rule, ...] = (Rule(Unbind, (Slice,), _unbind),)
