"""Latents and terms alone: posteriors fitted to an unnormalised density, by draws and without data.

The oracles are a Gaussian target, whose posterior and log Z are known, and a quadrature of the target in the plane.
"""

from __future__ import annotations

import numpy as np
import pytest
from specs_under_test import module, weights
from written import lowered

from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Array
from mpcompile.passes.gradient import differentiate, gradient_name

FIELD = """model m
weight m: real[channel: 2] = normal(0.1)
weight s: real[channel: 2] = normal(0.1)
latent z: real[2] ~ normal(loc = m, log_scale = s) prior normal(0, 1)
minimise sum(square(z - 1.5), over = channel) weight 0.5 / 0.36
"""
#: Two draws of each element whose mean is 0 and whose mean square is 1: the mean of a square is then exact.
PAIRS = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1.0]])


def gaussian(m: Array, s: Array) -> tuple[float, float]:
    """KL(q || target) and log Z of a prior N(0, 1) with exp(-(z - 1.5)^2 / (2 0.36)), in two dimensions."""
    variance = 1 / (1 + 1 / 0.36)
    mean = variance * 1.5 / 0.36
    kl = 0.5 * ((np.exp(2 * s) + (m - mean) ** 2) / variance - 1 - 2 * s + np.log(variance))
    log_z = 0.5 * np.log(0.36 / 1.36) - 0.5 * 1.5**2 / 1.36
    return float(kl.sum()), 2 * log_z


def test_the_loss_is_the_divergence_from_a_gaussian_target() -> None:
    program = lowered(FIELD).programs["loss"]
    variance = 1 / (1 + 1 / 0.36)
    best = np.full(2, variance * 1.5 / 0.36), np.full(2, 0.5 * np.log(variance))
    for m, s in ((np.array([0.3, -1.0]), np.array([0.5, -0.7])), best):
        kl, log_z = gaussian(m, s)
        found = interpret(program, {"m.weight": m, "s.weight": s}, {"noise_z": PAIRS})
        np.testing.assert_allclose(found["loss"] + log_z, kl, atol=1e-12)
    made = interpret(
        differentiate(program, "loss", ["m.weight", "s.weight"]),
        {"m.weight": best[0], "s.weight": best[1]},
        {"noise_z": PAIRS},
    )
    for name in ("m.weight", "s.weight"):
        np.testing.assert_allclose(made[gradient_name(name)], 0, atol=1e-12)


def energy(z: Array) -> Array:
    return np.asarray(0.5 * ((z**2 - 1) ** 2).sum(-1) - np.log1p(np.exp(-z.sum(-1))))


def test_weights_of_a_flow_average_to_the_normaliser_and_its_bound_lies_below() -> None:
    m = module("posterior")
    w, step = weights(m, 1, 0.05), 0.06
    grid = np.stack(np.meshgrid(*[np.arange(-8, 8, step)] * 2), -1).reshape(-1, 2)
    normal = np.exp(-0.5 * (grid**2).sum(-1)) * step**2 / (2 * np.pi)
    log_z = np.log((np.exp(-energy(grid)) * normal).sum())
    weight = interpret(m.programs["log_weight"], w, {"noise_z": grid})["log_weight"]
    np.testing.assert_allclose((np.exp(weight) * normal).sum(), np.exp(log_z), rtol=1e-5)
    noise = {"noise_z": grid[:: len(grid) // 300]}
    bound, drawn = (interpret(m.programs[name], w, noise) for name in ("elbo", "sample"))
    np.testing.assert_allclose(
        bound["elbo"], interpret(m.programs["log_weight"], w, noise)["log_weight"], rtol=1e-9
    )
    np.testing.assert_allclose(bound["terms"], energy(drawn["z"]), rtol=1e-9)
    np.testing.assert_allclose(
        interpret(m.programs["loss"], w, noise)["loss"], -bound["elbo"].mean(), rtol=1e-12
    )
    assert (weight * normal).sum() < log_z


def test_a_target_is_given_what_is_declared() -> None:
    """Latents in the order of inference, one of classes; draws relaxed in the loss alone; one example, and none."""
    m = lowered(
        "model m\ncondition y: real[2]\n"
        "latent k: category(3) ~ gumbel(concat(y, z) -> dense(3), 0.5) prior categorical(logits = y -> dense(3))\n"
        "latent z: real[2] ~ normal(y -> dense(4)) prior normal(k -> embedding(2), 1)\n"
        "minimise squared(z, y)\nminimise onehot(k, 3) -> dense(1)\n".replace(
            "onehot(k, 3)", "k -> onehot(3)"
        )
    )
    w, rng = weights(m, 2, 0.3), np.random.default_rng(0)
    for count in (3, 1, 0):
        given = {"y": rng.standard_normal((count, 2)), "noise_z": rng.standard_normal((count, 2))}
        given |= {"noise_k": rng.random(count)}
        bound = interpret(m.programs["elbo"], w, given)
        drawn = interpret(m.programs["sample"], w, given)
        assert (
            bound["elbo"].shape == (count,)
            and drawn["z"].shape == (count, 2)
            and drawn["k"].shape == (count,)
        )
        each = ((drawn["z"] - given["y"]) ** 2).sum(1)
        each += w["minimise_1.dense_0.weight"][0][drawn["k"]] + w["minimise_1.dense_0.bias"]
        np.testing.assert_allclose(bound["terms"], each, rtol=1e-9)
    assert m.noise["loss"]["noise_k"].kind == "uniform" and list(drawn) == ["k", "z"]


def test_a_term_that_compares_examples_has_no_target() -> None:
    text = "model m\ncondition y: real[2]\nlatent z: real[2] ~ normal(y -> dense(4)) prior normal(0, 1)\n"
    assert lowered(text + "minimise info_nce(y, z)\n").programs.keys() == {"loss", "sample"}


@pytest.mark.parametrize(
    ("law", "said"),
    {
        "normal(0, 1)": "no parameters of its own",
        "autoregressive { dense(2) }": "a posterior cannot be autoregressive",
        "normal(w, 1)": "the parameter has the axes [channel: 3]",
        "gamma(w, w)": "the gradient ends at its draws",
    }.items(),
)
def test_a_posterior_without_data_is_one_of_its_type(law: str, said: str) -> None:
    text = (
        f"model m\nweight w: real[channel: 3] = normal(0.1)\nlatent z: real[2] ~ {law} prior normal(0, 1)\n"
    )
    with pytest.raises(SpecError) as caught:
        lowered(text + "minimise square(z)\n")
    assert said in caught.value.diagnostics[0].message


def test_what_is_of_data_is_refused_where_none_are_read() -> None:
    text = FIELD + "prior m ~ normal(0, 1)\ntrain { data: moons, epochs: 3, threshold: 0.5, length: 4 }\n"
    with pytest.raises(SpecError) as caught:
        lowered(text)
    found = caught.value.diagnostics
    assert [(d.code, d.span.line) for d in found[:5]] == [("MP514", 7)] * 4 + [("MP514", 6)]
