"""Derive fast samplers: replace a loop that runs a whole network once for each element by one that computes each
intermediate element once, when what it reads becomes known.

The reference sampler of an autoregressive density, and the inverse of a masked autoregressive flow, are loops
x <- where(order = step, drawn(x), x). `find` recognises them, `schedule` decides when each value of the network can be
computed, `emit` writes the loops. With the same noise the result is the same. What cannot be run a step at a time is
refused, naming the layer, and keeps its reference sampler.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mpcompile import ops
from mpcompile.ir import Builder, Graph, Node, Value
from mpcompile.passes.sampler.blocks import solve, solve_whole
from mpcompile.passes.sampler.emit import Emitter
from mpcompile.passes.sampler.find import Reference, Refused, find
from mpcompile.passes.sampler.rows import opened
from mpcompile.passes.sampler.schedule import schedule


@dataclass(frozen=True)
class Derived:
    """A program whose samplers are fast ones where that can be, how each works, and why others are not."""

    graph: Graph
    ways: tuple[str, ...]
    refusals: tuple[Refused, ...]


def derive(program: Graph) -> Derived:
    """Rewrite every reference sampler of a program, also within a step of a loop; a program without one is given back
    as it is."""
    loops = [node for node in program.nodes() if isinstance(node.op, ops.Scan)]
    steps = {
        node.id: derive(node.op.body) for node in loops if isinstance(node.op, ops.Scan) and not find(node)
    }
    ways = [way for step in steps.values() for way in step.ways]
    refusals = [r for step in steps.values() for r in step.refusals]
    if len(steps) == len(loops) and all(steps[n.id].graph is n.op.attributes()["body"] for n in loops):
        return Derived(program, tuple(ways), tuple(refusals))

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.id in steps and isinstance(node.op, ops.Scan):
            return b.emit_all(replace(node.op, body=steps[node.id].graph), *inputs)
        ref = find(node)
        if ref is None:
            return None
        moved = dict(zip(node.inputs, inputs, strict=True))
        static = {inside: moved[outside] for inside, outside in ref.captured.items()}
        try:
            drawn, way = _loop(ref, b, static)
        except Refused as refused:
            refusals.append(refused)
            return None
        ways.append(way)
        return (drawn,)

    return Derived(program.rebuild(rewrite).live(), tuple(ways), tuple(refusals))


def _loop(ref: Reference, b: Builder, static: dict[Value, Value]) -> tuple[Value, str]:
    """A vector in blocks; where that is refused, and all else, place by place; what has no place, as a whole.

    Raises `Refused`, with the first reason.
    """
    vector = ref.x.type.rank == 2 and ref.ranks is not None
    reasons = []
    for way in (solve, _stepped) if vector else (_stepped,):
        try:
            return way(ref, b, dict(static))
        except Refused as refused:
            reasons.append(refused)
    return solve_whole(ref, b, dict(static), reasons[0])


def _stepped(ref: Reference, b: Builder, static: dict[Value, Value]) -> tuple[Value, str]:
    wide = opened(ref)
    static = dict(zip(wide.captured, (static[v] for v in ref.captured), strict=True))
    times = schedule(wide)
    steps = " x ".join(str(wide.x.shape[a]) for a in times.levels if a is not None)
    what = "colour after colour of a pixel" if wide.channels > 1 else "one element each"
    return Emitter(wide, times, b, static).run(), f"{steps} steps, {what}"


__all__ = ["Derived", "Refused", "derive"]
