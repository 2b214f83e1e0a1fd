"""Passes rewrite the body of a region once, and the programs mean what they meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layered import DEEP, deepened, lowered, repeating
from specs_under_test import ROOT, small

from mpcompile import api
from mpcompile.interpret import interpret
from mpcompile.ir.same import same_graph
from mpcompile.ops import Repeat, has_repeats
from mpcompile.passes import pipeline
from mpcompile.passes.gradient import differentiate
from mpcompile.passes.pipeline import FEW_LAYERS, SHIPPED, optimise
from mpcompile.passes.running import verified
from mpcompile.runner.examples import example_inputs, example_weights

#: Specs of which a parameter says how many layers they have, and that are not wrong.
SPECS = [p for p in repeating() if deepened(p) and "invalid" not in p.parts]


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_programs_with_regions_mean_what_they_meant(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four layers, where three are many: each body is rewritten once, however often it runs."""
    monkeypatch.setattr(pipeline, "FEW_LAYERS", 2)
    module = api.load(path, small(path.stem) | dict.fromkeys(deepened(path), 4))
    if not any(map(has_repeats, module.regions.values())):
        return
    with verified(True):
        optimised = optimise(module).module
    weights = example_weights(module)
    for name, graph in optimised.regions.items():
        if not any(isinstance(n.op, Repeat) for n in graph.nodes()):
            continue
        inputs = example_inputs(module, name, 2, 5)
        found, wanted = interpret(graph, weights, inputs), interpret(module.programs[name], weights, inputs)
        for key, value in wanted.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-9)


def test_who_knows_no_regions_gets_what_there_was_before() -> None:
    module = api.load(ROOT / "specs" / "transformer.mp", {"layers": FEW_LAYERS + 1, "width": 8, "heads": 2})
    optimised = optimise(module).module
    assert any(isinstance(n.op, Repeat) for n in optimised.regions["loss"].nodes())
    for name, graph in module.programs.items():
        assert same_graph(optimised.programs[name], SHIPPED.run(graph, name).graph)


@pytest.mark.parametrize("name", DEEP)
def test_the_gradient_of_a_region_is_that_of_its_layers(name: str) -> None:
    """Each weight of a stack has the gradient of its row."""
    module = lowered(DEEP[name])
    weights, inputs = example_weights(module), example_inputs(module, "loss", 2, 3)
    names = list(module.parameters)
    found = interpret(differentiate(module.regions["loss"], "loss", names), weights, inputs)
    wanted = interpret(differentiate(module.programs["loss"], "loss", names), weights, inputs)
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-12)
