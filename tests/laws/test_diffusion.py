"""A diffusion as a law with a bound, against the equations of Ho et al. 2020 in numpy. Docs/laws.md, row 33."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats
from written import lowered

from mpcompile.backend import find_backend, installed
from mpcompile.diagnostics import SpecError
from mpcompile.distributions.diffusion import Cosine, Linear
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.runner.examples import example_inputs, example_weights

STEPS = 5
BETAS = np.linspace(0.05, 0.6, STEPS)
LEFT = np.cumprod(1 - BETAS)
BEFORE = np.concatenate([[1.0], LEFT[:-1]])
#: The variance of a step back: that of the posterior, and of the first step that of its noise.
BACK = np.where(np.arange(STEPS) == 0, BETAS[0], BETAS * (1 - BEFORE) / (1 - LEFT))


def module(declared: str, options: str = "", size: int = 1) -> Module:
    """A net that is affine in x, with a constant of its own for every step."""
    return lowered(
        f"model m\ninput x: {declared}[{size}]\n"
        f"block denoise on x, t {{ yield (x -> dense({size})) + (t -> embedding({size})) }}\n"
        f"x ~ diffusion(denoise, {STEPS}, noise = linear(0.05, 0.6){options})\n"
    )


def drawn_weights(m: Module, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {k: 0.5 * rng.normal(size=p.shape) for k, p in m.parameters.items()}


def made(w: dict[str, Array], noisy: Array, k: int) -> Array:
    (dense,) = (k.removesuffix(".bias") for k in w if k.endswith(".bias"))
    (table,) = (v for k, v in w.items() if "embedding" in k)
    return np.asarray(noisy @ w[f"{dense}.weight"].T + w[f"{dense}.bias"] + table[k])


def term(m: Module, w: dict[str, Array], x: Array, noise: Array, k: int, predicts: str, levels: int) -> Array:
    """Eq. 5 at step k + 1: the divergence of two normal laws, or minus the decoder's log mass or density."""
    data = 2 * x / (levels - 1) - 1 if levels else x
    noisy = np.sqrt(LEFT[k]) * data + np.sqrt(1 - LEFT[k]) * noise
    out, a, s = made(w, noisy, k), np.sqrt(LEFT[k]), np.sqrt(1 - LEFT[k])
    seen = {"noise": (noisy - s * out) / a, "data": out, "velocity": a * noisy - s * out}[predicts]
    seen = np.clip(seen, -1, 1) if levels else seen
    if k == 0:
        law = stats.norm(seen, np.sqrt(BETAS[0]))
        if not levels:
            return np.asarray(-law.logpdf(x).sum(1))
        half = 1 / (levels - 1)
        upper, lower = np.where(x == levels - 1, np.inf, data + half), np.where(x == 0, -np.inf, data - half)
        return np.asarray(-np.log(law.cdf(upper) - law.cdf(lower)).sum(1))

    def back(clean: Array) -> Array:  # eq. 7
        of_data = np.sqrt(BEFORE[k]) * BETAS[k] / (1 - LEFT[k])
        return np.asarray(of_data * clean + np.sqrt(1 - BETAS[k]) * (1 - BEFORE[k]) / (1 - LEFT[k]) * noisy)

    return np.asarray(((back(data) - back(seen)) ** 2).sum(1) / (2 * BACK[k]))


@pytest.mark.parametrize("predicts", ["noise", "data", "velocity"])
@pytest.mark.parametrize("levels", [0, 4])
def test_the_bound_is_the_papers_term_of_the_step_that_is_drawn(levels: int, predicts: str) -> None:
    m = module(f"integer(0..{levels - 1})" if levels else "real", f", predicts = {predicts}", size=2)
    w, rng, n = drawn_weights(m, 1), np.random.default_rng(0), 6
    x = rng.integers(0, levels, (n, 2)).astype(float) if levels else rng.normal(size=(n, 2))
    data = 2 * x / (levels - 1) - 1 if levels else x
    last = LEFT[-1]
    start = 0.5 * (last * data**2 - last - np.log(1 - last)).sum(1)
    assert "log_prob" not in m.programs
    for k in range(STEPS):
        noise = rng.normal(size=x.shape)
        given = {"x": x, "noise_x": noise, "noise_x_step": np.full(n, (k + 0.5) / STEPS)}
        found = interpret(m.programs["elbo"], w, given)["elbo"]
        expected = -STEPS * term(m, w, x, noise, k, predicts, levels) - start
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=str(k))
        if predicts == "noise":
            noisy = np.sqrt(LEFT[k]) * data + np.sqrt(1 - LEFT[k]) * noise
            loss = interpret(m.programs["loss"], w, given)["loss"]
            np.testing.assert_allclose(loss, ((noise - made(w, noisy, k)) ** 2).mean(), rtol=1e-9)  # eq. 14


def bound(m: Module, w: dict[str, Array], x: Array) -> Array:
    """The mean of `elbo` over steps and noise, by quadrature: [values]."""
    node, weight = np.polynomial.hermite_e.hermegauss(60)
    step, noise = (v.reshape(-1) for v in np.meshgrid((np.arange(STEPS) + 0.5) / STEPS, node, indexing="ij"))
    share = np.tile(weight / weight.sum(), STEPS) / STEPS
    out = []
    for value in x:
        given = {"x": np.full((len(step), 1), value), "noise_x": noise[:, None], "noise_x_step": step}
        out.append(float(share @ interpret(m.programs["elbo"], w, given)["elbo"]))
    return np.array(out)


def test_real_numbers_have_at_least_the_density_and_draws_have_the_law() -> None:
    """A chain of affine steps back is normal: its mean and variance by eq. 11, the bound below its density everywhere."""
    m = module("real")
    w = drawn_weights(m, 2)
    mean, variance = 0.0, 1.0
    for k in reversed(range(STEPS)):
        zero, one = (float(made(w, np.array([[v]]), k)[0, 0]) for v in (0.0, 1.0))
        share = BETAS[k] / np.sqrt(1 - LEFT[k])
        slope, shift = (
            (1 - share * (one - zero)) / np.sqrt(1 - BETAS[k]),
            -share * zero / np.sqrt(1 - BETAS[k]),
        )
        mean, variance = slope * mean + shift, slope**2 * variance + BACK[k]
    law = stats.norm(mean, np.sqrt(variance))
    x = np.linspace(-3, 3, 7)
    found = bound(m, w, x)
    assert (found < law.logpdf(x)).all() and (found > law.logpdf(x) - 20).all()
    n = 2000
    given = example_inputs(m, "sample", n)
    drawn = interpret(m.programs["sample"], w, given, {"N": n})["x"][:, 0]
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-3


def test_levels_have_at_most_the_mass_one() -> None:
    m = module("integer(0..3)")
    for seed in range(3):
        w = drawn_weights(m, seed)
        levels = np.arange(4.0)
        found = np.exp(bound(m, w, levels))
        given = example_inputs(m, "sample", 3000)
        drawn = interpret(m.programs["sample"], w, given, {"N": 3000})["x"][:, 0]
        share = np.array([(drawn == k).mean() for k in levels])
        assert share.sum() == 1 and (found < share + 0.04).all() and found.sum() < 1


@pytest.mark.parametrize("backend", installed())
def test_every_backend_has_its_gradients_and_draws(backend: str) -> None:
    """Of the simple loss and of the bound, of levels; gradients are differences of the oracle's loss."""
    for options in ("", ", weights = bound, predicts = velocity"):
        m = module("integer(0..3)", options, size=2)
        w, x = example_weights(m, spread=0.3), example_inputs(m, "loss", 6)
        session = find_backend(backend).session(m, w)
        outputs, gradients = session.gradients(x)
        np.testing.assert_allclose(outputs["loss"], interpret(m.programs["loss"], w, x)["loss"], rtol=1e-5)
        for name, value in w.items():
            for at in np.ndindex(value.shape):
                ends = []
                for step in (-1e-5, 1e-5):
                    moved = value.copy()
                    moved[at] += step
                    ends.append(float(interpret(m.programs["loss"], w | {name: moved}, x)["loss"]))
                slope = (ends[1] - ends[0]) / 2e-5
                np.testing.assert_allclose(gradients[name][at], slope, rtol=2e-3, atol=1e-4)
    given = example_inputs(m, "sample", 6)
    expected = interpret(m.programs["sample"], w, given)["x"]
    assert (
        session.run("sample", given)["x"] == expected
    ).mean() > 0.9  # next to the end of a bin roundings differ


def test_schedules_are_those_of_their_papers() -> None:
    np.testing.assert_allclose(
        Linear(1e-4, 0.02).betas(1000)[[0, 1, -1]], [1e-4, 1e-4 + 0.0199 / 999, 0.02], rtol=1e-12
    )
    left = np.cumprod(1 - Cosine().betas(100))
    t = np.arange(1, 100) / 100
    exact = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(left[:-1], exact, rtol=1e-9)


NET = "block denoise on x, t { yield (x -> dense(2)) + (t -> embedding(2)) }\n"
STATED = "diffusion(denoise, 4)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"input x: real[2]\nlatent z ~ normal(x -> dense(4)) prior {STATED}\nx ~ normal(z -> dense(4))",
         "MP209 diffusion has a bound and no density"),
        (f"input x: real[2]\nx ~ flow(base = {STATED}) {{ affine }}", "MP209 diffusion has a bound and no density"),
        (f"input x: real[time, 2]\nx ~ {STATED}", "MP209 diffusion is a law of a variable of fixed shape"),
        (f"input x: real[3]\nx ~ {STATED}", "MP207 the network gives [channel: 2], x has [channel: 3]"),
        (f"input x: category(3)[time: 2]\nx ~ {STATED}", "MP209 diffusion is a law of real numbers, or the integers"),
        ("input x: real[2]\nx ~ diffusion(denoise, 4, noise = quadratic)", "MP110 unknown schedule of noise `quadratic`"),
        ("input x: real[time, 2]\nrecurrence over time {\n  carry h[3] = 0\n  x ~ " + STATED + "\n  h = gru(x, h)\n}",
         "MP209 diffusion is a bound, and a step of a recurrence needs a density"),
    ],
)  # fmt: skip
def test_where_it_has_no_place(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        lowered(f"model m\n{NET}{text}\n")
    assert all(d.help for d in caught.value.diagnostics)
