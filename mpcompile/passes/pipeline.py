"""What is done to a module between its proofs and a backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mpcompile import ops
from mpcompile.ir import Array, Graph, Module, Node
from mpcompile.passes.affine import FoldAffine
from mpcompile.passes.freeze import TRAINING, Frozen, freeze
from mpcompile.passes.permutations import AbsorbPermutations
from mpcompile.passes.rearrange import rearrange
from mpcompile.passes.sampler import Refused, derive
from mpcompile.passes.simplify import simplify


@dataclass(frozen=True)
class Optimised:
    """A module whose programs are faster and mean the same, how (program -> its samplers), and what could not be made so:
    program -> reasons."""

    module: Module
    samplers: dict[str, tuple[str, ...]]
    refusals: dict[str, tuple[Refused, ...]]


def optimise(module: Module) -> Optimised:
    """Replace the reference samplers of all programs by derived ones (`sampler`), take elements from where they come from
    (`rearrange`), and simplify (`simplify`)."""
    derived = {name: derive(graph) for name, graph in module.programs.items()}
    programs = {name: simplify(rearrange(d.graph)) for name, d in derived.items()}
    refusals = {name: d.refusals for name, d in derived.items() if d.refusals}
    samplers = {name: d.ways for name, d in derived.items() if d.ways}
    for name, noise in module.noise.items():
        if any(n.kind == "choice" for n in noise.values()) and (found := _loops(module.programs[name])):
            refusals[name] = tuple(Refused(n, "draws in an order that is chosen when it runs") for n in found)
    return Optimised(replace(module, programs=programs), samplers, refusals)


def _loops(graph: Graph) -> list[Node]:
    """Loops that carry a state."""
    return [n for n in graph.nodes() if isinstance(n.op, ops.Scan) and n.op.carries]


#: What is done, in this order, to each program of a module that is no longer trained.
FOR_INFERENCE = (AbsorbPermutations(), FoldAffine())


def for_inference(module: Module, weights: Mapping[str, Array]) -> Frozen:
    """A module that only runs, and its weights: permutations and affine maps in the products beside them, and all that
    depends on weights alone computed once. Programs that learn are gone; the others mean what they meant.
    """
    programs = dict(module.programs)
    for name in [n for n in programs if n not in TRAINING]:
        for fold in FOR_INFERENCE:
            programs[name] = fold(programs[name])
    return freeze(replace(module, programs=programs), weights)
