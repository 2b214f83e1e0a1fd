"""Normal, Laplace and logistic in every role that the language gives them, against scipy: docs/laws.md, row 3."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import laplace, logistic, norm
from written import lowered

from mpcompile.backend import find_backend, installed
from mpcompile.diagnostics import Source
from mpcompile.distributions import DISTRIBUTIONS
from mpcompile.distributions.location_scale import LocationScale
from mpcompile.distributions.sampling import Sampling
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_inputs, example_weights

BACKENDS = installed()
LAWS = {"normal": norm, "laplace": laplace, "logistic": logistic}
#: How a law's parameters are written, and what they are for an output of a net that gives two numbers an element.
FORMS = {
    "LAW": lambda net: (0.0, 1.0),
    "LAW(0.5, 2)": lambda net: (0.5, 2.0),
    "LAW(NET)": lambda net: (net[:, :3], np.exp(net[:, 3:])),
    "LAW(loc = 0.5, log_scale = NET_OF_3)": lambda net: (0.5, np.exp(net[:, :3])),
}


def draw(name: str, noise: Array) -> Array:
    """What the standard law makes of noise: normal for a normal one, else uniform."""
    return noise if name == "normal" else np.asarray(LAWS[name].ppf(noise))


def affine(w: dict[str, Array], layer: str, x: Array) -> Array:
    return np.asarray(x @ w[f"{layer}.weight"].T + w[f"{layer}.bias"])


def written(form: str, name: str) -> str:
    return form.replace("NET_OF_3", "x -> dense(3)").replace("NET", "x -> dense(6)").replace("LAW", name)


def test_every_law_is_swept() -> None:
    assert LAWS.keys() == {k for k, c in DISTRIBUTIONS.items() if issubclass(c, LocationScale)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LAWS)
def test_a_likelihood_is_scipys_density(name: str, form: str) -> None:
    m = lowered(f"model m\ninput x: real[4]\ntarget y: real[3]\ny ~ {written(form, name)}\n")
    w, x = example_weights(m, spread=0.5), example_inputs(m, "log_prob", 5)
    loc, scale = FORMS[form](affine(w, "y.dense_0", x["x"]) if "NET" in form else None)
    expected = LAWS[name].logpdf(x["y"], loc, scale).sum(1)
    np.testing.assert_allclose(interpret(m.programs["log_prob"], w, x)["log_prob"], expected, rtol=1e-9)
    given = example_inputs(m, "predict", 5) | {k: v for k, v in x.items() if k == "x"}
    mean = interpret(m.programs["predict"], w, given)["y"]
    np.testing.assert_allclose(mean, np.broadcast_to(loc, (5, 3)), rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LAWS)
def test_as_the_base_of_a_flow(name: str, form: str) -> None:
    """Its density, its draws, and its draws at a temperature, which multiplies the scale."""
    text = f"model m\ncondition x: real[4]\ninput y: real[3]\ny ~ flow(base = {written(form, name)}) {{ scale }}\n"
    m = lowered(text)
    w, x = example_weights(m, spread=0.5), example_inputs(m, "log_prob", 5)
    net = affine(w, "y.base.dense_0", x["x"]) if "NET" in form else None
    (loc, scale), log_scale = FORMS[form](net), w["y.scale_0.log_scale"]
    expected = LAWS[name].logpdf(x["y"] * np.exp(log_scale), loc, scale).sum(1) + log_scale.sum()
    np.testing.assert_allclose(interpret(m.programs["log_prob"], w, x)["log_prob"], expected, rtol=1e-9)
    noise = example_inputs(m, "sample", 5)
    for t in (1.0, 0.3):
        options = lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {}, Sampling(t))
        drawn = interpret(options.programs["sample"], w, noise | ({"x": x["x"]} if "NET" in form else {}))
        z = loc + t * scale * draw(name, noise["noise_y"])
        np.testing.assert_allclose(drawn["y"], z * np.exp(-log_scale), rtol=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_as_posterior_and_prior(name: str) -> None:
    """log p(x, z) - log q(z given x) at the draw that the noise makes."""
    m = lowered(
        f"model m\ninput x: real[3]\nlatent z ~ {name}(x -> dense(4)) prior {name}(0.3, 2)\n"
        "x ~ normal(z -> dense(3), 1)\n"
    )
    w, x = example_weights(m, spread=0.5), example_inputs(m, "log_weight", 5)
    loc, log_scale = np.split(affine(w, "z.dense_0", x["x"]), 2, 1)
    z = loc + np.exp(log_scale) * draw(name, x["noise_z"])
    log_q, log_p = LAWS[name].logpdf(z, loc, np.exp(log_scale)), LAWS[name].logpdf(z, 0.3, 2)
    log_x = norm.logpdf(x["x"], affine(w, "x.dense_0", z))
    found = interpret(m.programs["log_weight"], w, x)["log_weight"]
    np.testing.assert_allclose(found, log_x.sum(1) + (log_p - log_q).sum(1), rtol=1e-9)


def test_the_divergence_of_one_family_is_exact() -> None:
    """The `kl` of the bound: of Laplace laws and from a normal one the same for every draw; else that of the draw."""
    for prior, same in (("laplace(0.3, 2)", True), ("normal(0.3, 2)", True), ("logistic(0.3, 2)", False)):
        m = lowered(
            f"model m\ninput x: real[3]\nlatent z ~ laplace(x -> dense(4)) prior {prior}\nx ~ normal(z -> dense(3), 1)\n"
        )
        w, x = example_weights(m, spread=0.5), example_inputs(m, "elbo", 5)
        found = [
            interpret(m.programs["elbo"], w, x | {"noise_z": u})["kl"]
            for u in (x["noise_z"], 1 - x["noise_z"])
        ]
        assert np.allclose(*found, rtol=1e-12) == same
        loc, log_scale = np.split(affine(w, "z.dense_0", x["x"]), 2, 1)
        scale, away = np.exp(log_scale), np.abs(loc - 0.3)
        exact = np.log(2 / scale) + (away + scale * np.exp(-away / scale)) / 2 - 1
        if prior.startswith("normal"):
            exact = 0.5 * np.log(2 * np.pi) - np.log(scale) + (2 * scale**2 + away**2) / 8 - 1
        if same:
            np.testing.assert_allclose(found[0], exact.sum(1), rtol=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_as_a_prior_on_weights(name: str) -> None:
    m = lowered(
        f"model m\ninput x: real[4]\ntarget y: real[3]\nprior weights ~ {name}(0.1, 0.5)\ny ~ normal(x -> dense(3), 1)\n"
    )
    w, x = example_weights(m, spread=0.5), example_inputs(m, "loss", 5)
    likelihood = interpret(m.programs["log_prob"], w, {k: x[k] for k in "xy"})["log_prob"].mean()
    prior = LAWS[name].logpdf(w["y.dense_0.weight"], 0.1, 0.5).sum() / 100  # examples
    np.testing.assert_allclose(interpret(m.programs["loss"], w, x)["loss"], -likelihood - prior, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", LAWS)
def test_far_out_in_single_precision(name: str, backend: str) -> None:
    """The density and its slope keep their digits, and noise at both ends of (0, 1) makes finite draws."""
    m = lowered(f"model m\ninput x: real[5]\nx ~ flow(base = {name}) {{ affine }}\n")
    session = find_backend(backend).session(m, {k: np.zeros(p.shape) for k, p in m.parameters.items()})
    x = np.array([[-600, -30, 0.1, 30, 600]])
    outputs, slope = session.gradients({"x": x})
    np.testing.assert_allclose(outputs["loss"], -LAWS[name].logpdf(x).sum(), rtol=1e-6)
    slopes = {"normal": x, "laplace": np.sign(x), "logistic": np.tanh(x / 2)}
    np.testing.assert_allclose(slope["x.affine_0.shift"], slopes[name][0], rtol=1e-6)
    ends = np.array([[2.0**-54, 2.0**-26, 0.25, 0.75, 1 - 2.0**-24]])  # of what the runner draws
    noise = x if name == "normal" else ends
    np.testing.assert_allclose(session.run("sample", {"noise_x": noise})["x"], draw(name, noise), rtol=1e-5)
