"""`monotone(units)`: increasing, its inverse as accurate as stated, and its gradients those of the implicit function."""

from __future__ import annotations

import flows_under_test as flows
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logsumexp

from mpcompile.interpret import interpret
from mpcompile.ir import Array
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.passes.incremental import DeriveSamplers
from mpcompile.runner.initial import initial

ONE = flows.flow("real[1]", "autoregressive(hidden = [4], law = monotone(units = 3))")
PROJECT = "x.autoregressive_0.project"


def given(slopes: list[float], offsets: list[float], logits: list[float]) -> dict[str, Array]:
    """Weights of ONE with these parameters: slopes are softplus(. + log(e^0.999 - 1)) + 0.001 of theirs."""
    raw = [*np.log(np.expm1(np.subtract(slopes, 1e-3))) - np.log(np.expm1(0.999)), *offsets, *logits]
    w = {k: np.zeros(p.shape) for k, p in ONE.parameters.items()}
    return w | {f"{PROJECT}.bias": np.asarray(raw)}


PARAMETERS = {
    "even": ([1.0, 1.0, 1.0], [-2.0, 0.0, 2.0], [0.0, 0.0, 0.0]),
    "steep": ([60.0, 0.01, 3.0], [-20.0, 1.0, 2.0], [1.0, -4.0, 0.5]),
    "shares": ([0.002, 2.0, 9.0], [0.0, 30.0, -30.0], [0.0, -20.0, 5.0]),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_is_the_logit_of_the_mixture_and_increases_without_bounds(name: str) -> None:
    slopes, offsets, logits = (np.asarray(p) for p in PARAMETERS[name])
    w = given(*PARAMETERS[name])
    x = np.concatenate([np.linspace(-12, 12, 400), [-1e4, 1e4]])[:, None]
    z, log_det = flows.forward(ONE, w, {"x": x})
    u, log_w = x * slopes + offsets, logits - logsumexp(logits)
    low, high = logsumexp(log_w - np.logaddexp(0, -u), axis=1), logsumexp(log_w - np.logaddexp(0, u), axis=1)
    np.testing.assert_allclose(z[:, 0], 1e-3 * x[:, 0] + 0.999 * (low - high), rtol=1e-9, atol=1e-9)
    rise = (np.exp(log_w) * slopes * expit(u) * expit(-u)).sum(1)[:400]
    slope = 1e-3 + 0.999 * rise / np.exp(low + high)[:400]
    np.testing.assert_allclose(np.exp(log_det[:400]), slope, rtol=1e-8)
    assert (np.diff(z[:400, 0]) > 0).all() and z[-2, 0] < z[0, 0] and z[-1, 0] > z[399, 0]


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_inverse_is_as_accurate_as_rounding_lets_it_be(name: str) -> None:
    w, z = given(*PARAMETERS[name]), np.linspace(-40, 40, 161)[:, None]
    x = flows.backward(ONE, w, z, {})
    again, log_det = flows.forward(ONE, w, {"x": x})
    error = np.abs(again - z)[:, 0] / np.exp(log_det)
    assert (
        error <= 64 * np.finfo(float).eps * (1 + np.abs(x[:, 0]) + np.abs(z[:, 0]) / np.exp(log_det))
    ).all()


def test_the_density_integrates_to_one() -> None:
    w = given(*PARAMETERS["even"])

    def density(x: float) -> float:
        return float(np.exp(interpret(ONE.programs["log_prob"], w, {"x": np.array([[x]])})["log_prob"][0]))

    assert abs(quad(density, -40, 40, points=[-3, 0, 3])[0] - 1) < 1e-7


def test_gradients_pass_through_the_bisection() -> None:
    """The loss of an inverse autoregressive flow runs it; against central differences."""
    m = flows.flow("real[2]", "inverse(autoregressive(hidden = [5], law = monotone(units = 3)))")
    w, x = flows.weights(m, 3), np.random.default_rng(0).standard_normal((4, 2))
    names = list(m.parameters)
    graph = differentiate(m.programs["loss"], "loss", names)
    found = interpret(graph, w, {"x": x})

    def loss(changed: dict[str, Array]) -> float:
        return float(interpret(m.programs["loss"], changed, {"x": x})["loss"])

    for name in names:
        direction = np.random.default_rng(1).standard_normal(w[name].shape)
        up, down = (loss(w | {name: w[name] + s * 1e-6 * direction}) for s in (1, -1))
        gradient = found[gradient_name(name)]
        np.testing.assert_allclose((gradient * direction).sum(), (up - down) / 2e-6, rtol=1e-5, atol=1e-8)


def test_its_sampler_is_the_reference() -> None:
    """The bisection within a step has no place in a loop over blocks: the pass says so, and the loop stays as it was."""
    m = flows.flow("real[4]", "autoregressive(hidden = [7], law = monotone(units = 3), order = random)")
    derived = DeriveSamplers()(m.programs["inverse"])
    assert len(derived.refused) == 1 and "scan" in str(derived.refused[0])


def test_a_fresh_one_starts_apart() -> None:
    """Equal units would stay equal: the last layer starts at random."""
    start = initial(ONE)[f"{PROJECT}.bias"]
    assert len(set(start.tolist())) == start.size
