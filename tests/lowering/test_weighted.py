"""Weights of laws: the loss is the weighted sum of log-likelihoods by hand, and nothing else sees them."""

from __future__ import annotations

import numpy as np
import pytest
from specs_under_test import weights
from written import lowered

from mpcompile.backend import find_backend, installed
from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.passes.gradient import differentiate, gradient_name

STEPS = """model m
input x: binary[time, 2]
condition length: integer(1..time)
condition each: real[time]
condition all: real[time, 2]
weight rare: real[class: 2] = constant(0.3)
recurrence over time {
  carry h[3] = 0
  x ~ bernoulli(logits = h -> dense(2)) weight WEIGHT
  h = gru(x, h)
}
"""


def inputs() -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {
        "x": rng.integers(0, 2, (3, 4, 2)).astype(float),
        "length": np.array([4, 1, 3]),
        "each": rng.random((3, 4)),
        "all": rng.random((3, 4, 2)),
    }


def run(m: Module, program: str, w: dict[str, Array], given: dict[str, Array]) -> dict[str, Array]:
    graph = m.programs[program]
    return interpret(graph, w, {k: v for k, v in given.items() if k in graph.inputs})


def log_likelihoods(m: Module, w: dict[str, Array], given: dict[str, Array]) -> Array:
    """Of each element, [N, time, 2], zero behind the end."""
    logits, x = run(m, "conditionals", w, given)["logits"], given["x"]
    there = np.arange(4) < given["length"][:, None]
    return np.asarray((x * logits - np.logaddexp(0, logits)) * there[..., None])


@pytest.mark.parametrize("weight", ["0.5", "each", "all", "sum(square(x), over = channel)", "2 * each * all"])
def test_a_law_of_a_step_is_weighted_step_by_step(weight: str) -> None:
    m, given = lowered(STEPS.replace("WEIGHT", weight)), inputs()
    w = weights(m, 1, 0.5)
    logs = log_likelihoods(m, w, given)
    by_hand = {
        "0.5": 0.5 * logs, "each": given["each"][..., None] * logs, "all": given["all"] * logs,
        "sum(square(x), over = channel)": given["x"].sum(2, keepdims=True) * logs,
        "2 * each * all": 2 * given["each"][..., None] * given["all"] * logs,
    }  # fmt: skip
    np.testing.assert_allclose(
        run(m, "loss", w, given)["loss"], -by_hand[weight].sum((1, 2)).mean(), rtol=1e-12
    )
    np.testing.assert_allclose(run(m, "log_prob", w, given)["log_prob"], logs.sum((1, 2)), rtol=1e-12)
    assert m.weighted == {"x"}


def test_a_weight_that_is_learned_has_no_gradient_and_one_that_changes_moves_on() -> None:
    given = inputs()
    m = lowered(STEPS.replace("WEIGHT", "sum(rare, over = class) * anneal(0, 1, steps = 4)"))
    w = weights(m, 1, 0.5) | {"rare.weight": np.array([0.3, 0.9])}
    (steps,) = (n for n in w if n.endswith("steps"))
    total = log_likelihoods(m, w, given).sum((1, 2)).mean()
    for done in (0.0, 1.0, 9.0):
        out = run(m, "loss", w | {steps: np.array(done)}, given)
        np.testing.assert_allclose(out["loss"], -total * 1.2 * min(done / 4, 1), rtol=1e-12, atol=1e-12)
        assert out[f"state/{steps}"] == done + 1
    made = interpret(
        differentiate(m.programs["loss"], "loss", ["rare.weight"]), w | {steps: np.array(2.0)},
        {k: v for k, v in given.items() if k in m.programs["loss"].inputs},
    )  # fmt: skip
    assert not np.any(made.get(gradient_name("rare.weight"), 0))


@pytest.mark.parametrize("backend", installed())
def test_every_backend_weighs_steps(backend: str) -> None:
    m, given = lowered(STEPS.replace("WEIGHT", "2 * each * all")), inputs()
    w = weights(m, 1, 0.5)
    read = {k: v for k, v in given.items() if k in m.programs["loss"].inputs}
    found, _ = find_backend(backend).session(m, w).gradients(read)
    np.testing.assert_allclose(found["loss"], run(m, "loss", w, given)["loss"], rtol=1e-5)


def test_what_is_missing_has_no_weight() -> None:
    m = lowered("model m\ntarget y: real[3]?\ncondition w: real[3]\ny ~ normal(w -> dense(3), 1) weight w\n")
    weight, y = np.array([[1.0, 5.0, 2.0]]), np.array([[1.0, np.nan, 2.0]])
    w = {"y.dense_0.weight": np.zeros((3, 3)), "y.dense_0.bias": np.zeros(3)}
    logs = -0.5 * y**2 - 0.5 * np.log(2 * np.pi)
    found = interpret(m.programs["loss"], w, {"y": y, "w": weight})["loss"]
    np.testing.assert_allclose(found, -np.nansum(weight * logs), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("WEIGHT", "h"), "MP214", "axis `channel` has two sizes"),
        (("WEIGHT", "y"), "MP110", "`y`"),
        (
            ("  carry h[3] = 0\n  x ~", "  carry k: category(2) = 0\n  latent s: category(2) ~ exact prior "
             "categorical(logits = k -> embedding(2))\n  k = s\n  x ~"),
            "MP205", "summed out",
        ),
    ],
)  # fmt: skip
def test_what_weighs_no_step_is_refused(change: tuple[str, str], code: str, said: str) -> None:
    text = STEPS.replace(*change).replace("WEIGHT", "0.5")
    if code == "MP205":
        text = text.replace("h -> dense(2)", "s -> embedding(2)").replace("  h = gru(x, h)\n", "")
    with pytest.raises(SpecError) as caught:
        lowered(text)
    found = caught.value.diagnostics[0]
    assert found.code == code and said in found.message
