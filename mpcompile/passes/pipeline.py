"""The pipelines between the proofs of a module and a backend: their list, and the one place that runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mpcompile import ops
from mpcompile.ir import Array, Graph, Module, Node, Programs
from mpcompile.ir.verify import verify_module
from mpcompile.passes.across import Across
from mpcompile.passes.affine import FoldAffine
from mpcompile.passes.base import Pass, Refused
from mpcompile.passes.cse import CommonSubexpressions
from mpcompile.passes.dce import DeadCode
from mpcompile.passes.fission import Fission
from mpcompile.passes.fold import FoldConstants
from mpcompile.passes.freeze import TRAINING, freeze
from mpcompile.passes.incremental import DeriveSamplers
from mpcompile.passes.incremental.recognise import recognise
from mpcompile.passes.packing import FuseMasks, fuse
from mpcompile.passes.permutations import AbsorbPermutations
from mpcompile.passes.rearrange import Rearrange
from mpcompile.passes.recompute import Recompute
from mpcompile.passes.running import Pipeline, Step, failing, is_verifying
from mpcompile.passes.simplify import Simplify

#: Every pass, in the order in which `mpcompile opt --help` lists them.
PASSES: dict[str, type[Pass]] = {
    p.name: p
    for p in (
        DeriveSamplers, Rearrange, Fission, Simplify, FoldConstants, CommonSubexpressions, DeadCode, AbsorbPermutations,
        FoldAffine, FuseMasks, Across, Recompute,
    )
}  # fmt: skip

#: Equal computations become one only within one scope, and constants stay where they are: so the functions that emitted
#: code is cut into stay whole.
_SIMPLIFY = (Simplify(), CommonSubexpressions(across=False, constants=False), DeadCode())
#: For graphs that are derived from a program, such as a step of training.
SIMPLIFYING = Pipeline("simplifying", _SIMPLIFY)
#: For each program of every module.
SHIPPED = Pipeline("shipped", (DeriveSamplers(), Rearrange(), Fission(), *_SIMPLIFY))
#: Then, for each program of a module that is no longer trained; `freeze` follows.
INFERENCE = Pipeline("inference", (DeadCode(), AbsorbPermutations(), FoldAffine()))

#: Regions of at most this many layers are written one by one.
FEW_LAYERS = 7

PIPELINES = {p.name: p for p in (SHIPPED, INFERENCE, SIMPLIFYING)}


@dataclass(frozen=True)
class Optimised:
    """A module as a backend takes it.

    weights   those of a module for inference; None where the weights of the module stay as they are
    samplers  program -> how each of its derived samplers works
    refusals  program -> why its other samplers stay the reference ones
    steps     every pass over every program, in order
    """

    module: Module
    weights: dict[str, Array] | None
    samplers: dict[str, tuple[str, ...]]
    refusals: dict[str, tuple[Refused, ...]]
    steps: tuple[Step, ...]


def optimise(module: Module, inference: Mapping[str, Array] | None = None) -> Optimised:
    """Run the pipelines over a module: `SHIPPED`, and with weights for `inference` also `INFERENCE` and `freeze`.

    All that goes from a proven module to a backend goes through here. A module for inference has no programs that learn;
    large masked weights are stored without what masks remove, and what depends on weights alone is computed once.

    Raises `InternalError` for a pass that fails (MP901).
    """
    layers = {n: _layers(module.regions[n], FEW_LAYERS) for n in module.programs} if inference is None else {}
    outcomes = {
        name: SHIPPED.run(layers.get(name) or module.programs[name], name) for name in module.programs
    }
    refusals = {name: o.refused for name, o in outcomes.items() if o.refused}
    for name, noise in module.noise.items():
        if any(n.kind == "choice" for n in noise.values()) and (loops := _loops(module.programs[name])):
            refusals[name] = tuple(Refused(n, "draws in an order that is chosen when it runs") for n in loops)
    programs = _Shipped(module) if inference is None else Programs(lambda name, graph: graph)
    programs.update({name: o.graph for name, o in outcomes.items()})
    shipped = replace(module, programs=programs)
    steps = tuple(step for o in outcomes.values() for step in o.steps)
    samplers = {s.program: s.done for s in steps if s.name == DeriveSamplers.name and s.done}
    found = Optimised(shipped, None, samplers, refusals, steps)
    if inference is None:
        return found
    stored, layout = fuse(shipped)
    frozen = for_inference(stored, layout.packed(inference))
    return replace(found, module=frozen.module, weights=frozen.weights, steps=(*steps, *frozen.steps))


class _Shipped(Programs):
    """The programs of a module behind `SHIPPED`: those of many layers with their regions."""

    def __init__(self, module: Module) -> None:
        super().__init__(self._flat_one)
        self._module = module
        self._layered: dict[str, Graph] = {}

    def _flat_one(self, name: str, graph: Graph) -> Graph:
        return graph if not ops.has_repeats(graph) else SHIPPED.run(self._module.programs[name], name).graph

    def layered(self, name: str) -> Graph:
        if name not in self._layered:
            graph = _layers(self._module.regions[name], 1)
            few = graph is not None and _count(graph) > _count(
                _layers(self._module.regions[name], FEW_LAYERS)
            )
            self._layered[name] = SHIPPED.run(graph, name).graph if graph and few else self.regions[name]
        return self._layered[name]


def _count(graph: Graph | None) -> int:
    """The number of regions of a program, also of those in its loops."""
    return 0 if graph is None else sum(1 for _ in ops.regions(graph))


def _layers(graph: Graph, few: int) -> Graph | None:
    """Return a program with its regions of more than `few` layers, where it keeps some.

    Programs with other loops than those of reference samplers keep none.
    """
    if not ops.has_repeats(graph) or any(map(_has_loops, _parts(graph))):
        return None
    kept = ops.unrolled(graph, few)
    return kept if ops.has_repeats(kept) else None


def _parts(graph: Graph) -> list[Graph]:
    """Return a program and the bodies of its regions."""
    return [graph, *(body for n in graph.nodes() if isinstance(n.op, ops.Repeat) for body in n.op.bodies())]


def _has_loops(graph: Graph) -> bool:
    return any(
        isinstance(n.op, ops.Scan) and not isinstance(n.op, ops.Repeat) and recognise(n) is None
        for n in graph.nodes()
    )


def _loops(graph: Graph) -> list[Node]:
    """Loops that carry a state."""
    return [n for n in graph.nodes() if isinstance(n.op, ops.Scan) and n.op.carries]


def for_inference(module: Module, weights: Mapping[str, Array]) -> Optimised:
    """Return a module that only runs, and its weights.

    Permutations and affine maps go into the products beside them (`INFERENCE`); all that depends on weights alone is
    computed once (`freeze`).

    Programs that learn are gone; the others mean what they meant.
    """
    steps: list[Step] = []
    programs = dict(module.programs)
    for name in [n for n in programs if n not in TRAINING]:
        outcome = INFERENCE.run(programs[name], name)
        programs[name] = outcome.graph
        steps += outcome.steps
    with failing("freeze", module.name, [str(p) for p in INFERENCE.passes]):
        frozen = freeze(replace(module, programs=programs), weights)
        if is_verifying():
            verify_module(frozen.module)
    return Optimised(frozen.module, frozen.weights, {}, {}, tuple(steps))


__all__ = [
    "INFERENCE",
    "PASSES",
    "PIPELINES",
    "SHIPPED",
    "SIMPLIFYING",
    "Optimised",
    "for_inference",
    "optimise",
]
