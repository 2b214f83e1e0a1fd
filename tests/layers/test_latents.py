"""Laws of latent-variable models (MODELS: VAE, beta-VAE and their compositions), on the numpy oracle."""

from __future__ import annotations

import numpy as np
import pytest
import specs_under_test as specs
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from mpcompile.api import load
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_weights

LINEAR = """
model linear(code = 2)
input x: real[3]
latent z ~ normal(x -> dense(2 * code)) prior normal(0, 1)
x ~ normal(z -> dense(3), 0.7)
"""


def module(text: str) -> Module:
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})


def weights(m: Module) -> dict[str, Array]:
    return {k: np.asarray(v, np.float64) for k, v in example_weights(m, 3, 0.3).items()}


def draws(m: Module, w: dict[str, Array], program: str, x: Array, count: int, seed: int = 0) -> Array:
    """A program's per-example output for one example x, under `count` draws of its noise."""
    rng, graph = np.random.default_rng(seed), m.programs[program]
    given: dict[str, Array] = {}
    for name, value in graph.inputs.items():
        shape = value.type.concrete({"N": count})
        noise = m.noise.get(program, {}).get(name)
        if noise is None:
            given[name] = np.broadcast_to(x, shape)
        else:
            given[name] = rng.normal(size=shape) if noise.kind == "normal" else rng.uniform(size=shape)
    return np.asarray(next(iter(interpret(graph, w, given).values())))


def test_importance_weights_average_to_the_true_density() -> None:
    """Burda et al. 2016, eq. 8; for a linear Gaussian model the density is known: N(b, W W^T + 0.7^2)."""
    m = module(LINEAR)
    w = weights(m)
    (matrix,) = [v for v in w.values() if v.shape == (3, 2)]
    (bias,) = [v for v in w.values() if v.shape == (3,)]
    x = np.array([0.4, -0.3, 0.8])
    log_w = draws(m, w, "log_weight", x, 200_000)
    expected = multivariate_normal(bias, matrix @ matrix.T + 0.49 * np.eye(3)).logpdf(x)
    found = logsumexp(log_w) - np.log(log_w.size)
    spread = np.exp(log_w - found).std() / np.sqrt(log_w.size)
    assert abs(found - expected) < 5 * spread
    assert spread < 0.05


def test_the_closed_form_of_kl_is_that_of_monte_carlo() -> None:
    """The elbo, whose KL is in closed form, and the mean of log weights, whose is not, have one expectation."""
    m = module(LINEAR)
    w, x = weights(m), np.array([0.4, -0.3, 0.8])
    closed, sampled = draws(m, w, "elbo", x, 50_000), draws(m, w, "log_weight", x, 50_000, seed=1)
    error = np.hypot(closed.std(), sampled.std()) / np.sqrt(50_000)
    assert abs(closed.mean() - sampled.mean()) < 5 * error
    assert closed.std() < sampled.std()


@pytest.mark.parametrize("name", ["vae", "vae_iaf", "vae_flow_prior", "vae_ar_decoder"])
def test_more_draws_tighten_the_bound(name: str) -> None:
    """E log mean of K weights grows with K (Burda et al. 2016, theorem 1); K = 1 is the elbo."""
    m = specs.module(name)
    w = weights(m)
    x = (np.random.default_rng(5).random(64) < 0.4).astype(float)
    log_w = draws(m, w, "log_weight", x, 4096)
    one, many = log_w.mean(), np.mean(logsumexp(log_w.reshape(-1, 64), axis=1) - np.log(64))
    assert many > one + 3 * log_w.std() / np.sqrt(4096) / 8
    elbo = draws(m, w, "elbo", x, 4096, seed=2)
    assert abs(elbo.mean() - one) < 6 * log_w.std() / np.sqrt(4096)


def test_beta_weighs_the_divergence_alone() -> None:
    """loss(beta) is linear in beta; at beta = 1 it is the negative elbo."""
    text = (specs.ROOT / "specs" / "vae.yaml").read_text(encoding="utf-8")
    losses = {}
    for beta in (1, 2, 4):
        source = text.replace("beta: 1", f"beta: {beta}")
        m = lower(parse_text(source, "m.yaml", "yaml"), Source("m.yaml", source), {})
        w = weights(m)
        x = (np.random.default_rng(5).random(64) < 0.4).astype(float)
        rng = np.random.default_rng(0)
        graph = m.programs["loss"]
        given = {
            k: np.broadcast_to(x, v.type.concrete({"N": 7}))
            if k == "x"
            else rng.normal(size=v.type.concrete({"N": 7}))
            for k, v in graph.inputs.items()
        }
        losses[beta] = float(interpret(graph, w, given)["loss"])
        if beta == 1:
            elbo = interpret(m.programs["elbo"], w, given)["elbo"]
            assert losses[1] == pytest.approx(-elbo.mean(), rel=1e-12)
    assert losses[4] - losses[2] == pytest.approx(2 * (losses[2] - losses[1]), rel=1e-9)
    assert losses[2] > losses[1]


def test_a_normal_prior_on_weights_is_ridge() -> None:
    """The gradient of the loss at scikit-learn's ridge solution, with penalty noise^2 / spread^2, is zero."""
    from sklearn.linear_model import Ridge

    from mpcompile.passes.gradient import differentiate, gradient_name

    m = load(specs.path("ridge"))
    noise, spread = m.params["noise"], m.params["spread"]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, int(m.params["features"])))
    y = x @ rng.normal(size=x.shape[1]) + 0.3 * rng.normal(size=40)
    shapes = {p.name: p.shape for p in m.parameters.values()}
    free = any(len(s) == 1 for s in shapes.values())
    ridge = Ridge(alpha=noise**2 / spread**2, fit_intercept=False).fit(x, y)
    w = {k: ridge.coef_.reshape(s) if len(s) == 2 else np.zeros(s) for k, s in shapes.items()}
    loss = m.programs["loss"]
    given = {}
    for name, value in loss.inputs.items():
        shape = value.type.concrete({"N": 40})
        given[name] = (
            np.float64(40)
            if shape == ()
            else (x if value.type.rank == 2 and shape[1] == x.shape[1] else y).reshape(shape)
        )
    trained = [k for k, s in shapes.items() if len(s) == 2]
    found = interpret(differentiate(loss, "loss", trained), w, given)
    assert all(np.abs(found[gradient_name(k)]).max() < 1e-9 for k in trained)
    assert not free or set(trained) != set(shapes)
