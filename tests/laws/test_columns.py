"""Laws of columns, series of counts and terms beside likelihoods: the specs of tables."""

from __future__ import annotations

import numpy as np
import pytest
from specs_under_test import inputs, module, weights

from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_weights

#: The columns of `mixed_table.mp`, given one number instead of a latent.
COLUMNS = """model m
input age: real(0..)?
input income: real?
input visits: integer(0..)?
input job: category("clerk", "nurse", "teacher", "other")?
input health: integer(1..5)?
condition h: real[1]
age ~ gamma(h -> dense(2))
income ~ student_t(h -> dense(3))
visits ~ zero_inflated(negative_binomial, h -> dense(3))
job ~ categorical(logits = h -> dense(4))
health ~ ordinal(h -> dense(1))
"""
FULL = {"age": 1.3, "income": -0.4, "visits": 2.0, "job": 1.0, "health": 4.0}
#: What may stand in a missing cell, with the measure of each value.
_WIDE = np.sinh(np.linspace(-12, 12, 20001))
_POSITIVE = np.exp(np.linspace(-30, 6, 20001))
FILLINGS = {
    "age": (_POSITIVE, np.gradient(_POSITIVE)), "income": (_WIDE, np.gradient(_WIDE)),
    "visits": (np.arange(2000.0), np.ones(2000)), "job": (np.arange(4.0), np.ones(4)),
    "health": (np.arange(1.0, 6), np.ones(5)),
}  # fmt: skip


def test_a_missing_cell_is_integrated_out() -> None:
    """log p of the other cells is the logarithm of the sum or integral over all that the cell may hold."""
    m = lower(parse_text(COLUMNS), Source("m.mp", COLUMNS))
    given_weights = {k: np.asarray(v) for k, v in example_weights(m, 0, spread=0.4).items()}

    def log_prob(cells: dict[str, Array | float]) -> Array:
        n = max(np.size(v) for v in cells.values())
        given = {k: np.broadcast_to(np.asarray(v, float), (n,)) for k, v in cells.items()}
        given["job"] = given["job"].astype(np.int64)
        return np.asarray(
            interpret(m.programs["log_prob"], given_weights, given | {"h": np.ones((n, 1))})["log_prob"]
        )

    for name, (values, measure) in FILLINGS.items():
        total = np.log((np.exp(log_prob({**FULL, name: values})) * measure).sum())
        hole = -1.0 if name == "job" else np.nan
        np.testing.assert_allclose(log_prob({**FULL, name: hole})[0], total, atol=2e-5, err_msg=name)
    nothing = {k: -1.0 if k == "job" else np.nan for k in FULL}
    assert log_prob({**nothing})[0] == 0


def test_counts_of_two_days_have_mass_one() -> None:
    """Of DeepAR: the second day's law reads the first day's count. Days behind the end count nothing."""
    m, most = module("deepar"), 60
    days = np.stack(np.meshgrid(np.arange(most), np.arange(most)), -1).reshape(-1, 2).astype(float)
    given = {k: np.repeat(v[:1], len(days), 0) for k, v in inputs(m, "log_prob", 1, 3, 0).items()}
    given["sales"] = np.concatenate([days, np.full((len(days), 1), 5.0)], 1)
    given["scale"] = np.full(len(days), 1.5)
    given["length"] = np.full(len(days), 2)
    w = {k: np.asarray(v) for k, v in example_weights(m, 0, spread=0.3).items()}
    one = interpret(m.programs["log_prob"], w, given)["log_prob"]
    assert abs(np.exp(one).sum() - 1) < 1e-6
    given["sales"][:, 2] = np.nan
    np.testing.assert_array_equal(interpret(m.programs["log_prob"], w, given)["log_prob"], one)
    given["sales"][:, 1] = np.nan
    first = np.log(np.exp(one.reshape(most, most)).sum(0))
    np.testing.assert_allclose(
        interpret(m.programs["log_prob"], w, given)["log_prob"].reshape(most, most)[0], first, atol=1e-4
    )


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
