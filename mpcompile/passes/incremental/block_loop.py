"""Derive samplers of vectors: block after block, each solved by fixed-point iteration (Song et al. 2021).

With its noise given, a sample is the fixed point of x = drawn(x). Element k reads only earlier elements, so after k
iterations of x <- drawn(x) the first k elements are right, whatever x was. A block is iterated until nothing changes:
at most once for each of its elements, and once more for the units that read the last of them. Most blocks reach their
fixed point after a few iterations.

The part of every matrix product that reads earlier blocks is computed once for each block; an iteration costs the units
of the block alone. The result is that of the full number of iterations: an iteration that leaves the elements unchanged
is followed only by such iterations. It differs from the reference sampler's by the rounding of sums, which are taken in
another order.

Elements that are not right yet may have any value, and real numbers may overflow. A product counts factors that are not
finite as zero, so that no such value spreads through a weight that is zero.
"""

from __future__ import annotations

from math import prod

import numpy as np

from mpcompile import ops
from mpcompile.analysis.dependence import environment_for
from mpcompile.ir import Array, Builder, DType, Input, Node, NoRule, Value, availability, symbols
from mpcompile.ops import build as F
from mpcompile.passes.base import Refused
from mpcompile.passes.incremental.buffers import Carry, resized
from mpcompile.passes.incremental.degrees import Plan, Units, blocked, moves, plan, reads, shape_of
from mpcompile.passes.incremental.loop import close, hoist, named, open_loop, part_of
from mpcompile.passes.incremental.recognise import Reference

#: What the model of cost takes a primitive to cost beside its work, in multiply-adds, and the batch that it has in mind.
DISPATCH, BATCH = 1 << 15, 16


def expected_iterations(length: int) -> float:
    """Estimate the iterations until a block reaches its fixed point, for the cost model.

    MADE on binarised MNIST (two hidden layers of 500), batch 64: blocks of 28, 112, 392, 784 took 2.8, 5.3, 12, 20.
    """
    return min(length, 2 + length / 40)


def block_length(elements: int, work: int, primitives: int) -> int:
    """Return the block length that the cost model finds cheapest.

    Short blocks have little work, long blocks need few iterations.

    `work` is the number of multiply-adds of one pass for one example.
    """

    def cost(length: int) -> float:
        blocks = -(-elements // length)
        share = (blocks * length / elements) ** 2 * work * BATCH
        one = primitives * DISPATCH + share / blocks**2
        once = 0 if blocks == 1 else share + blocks * primitives * DISPATCH
        sorting = 0 if blocks * length == elements else 2 * work
        return once + sorting + blocks * expected_iterations(length) * one

    return min({-(-elements // n) for n in range(1, elements + 1)}, key=lambda n: (cost(n), n))


def solve(
    ref: Reference, outer: Builder, static: dict[Value, Value], length: int | None = None
) -> tuple[Value, str]:
    """Build the loop over blocks into the graph of `outer`, and return the drawn elements [N, D] and a description.

    `length` is the number of elements of a block; by default the cost model chooses it. Raises `Refused`.
    """
    units = plan(ref)
    elements = units[ref.x].degrees.size
    if length is None:
        computed = [
            n for n in ref.body.made_of(ref.drawn) if n.outputs[0] in units and not isinstance(n.op, Input)
        ]
        one = {
            s: 1 for n in computed for v in n.inputs for size in v.shape for s in symbols(size)
        }  # for one example
        work = sum(prod(n.inputs[1].type.concrete(one)) for n in computed if isinstance(n.op, ops.MatMul))
        length = block_length(elements, work, len(computed))
    loop = _BlockLoop(ref, blocked(ref, units, length), length, outer, static)
    blocks = f"{loop.blocks} blocks of {length}" if loop.blocks > 1 else "one block"
    return loop.run(), f"{blocks}, solved by fixed-point iteration, at most {loop.iterations} iterations"


def solve_whole(
    ref: Reference, outer: Builder, static: dict[Value, Value], why: Refused
) -> tuple[Value, str]:
    """Return the drawn elements by running the whole network in every iteration, and a description.

    For networks of which a part has no place in loops; `why` says which. Raises `why` where an element may be infinite
    in some iteration: nothing inside of the network is kept from reading elements that are not right yet.
    """
    if ref.ranks is None or not _always_finite(ref, ref.drawn) or not _in_order(ref):
        raise why
    x = Carry(ref.x.type, name="x")
    iterations = int(ref.ranks.max()) + 1
    moving = {ref.x}
    with open_loop(outer, [x], 1, iterations, until_fixed_point=True) as loop:
        iteration = loop.body
        found = static | {ref.x: x.value, ref.step: loop.step}
        for node in ref.body.made_of(ref.drawn):
            if isinstance(node.op, Input):
                continue
            if moving.isdisjoint(node.inputs):
                hoist(outer, node, found)
                continue
            moving.update(node.outputs)
            with iteration.within(part_of(node.scope, "iteration"), node.span):
                results = iteration.emit_all(node.op, *(found[v] for v in node.inputs))
            found.update(zip(node.outputs, results, strict=True))
        x.now = found[ref.drawn]
    close(loop, [x])
    return (
        x.value,
        f"the whole network in each of at most {iterations} iterations, until nothing changes: {why}",
    )


def _in_order(ref: Reference) -> bool:
    """Whether each element is drawn from those before it alone, and not from the number of the step."""
    assert ref.ranks is not None
    env, domain = environment_for(ref.body, 1), availability()
    ranks = ref.ranks.reshape(1, *ref.x.type.concrete(env)[1:]).astype(np.int32)
    facts = {v: domain.make(v.type.concrete(env)) for v in ref.body.inputs.values()}
    facts[ref.x] = domain.make(ranks.shape, (ranks + 1)[..., None])
    for node in ref.body.made_of(ref.drawn):
        if ref.step in node.inputs:
            return False
        if not isinstance(node.op, Input):
            try:
                results = node.op.bind(env).depend(domain, *(facts[v] for v in node.inputs))
            except NoRule:
                return False
            facts.update(zip(node.outputs, results, strict=True))
    return bool((facts[ref.drawn].full()[..., 0] <= ranks).all())


class _BlockLoop:
    """Builds the loop over blocks, and in it the loop of iterations.

    step_values    value of the body -> its units of this block, in this iteration
    sums     a sum of matrix products -> the part that is the same in every iteration, and that of this block
    stores   value that later blocks read -> its units of all blocks, in their order, along the first axis
    """

    def __init__(
        self, ref: Reference, units: Plan, length: int, outer: Builder, static: dict[Value, Value]
    ) -> None:
        self.ref, self.units, self.static = ref, units, static
        self.blocks = units[ref.x].blocks
        self.iterations = length + (
            self.blocks > 1
        )  # what later blocks read of this one's units comes an iteration after it
        self.nodes = [n for n in ref.body.made_of(ref.drawn) if not isinstance(n.op, Input)]
        self.wild = not _always_finite(ref, ref.drawn)
        self.outer = self.block = self.iteration = outer
        self.step_values: dict[Value, Value] = {}
        self.sums: dict[Value, tuple[Value | None, Value]] = {}
        self.stores: dict[Value, Carry] = {}
        self._step: Value | None = None
        self._starts: dict[int, Value] = {}
        self._rows: dict[tuple[tuple[int, ...], bytes], Value] = {}
        self._factors: dict[Value, Value] = {}

    def run(self) -> Value:
        """The drawn elements, [N, D]."""
        for node in self.nodes:
            if node.outputs[0] not in self.units:
                hoist(self.outer, node, self.static)
        if self.blocks == 1:
            return self._ordered(self._fixed_point([])[0])
        kept = [self.ref.x, *(v for v in self._read_later() if v != self.ref.x)]
        for v in kept:
            axis, rows = self.units[v].axis, self.units[v].blocks * self.units[v].size
            self.stores[v] = Carry(
                v.type.with_shape((rows, *v.shape[:axis], *v.shape[axis + 1 :])), name=self._name(v)
            )
        carries = list(self.stores.values())
        with open_loop(self.outer, carries, 1, self.blocks) as loop:
            self.block, self._step = loop.body, loop.step
            for v, step_value in zip(kept, self._fixed_point(kept[1:]), strict=True):
                self.stores[v].now = self._stored(self.block, v, step_value)
        close(loop, carries)
        return self._ordered(_units_at(self.outer, self.stores[self.ref.x].value, 1))

    def _fixed_point(self, kept: list[Value]) -> list[Value]:
        """Return the elements of a block, and the other units of the block that later blocks read."""
        carries = []
        for v in (self.ref.x, *kept):
            step_value = resized(v.shape, self.units[v].axis, self.units[v].size)
            carries.append(Carry(v.type.with_shape(step_value), name=f"{self._name(v)}_block"))
        with open_loop(self.block, carries, 1, self.iterations, until_fixed_point=True) as loop:
            self.iteration = loop.body
            self.step_values[self.ref.x] = carries[0].value
            for node in self.nodes:
                if node.outputs[0] in self.units:
                    with self.iteration.within(part_of(node.scope, "iteration"), node.span):
                        self._node(node)
            carries[0].now = self._step_value(self.ref.drawn)
            for c, v in zip(carries[1:], kept, strict=True):
                c.now = self._factor(self.iteration, v, self._step_value(v))
        close(loop, carries)
        return [c.value for c in carries]

    def _name(self, v: Value) -> str:
        return "x" if v == self.ref.x else named(self.ref.body.node(v))

    def _read_later(self) -> list[Value]:
        """Return the values that blocks read of the blocks before them."""
        found: dict[Value, None] = {}
        for node in self.nodes:
            for v in node.inputs if node.outputs[0] in self.units else ():
                if v in self.units and (
                    isinstance(node.op, ops.MatMul) or (self._places(node, v)[1] < 0).any()
                ):
                    found[v] = None
        return list(found)

    def _ordered(self, drawn: Value) -> Value:
        units = self.units[self.ref.x]
        if units.sorted:
            return drawn
        return self.outer.emit(ops.Gather(1), drawn, self.outer.constant(units.places))

    def _stored(self, b: Builder, v: Value, step_value: Value) -> Value:
        """The store of a value with the units of this block in it."""
        units = self.units[v]
        first = F.transpose(b, step_value, units.axis, *(a for a in range(v.type.rank) if a != units.axis))
        return b.emit(ops.UpdateAt(0), self.stores[v].value, first, self._start(units))

    # --- what belongs to this block ---

    def _start(self, units: Units) -> Value:
        """Return where this block begins in the row of all blocks."""
        assert self._step is not None
        if units.size == 1:
            return self._step
        if units.size not in self._starts:
            size = self.block.constant(units.size)
            self._starts[units.size] = self.block.emit(ops.Mul(), self._step, size)
        return self._starts[units.size]

    def _row(self, table: Array) -> Value:
        """Return the row of a table [blocks, ...] for this block."""
        key = (table.shape, table.tobytes())
        if key not in self._rows:
            constant = self.outer.constant(table if self.blocks > 1 else table[0])
            at = self._step
            self._rows[key] = constant if at is None else self.block.emit(ops.Gather(0), constant, at)
        return self._rows[key]

    def _own(self, value: Value, axis: int, units: Units) -> Value:
        """Return the part of a value over all units that belongs to the units of this block."""
        if units.sorted:
            start = None if self.blocks == 1 else self._start(units)
            return value if start is None else self.block.emit(ops.SliceAt(axis, units.size), value, start)
        return self.block.emit(ops.Gather(axis), value, self._row(units.by_block))

    # --- one primitive ---

    def _node(self, node: Node) -> None:
        out = node.outputs[0]
        match node.op:
            case ops.MatMul():
                self.sums[out] = self._mat_mul(node)
                return
            case ops.Add() if (total := self._sum(node)) is not None:
                self.sums[out] = total
                return
        if moves(self.units, node):
            self.step_values[out] = self._read(node, node.inputs[0])
            return
        inputs = [self._read(node, v) if v in self.units else self._static(node, v) for v in node.inputs]
        self.step_values[out] = self.iteration.emit(
            node.op.with_length(self.units[out].axis, self.units[out].size), *inputs
        )

    def _step_value(self, v: Value) -> Value:
        if v not in self.step_values:
            once, now = self.sums[v]
            self.step_values[v] = now if once is None else F.add(self.iteration, now, once)
        return self.step_values[v]

    def _static(self, node: Node, v: Value) -> Value:
        """The part of a value that does not depend on what is drawn which belongs to this block."""
        out = self.units[node.outputs[0]]
        back = {o: a for a, o in node.along[node.inputs.index(v)].items()}
        axis, value = back.get(out.axis), self.static[v]
        if axis is None or value.shape[axis] == 1:
            return value
        return self._own(value, axis, out)

    # --- sums of products ---

    def _mat_mul(self, node: Node) -> tuple[Value | None, Value]:
        """[N, I] x [I, O]: what was kept of earlier blocks times their columns, and this block's units times theirs."""
        left, right = node.inputs
        out, own = self.units[node.outputs[0]], self.units.get(left)
        if own is None or right in self.units or out.axis != node.types[0].rank - 1 or right.type.rank != 2:
            raise Refused(node, "multiplies what is drawn with itself")
        if own.axis != left.type.rank - 1:
            raise Refused(node, "mixes units and their features")
        b = self.block
        rows = self._own(_turned(self.outer, self.static[right]), 0, out)  # rows of a weight are contiguous
        weight, once = self._own(rows, 1, own), None
        if not own.live.all():
            weight = F.where(b, self._row(own.live[:, None]), weight, 0.0)
        if self.blocks > 1:
            store = self.stores[left].value
            if not own.sorted:
                store = b.emit(ops.Gather(0), store, b.constant(np.maximum(own.places, 0)))
            before = _units_at(b, self._factor(b, left, store) if left == self.ref.x else store, own.axis)
            once = b.emit(ops.MatMul(), before, F.transpose(b, rows, 1, 0))
        units = self._factor(self.iteration, left, self._step_value(left))
        return once, self.iteration.emit(ops.MatMul(), units, F.transpose(b, weight, 1, 0))

    def _factor(self, b: Builder, v: Value, units: Value) -> Value:
        """Units as a factor of a product."""
        if not self.wild or v.dtype is not DType.FLOAT:
            return units
        if units not in self._factors:
            finite = F.less(b, b.emit(ops.Abs(), units), float("inf"))
            self._factors[units] = F.where(b, finite, units, 0.0)
        return self._factors[units]

    def _sum(self, node: Node) -> tuple[Value | None, Value] | None:
        """A sum with a product in it, in its two parts."""
        parts = [self.sums.get(v) for v in node.inputs]
        if all(p is None for p in parts):
            return None
        once, now = list[Value](), list[Value]()
        for v, part in zip(node.inputs, parts, strict=True):
            if part is not None and v.shape == node.types[0].shape and self._near(node, v):
                once += [part[0]] if part[0] is not None else []
                now.append(part[1])
            elif v not in self.units:
                once.append(self._static(node, v))
            else:
                return None
        total = once[0] if once else None
        for v in once[1:]:
            assert total is not None
            total = F.add(self.block, total, v)
        return total, now[0] if len(now) == 1 else F.add(self.iteration, *now)

    # --- units of the inputs ---

    def _places(self, node: Node, v: Value) -> tuple[Array, Array]:
        """Return the places of the units that the result reads in the row of all blocks, and in this block.

        The second is negative where a unit of the block reads one of another block.

        Both are [blocks, size, ...].
        """
        out, own = self.units[node.outputs[0]], self.units[v]
        index = reads(self.ref, self.units, node, v)
        if index is None:
            raise Refused(node, "reads many units at once")
        index = np.moveaxis(np.broadcast_to(index, shape_of(self.ref, node.outputs[0]))[0], out.axis - 1, 0)
        if not moves(self.units, node):
            index = index.reshape(index.shape[0], -1)[:, 0]
        elif v.type.rank > 2:
            raise Refused(node, "moves units that have features")
        row = own.places[index[out.by_block]]
        ones = (1,) * (index.ndim - 1)
        here = row - (np.arange(out.blocks) * own.size).reshape(-1, 1, *ones)
        inside = (here >= 0) & (here < own.size)
        dead = ~out.live.reshape(*out.live.shape, *ones)
        return np.maximum(row, 0), np.where(inside, here, np.where(dead, 0, -1))

    def _near(self, node: Node, v: Value) -> bool:
        """Whether an input is read unit by unit, each at the place of the result."""
        here, live = self._places(node, v)[1], self.units[node.outputs[0]].live
        if moves(self.units, node) or here.shape[1] != self.units[v].size:
            return False
        return bool(((here == np.arange(here.shape[1])) | ~live).all())

    def _read(self, node: Node, v: Value) -> Value:
        """An input of a primitive that works unit by unit."""
        if self._near(node, v):
            return self._step_value(v)
        out, own = self.units[node.outputs[0]], self.units[v]
        (row, here), data = self._places(node, v), self._step_value(v)
        if (here < 0).any():
            data, here = _units_at(self.iteration, self._stored(self.iteration, v, data), own.axis), row
        if moves(self.units, node):
            here = np.moveaxis(here, 1, out.axis)
        same = (here == here[:1]).all()
        table = self.outer.constant(here[0]) if same else self._row(here)
        return self.iteration.emit(ops.Gather(own.axis), data, table)


def _units_at(b: Builder, stored: Value, axis: int) -> Value:
    """Move the axis of units of a store, which is its first, to another place."""
    rank = stored.type.rank
    return F.transpose(b, stored, *range(1, axis + 1), 0, *range(axis + 1, rank))


def _turned(b: Builder, weight: Value) -> Value:
    """A weight [I, O] as [O, I]."""
    producer = b.graph.node(weight)
    if isinstance(producer.op, ops.Transpose):
        return producer.inputs[0]
    return F.transpose(b, weight, 1, 0)


def _always_finite(ref: Reference, value: Value) -> bool:
    """Whether a drawn value is finite whatever the network gives: a class, a truth value, or something given."""
    node = ref.body.node(value)
    if value.dtype is not DType.FLOAT:
        return True
    match node.op:
        case ops.Cast():
            return node.inputs[0].dtype is not DType.FLOAT
        case ops.Where():
            return all(_always_finite(ref, v) for v in node.inputs[1:])
        case Input():
            return value != ref.x
    return False
