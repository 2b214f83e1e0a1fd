"""Mask fusion: a program reads weights that are stored without what their masks remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, Constant, Graph, Input, Node, Parameter, Value, number
from mpcompile.ops import build as F
from mpcompile.passes.base import LIVE, Condition, Pass, PassResult
from mpcompile.passes.packing.layout import Layout, Packed
from mpcompile.passes.packing.orders import (
    Units,
    gathers,
    is_leaf,
    masked_product,
    masked_weight,
    products,
    runs_along,
    spreads,
)
from mpcompile.passes.packing.plan import is_kernel, plan


@dataclass(frozen=True)
class FuseMasks(Pass):
    """Graph to graph: weights under masks are read from boxes that leave out what the masks remove.

    Does      a product `x (W * M)^T` becomes row blocks, each of which reads only its live prefix of the columns, units
              sorted by degree; a masked kernel becomes the bounding box of its live taps. No mask is multiplied with:
              dead elements are zero, and stay so (`ParameterSpec.support`, `Optimizer.keeps_zeros`).
    Keeps     every output up to the order in which a sum adds its terms, if the boxes hold what `Layout.packed` gives.
    Only      weights whose uses are products, or convolutions, under one mask; another use reads the weight put together.
    Refuses   weights of regions and of bodies of loops.
    Options   `blocks`: how many row blocks, where not the costs decide it; `layout`: the boxes, where they are chosen.
    """

    name: ClassVar[str] = "mask_fusion"
    requires: ClassVar[tuple[Condition, ...]] = (LIVE,)
    ensures: ClassVar[tuple[Condition, ...]] = (LIVE,)
    blocks: int = 0
    layout: Layout | None = None

    def call(self, graph: Graph) -> Graph | PassResult:
        layout = plan(graph, self.blocks) if self.layout is None else self.layout
        read = layout.weights.keys() & graph.parameters().keys()
        if not read or graph.cuts:
            return graph
        done = [_remark(layout.weights[name]) for name in sorted(read)]
        return PassResult(_Fuse(graph, layout).graph(), True, tuple(r for r in done if r))


def _remark(w: Packed) -> str:
    """Say how a weight is stored; nothing of one whose order alone changes."""
    size = int(np.prod(w.shape))
    boxes = "one box" if len(w.boxes) == 1 else f"{len(w.boxes)} boxes"
    return f"{w.name}: {w.stored} of {size} elements in {boxes}" if w.stored < size else ""


@dataclass(eq=False)
class _Fuse:
    """One run over a graph. Each value is there in the order of its class, and in others where a node asks for them."""

    old: Graph
    layout: Layout

    def __post_init__(self) -> None:
        self.units = Units(self.old)
        self.new = Graph(self.old.name)
        self.b = Builder(self.new)
        #: The order that the last axis of a value is in, by value of the old graph; no entry for its own order.
        self.order: dict[Value, Array] = {}
        self.made: dict[tuple[Value, bytes], Value] = {}
        self.whole: dict[str, Value] = {}
        self.wanted: dict[Value, Array] = {}
        for p in products(self.old):
            if (w := self._blocks(p.name, p.mask)) is not None:
                for value, order in zip((p.result, p.given), w.order, strict=True):
                    if order is not None:
                        self.wanted.setdefault(self.units.of(value), order)

    def graph(self) -> Graph:
        for node in self.old.nodes():
            with self.b.within(node.scope, node.span):
                self._node(node)
        self.new.inputs = {k: self.made[v, b""] for k, v in self.old.inputs.items()}
        self.new.outputs = {k: self.get(v, None) for k, v in self.old.outputs.items()}
        return self.new.live()

    def _blocks(self, name: str, mask: Constant) -> Packed | None:
        """The boxes of a weight, if they were chosen for this mask."""
        w = self.layout.weights.get(name)
        return w if w is not None and mask.stored.shape == w.shape and _fits(w, mask) else None

    # --- values ---

    def get(self, value: Value, order: Array | None) -> Value:
        """A value of the old graph in the new one, with its last axis in an order."""
        key = (value, b"" if order is None else order.tobytes())
        if key not in self.made:
            self.made[key] = (
                self._leaf(value, order) if is_leaf(self.old, value) else self._taken(value, order)
            )
        return self.made[key]

    def _taken(self, value: Value, order: Array | None) -> Value:
        own = self.order.get(value)
        there = self.made[value, b"" if own is None else own.tobytes()]
        node = self.new.node(there)
        index = np.arange(number(there.shape[-1])) if order is None else order
        with self.b.within(node.scope, node.span):
            return F.take(
                self.b, there, there.type.rank - 1, index if own is None else np.argsort(own)[index]
            )

    def _leaf(self, value: Value, order: Array | None) -> Value:
        node = self.old.node(value)
        with self.b.within(node.scope, node.span):
            if isinstance(node.op, Parameter):
                return self._parameter(node.op, order)
            assert isinstance(node.op, Constant)
            array = node.op.stored if order is None else node.op.stored.take(order, -1)
            return self.b.emit(replace(node.op, stored=array))

    def _parameter(self, op: Parameter, order: Array | None) -> Value:
        w = self.layout.weights.get(op.path)
        own = None if w is None or len(w.boxes) > 1 else w.order[-1]
        if w is not None and own is not None and order is not None and np.array_equal(own, order):
            return w.emit(self.b)[0]
        if op.path not in self.whole:
            self.whole[op.path] = self.b.emit(op) if w is None else w.emit_whole(self.b)
        found = self.whole[op.path]
        return found if order is None else F.take(self.b, found, found.type.rank - 1, order)

    # --- nodes ---

    def _node(self, node: Node) -> None:
        if isinstance(node.op, Parameter | Constant):
            return
        if isinstance(node.op, Input):
            self.made[node.outputs[0], b""] = self.new.copy(node, ()).outputs[0]
            return
        y, order = node.outputs[0], None
        made: Sequence[Value] | None = None
        if (p := masked_product(self.old, node)) and (w := self._blocks(p.name, p.mask)):
            made, order = [self._product(w, p.given)], w.order[0]
        elif self._kernel(node) is not None:
            made = [self._conv(node)]
        elif (found := masked_weight(self.old, y)) and self._blocks(found[0].path, found[1]):
            weight = next(v for v in node.inputs if self.old.node(v).op is found[0])
            made = [self.get(weight, None)]  # its dead elements are zero
        elif spreads(node):
            order = self.wanted.get(self.units.of(y))
            inputs = [self.get(v, order if runs_along(v.shape, y.shape) else None) for v in node.inputs]
            made = self.new.copy(node, tuple(inputs)).outputs
        elif gathers(node, node.inputs[0]) if node.inputs else False:
            made = self.new.copy(node, (self.get(node.inputs[0], self.order.get(node.inputs[0])),)).outputs
        else:
            made = self.new.copy(node, tuple(self.get(v, None) for v in node.inputs)).outputs
        if order is not None:
            self.order[y] = order
        for old, new in zip(node.outputs, made, strict=True):
            self.made[old, b"" if order is None else order.tobytes()] = new

    def _product(self, w: Packed, given: Value) -> Value:
        """Row blocks of a product, side by side."""
        b, x = self.b, self.get(given, w.order[1])
        axis, parts = x.type.rank - 1, []
        for box, weight in zip(w.boxes, w.emit(b), strict=True):
            read = box[1][1]
            part = x if read == w.shape[1] else F.slice_axis(b, x, axis, 0, read)
            parts.append(b.emit(ops.MatMul(), part, F.transpose(b, weight, 1, 0)))
        return parts[0] if len(parts) == 1 else F.concat(b, parts, axis)

    def _kernel(self, node: Node) -> Packed | None:
        """The box of a convolution's kernel."""
        if not isinstance(node.op, ops.Conv) or not is_kernel(node, node.inputs[1]):
            return None
        found = masked_weight(self.old, node.inputs[1])
        return None if found is None else self._blocks(found[0].path, found[1])

    def _conv(self, node: Node) -> Value:
        """A convolution with the taps of a box: where less than nothing is padded, the input is sliced."""
        b, op, w = self.b, node.op, self._kernel(node)
        assert isinstance(op, ops.Conv) and w is not None
        x, padding = self.get(node.inputs[0], None), []
        for axis, ((start, stop), size) in enumerate(zip(w.boxes[0][2:], w.shape[2:], strict=True)):
            (low, high), step = op.padding[axis], op.dilation[axis]
            low, high = low - start * step, high - (size - stop) * step
            if low < 0 or high < 0:
                end = x.shape[2 + axis] - max(-high, 0)
                x = b.emit(ops.Slice(2 + axis, max(-low, 0), end, 1), x)
            padding.append((max(low, 0), max(high, 0)))
        (weight,) = w.emit(b)
        return b.emit(replace(op, padding=tuple(padding)), x, weight)


def _fits(w: Packed, mask: Constant) -> bool:
    """Whether the boxes hold every element that a mask keeps, and none that it removes."""
    boxes = [np.ones(s, bool) if m is None else m.stored for s, m in zip(w.shapes, w.live, strict=True)]
    return bool(np.array_equal(w.whole(boxes), mask.stored))


__all__ = ["FuseMasks"]
