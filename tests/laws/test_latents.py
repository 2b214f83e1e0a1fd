"""Laws of autoencoders and latent variables: docs/laws.md, rows 11 to 14 and 30."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import specs_under_test as specs
import torch
from scipy.linalg import subspace_angles
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from torch.distributions import Normal, kl_divergence
from written import lowered

from mpcompile.api import load
from mpcompile.backend import DOUBLE, OptimizerSpec, Session, find_backend, installed
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.runner.examples import example_weights
from mpcompile.runner.initial import initial

LINEAR = """
model linear(code = 2)
input x: real[3]
latent z ~ normal(x -> dense(2 * code)) prior normal(0, 1)
x ~ normal(z -> dense(3), 0.7)
"""


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


# --- 13: the bound ---


def test_a_chain_of_states_stays_finite_over_many_steps() -> None:
    """A state that the law of the next one reads: with hidden units without a bound, scales feed on themselves."""
    m = specs.module("deep_markov")
    given = specs.inputs(m, "elbo", 1, length=64)
    found = interpret(m.programs["elbo"], example_weights(m, 0, 0.5), given)
    assert all(np.isfinite(v).all() for v in found.values())


def test_the_posterior_of_a_state_that_has_moved_far_out_still_gets_gradients() -> None:
    """Keys that are mostly off push states outwards; a bounded emission would be at its ends there, and pass nothing."""
    m = specs.module("deep_markov")
    w, given = example_weights(m, 0), specs.inputs(m, "loss", 2)
    out = w["s.phi_0.dense_1.bias"]
    w["s.phi_0.dense_1.bias"] = np.where(np.arange(len(out)) < len(out) // 2, out + 1000, out)
    w["objective.steps"] = np.zeros_like(
        w["objective.steps"]
    )  # beta is 0: the gradient is the likelihood's alone
    _, gradients = find_backend("torch").session(m, w).gradients(given)
    assert all(np.abs(g).max() > 1e-3 for name, g in gradients.items() if name.startswith(("g.", "s.phi")))


def test_importance_weights_average_to_the_true_density() -> None:
    """Burda et al. 2016, eq. 8; for a linear Gaussian model the density is known:
    N(b, W W^T + 0.7^2). The elbo stays below it."""
    m = lowered(LINEAR)
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
    elbo = draws(m, w, "elbo", x, 20_000)
    assert elbo.mean() + 5 * elbo.std() / np.sqrt(elbo.size) < expected


def test_the_closed_form_of_kl_is_that_of_monte_carlo() -> None:
    """The elbo, whose KL is in closed form, and the mean of log weights, whose is not, have one expectation."""
    m = lowered(LINEAR)
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
        m = lowered(source, "yaml")
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


# --- 11, 12: autoencoders ---


def spectrum(count: int = 200) -> Array:
    """Points of 64 dimensions, nearly all of whose variance lies in three directions."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(64, 64)))[0]
    spread = np.array([3.0, 2.5, 2.0, *[0.3] * 61])
    return (rng.normal(size=(count, 64)) * spread) @ axes.T + 0.2 * rng.normal(size=64)


@pytest.mark.parametrize("backend", installed())
def test_the_principal_subspace_is_stationary_for_a_linear_autoencoder(backend: str) -> None:
    """Baldi and Hornik 1989: in any basis of it, the gradient by every weight is zero, and the error is PCA's."""
    m, x = load(specs.path("linear_autoencoder"), {"code": 3}), spectrum()
    pca, mix = PCA(3).fit(x), np.random.default_rng(1).normal(size=(3, 3))
    w = {
        "z.dense_0.weight": mix @ pca.components_, "z.dense_0.bias": -mix @ pca.components_ @ pca.mean_,
        "x.dense_0.weight": pca.components_.T @ np.linalg.inv(mix), "x.dense_0.bias": pca.mean_,
    }  # fmt: skip
    session = find_backend(backend).session(m, w, options=DOUBLE)
    outputs, gradient = session.gradients({"x": x})
    assert max(np.abs(g).max() for g in gradient.values()) < 1e-10
    error = ((pca.inverse_transform(pca.transform(x)) - x) ** 2).sum(1).mean()
    assert outputs["loss"] == pytest.approx(error / 2 + 32 * np.log(2 * np.pi), rel=1e-10)


def test_a_linear_autoencoder_learns_the_subspace_of_pca() -> None:
    m, x = load(specs.path("linear_autoencoder"), {"code": 3}), spectrum()
    session = trained(m, x, 400, 0.01)
    learned = session.state()["parameter/x.dense_0.weight"]
    assert np.degrees(subspace_angles(learned, PCA(3).fit(x).components_.T)).max() < 1


def digits() -> tuple[Array, Array]:
    """Pixels in [0, 1]: 1500 to learn from, the others to look at."""
    x = load_digits().data[np.random.default_rng(0).permutation(1797)] / 16
    return x[:1500], x[1500:]


def trained(m: Module, x: Array, steps: int, rate: float, batch: int = 128) -> Session:
    """A torch session after steps of adam along a cosine, on batches of x and fresh noise."""
    session, rng = (
        find_backend("torch").session(m, initial(m, 0), OptimizerSpec("adam")),
        np.random.default_rng(0),
    )
    for step in range(steps):
        given = {"x": x[rng.integers(0, len(x), batch)]}
        for name, value in m.programs["loss"].inputs.items():
            if name != "x":
                shape, kind = value.type.concrete({"N": batch}), m.noise["loss"][name].kind
                given[name] = rng.normal(size=shape) if kind == "normal" else rng.uniform(size=shape)
        session.step(given, rate * (1 + np.cos(np.pi * step / steps)) / 2)
    return session


def error(session: Session, given: Array, wanted: Array) -> float:
    return float(((session.run("reconstruct", {"x": given})["x"] - wanted) ** 2).mean())


def test_an_autoencoder_beats_pca_at_the_same_size_of_code() -> None:
    """On digits that neither has seen."""
    seen, held_out = digits()
    m = specs.module("autoencoder")
    pca = PCA(int(m.params["code"])).fit(seen)
    linear = ((pca.inverse_transform(pca.transform(held_out)) - held_out) ** 2).mean()
    assert error(trained(m, seen, 900, 5e-3), held_out, held_out) < 0.85 * linear


def test_an_overcomplete_autoencoder_undoes_noise_and_holes() -> None:
    """Better than the best linear map from corrupted to clean digits, though its code is larger than the digits."""
    seen, held_out = digits()
    m = specs.module("denoising")
    assert m.params["code"] > 64

    def corrupted(x: Array, rng: np.random.Generator) -> Array:
        holes = rng.uniform(size=x.shape) < m.params["holes"]
        return np.where(holes, 0.0, x + m.params["noise"] * rng.normal(size=x.shape))

    rng = np.random.default_rng(7)
    worse = np.concatenate([corrupted(seen, rng) for _ in range(4)])
    linear = LinearRegression().fit(worse, np.tile(seen, (4, 1)))
    given = corrupted(held_out, rng)
    best = ((linear.predict(given) - held_out) ** 2).mean()
    session = trained(m, seen, 900, 5e-3)
    assert error(session, given, held_out) < best < ((given - held_out) ** 2).mean() / 2


def test_corruption_is_declared_noise_of_the_training_loss_alone() -> None:
    """The input is corrupted as the noise says, and the target is the clean one."""
    m = specs.module("denoising")
    assert {p: len(n) for p, n in m.noise.items() if n} == {"loss": 2}
    w, rng = specs.weights(m), np.random.default_rng(0)
    x, e, u = rng.uniform(size=(5, 64)), rng.normal(size=(5, 64)), rng.uniform(size=(5, 64))
    given = (x + m.params["noise"] * e) * (u < 1 - m.params["holes"])
    code = np.maximum(given @ w["encoder.dense_0.weight"].T + w["encoder.dense_0.bias"], 0)
    means = code @ w["decoder.dense_0.weight"].T + w["decoder.dense_0.bias"]
    found = interpret(m.programs["loss"], w, {"x": x, "noise_corruption": e, "noise_corruption_2": u})["loss"]
    assert found == pytest.approx(-norm(means, 1).logpdf(x).sum(1).mean(), rel=1e-12)


# --- 14: what the divergence weighs ---

THRESHOLD, RATE = 0.5, 0.1
CONSTRAINED = f"{LINEAR}objective {{ beta: constrained({THRESHOLD}, {RATE}) }}\n"


def divergence(m: Module, w: dict[str, Array], x: Array) -> Array:
    """KL(q || N(0, 1)) of each example, by torch."""
    found = interpret(m.programs["encode"], w, {"x": x})
    q = Normal(torch.tensor(found["z_loc"]), torch.tensor(found["z_log_scale"]).exp())
    return kl_divergence(q, Normal(0.0, 1.0)).sum(1).numpy()


@pytest.mark.parametrize("backend", installed())
def test_the_multiplier_follows_the_constraint(backend: str) -> None:
    """loss = reconstruction + beta (KL - threshold), and beta grows by exp(rate times the relative excess, at most 1)."""
    m, rng = lowered(CONSTRAINED), np.random.default_rng(0)
    x, noise = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    for spread in (0.02, 1.0):  # below the threshold, and far above it
        w = {k: np.asarray(v, np.float64) for k, v in example_weights(m, 3, spread).items()}
        w = {k: 0.1 * v if spread < 0.1 else v for k, v in w.items()} | {"objective.beta": np.array(2.0)}
        kl = divergence(m, w, x).mean()
        assert (kl < THRESHOLD) == (spread < 0.1)
        session = find_backend(backend).session(m, w, OptimizerSpec("sgd"), options=DOUBLE)
        out = session.step({"x": x, "noise_z": noise}, 0.0)
        assert out["kl"] == pytest.approx(kl, rel=1e-9)
        assert out["loss"] == pytest.approx(out["reconstruction"] + 2 * (kl - THRESHOLD), rel=1e-9)
        grown = 2 * np.exp(RATE * min((kl - THRESHOLD) / THRESHOLD, 1.0))
        assert session.state()["parameter/objective.beta"] == pytest.approx(grown, rel=1e-9)


def factors() -> Array:
    rng = np.random.default_rng(2)
    return rng.normal(size=(400, 2)) @ rng.normal(size=(2, 3)) * 1.5 + 0.5 * rng.normal(size=(400, 3))


def mean_divergence(m: Module, session: Session, x: Array) -> float:
    w = {
        k.removeprefix("parameter/"): v.astype(float)
        for k, v in session.state().items()
        if k.startswith("parameter/")
    }
    return float(divergence(m, w, x).mean())


def test_the_constraint_is_met_in_the_end() -> None:
    """The divergence of the constrained form ends at its threshold, whatever the data would have made of it."""
    x = factors()
    free, held = lowered(LINEAR), lowered(CONSTRAINED)
    assert mean_divergence(free, trained(free, x, 300, 0.02), x) > 2 * THRESHOLD
    assert mean_divergence(held, trained(held, x, 1000, 0.02), x) == pytest.approx(THRESHOLD, rel=0.1)


def test_a_larger_beta_lowers_the_divergence() -> None:
    """As it must at the minima: of the sum R + beta KL, more weight on one term makes it no larger."""
    x, found = factors(), []
    for beta in (0.5, 2, 8):
        m = lowered(f"{LINEAR}objective {{ beta: {beta} }}\n")
        found.append(mean_divergence(m, trained(m, x, 250, 0.02), x))
    assert all(b < 0.95 * a for a, b in pairwise(found)), found


def test_warmup_weighs_from_nothing_to_beta() -> None:
    m = lowered(f"{LINEAR}objective {{ beta: warmup(4, 3) }}\n")
    w, rng = weights(m), np.random.default_rng(0)
    given = {"x": rng.normal(size=(8, 3)), "noise_z": rng.normal(size=(8, 2))}
    w["objective.steps"] = np.array(0.0)
    session = find_backend("torch").session(m, w, OptimizerSpec("sgd"), options=DOUBLE)
    for step in range(6):
        out = session.step(given, 0.0)
        assert out["loss"] == pytest.approx(
            out["reconstruction"] + 3 * min(step / 4, 1) * out["kl"], rel=1e-12
        )
