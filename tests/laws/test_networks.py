"""Laws of perceptrons, multi-layer networks and losses: docs/laws.md, rows 1 to 4."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import specs_under_test as specs
from scipy.special import expit, softmax
from scipy.stats import logistic
from sklearn.linear_model import Lasso, Perceptron, Ridge
from torch import nn, tensor
from written import lowered

from mpcompile.backend import DOUBLE, OptimizerSpec, Session, find_backend, installed
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.runner.examples import example_weights
from mpcompile.runner.initial import initial

BACKENDS = installed()
XOR = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
EXCLUSIVE = np.array([[0.0], [1], [1], [0]])


# --- 1: the perceptron ---


def rosenblatt(backend: str, x: Array, y: Array, passes: int) -> tuple[Session, list[Array]]:
    """Passes of Rosenblatt's rule at rate 1, one example a step: the weights and bias after every step."""
    m = specs.module("perceptron")
    zeros = {k: np.zeros(p.shape) for k, p in m.parameters.items()}
    session = find_backend(backend).session(m, zeros, OptimizerSpec("perceptron"), options=DOUBLE)
    after = []
    for _ in range(passes):
        for i in range(len(x)):
            session.step({"x": x[i : i + 1], "y": y[i : i + 1]}, 1.0)
            state = session.state()
            after.append(np.concatenate([np.ravel(state[f"parameter/{k}"]) for k in sorted(m.parameters)]))
    return session, after


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_separable_data_the_perceptron_makes_finitely_many_mistakes(backend: str) -> None:
    """At most (R / margin)^2 of them (Novikoff 1962), and step by step the weights of scikit-learn's perceptron."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 2))
    x = x[np.abs(x @ [1.0, -0.5] + 0.2) > 0.25][:16]
    y = (x @ [1.0, -0.5] + 0.2 > 0).astype(float)
    first = int(np.argmax(y))  # at zero weights scikit-learn calls every answer wrong, and ours is 0
    order = [first, *(i for i in range(len(x)) if i != first)]
    x, y = x[order], y[order]
    session, after = rosenblatt(backend, x, y[:, None], 8)
    theirs = Perceptron(alpha=0, shuffle=False, tol=None, max_iter=8).fit(x, y)
    expected = np.concatenate([theirs.intercept_, theirs.coef_[0]])
    np.testing.assert_allclose(after[-1], expected, rtol=1e-12)

    mistakes = sum((a != b).any() for a, b in pairwise([np.zeros(3), *after]))
    wide, signs = np.column_stack([np.ones(len(x)), x]), 2 * y - 1
    unit = expected / np.linalg.norm(expected)  # any separating direction gives a bound
    margin = (signs * (wide @ unit)).min()
    assert margin > 0 and 1 <= mistakes <= (np.linalg.norm(wide, axis=1).max() / margin) ** 2
    np.testing.assert_array_equal(after[-len(x)], after[-1])  # the last pass changed nothing
    np.testing.assert_array_equal(session.run("predict", {"x": x})["y"][:, 0], y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_xor_the_perceptron_never_ends(backend: str) -> None:
    """Weights come back to where they were at the start of an earlier pass, with mistakes between: for ever."""
    _, after = rosenblatt(backend, XOR, EXCLUSIVE, 12)
    starts = [tuple(np.zeros(3)), *(tuple(w) for w in after[3::4])]
    again = next(i for i in range(1, len(starts)) if starts[i] in starts[:i])
    cycle = after[4 * starts.index(starts[again]) : 4 * again]
    assert len({tuple(w) for w in cycle}) > 1


# --- 2: the multi-layer perceptron ---


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_hidden_layer_solves_xor(backend: str) -> None:
    m = specs.module("mlp")
    session = find_backend(backend).session(m, initial(m, 0), OptimizerSpec("adam"))
    for _ in range(150):
        loss = session.step({"x": XOR, "y": EXCLUSIVE}, 0.05)["loss"]
    assert loss < 0.1
    np.testing.assert_array_equal(session.run("predict", {"x": XOR})["y"] > 0.5, EXCLUSIVE > 0.5)


# That a dropped activation is reported, and that what is reported is one affine map:
# tests/analysis/test_findings.py, test_what_collapses_is_one_layer.


# --- 3: losses ---

#: A likelihood, the kind of its target, and the usual loss of its parameter; `a` and `b` make the constant.
LOSSES = {
    "bernoulli(logits = {net})": ("binary[3]", nn.BCEWithLogitsLoss(reduction="none"), 1.0, 0.0),
    "normal(loc = {net}, scale = 0.5)": ("real[3]", nn.MSELoss(reduction="none"), 2.0, np.log(np.pi / 2) / 2),
    "laplace(loc = {net}, scale = 0.5)": ("real[3]", nn.L1Loss(reduction="none"), 2.0, np.log(2 * 0.5)),
    "categorical(logits = {net})": ("category(3)", nn.CrossEntropyLoss(reduction="none"), 1.0, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("law", LOSSES)
def test_a_negative_log_likelihood_is_the_usual_loss(law: str, backend: str) -> None:
    """Binary cross-entropy, squared and absolute error, cross-entropy, up to a factor and a constant; gradients too."""
    kind, usual, factor, constant = LOSSES[law]
    m = lowered(f"model m\ninput x: real[4]\ntarget y: {kind}\ny ~ {law.format(net='x -> dense(3)')}\n")
    w, rng = example_weights(m, spread=0.5), np.random.default_rng(0)
    x = rng.normal(size=(6, 4))
    y = rng.integers(0, 3, 6) if kind.startswith("category") else rng.integers(0, 2, (6, 3)).astype(float)
    weight, bias = (tensor(w[k], requires_grad=True) for k in ("y.dense_0.weight", "y.dense_0.bias"))
    each = usual(tensor(x) @ weight.T + bias, tensor(y))
    expected = (factor * each + constant).reshape(6, -1).sum(1).mean()
    expected.backward()
    session = find_backend(backend).session(m, w, options=DOUBLE)
    outputs, found = session.gradients({"x": x, "y": y})
    np.testing.assert_allclose(outputs["loss"], expected.detach(), rtol=1e-9)
    for name, theirs in (("weight", weight), ("bias", bias)):
        np.testing.assert_allclose(found[f"y.dense_0.{name}"], theirs.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_discretised_logistic_is_the_mass_of_a_bin(backend: str) -> None:
    """Against scipy's distribution function; the first and the last level reach to infinity."""
    m = lowered(
        "model m\ninput c: real[3]\ntarget x: integer(0..4)[2]\n"
        "x ~ discretized(mixture(logistic, components = 2), c -> dense(12))\n"
    )
    w, rng = example_weights(m, spread=0.7), np.random.default_rng(0)
    c, x = rng.normal(size=(6, 3)), rng.integers(0, 5, (6, 2)).astype(float)
    logits, loc, log_scale = np.split(
        (c @ w["x.dense_0.weight"].T + w["x.dense_0.bias"]).reshape(6, 6, 2), 3, 1
    )
    borders = (np.stack([x - 0.5, x + 0.5])[:, :, None] / 2 - 1 - loc) / np.exp(log_scale)
    below, upto = np.where(np.stack([x == 0, x == 4])[:, :, None], [[[[-np.inf]]], [[[np.inf]]]], borders)
    mass = (softmax(logits, 1) * (logistic.cdf(upto) - logistic.cdf(below))).sum(1)
    session = find_backend(backend).session(m, w, options=DOUBLE)
    found = session.run("log_prob", {"c": c, "x": x})["log_prob"]
    np.testing.assert_allclose(found, np.log(mass).sum(1), rtol=1e-9)


def posterior_gradient(m: Module, w: dict[str, Array], x: Array, y: Array) -> dict[str, Array]:
    """Gradients by all weights of the loss of a data set that is one batch, on the oracle."""
    loss, names = m.programs["loss"], [k for k in m.parameters if m.parameters[k].trainable]
    scalar = {
        k: np.float64(len(x)) for k, v in loss.inputs.items() if not v.shape
    }  # the size of the data set
    found = interpret(differentiate(loss, "loss", names), w, {"x": x, "y": y, **scalar})
    return {k: found[gradient_name(k)] for k in names}


def regression() -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 10))
    return x, (x @ rng.normal(size=10) + 0.3 * rng.normal(size=40))[:, None]


def test_a_normal_prior_on_weights_is_ridge() -> None:
    """The gradient at scikit-learn's ridge solution, with penalty noise^2 / width^2, is zero."""
    m, (x, y) = specs.module("ridge"), regression()
    noise, width = m.params["noise"], m.params["width"]
    ridge = Ridge(alpha=noise**2 / width**2, fit_intercept=False).fit(x, y[:, 0])
    w = {"y.dense_0.weight": ridge.coef_[None], "y.dense_0.bias": np.zeros(1)}
    slope = [np.abs(posterior_gradient(m, w | {"y.dense_0.weight": share * ridge.coef_[None]}, x, y)["y.dense_0.weight"])
             for share in (1, 0.9)]  # fmt: skip
    assert slope[0].max() < 1e-9 and slope[1].max() > 1e-2


def test_a_laplace_prior_on_weights_is_the_lasso() -> None:
    """At scikit-learn's solution the gradient is zero by weights that are not, and no larger than the penalty's slope
    by weights that are."""
    m, (x, y) = lowered(
        "model m\ninput x: real[10]\ntarget y: real[1]\nprior weights ~ laplace(0, 0.05)\n"
        "y ~ normal(loc = x -> dense(1, bias = false), scale = 0.7)\n"
    ), regression()  # fmt: skip
    slope = 1 / (0.05 * len(x))  # of the penalty, beside a loss that is a mean over examples
    lasso = Lasso(alpha=0.7**2 * slope, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(x, y[:, 0])
    assert 0 < (lasso.coef_ == 0).sum() < 10
    gradient = posterior_gradient(m, {"y.dense_0.weight": lasso.coef_[None]}, x, y)["y.dense_0.weight"][0]
    assert np.abs(gradient[lasso.coef_ != 0]).max() < 1e-6
    assert np.abs(gradient[lasso.coef_ == 0]).max() < slope


# --- 4: universal approximation ---


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_error_falls_as_the_width_grows(backend: str) -> None:
    """specs/universal.mp with steep sigmoids at even distances and the output that fits best: the largest error on an
    interval falls to less than a half with every doubling of the width."""
    x = np.linspace(-1, 1, 201)[:, None]
    y, errors = np.sin(2 * np.pi * x), []
    for width in (4, 8, 16):
        m = specs.api.load(specs.path("universal"), {"width": width})
        places, slope = np.linspace(-1, 1, width), 1.5 * width
        steps = expit(slope * (x - places))
        out = np.linalg.lstsq(np.column_stack([steps, np.ones(len(x))]), y, rcond=None)[0][:, 0]
        w = {
            "y.dense_0.weight": np.full((width, 1), slope), "y.dense_0.bias": -slope * places,
            "y.dense_1.weight": out[None, :-1], "y.dense_1.bias": out[-1:],
        }  # fmt: skip
        found = find_backend(backend).session(m, w, options=DOUBLE).run("predict", {"x": x})["y"]
        errors.append(float(np.abs(found - y).max()))
    assert errors[0] < 1 and all(b < a / 2 for a, b in pairwise(errors)), errors
