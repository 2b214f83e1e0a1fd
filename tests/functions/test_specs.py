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


def test_a_graph_has_no_order() -> None:
    """Nodes in another order, with their edges, and more of what lies behind their end, are the same graph."""
    module = load("graph_net", small("graph_net"))
    weights, inputs = example_weights(module), example_inputs(module, "predict", 2, length=5)
    inputs["count"] = np.array([5.0, 3.0])
    wanted = interpret(module.programs["predict"], weights, inputs)["kind"]
    order = np.array([[3, 1, 4, 0, 2, 5, 6], [2, 0, 1, 3, 4, 5, 6]])
    node, edge = (np.full((2, *shape), 7.0) for shape in ((7, 3), (7, 7)))
    node[:, :5], edge[:, :5, :5] = inputs["node"], inputs["edge"]
    moved = {
        "node": np.stack([node[i, order[i]] for i in range(2)]),
        "edge": np.stack([edge[i][np.ix_(order[i], order[i])] for i in range(2)]),
    }
    found = interpret(module.programs["predict"], weights, {**inputs, **moved})["kind"]
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    assert (
        abs(
            interpret(module.programs["predict"], weights, {**inputs, "edge": 1 - inputs["edge"]})["kind"]
            - wanted
        ).max()
        > 1e-3
    )


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
