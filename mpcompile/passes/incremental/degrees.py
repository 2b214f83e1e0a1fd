"""Degrees of the units of a vector's network, and the blocks that units are sorted into.

A unit of a hidden layer has no place in the vector that is drawn. Its degree (Germain et al. 2015) is the step at which
availability says that it is known. Elements are taken in blocks, in their order, and with the elements of a block come
the units that are read for them and were not known before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpcompile.analysis.dependence import environment_for
from mpcompile.ir import Abstract, Array, Input, Node, NoRule, Value, availability
from mpcompile.ops.traits import Movement
from mpcompile.passes.base import Refused
from mpcompile.passes.incremental.recognise import Reference


@dataclass(frozen=True)
class Units:
    """The units of a value along one of its axes, with their degrees.

    axis     the axis of the units
    degrees  int[units]: the block that computes each unit, below `blocks`; nothing reads a unit whose degree is larger
    blocks   the number of blocks
    """

    axis: int
    degrees: Array
    blocks: int

    @cached_property
    def size(self) -> int:
        """Units in a block: as many as in the largest."""
        return max(1, int(np.bincount(self.degrees[self.degrees < self.blocks], minlength=1).max()))

    @cached_property
    def live(self) -> Array:
        """The places of the blocks that hold a unit of their own, bool[blocks, size]; the others repeat a unit."""
        count = np.bincount(self.degrees, minlength=self.blocks)[: self.blocks]
        places: Array = np.arange(self.size) < count[:, None]
        return places

    @cached_property
    def by_block(self) -> Array:
        """The units of every block: int[blocks, size]."""
        order = np.argsort(self.degrees, kind="stable")
        first = np.searchsorted(self.degrees[order], np.arange(self.blocks))
        found = order[np.minimum(first[:, None] + np.arange(self.size), order.size - 1)]
        return np.asarray(np.where(self.live, found, found[:, :1]))

    @cached_property
    def places(self) -> Array:
        """The place of each unit in the row of all blocks; -1 for a unit that is in no block."""
        found = np.full(self.degrees.size, -1)
        found[self.by_block[self.live]] = np.flatnonzero(self.live)
        return found

    @property
    def sorted(self) -> bool:
        """Whether units stand in the row of all blocks as they do in the value."""
        return np.array_equal(self.by_block.reshape(-1), np.arange(self.degrees.size))


Plan = dict[Value, Units]


def plan(ref: Reference) -> Plan:
    """Return the degree of each unit of each value that depends on the drawn elements, in blocks of one element.

    Raises `Refused`.
    """
    assert ref.ranks is not None
    ranks = ref.ranks.reshape(-1)
    if ref.x.type.rank != 2 or not np.array_equal(np.sort(ranks), np.arange(ranks.size)):
        raise Refused(ref.node, "draws its elements in an order that no loop follows one by one")
    env, domain = environment_for(ref.body, 1), availability()
    facts: dict[Value, Abstract] = {v: domain.make(v.type.concrete(env)) for v in ref.body.inputs.values()}
    facts[ref.x] = domain.make(ref.x.type.concrete(env), (ranks + 1).astype(np.int32).reshape(1, -1, 1))
    units = {ref.x: Units(1, ranks, ranks.size)}
    for node in ref.body.made_of(ref.drawn):
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
    if last is None or last.axis != 1 or (last.degrees > ranks).any():
        raise Refused(_late(ref, units), "reads elements that are not drawn yet")
    units[ref.drawn] = units[ref.x]
    return units


def _late(ref: Reference, units: Plan) -> Node:
    """The first node all of whose units wait for the last of what it reads, though not all of that is as late."""
    for node in ref.body.made_of(ref.drawn):
        read = [units[v].degrees for v in node.inputs if v in units]
        if (
            read
            and min(w.min() for w in read)
            < max(w.max() for w in read)
            <= units[node.outputs[0]].degrees.min()
        ):
            return node
    return ref.body.node(ref.drawn)


def _units(node: Node, fact: Abstract, steps: int) -> Units:
    full = np.broadcast_to(fact.facts[..., 0], fact.shape)
    moving = [a for a in range(1, full.ndim) if (full != full.take([0], a)).any()]
    if len(moving) > 1 or full.ndim < 2:
        raise Refused(node, "has no single axis of units")
    axis = moving[0] if moving else 1
    return Units(axis, np.moveaxis(full, axis, 0).reshape(full.shape[axis], -1)[:, 0].astype(np.int64), steps)


def blocked(ref: Reference, units: Plan, length: int) -> Plan:
    """Sort the units of a plan into blocks of `length` elements.

    A unit belongs to the block of the last element that it reads; one that is only read at its own place, to the block
    of what reads it.
    """
    count = -(-units[ref.x].degrees.size // length)
    drawn, whole = {ref.x, ref.drawn}, {ref.x}
    units = {
        v: Units(u.axis, np.maximum(u.degrees - (v not in drawn), 0) // length, count)
        for v, u in units.items()
    }
    wanted = {ref.drawn: units[ref.drawn].degrees}
    for node in reversed(ref.body.made_of(ref.drawn)):
        out = node.outputs[0]
        if isinstance(node.op, Input) or out not in units:
            continue
        if out not in whole and out in wanted:
            units[out] = Units(units[out].axis, np.maximum(units[out].degrees, wanted[out]), count)
        for v in node.inputs:
            if v not in units:
                continue
            index = reads(ref, units, node, v)
            if index is None:
                whole.add(v)
                continue
            first = wanted.setdefault(v, np.full(units[v].degrees.size, count))
            rows = np.moveaxis(np.broadcast_to(index, shape_of(ref, out)), units[out].axis, 0)
            np.minimum.at(first, rows.reshape(rows.shape[0], -1), units[out].degrees[:, None])
    return units


def shape_of(ref: Reference, value: Value) -> tuple[int, ...]:
    """Return the shape of a value of the body for a batch of one."""
    return value.type.concrete(environment_for(ref.body, 1))


def reads(ref: Reference, units: Plan, node: Node, v: Value) -> Array | None:
    """Return the unit of an input that each element of the result reads (broadcastable); None where it reads many."""
    out, own = units[node.outputs[0]], units[v]
    runs = node.along[node.inputs.index(v)]
    ids = np.arange(own.degrees.size)
    if runs.get(own.axis) == out.axis and own.degrees.size == out.degrees.size:
        return ids.reshape([-1 if a == out.axis else 1 for a in range(node.types[0].rank)])
    if isinstance(node.op, Movement):
        wide = ids.reshape([-1 if a == own.axis else 1 for a in range(v.type.rank)])
        op = node.op.bind(environment_for(ref.body, 1))
        return np.asarray(op.evaluate(np.broadcast_to(wide, shape_of(ref, v)))[0])
    return None


def moves(units: Plan, node: Node) -> bool:
    """Return whether a primitive gives units of its input other places, or leaves some out."""
    if not isinstance(node.op, Movement):
        return False
    own, out = units[node.inputs[0]], units[node.outputs[0]]
    return node.along[0].get(own.axis) != out.axis or own.degrees.size != out.degrees.size
