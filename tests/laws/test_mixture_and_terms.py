"""A mixture density network, and terms beside likelihoods."""

from __future__ import annotations

import numpy as np
import pytest
from specs_under_test import inputs, module, weights

from mpcompile.interpret import interpret


@pytest.mark.parametrize("x", [-0.5, 0.4])
def test_a_mixture_density_network_integrates_to_one(x: float) -> None:
    m = module("mdn")
    y = np.linspace(-60, 60, 60001)
    given = {"x": np.full(len(y), x), "y": y}
    density = np.exp(interpret(m.programs["log_prob"], weights(m), given)["log_prob"])
    assert abs(np.trapezoid(density, y) - 1) < 1e-6


def test_terms_and_weights_change_the_loss_alone() -> None:
    """Of the detector: a box that nobody drew adds nothing, and no box is part of the likelihood."""
    m = module("detector")
    w, given = weights(m), inputs(m, "loss", 3, 4)
    with_box = interpret(m.programs["loss"], w, given)["loss"]
    none = given | {"box": np.full_like(given["box"], np.nan)}
    without = interpret(m.programs["loss"], w, none)["loss"]
    assert with_box > without and np.isfinite(without)
    moved = given | {"box": given["box"] + 5}
    assert interpret(m.programs["loss"], w, moved)["loss"] != with_box
    assert "box" not in m.programs["log_prob"].inputs
    parts = [given | {"box": np.where(np.arange(4) == i, given["box"], np.nan)} for i in range(4)]
    terms = [float(interpret(m.programs["loss"], w, p)["loss"]) - float(without) for p in parts]
    assert abs(sum(terms) - (float(with_box) - float(without))) < 1e-9
