"""Derived samplers, with the assertion that they were derived: the reference sampler gives the same numbers.

A test of what a derived sampler does holds of the reference too, so it passes where nothing was derived. Each such test
takes its graph from `derived`, or its module from `optimised`, which fail there.
"""

from __future__ import annotations

from mpcompile.ir import Graph, Module
from mpcompile.passes.base import PassResult
from mpcompile.passes.incremental import DeriveSamplers
from mpcompile.passes.incremental.recognise import recognise
from mpcompile.passes.pipeline import Optimised, optimise

#: Programs of the specs that hold reference samplers, and how many. A spec with such a program has its row here.
SAMPLERS: dict[str, dict[str, int]] = {
    "char_lstm": {"sample": 1},
    "conditional_flow": {"inverse": 1, "sample": 1},
    "dag_flow": {"inverse": 1, "sample": 1},
    "fvsbn": {"sample": 1},
    "gated_pixelcnn": {"sample": 1},
    "iaf": {"loss": 2, "log_prob": 2, "forward": 2},
    "made": {"sample": 1},
    "maf": {"inverse": 3, "sample": 3},
    "nade": {"sample": 1},
    "nsf_ar": {"inverse": 1, "sample": 1},
    "pixel_rnn": {"sample": 1},
    "pixel_transformer": {"sample": 1},
    "pixelcnn": {"sample": 1},
    "rgb_pixelcnn": {"sample": 1},
    "seq2seq": {"sample": 1},
    "transformer": {"sample": 1},
    "vae_ar_decoder": {"decode": 1, "reconstruct": 1, "sample": 1},
    "vq_vae": {"sample": 1},
    "wavenet": {"sample": 1},
}


#: Specs whose reference samplers stay: a bisection within a step has no place in a loop over blocks.
REFERENCE = {"naf"}


def references(graph: Graph) -> int:
    """How many reference samplers a graph holds, outside of loops."""
    return sum(recognise(node) is not None for node in graph.nodes())


def derived(program: Graph) -> PassResult:
    """The program with every reference sampler replaced. Fails where one stays, or where there was none."""
    found = DeriveSamplers()(program)
    assert found.changed and not found.refused
    assert len(found.done) == references(program) > 0 == references(found.graph)
    return found


def everywhere(graph: Graph) -> int:
    """How many reference samplers a graph holds, those within a step of a loop included."""
    return references(graph) + sum(
        everywhere(body) for n in graph.nodes() if recognise(n) is None for body in n.op.bodies()
    )


def optimised(module: Module, program: str = "sample") -> Optimised:
    """The module as a backend takes it. Fails where a reference sampler of `program` stays, or where there was none."""
    found = optimise(module)
    assert program not in found.refusals
    assert len(found.samplers.get(program, ())) == everywhere(module.programs[program]) > 0
    assert everywhere(found.module.programs[program]) == 0
    return found
