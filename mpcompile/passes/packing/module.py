"""Mask fusion of a whole module: one layout for all its programs."""

from __future__ import annotations

from dataclasses import replace

from mpcompile.ir import Graph, Module, Programs, Stack
from mpcompile.ir.optimizers import Optimizer
from mpcompile.passes.packing.fuse import FuseMasks
from mpcompile.passes.packing.layout import Layout
from mpcompile.passes.packing.plan import plan
from mpcompile.passes.running import Pipeline


def fuse(
    module: Module, rule: Optimizer | None = None, program: str = "loss", blocks: int = 0
) -> tuple[Module, Layout]:
    """Return a module whose programs read weights in boxes, and the layout of these, chosen for one program.

    `rule` is the optimiser that trains the module: nothing is packed for one that does not keep zeros.
    """
    masked = any(p.support is not None for p in module.parameters.values())
    if not masked or program not in module.programs or (rule is not None and not rule.keeps_zeros):
        return module, Layout({})
    regions = module.regions[program]
    layout = plan(regions, blocks, module.parameters)
    if not layout:
        return module, layout
    line = Pipeline("packed", (FuseMasks(layout=layout),))
    programs = Programs(
        lambda name, graph: line.run(module.programs[name], name).graph if _layers(graph) else graph
    )
    programs.update({name: line.run(graph, name).graph for name, graph in module.regions.items()})
    return replace(module, programs=programs, parameters=layout.parameters(module)), layout


def _layers(graph: Graph) -> bool:
    return any(isinstance(n.op, Stack) for n in graph.nodes())


__all__ = ["fuse"]
