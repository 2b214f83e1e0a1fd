"""What is done to a module between its proofs and a backend."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mpcompile.ir import Module
from mpcompile.passes.sampler import Refused, derive


@dataclass(frozen=True)
class Optimised:
    """A module whose programs are faster and mean the same, and what could not be made so: program -> reasons."""

    module: Module
    refusals: dict[str, tuple[Refused, ...]]


def optimise(module: Module) -> Optimised:
    """Replace the reference samplers of all programs by derived ones (`mpcompile.passes.sampler`)."""
    derived = {name: derive(graph) for name, graph in module.programs.items()}
    programs = {name: d.graph for name, d in derived.items()}
    refusals = {name: d.refusals for name, d in derived.items() if d.refusals}
    return Optimised(replace(module, programs=programs), refusals)
