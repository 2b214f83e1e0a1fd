"""Names of the axes of values, beside the graph that they are in."""

from __future__ import annotations

from collections.abc import Mapping

from mpcompile.ir import Builder, Input, Value
from mpcompile.ir.axes import Axes
from mpcompile.ops.traits import Elementwise


def known_axes(axes: Mapping[Value, Axes], b: Builder | None, value: Value) -> Axes | None:
    """Return the names of a value's axes: its own, or those of what it captures or is an element-wise function of."""
    todo, seen = [value], set[Value]()
    while todo:
        v = todo.pop()
        if v in axes:
            return axes[v]
        at = b
        while at is not None and v not in at.graph:
            at = at.outer
        if at is None or v in seen:
            continue
        seen.add(v)
        node = at.graph.node(v)
        if isinstance(node.op, Input):
            todo += [outer for outer, inner in at.captured.items() if inner == v]
        elif isinstance(node.op, Elementwise):
            todo += [w for w in node.inputs if w.shape == v.shape]
    return None


__all__ = ["known_axes"]
