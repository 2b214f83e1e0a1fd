"""Samplers of vectors: the units of every layer, sorted by when they can be computed.

A unit of a hidden layer has no place in the vector that is drawn; availability alone says when it is known (Germain et
al. 2015 call it the unit's degree). So the units of each value are sorted by it, and a step computes a slab of them:
those that become known with the element that was drawn last. All slabs of a value have one size, that of its largest;
the surplus is computed from what is not known yet, and again, for good, in its own step. What other steps read is kept
in buffers in sorted order, so that a slab is a stretch of rows of a weight whose columns are sorted alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mpcompile import ops
from mpcompile.analysis.dependence import environment_for
from mpcompile.ir import (
    Abstract,
    Array,
    Builder,
    Input,
    Node,
    NoRule,
    Primitive,
    Value,
    availability,
)
from mpcompile.layers import functional as F
from mpcompile.passes.sampler.axes import along
from mpcompile.passes.sampler.find import Reference, Refused, needed
from mpcompile.passes.sampler.loop import close, hoist, open_loop
from mpcompile.passes.sampler.storage import Carry, resized


@dataclass(frozen=True)
class Units:
    """The units of a value, along one of its axes: the step in which each is computed, in a loop of `steps`."""

    axis: int
    when: Array
    steps: int

    @property
    def order(self) -> Array:
        """Units in sorted order."""
        return np.argsort(self.when, kind="stable")

    @property
    def places(self) -> Array:
        """Where each unit lies in sorted order."""
        return np.argsort(self.order, kind="stable")

    @property
    def starts(self) -> Array:
        """Where in sorted order the slab of each step begins; a step without units computes the last one again."""
        return np.minimum(np.searchsorted(np.sort(self.when), np.arange(self.steps)), self.when.size - 1)

    @property
    def size(self) -> int:
        """Units in a slab."""
        return max(1, int(np.bincount(self.when[self.when < self.steps], minlength=1).max()))

    @property
    def padded(self) -> Array:
        """Units in sorted order, with a surplus that lets the last slab run over."""
        return np.concatenate([self.order, np.zeros(self.size - 1, np.int64)])

    @property
    def slabs(self) -> Array:
        """Units of every slab: [steps, size]."""
        return self.padded[self.starts[:, None] + np.arange(self.size)]

    def same(self, other: Units) -> bool:
        return np.array_equal(self.when, other.when)


def plan(ref: Reference) -> dict[Value, Units]:
    """When each unit of each value that depends on what is drawn is computed. Raises `Refused`."""
    assert ref.ranks is not None
    ranks = ref.ranks.reshape(-1)
    if ref.x.type.rank != 2 or not np.array_equal(np.sort(ranks), np.arange(ranks.size)):
        raise Refused(ref.node, "draws its elements in an order that no loop follows one by one")
    env, domain = environment_for(ref.body, 1), availability()
    facts: dict[Value, Abstract] = {v: domain.make(v.type.concrete(env)) for v in ref.body.inputs.values()}
    facts[ref.x] = domain.make(ref.x.type.concrete(env), (ranks + 1).astype(np.int32).reshape(1, -1, 1))
    units = {ref.x: Units(1, ranks, ranks.size)}
    for node in needed(ref.body, ref.drawn):
        if isinstance(node.op, Input):
            continue
        try:
            results = node.op.bind(env).depend(domain, *(facts[v] for v in node.inputs))
        except NoRule as missing:
            raise Refused(node, str(missing)) from missing
        facts.update(zip(node.outputs, results, strict=True))
        if any(v in units for v in node.inputs):
            if len(node.outputs) != 1:
                raise Refused(node, "has several results")
            units[node.outputs[0]] = _units(node, results[0], ranks.size)
    last = units.get(ref.drawn)
    if last is None or last.axis != 1 or (last.when > ranks).any():
        raise Refused(ref.body.node(ref.drawn), "reads elements that are not drawn yet")
    units[ref.drawn] = Units(1, ranks, ranks.size)
    return _wait(ref, units)


def _units(node: Node, fact: Abstract, steps: int) -> Units:
    full = np.broadcast_to(fact.facts[..., 0], fact.shape)
    moving = [a for a in range(1, full.ndim) if (full != full.take([0], a)).any()]
    if len(moving) > 1 or full.ndim < 2:
        raise Refused(node, "has no single axis of units")
    axis = moving[0] if moving else 1
    return Units(axis, np.moveaxis(full, axis, 0).reshape(full.shape[axis], -1)[:, 0].astype(np.int64), steps)


def _wait(ref: Reference, units: dict[Value, Units]) -> dict[Value, Units]:
    """Backwards: what is only read at its own place is computed in the step that reads it, not before."""
    wanted = {ref.drawn: units[ref.drawn].when}
    whole = {ref.x}
    for node in reversed(needed(ref.body, ref.drawn)):
        out = node.outputs[0]
        if isinstance(node.op, Input) or out not in units:
            continue
        if out not in whole and out in wanted:
            units[out] = Units(units[out].axis, np.maximum(units[out].when, wanted[out]), units[out].steps)
        for v in node.inputs:
            if v not in units:
                continue
            index = reads(ref, units, node, v)
            if index is None:
                whole.add(v)
                continue
            first = wanted.setdefault(v, np.full(units[v].when.size, units[v].steps))
            rows = np.moveaxis(np.broadcast_to(index, _shape(ref, out)), units[out].axis, 0)
            np.minimum.at(first, rows.reshape(rows.shape[0], -1), units[out].when[:, None])
    return units


def _shape(ref: Reference, value: Value) -> tuple[int, ...]:
    return value.type.concrete(environment_for(ref.body, 1))


def reads(ref: Reference, units: dict[Value, Units], node: Node, v: Value) -> Array | None:
    """The unit of an input that each element of the result reads (broadcastable); None where it reads many."""
    out, own = units[node.outputs[0]], units[v]
    moves = along(node)[node.inputs.index(v)]
    ids = np.arange(own.when.size)
    if moves.get(own.axis) == out.axis and own.when.size == out.when.size:
        return ids.reshape([-1 if a == out.axis else 1 for a in range(node.types[0].rank)])
    if isinstance(node.op, ops.Slice | ops.Reshape):
        wide = ids.reshape([-1 if a == own.axis else 1 for a in range(v.type.rank)])
        op = node.op.bind(environment_for(ref.body, 1))
        return np.asarray(op.evaluate(np.broadcast_to(wide, _shape(ref, v)))[0])
    return None


class UnitLoop:
    """Builds the loop of one reference sampler over a vector x[N, D] into the graph of `outer`."""

    def __init__(self, ref: Reference, outer: Builder, static: dict[Value, Value]) -> None:
        self.ref, self.outer, self.static = ref, outer, static
        self.units = plan(ref)
        self.nodes = [n for n in needed(ref.body, ref.drawn) if not isinstance(n.op, Input)]
        self.stores: dict[Value, Carry] = {}
        self.slabs: dict[Value, Value] = {}
        self.step = ref.step
        self._tables: dict[bytes, Value] = {}

    def run(self) -> Value:
        """The drawn elements, [N, D]."""
        self._keep(self.ref.x)
        for node in self.nodes:
            out = node.outputs[0]
            if out not in self.units:
                hoist(self.outer, node, self.static)
                continue
            for v in node.inputs:
                if v in self.units and self._near(node, v) is None:
                    self._keep(v)
        carries = list(self.stores.values())
        with open_loop(self.outer, carries) as (b, self.step):
            for node in self.nodes:
                if node.outputs[0] in self.units:
                    with b.within(node.scope, node.span):
                        self._made(b, node.outputs[0], self._node(b, node))
            self._made(b, self.ref.x, self.slabs[self.ref.drawn])
        close(self.outer, b, carries, (), 1, self.units[self.ref.x].steps)
        order = self.units[self.ref.x].places
        drawn = self.stores[self.ref.x].value
        if np.array_equal(order, np.arange(order.size)):
            return drawn
        return self.outer.emit(ops.Gather(1), drawn, self.outer.constant(order))

    def _keep(self, v: Value) -> None:
        units = self.units[v]
        shape = resized(v.shape, units.axis, units.padded.size)
        self.stores.setdefault(v, Carry(v.type.with_shape(shape)))

    def _made(self, b: Builder, value: Value, slab: Value) -> None:
        self.slabs[value] = slab
        if value in self.stores:
            store, units = self.stores[value], self.units[value]
            start = self._per_step(b, units.starts)
            store.now = b.emit(ops.UpdateAt(units.axis), store.value, slab, start)

    # --- one primitive ---

    def _node(self, b: Builder, node: Node) -> Value:
        out = self.units[node.outputs[0]]
        if isinstance(node.op, ops.MatMul):
            return self._mat_mul(b, node, out)
        if self._moves(node):
            return self._read(b, node, node.inputs[0])
        inputs = [self._static(b, node, v, out) if v not in self.units else self._read(b, node, v)
                  for v in node.inputs]  # fmt: skip
        return b.emit(self._shrunk(node.op, out), *inputs)

    def _shrunk(self, op: Primitive, out: Units) -> Primitive:
        if isinstance(op, ops.BroadcastTo | ops.Reshape):
            return replace(op, shape=resized(op.shape, out.axis, out.size))
        return op

    def _moves(self, node: Node) -> bool:
        """Whether a primitive gives units of its input other places, or leaves some out."""
        if not isinstance(node.op, ops.Slice | ops.Reshape):
            return False
        own, out = self.units[node.inputs[0]], self.units[node.outputs[0]]
        return along(node)[0].get(own.axis) != out.axis or own.when.size != out.when.size

    def _per_step(self, b: Builder, table: Array) -> Value:
        """A number for each step, or the step itself where that is what the table says."""
        if np.array_equal(table, np.arange(table.size)):
            return self.step
        key = table.tobytes()
        if key not in self._tables:
            self._tables[key] = b.emit(ops.Gather(0), self.outer.constant(table), self.step)
        return self._tables[key]

    def _static(self, b: Builder, node: Node, v: Value, out: Units) -> Value:
        """The part of a value that does not depend on what is drawn which belongs to a slab."""
        back = {o: a for a, o in along(node)[node.inputs.index(v)].items()}
        axis, value = back.get(out.axis), self.static[v]
        if axis is None or value.shape[axis] == 1:
            return value
        return b.emit(
            ops.SliceAt(axis, out.size), self._sorted(value, axis, out), self._per_step(b, out.starts)
        )

    def _sorted(self, value: Value, axis: int, units: Units) -> Value:
        if np.array_equal(units.padded, np.arange(units.padded.size)):
            return value
        return self.outer.emit(ops.Gather(axis), value, self.outer.constant(units.padded))

    def _near(self, node: Node, v: Value) -> Array | None:
        """Where in the current slab of an input the units that are read lie; None where they are not all there."""
        index = None if v == self.ref.x else reads(self.ref, self.units, node, v)
        if index is None:
            return None
        out, own = self.units[node.outputs[0]], self.units[v]
        index = np.moveaxis(np.broadcast_to(index, _shape(self.ref, node.outputs[0]))[0], out.axis - 1, 0)
        begins = own.starts.reshape(-1, *(1,) * index.ndim)
        place = own.places[index[out.slabs]] - begins  # [steps, size, ...]
        valid = out.when[out.slabs] == np.arange(out.steps)[:, None]
        first: Array = place[int(valid.all(1).argmax())]
        if (place != first)[valid].any() or (first < 0).any() or (first >= own.size).any():
            return None
        if not self._moves(node) and (np.arange(out.size) != first.T).any():
            return None  # elsewhere in the slab
        return np.moveaxis(first, 0, out.axis - 1)

    def _read(self, b: Builder, node: Node, v: Value) -> Value:
        """An input of a primitive that works unit by unit, at the units of the slab."""
        out, own = self.units[node.outputs[0]], self.units[v]
        near = self._near(node, v)
        moves = self._moves(node)
        if moves and v.type.rank > 2:
            raise Refused(node, "moves units that have features")
        if near is not None and not moves:
            return self.slabs[v]
        if near is not None:
            return b.emit(ops.Gather(own.axis), self.slabs[v], b.constant(near))
        index = reads(self.ref, self.units, node, v)
        if index is None:
            raise Refused(node, "reads many units at once")
        index = np.moveaxis(np.broadcast_to(index, _shape(self.ref, node.outputs[0]))[0], out.axis - 1, 0)
        if not moves:
            index = index.reshape(index.shape[0], -1)[:, 0]
        place = own.places[index[out.slabs]]
        if moves:
            place = np.moveaxis(place, 1, out.axis)
        table = b.emit(ops.Gather(0), self.outer.constant(place), self.step)
        return b.emit(ops.Gather(own.axis), self.stores[v].value, table)

    def _mat_mul(self, b: Builder, node: Node, out: Units) -> Value:
        """Rows of the sorted weight times what was kept: [N, I] x [I, O] with O sliced."""
        left, right = node.inputs
        own = self.units.get(left)
        if own is None or right in self.units or out.axis != node.types[0].rank - 1 or right.type.rank != 2:
            raise Refused(node, "multiplies what is drawn with itself")
        if own.axis != left.type.rank - 1:
            raise Refused(node, "mixes units and their features")
        weight = F.transpose(
            self.outer, self.static[right], 1, 0
        )  # rows are contiguous: one slab is one stretch
        weight = self._sorted(self._sorted(weight, 0, out), 1, self.units[left])
        if own.size > 1:  # the surplus at the end of the buffer counts for nothing
            live = np.arange(own.padded.size) < own.when.size
            weight = F.where(self.outer, self.outer.constant(live[None]), weight, 0.0)
        rows = b.emit(ops.SliceAt(0, out.size), weight, self._per_step(b, out.starts))
        return b.emit(ops.MatMul(), self.stores[left].value, F.transpose(b, rows, 1, 0))
