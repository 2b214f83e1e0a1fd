"""Samplers of repeated layers: one loop over layers within a step, and the draws of layers one by one to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from derived import derived
from layered import lowered, repeating
from specs_under_test import ROOT

from mpcompile import api, ops
from mpcompile.interpret import interpret
from mpcompile.ir import Graph, Module
from mpcompile.ir.verify import verify_graph
from mpcompile.passes.incremental import DeriveSamplers
from mpcompile.runner.examples import example_inputs, example_weights

#: Sizes at which the oracle takes no time.
SMALL = {
    "transformer": {"width": 8, "heads": 2, "layers": 3},
    "gpt2": {"vocabulary": 12, "dim": 8, "heads": 2, "layers": 3, "longest": 8},
    "llama": {"vocabulary": 12, "dim": 16, "groups": 2, "heads": 4, "layers": 3, "hidden": 12},
    "pixelcnn": {"width": 4, "layers": 3},
    "wavenet": {"cycles": 4, "layers": 2, "width": 4},
}
#: Specs whose sampler has a region within a step; those of pictures have loops over rows, or several moments.
KEPT = {"gpt2", "llama", "transformer", "wavenet"}
#: Specs whose sampler is not derived: attention over merged axes, and words in other orders than their own.
REFERENCE = {"pixelsnail", "xlnet"}


def drawn(body: str) -> str:
    """A model of a sequence that is drawn from a network."""
    head = "model m\ninput x: category(5)[time]\nx ~ autoregressive(likelihood = categorical)"
    return f"{head} {{ {body} -> dense(5) }}\n"


HEAD = "embedding(6) -> shift"
#: name -> (spec, whether a region stays)
VARIANTS = {
    "attention": (drawn(f"{HEAD} -> repeat i in 1..3 {{ residual(layer_norm -> attention(2, mask = causal)) }}"), True),
    "lags": (drawn(f"{HEAD} -> repeat i in 1..4 {{ residual(conv1d(6, 3, dilation = 2) -> tanh) }}"), True),
    "normed weights": (drawn(f"{HEAD} -> repeat i in 1..3 {{ residual(conv1d(6, 2, norm = weight) -> tanh) }}"), True),
    "no lags": (drawn(f"{HEAD} -> repeat i in 1..3 {{ residual(dense(8) -> relu -> dense(6)) }}"), True),
    "wider first": (drawn(f"{HEAD} -> repeat i in 1..4 {{ conv1d(7, 2) -> tanh }}"), True),
    "a period": (drawn(f"{HEAD} -> repeat i in 1..6 {{ residual(conv1d(6, 2, dilation = 1 + i % 2) -> tanh) }}"), True),
    "a tap": (drawn(f"{HEAD} as h -> repeat i in 1..3 {{ concat(h) -> conv1d(6, 2) -> tanh }}"), True),
    "no weights": (drawn(f"{HEAD} -> repeat i in 1..3 {{ tanh }}"), True),
    "late": (drawn("embedding(6) -> repeat i in 1..3 { residual(conv1d(6, 2) -> tanh) } -> shift"), True),
    "shifts": (drawn("embedding(6) -> shift -> repeat i in 1..3 { conv1d(6, 2) -> tanh -> shift }"), True),
    "a loop": (drawn(f"{HEAD} -> repeat i in 1..3 {{ residual(gru(6)) }}"), False),
}  # fmt: skip


def layered(graph: Graph) -> int:
    """How many regions stand within a step."""
    return sum(1 for n in graph.nodes() for body in n.op.bodies() for _ in ops.regions(body))


def held(module: Module) -> int:
    """The sampler of a program with regions draws what that of the program without them does; how many regions stay."""
    program = module.regions["sample"]
    kept, whole = derived(program).graph, derived(module.programs["sample"]).graph
    verify_graph(kept)
    weights, inputs = example_weights(module), example_inputs(module, "sample", 2, 5)
    wanted = interpret(whole, weights, inputs)
    for graph in (kept, ops.unrolled(kept)):
        found = interpret(graph, weights, inputs)
        for key, value in wanted.items():
            np.testing.assert_array_equal(found[key], value)
    return layered(kept)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_region_draws_what_its_layers_do(name: str) -> None:
    text, kept = VARIANTS[name]
    module = lowered(text)
    assert ops.has_repeats(module.regions["sample"])
    assert bool(held(module)) == kept


def deep(path: Path) -> Module | None:
    """A spec with a repeat within a sampler; None for others."""
    module = api.load(path, SMALL.get(path.stem))
    return module if "sample" in module.regions and layered(module.regions["sample"]) else None


SPECS = [p for p in repeating() if "invalid" not in p.parts]


@pytest.mark.parametrize("path", SPECS, ids=lambda p: str(p.relative_to(ROOT / "specs")))
def test_every_spec_with_a_repeat_draws_what_its_layers_do(path: Path) -> None:
    module = deep(path)
    if module is None:
        return
    if path.stem in REFERENCE:
        found = DeriveSamplers()(module.regions["sample"])
        assert found.refused or not found.changed
        return
    assert bool(held(module)) == (path.stem in KEPT)
