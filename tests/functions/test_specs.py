"""Specs that are written with expressions hold what they claim, and have the numbers and symmetries of their papers."""

from __future__ import annotations

import numpy as np
import pytest
from specs_under_test import ROOT, small

from mpcompile import api
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.runner.examples import example_inputs, example_weights

SPECS = ROOT / "specs" / "expressions"
NAMES = sorted(p.stem for p in SPECS.glob("*.mp"))


def load(name: str, numbers: dict[str, str]) -> Module:
    return api.load(SPECS / f"{name}.mp", numbers)


@pytest.mark.parametrize("name", NAMES)
def test_holds_what_it_claims(name: str) -> None:
    """Every claim is proved; that of the number of parameters is about the size of the paper."""
    verdicts = api.verdicts(load(name, small(name)))
    assert [v.claim.kind for v in verdicts if not v.status.accepted] in ([], ["parameters"])


def test_gpt2_has_its_number_of_weights() -> None:
    assert sum(p.live for p in load("gpt2", {}).parameters.values()) == 124_439_808


def test_a_set_has_no_order() -> None:
    """The points of a cloud in another order, and more of what lies behind its end, are the same set."""
    module = load("set_transformer", small("set_transformer"))
    weights, inputs = example_weights(module), example_inputs(module, "predict", 2, length=6)
    inputs["count"] = np.array([6.0, 4.0])
    wanted = interpret(module.programs["predict"], weights, inputs)["shape"]
    moved = np.stack([inputs["cloud"][0, [3, 1, 5, 0, 2, 4]], inputs["cloud"][1, [2, 0, 3, 1, 4, 5]]])
    wider = np.concatenate([moved, np.full((2, 3, 3), 7.0)], 1)
    found = interpret(module.programs["predict"], weights, {**inputs, "cloud": wider})["shape"]
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_patches_have_an_order_by_their_positions_alone() -> None:
    module = load("vit", small("vit"))
    weights, inputs = example_weights(module), example_inputs(module, "predict", 2)
    swapped = {"image": np.roll(inputs["image"], 4, axis=3)}  # two by two patches change places
    (table,) = [n for n in weights if "position" in n]
    with_places = [interpret(module.programs["predict"], weights, x)["label"] for x in (inputs, swapped)]
    assert abs(with_places[0] - with_places[1]).max() > 1e-6
    weights[table] = np.zeros_like(weights[table])
    without = [interpret(module.programs["predict"], weights, x)["label"] for x in (inputs, swapped)]
    np.testing.assert_allclose(*without, rtol=1e-10)
