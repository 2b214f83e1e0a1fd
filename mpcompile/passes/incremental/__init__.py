"""Derive incremental samplers: replace a loop that runs a whole network once for each element by one that computes each
intermediate element once, as soon as the elements that it reads are known.

The reference sampler of an autoregressive density, and the inverse of a masked autoregressive flow, are loops
x <- where(order = step, drawn(x), x).

recognise        finds these loops
row_recurrences  unrolls recurrences down the rows of an image, so that their steps can be run pixel by pixel
regions          keeps repeated layers a loop, within a step
schedule         decides when each value of the network can be computed
state            plans the buffers that the loops carry
loop_nest        emits the loops over time, or over rows and columns
degrees          sorts the units of a vector's network into blocks
block_loop       emits the loop over blocks

With the same noise the sample is the same. A network of which a part cannot be run a step at a time is refused by the
name of that layer, and keeps its reference sampler.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Builder, Graph, Node, Value
from mpcompile.passes.base import Pass, PassResult, Refused
from mpcompile.passes.incremental.block_loop import solve, solve_whole
from mpcompile.passes.incremental.loop_nest import LoopNest
from mpcompile.passes.incremental.recognise import Reference, recognise
from mpcompile.passes.incremental.row_recurrences import unrolled
from mpcompile.passes.incremental.schedule import schedule


class Unrolls(Exception):
    """Raised where a sampler is derived of the layers of a region one by one, or not at all."""


@dataclass(frozen=True)
class DeriveSamplers(Pass):
    """Graph to graph: every reference sampler, also within a step of a loop, becomes one that computes each value once.

    Does     keep repeated layers a region, within a step; a graph of which a sampler cannot is unrolled first.
    Keeps    every draw, given the same noise.
    Remarks  for each sampler how it works (`784 steps, one element each`), or why it stays.
    """

    name: ClassVar[str] = "samplers"

    def call(self, graph: Graph) -> PassResult:
        try:
            return self._derive(graph)
        except Unrolls:
            return self._derive(ops.unrolled(graph))

    def _derive(self, graph: Graph) -> PassResult:
        done: list[str] = []
        refused: list[Refused] = []
        steps: dict[int, Graph] = {}  # bodies of loops that hold samplers, or may
        found: dict[int, Reference] = {}
        for node in graph.nodes():
            ref = recognise(node)
            if ref is not None:
                found[node.id] = ref
            elif isinstance(node.op, ops.Scan):
                inner = self._derive(node.op.body)
                steps[node.id] = inner.graph
                done += inner.done
                refused += inner.refused
        if not found and all(g is graph.node(i).op.bodies()[0] for i, g in steps.items()):
            return PassResult(graph, False, tuple(done), tuple(refused))

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            if node.id in steps and isinstance(node.op, ops.Scan):
                return b.emit_all(replace(node.op, body=steps[node.id]), *inputs)
            ref = found.get(node.id)
            if ref is None:
                return None
            moved = dict(zip(node.inputs, inputs, strict=True))
            static = {inside: moved[outside] for inside, outside in ref.captured.items()}
            try:
                drawn, way = _loop(ref, b, static)
            except Refused as reason:
                if ops.has_repeats(ref.body):
                    raise Unrolls from reason
                refused.append(reason)
                return None
            done.append(way)
            return (drawn,)

        return PassResult(graph.rebuild(rewrite).live(), True, tuple(done), tuple(refused))


def _loop(ref: Reference, b: Builder, static: dict[Value, Value]) -> tuple[Value, str]:
    """A vector in blocks; where that is refused, and all else, place by place; what has no place, as a whole.

    Raises `Refused`, with the first reason.
    """
    if ops.has_repeats(ref.body):
        return _stepped(ref, b, dict(static))
    vector = ref.x.type.rank == 2 and ref.ranks is not None
    reasons = []
    for way in (solve, _stepped) if vector else (_stepped,):
        try:
            return way(ref, b, dict(static))
        except Refused as refused:
            reasons.append(refused)
    return solve_whole(ref, b, dict(static), reasons[0])


def _stepped(ref: Reference, b: Builder, static: dict[Value, Value]) -> tuple[Value, str]:
    wide = unrolled(ref)
    static = dict(zip(wide.captured, (static[v] for v in ref.captured), strict=True))
    times = schedule(wide)
    steps = " x ".join(str(wide.x.shape[a]) for a in times.levels if a is not None)
    what = "colour after colour of a pixel" if wide.channels > 1 else "one element each"
    return LoopNest(wide, times, b, static).run(), f"{steps} steps, {what}"


__all__ = ["DeriveSamplers"]
