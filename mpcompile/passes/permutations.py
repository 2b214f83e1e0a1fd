"""Permutations move into weights: what is reordered between layers is read in the order it is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, Constant, Graph, Node, NoRule, Value, number
from mpcompile.ops import build as F
from mpcompile.ops.reduction import Reduction
from mpcompile.passes.base import LIVE, Condition, Pass
from mpcompile.passes.weight_only import WeightOnly

#: Sums and their like, which do not care in which order they read.


@dataclass(frozen=True)
class Moved:
    """A value that is `of` with its elements along `axis` taken in the order `index` (a permutation, or a selection)."""

    of: Value
    axis: int
    index: Array


@dataclass(frozen=True)
class AbsorbPermutations(Pass):
    """Graph to graph: gathers, flips and strided slices of data by constant indices go where weights can be gathered.

    Keeps     every output, up to the order in which a sum adds its terms.
    Never     has more gathers of data than before, nor more operations (`analysis.cost`): else the graph is given back.
    How       a reordered value is followed as (value, axis, index). Element-wise primitives, and all along whose axis
              elements keep apart, are applied to the value as it is; what they read beside it is reordered the other way
              round, which moves through its own primitives up to the columns of a weight. A matrix product or a
              convolution reads a permuted axis through its weight's rows. Sums forget the order.
    Refuses   loops, whose bodies read places of their own: they read the reordered value; and a selection that does not
              keep all elements, but where it is taken from parts that were put side by side.
    """

    name: ClassVar[str] = "permutations"
    requires: ClassVar[tuple[Condition, ...]] = (LIVE,)
    ensures: ClassVar[tuple[Condition, ...]] = (LIVE,)

    def call(self, graph: Graph) -> Graph:
        if not any(_reorders(graph, n) for n in graph.nodes()):
            return graph
        absorbed = _Absorb(graph).graph()
        return absorbed if _better(absorbed, graph) else graph


def _better(new: Graph, old: Graph) -> bool:
    from mpcompile.analysis.cost import work

    def reorders(g: Graph) -> int:
        weight_only = WeightOnly()
        for node in g.nodes():
            weight_only.know(node)
        return sum(_reorders(g, n) and n.outputs[0] not in weight_only for n in g.nodes())

    costs = [work(g).products for g in (new, old)]
    return reorders(new) < reorders(old) and str(costs[0]) == str(costs[1])


def _reorders(graph: Graph, node: Node) -> bool:
    return _index(graph, node) is not None


def _index(graph: Graph, node: Node) -> tuple[int, Array] | None:
    """Axis and elements that a node takes of its first input, in a constant order; None for any other primitive."""
    op = node.op
    if not isinstance(op, ops.Flip | ops.Slice | ops.Gather):
        return None
    size = node.inputs[0].shape[op.axis]
    if not isinstance(size, int):
        return None
    places = np.arange(size)
    if isinstance(op, ops.Flip):
        return op.axis, places[::-1]
    if isinstance(op, ops.Slice):
        return (op.axis, places[op.start : op.stop : op.step]) if isinstance(op.stop, int) else None
    index = graph.node(node.inputs[1]).op
    return (op.axis, index.array) if isinstance(index, Constant) and index.array.ndim == 1 else None


class _Absorb:
    """One run over a graph. `moved` knows the reordered values of the new graph; each also has its own node there,
    which goes when nobody reads it."""

    def __init__(self, old: Graph) -> None:
        self.old, self.weight_only = old, WeightOnly()
        self.moved: dict[Value, Moved] = {}
        self.taken: dict[tuple[Value, int, bytes], Value] = {}
        self.pulled: dict[tuple[Value, int, bytes], Value | None] = {}

    def graph(self) -> Graph:
        return self.old.rebuild(self._rewrite).live()

    # --- forward ---

    def _rewrite(self, b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        found = _index(self.old, node) if node.inputs else None
        if found is not None and inputs[0] not in self.weight_only:
            return (self._taken(b, inputs[0], *found),)
        made = self._through(b, node, inputs) if any(v in self.moved for v in inputs) else None
        if made is None:
            outputs = b.emit_all(node.op, *inputs)
            self.weight_only.know(b.graph.node(outputs[0]))
            return outputs
        return (made,)

    def _taken(self, b: Builder, x: Value, axis: int, index: Array) -> Value:
        """Elements of x along an axis, from the value that x is itself taken from."""
        while True:
            known = self.moved.get(x)
            if known is not None and known.axis == axis:
                x, index = known.of, known.index[index]
                continue
            part = self._part(b, x, axis, index)
            if part is None:
                break
            x, index = part
        if np.array_equal(index, np.arange(number(x.shape[axis]))):
            return x
        key = (x, axis, np.asarray(index).tobytes())
        if key not in self.taken:
            self.taken[key] = y = F.take(b, x, axis, np.asarray(index))
            self.moved[y] = Moved(x, axis, np.asarray(index))
        return self.taken[key]

    def _part(self, b: Builder, x: Value, axis: int, index: Array) -> tuple[Value, Array] | None:
        """The one of several joined values that all elements are of."""
        node = b.graph.node(x)
        if not isinstance(node.op, ops.Concat) or node.op.axis != axis:
            return None
        start = 0
        for v in node.inputs:
            stop = start + number(v.shape[axis])
            if index.min() >= start and index.max() < stop:
                return v, index - start
            start = stop
        return None

    def _whole(self, v: Value) -> Moved | None:
        """Return how a value is permuted; None where it is not, or only some of its elements are there."""
        known = self.moved.get(v)
        return known if known is not None and known.index.size == known.of.shape[known.axis] else None

    def _through(self, b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
        """The primitive applied to what is not permuted; None where it cannot be."""
        wholes = [self._whole(v) for v in inputs]
        first = next((i for i, w in enumerate(wholes) if w is not None), None)
        if first is None or len(node.types) != 1:
            return None
        lead = wholes[first]
        assert lead is not None
        back = np.argsort(lead.index)
        try:
            moves = node.along
        except NoRule:
            return None
        axis = moves[first].get(lead.axis)
        if axis is None:
            return self._contracted(b, node, inputs, first, lead, back)
        if isinstance(node.op, ops.Scan) or node.types[0].shape[axis] != lead.index.size:
            return None
        changed: list[Value] = []
        for i, v in enumerate(inputs):
            own = next((a for a, to in moves[i].items() if to == axis), None)
            whole = wholes[i]
            if whole is not None and whole.axis == own and np.array_equal(whole.index, lead.index):
                changed.append(whole.of)
            elif own is None:
                changed.append(v)
            else:
                pulled = self._pull(b, v, own, back)
                if pulled is None:
                    return None
                changed.append(pulled)
        y = b.emit(node.op, *changed)
        return self._taken(b, y, axis, lead.index)

    def _contracted(
        self, b: Builder, node: Node, inputs: tuple[Value, ...], at: int, lead: Moved, back: Array
    ) -> Value | None:
        """A sum over the permuted axis, or a product along it with a weight."""
        op = node.op
        if isinstance(op, Reduction) and lead.axis in op.axes:
            return b.emit(op, lead.of)
        if at != 0 or len(inputs) != 2 or inputs[1] not in self.weight_only:
            return None
        match op:
            case ops.MatMul() if lead.axis == lead.of.type.rank - 1:
                return b.emit(op, lead.of, self._gathered(b, inputs[1], inputs[1].type.rank - 2, back))
            case ops.Conv(groups=1) if lead.axis == 1:
                return b.emit(op, lead.of, self._gathered(b, inputs[1], 1, back))
        return None

    # --- backward ---

    def _gathered(self, b: Builder, weight: Value, axis: int, index: Array) -> Value:
        node = b.graph.node(weight)
        with b.within(node.scope, node.span):
            if isinstance(node.op, Constant):
                return self.weight_only.learn(b, b.constant(np.take(node.op.array, index, axis)))
            indices = self.weight_only.learn(b, b.constant(index))
            return self.weight_only.learn(b, b.emit(ops.Gather(axis), weight, indices))

    def _pull(self, b: Builder, v: Value, axis: int, index: Array) -> Value | None:
        """v with every stretch of `len(index)` elements along an axis in that order; None where that has a cost."""
        key, node = (v, axis, index.tobytes()), b.graph.node(v)
        if key not in self.pulled:
            with b.within(node.scope, node.span):  # it is still a value of the layer that made it
                found = self.pulled[key] = self._pulled(b, v, axis, index)
            if (
                found is not None
                and v not in self.weight_only
                and v not in self.moved
                and index.size == v.shape[axis]
            ):
                self.moved[v] = Moved(found, axis, np.argsort(index))  # for those who read it from here on
        return self.pulled[key]

    def _pulled(self, b: Builder, v: Value, axis: int, index: Array) -> Value | None:
        size, length = v.shape[axis], index.size
        if not isinstance(size, int) or size % length:
            return None
        blocks = (np.arange(size // length)[:, None] * length + index).reshape(-1)
        if v in self.weight_only:
            return self._gathered(b, v, axis, blocks)
        known = self._whole(v)
        if known is not None and known.axis == axis and np.array_equal(known.index[blocks], np.arange(size)):
            return known.of
        node = b.graph.node(v)
        if len(node.types) != 1:
            return None
        match node.op:
            case ops.MatMul() if axis == v.type.rank - 1 and node.inputs[1] in self.weight_only:
                weight = self._gathered(b, node.inputs[1], node.inputs[1].type.rank - 1, blocks)
                return b.emit(node.op, node.inputs[0], weight)
            case ops.Conv(groups=1) if axis == 1 and node.inputs[1] in self.weight_only:
                return b.emit(node.op, node.inputs[0], self._gathered(b, node.inputs[1], 0, blocks))
            case ops.Slice(axis=own, start=start, stop=stop, step=1) if own == axis:
                if not isinstance(start, int) or not isinstance(stop, int) or start % length or stop % length:
                    return None
                inner = self._pull(b, node.inputs[0], axis, index)
                return None if inner is None else b.emit(node.op, inner)
            case ops.Reshape() if (outer := _split(node, axis)) is not None:
                inner = self._pull(b, node.inputs[0], outer, index)
                return None if inner is None else b.emit(node.op, inner)
        return self._pulled_inputs(b, node, axis, index)

    def _pulled_inputs(self, b: Builder, node: Node, axis: int, index: Array) -> Value | None:
        try:
            moves = node.along
        except NoRule:
            return None
        if not node.inputs or isinstance(node.op, ops.Scan) or not any(axis in m.values() for m in moves):
            return None
        changed = []
        for v, move in zip(node.inputs, moves, strict=True):
            own = next((a for a, to in move.items() if to == axis), None)
            inner = v if own is None else self._pull(b, v, own, index)
            if inner is None:
                return None
            changed.append(inner)
        return b.emit(node.op, *changed)


def _split(node: Node, axis: int) -> int | None:
    """The axis of a reshape's input that `axis` of its result is the innermost part of."""
    before, after = node.inputs[0].shape, node.types[0].shape
    inner = after[axis + 1 :]
    for own in range(len(before)):
        if before[own + 1 :] == inner and before[:own] == after[:own] and own < axis:
            return own
    return None


__all__ = ["AbsorbPermutations"]
