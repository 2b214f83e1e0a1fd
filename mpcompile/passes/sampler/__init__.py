"""Derive fast samplers: replace a loop that runs a whole network once for each element by one that computes each
intermediate element once, when what it reads becomes known.

The reference sampler of an autoregressive density, and the inverse of a masked autoregressive flow, are loops
x <- where(order = step, drawn(x), x). `find` recognises them, `schedule` decides when each value of the network can be
computed, `emit` writes the loops. With the same noise the result is the same. What cannot be run a step at a time is
refused, naming the layer, and keeps its reference sampler.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mpcompile import ops
from mpcompile.ir import Builder, Graph, Node, Value
from mpcompile.passes.sampler.emit import Emitter
from mpcompile.passes.sampler.find import Reference, Refused, find
from mpcompile.passes.sampler.rows import opened
from mpcompile.passes.sampler.schedule import schedule
from mpcompile.passes.sampler.units import UnitLoop


@dataclass(frozen=True)
class Derived:
    """A program whose samplers are fast ones where that can be, and why they are not elsewhere."""

    graph: Graph
    refusals: tuple[Refused, ...]


def derive(program: Graph) -> Derived:
    """Rewrite every reference sampler of a program, also within a step of a loop; a program without one is given back
    as it is."""
    loops = [node for node in program.nodes() if isinstance(node.op, ops.Scan)]
    steps = {
        node.id: derive(node.op.body) for node in loops if isinstance(node.op, ops.Scan) and not find(node)
    }
    refusals = [r for step in steps.values() for r in step.refusals]
    if len(steps) == len(loops) and all(steps[n.id].graph is n.op.attributes()["body"] for n in loops):
        return Derived(program, tuple(refusals))

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.id in steps and isinstance(node.op, ops.Scan):
            return b.emit_all(replace(node.op, body=steps[node.id].graph), *inputs)
        ref = find(node)
        if ref is None:
            return None
        moved = dict(zip(node.inputs, inputs, strict=True))
        static = {inside: moved[outside] for inside, outside in ref.captured.items()}
        try:
            return (_loop(ref, b, static),)
        except Refused as refused:
            refusals.append(refused)
            return None

    return Derived(program.rebuild(rewrite).live(), tuple(refusals))


def _loop(ref: Reference, b: Builder, static: dict[Value, Value]) -> Value:
    """A vector unit by unit; where that is refused, and for all else, place by place."""
    if ref.x.type.rank == 2 and ref.ranks is not None:
        try:
            return UnitLoop(ref, b, dict(static)).run()
        except Refused:
            if not np.array_equal(ref.ranks, np.arange(ref.ranks.size)):
                raise
    wide = opened(ref)
    static = dict(zip(wide.captured, (static[v] for v in ref.captured), strict=True))
    return Emitter(wide, schedule(wide), b, static).run()


__all__ = ["Derived", "Refused", "derive"]
