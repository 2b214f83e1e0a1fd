"""Repeated layers in a derived sampler: one loop over layers within a step, with the buffers of all layers stacked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from mpcompile import ops
from mpcompile.ir import Builder, Node, Value
from mpcompile.ops import RegionBuilder
from mpcompile.passes.incremental.buffers import Carry, Ring, Rows
from mpcompile.passes.incremental.loop import hoist, named, part_of
from mpcompile.passes.incremental.schedule import Placement, Region, Schedule


class Nest(Protocol):
    """The loops that regions stand in, as far as these ask."""

    plan: Schedule
    static: dict[Value, Value]
    builders: list[Builder]
    still: Builder
    stores: dict[Value, Ring | Rows]
    states: dict[Value, Carry]

    def made(self, value: Value, step_value: Value) -> None: ...

    def run_node(self, node: Node, own: Placement) -> None: ...

    def own_place(self, node: Node, v: Value, own: Placement) -> Value: ...


class Regions:
    """Emits the regions of a network: what weights alone decide before the loops, and all else in a step.

    prepared  value of an iteration that is computed before the loops -> its values of all iterations, stacked
    stacked   value of an iteration that is kept -> the carry of its buffers of all iterations
    """

    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self.prepared: dict[Value, Value] = {}
        self.stacked: dict[Value, Carry] = {}

    def prepare(self) -> None:
        """Compute what does not depend on what is drawn, before the loops."""
        nest, outer = self.nest, self.nest.builders[0]
        for node in [n for n in nest.plan.nodes if n.id in nest.plan.regions]:
            region, op = nest.plan.regions[node.id], _op(node)
            for f, v in zip(op.formals.captured.values(), op.split(node.inputs).captured, strict=True):
                if v in nest.static:
                    nest.static[f] = nest.static[v]
            for n in region.alike:
                with outer.within(part_of(node.scope, "prepare"), node.span):
                    nest.static.update(
                        zip(n.outputs, outer.emit_all(n.op, *(nest.static[v] for v in n.inputs)), strict=True)
                    )
            if region.prepared:
                self._prepare(node, region)

    def _prepare(self, node: Node, region: Region) -> None:
        """Run over the layers once, for values of each that weights alone decide."""
        nest, outer, op = self.nest, self.nest.builders[0], _op(node)
        made = [v for n in region.prepared for v in n.outputs]
        wanted = [v for v in made if v in _read((*region.nodes, *region.views))]
        with outer.within(part_of(node.scope, "prepare"), node.span):
            loop = RegionBuilder(outer, op.frames, _count(node))
            static = dict(nest.static) | self._rows(loop, node, _read(region.prepared))
            for n in region.prepared:
                hoist(loop.body, n, static)
            names = {f"y_{i}": static[v] for i, v in enumerate(wanted)}
            self.prepared |= dict(zip(wanted, loop.close([], names)[1], strict=True))

    def _rows(self, loop: RegionBuilder, node: Node, read: set[Value]) -> dict[Value, Value]:
        """Scan the stacks of weights that an iteration reads; return its rows of them."""
        op = _op(node)
        formals, stacks = op.formals.scanned, op.split(node.inputs).scanned
        return {
            f: loop.scan(loop.fresh(name), self.nest.static[v])
            for (name, f), v in zip(formals.items(), stacks, strict=True)
            if f in read
        }

    def carries(self, kept: Mapping[Value, Carry]) -> list[Carry]:
        """Return the carries of the loop over time: buffers of a region are stacked over its layers."""
        nest = self.nest
        for node in [n for n in nest.plan.nodes if n.id in nest.plan.regions]:
            for v, carry in kept.items():
                if v in _op(node).body:
                    shape = (_count(node), *carry.type.shape)
                    self.stacked[v] = Carry(carry.type.with_shape(shape), name=carry.name)
        return [self.stacked.get(v, carry) for v, carry in kept.items()]

    def run(self, b: Builder, node: Node, own: Placement) -> Sequence[Value]:
        """One step of all layers; return what the last one gives."""
        nest, op, region = self.nest, _op(node), self.nest.plan.regions[node.id]
        starts, _, around = op.split(node.inputs)
        loop = RegionBuilder(b, op.frames, _count(node))
        given = {
            f: nest.own_place(node, v, own) for f, v in zip(op.formals.carries.values(), starts, strict=True)
        }
        found = {f: loop.carry(name, given[f]) for name, f in op.formals.carries.items()}
        for f, v in zip(op.formals.captured.values(), around, strict=True):
            if v in nest.plan.placed:
                found[f] = nest.own_place(node, v, own)
        read = _read((*region.nodes, *region.views))
        nest.static |= self._rows(loop, node, read)
        for v, stack in self.prepared.items():
            if v in region.body:
                nest.static[v] = loop.scan(loop.fresh(named(region.body.node(v))), stack)
        kept = self._kept(region)
        for v, carry in kept.items():
            carry.now = loop.scan(loop.fresh(carry.name), self.stacked[v].value)
        with self._inside(loop, own.level):
            for f, value in found.items():
                nest.made(f, value)
            for n in region.views:
                with loop.body.within(part_of(n.scope, "step"), n.span):
                    views = loop.body.emit_all(n.op, *(nest.static[v] for v in n.inputs))
                nest.static.update(zip(n.outputs, views, strict=True))
            for n in region.nodes:
                nest.run_node(n, nest.plan.placed[n.outputs[-1]])
            last = [nest.own_place(node, v, own) for v in region.body.outputs.values()]
        results, ys = loop.close(last, {f"y_{i}": c.value for i, c in enumerate(kept.values())})
        for v, y in zip(kept, ys, strict=True):
            self.stacked[v].now = y
        return results

    def _kept(self, region: Region) -> dict[Value, Carry]:
        nest = self.nest
        found = {v: s.carry for v, s in nest.stores.items() if isinstance(s, Ring)} | nest.states
        return {v: carry for v, carry in found.items() if v in region.body}

    @contextmanager
    def _inside(self, loop: RegionBuilder, level: int) -> Iterator[None]:
        nest = self.nest
        before = nest.builders[level], nest.still
        nest.builders[level] = nest.still = loop.body
        yield
        nest.builders[level], nest.still = before


def _op(node: Node) -> ops.Repeat:
    assert isinstance(node.op, ops.Repeat)
    return node.op


def _count(node: Node) -> int:
    return _op(node).iterations([v.type for v in node.inputs])


def _read(nodes: Sequence[Node]) -> set[Value]:
    return {v for n in nodes for v in n.inputs}


__all__ = ["Regions"]
