"""Holes of the shipped specs: each column, a whole row, and days of a series, against sums over what fills them."""

from __future__ import annotations

import numpy as np
import pytest
import specs_under_test as specs

from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_weights

#: A row of the mixed table, and what is missing in one.
ROW: dict[str, float] = {"age": 33.0, "income": 2.0, "visits": 4, "job": 2, "health": 3}
HOLES = {"job": -1.0} | dict.fromkeys(("age", "income", "visits", "health"), np.nan)


def given_the_code() -> Module:
    """The laws of the shipped spec with its code as a condition, so that log p is known."""
    lines = specs.path("mixed_table").read_text().splitlines()
    start, end = (next(i for i, x in enumerate(lines) if x.startswith(w)) for w in ("jobs =", "h ="))
    text = "\n".join([*lines[:start], "condition z: real[code]", *lines[end:]])
    return lower(parse_text(text), Source("m.mp", text), {"hidden": 4, "code": 2})


def scores(module: Module, weights: dict[str, Array], **columns: Array | float) -> Array:
    """log p of rows [n]: those of `ROW` where they are not stated."""
    count = max(np.size(v) for v in columns.values()) if columns else 1
    rows = {k: np.broadcast_to(np.asarray(v, float), count).copy() for k, v in (ROW | columns).items()}
    rows["job"] = rows["job"].astype(np.int64)
    z = np.tile([[0.4, -0.7]], (count, 1))
    return np.asarray(interpret(module.programs["log_prob"], weights, {**rows, "z": z})["log_prob"])


GRID = np.linspace(-30, 30, 6001)
#: The values that a column may have, and the weight of each in a sum, or in an integral over the logarithm, or arsinh.
VALUES: dict[str, tuple[Array, Array | float]] = {
    "age": (np.exp(GRID), np.exp(GRID) * 0.01), "income": (np.sinh(GRID), np.cosh(GRID) * 0.01),
    "visits": (np.arange(4000.0), 1.0), "job": (np.arange(4.0), 1.0), "health": (np.arange(1.0, 6.0), 1.0),
}  # fmt: skip


@pytest.mark.parametrize("column", VALUES)
def test_a_hole_of_a_column_is_the_integral_over_what_fills_it(column: str) -> None:
    module = given_the_code()
    weights = {k: np.asarray(v) for k, v in example_weights(module, 0, spread=0.4).items()}
    values, each = VALUES[column]
    other = "income" if column != "income" else "visits"  # a second hole beside it changes nothing
    for rest in ({}, {other: HOLES[other]}):
        total = (np.exp(scores(module, weights, **{column: values, **rest})) * each).sum()
        found = scores(module, weights, **{column: HOLES[column], **rest})
        assert float(np.exp(found)[0]) == pytest.approx(total, rel=1e-6)


def test_a_row_without_any_value_has_the_probability_one() -> None:
    module = given_the_code()
    weights = {k: np.asarray(v) for k, v in example_weights(module, 0).items()}
    assert scores(module, weights, **HOLES)[0] == 0


def test_the_bound_of_a_table_reads_no_value_that_is_missing() -> None:
    """Numbers within the program do not reach through its masks: the bound has a value, and so has its gradient."""
    from mpcompile.passes.gradient import differentiate

    m = specs.module("mixed_table")
    weights, given = specs.weights(m), specs.inputs(m, "loss", 6)
    for k, hole in HOLES.items():
        given[k][:3] = hole
    graph = differentiate(m.programs["loss"], "loss", [*weights])
    assert all(np.isfinite(v).all() for v in interpret(graph, weights, given).values())
    given = specs.inputs(m, "elbo", 6)
    for k, hole in HOLES.items():
        given[k][:] = hole
    found = interpret(m.programs["elbo"], weights, given)
    np.testing.assert_allclose(found["elbo"], -found["kl"], rtol=1e-12)


def test_counts_of_a_series_sum_to_one_and_a_last_hole_is_their_sum() -> None:
    m = specs.module("deepar")
    weights = {k: np.asarray(v) for k, v in example_weights(m, 0, spread=0.3).items()}
    rest = specs.inputs(m, "log_prob", 1, 3) | {"length": np.array([2.0]), "scale": np.array([1.5])}

    def log_prob(first: Array | float, second: Array | float) -> Array:
        pair = np.stack(np.broadcast_arrays(np.asarray(first, float), np.asarray(second, float)), -1).reshape(
            -1, 2
        )
        given = {k: np.repeat(v, len(pair), 0) for k, v in rest.items()}
        given["sales"] = np.concatenate([pair, np.full((len(pair), 1), 9.0)], 1)  # the third day is padding
        return np.asarray(interpret(m.programs["log_prob"], weights, given)["log_prob"])

    counts = np.arange(300.0)
    assert np.exp(log_prob(counts, np.nan)).sum() == pytest.approx(1, abs=1e-9)
    for first in (0.0, 4.0, np.nan):  # a day that is not known is filled by its mean in what follows
        total = np.exp(log_prob(first, counts)).sum()
        assert np.exp(log_prob(first, np.nan))[0] == pytest.approx(total, rel=1e-9)
    assert log_prob(np.nan, np.nan)[0] == 0
