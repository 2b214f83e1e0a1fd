"""Terms of a loss: each against numpy, and what a model with terms and weights is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from one_function import evaluated, expression

from mpcompile import api
from mpcompile.analysis.verdict import Status
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.functions.losses import LOSSES
from mpcompile.interpret import interpret
from mpcompile.ir import STATE, Array, Module
from mpcompile.lowering import lower
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.runner.examples import example_inputs, example_weights

VALUES = {
    "x": "time, channel: 3",
    "y": "time, channel: 3",
    "z": "channel: 3",
    "k": "int time",
    "v": "channel: 3",
    "u": "channel: 3",
}


def log_softmax(x: Array) -> Array:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def nll(x: Array, k: Array) -> Array:
    return -np.take_along_axis(log_softmax(x), k[..., None], -1)[..., 0]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def focal(x: Array, bits: Array, gamma: float) -> Array:
    p = np.where(bits > 0, sigmoid(x), 1 - sigmoid(x))
    return -((1 - p) ** gamma) * np.log(p)


def dot(a: Array, b: Array) -> Array:
    return (a * b).sum(-1)


def info_nce(a: Array, b: Array, scale: float) -> Array:
    scores = scale * a @ b.T
    own = np.diag(scores)
    return (np.log(np.exp(scores).sum(1)) + np.log(np.exp(scores).sum(0))) / 2 - own


Case = Callable[[Array, Array, Array, Array, Array, Array], Array]
CASES: dict[str, tuple[str, Case]] = {
    "squared(x, y)": ("time channel", lambda x, y, z, k, v, u: (x - y) ** 2),
    "squared(x, z)": ("time channel", lambda x, y, z, k, v, u: (x - z[:, None]) ** 2),
    "squared(x)": ("time channel", lambda x, y, z, k, v, u: x**2),
    "absolute(x, y)": ("time channel", lambda x, y, z, k, v, u: abs(x - y)),
    "huber(x, y, delta = 0.7)": ("time channel", lambda x, y, z, k, v, u: np.where(
        abs(x - y) < 0.7, (x - y) ** 2 / 2, 0.7 * (abs(x - y) - 0.35))),
    "cross_entropy(x, k)": ("time", lambda x, y, z, k, v, u: nll(x, k)),
    "cross_entropy(x, k, smoothing = 0.1)": (
        "time", lambda x, y, z, k, v, u: 0.9 * nll(x, k) - 0.1 * log_softmax(x).mean(-1)),
    "focal(x, step(y), gamma = 2)": ("time channel", lambda x, y, z, k, v, u: focal(x, y > 0, 2)),
    "focal(x, step(y), gamma = 0)": ("time channel", lambda x, y, z, k, v, u: focal(x, y > 0, 0)),
    "hinge(x, step(y))": ("time channel", lambda x, y, z, k, v, u: np.maximum(0, 1 - x * np.sign(y))),
    "dice(x, step(y), over = time)": ("channel", lambda x, y, z, k, v, u: 1 - (2 * (sigmoid(x) * (y > 0)).sum(1) + 1)
                                      / (sigmoid(x).sum(1) + (y > 0).sum(1) + 1)),
    "dice(x, step(y))": ("", lambda x, y, z, k, v, u: 1 - (2 * (sigmoid(x) * (y > 0)).sum((1, 2)) + 1)
                         / (sigmoid(x).sum((1, 2)) + (y > 0).sum((1, 2)) + 1)),
    "cosine(x, y)": ("time", lambda x, y, z, k, v, u: 1 - dot(x, y) / np.sqrt(dot(x, x) * dot(y, y) + 1e-12)),
    "cosine(x, z)": ("time", lambda x, y, z, k, v, u: 1 - dot(x, z[:, None])
                     / np.sqrt(dot(x, x) * dot(z, z)[:, None] + 1e-12)),
    "triplet(z, v, u, margin = 0.5)": (
        "", lambda x, y, z, k, v, u: np.maximum(0, ((z - v) ** 2).sum(-1) - ((z - u) ** 2).sum(-1) + 0.5)),
    "info_nce(z, v, scale = 2)": ("", lambda x, y, z, k, v, u: info_nce(z, v, 2)),
}  # fmt: skip


def given() -> dict[str, Array]:
    r = np.random.default_rng(0)
    made = {name: r.standard_normal((4, 5, 3) if "time" in kind else (4, 3)) for name, kind in VALUES.items()}
    return made | {"k": r.integers(0, 3, (4, 5))}


@pytest.mark.parametrize("text", CASES)
def test_values(text: str) -> None:
    inputs = given()
    module, axes = expression(text, VALUES)
    wanted, meaning = CASES[text]
    assert " ".join(axes) == wanted
    np.testing.assert_allclose(evaluated(module, **inputs), meaning(*inputs.values()), rtol=1e-10, atol=1e-12)


def test_every_term_is_here() -> None:
    for name in (n for n, term in LOSSES.items() if not term.of_laws):  # test_divergence.py has that of laws
        assert any(text.startswith(f"{name}(") for text in CASES), name


MODEL = """model m
input x: real[time, 3]
target y: category(3)
target bits: binary[4]
condition length: integer(1..time)
weight rare: real[class: 3] = constant(2)
net body = gru(4) -> last
h = x -> body
y ~ categorical(logits = h -> dense(3)){y}
bits ~ bernoulli(logits = h -> dense(4)){bits}
{terms}
"""


def model(y: str = "", bits: str = "", terms: str = "") -> Module:
    text = MODEL.replace("{y}", y).replace("{bits}", bits).replace("{terms}", terms)
    return lower(parse_text(text), Source("m.mp", text))


def run(module: Module, program: str) -> dict[str, Array]:
    inputs = example_inputs(module, program, 3)
    return interpret(module.programs[program], example_weights(module), inputs)


TERMS = "minimise squared(x -> dense(2)) weight 0.5\nminimise cross_entropy(h -> dense(3), y)\n"


def test_terms_and_weights_change_the_loss_alone() -> None:
    plain, other = model(), model(" weight lookup(y, rare)", " weight 0.5", TERMS)
    assert "terms" in other.programs["loss"].outputs
    weights = example_weights(other)
    for name in plain.programs.keys() - {"loss"}:
        inputs = example_inputs(plain, name, 3)
        before = interpret(plain.programs[name], weights, inputs)
        after = interpret(other.programs[name], weights, inputs)
        for key, value in before.items():
            np.testing.assert_array_equal(after[key], value)
    inputs = example_inputs(other, "loss", 3)
    assert interpret(other.programs["loss"], weights, inputs)["loss"] != pytest.approx(
        interpret(plain.programs["loss"], weights, inputs)["loss"]
    )
    assert all(v.status.accepted for v in api.verdicts(other))
    (independent,) = [v for v in api.verdicts(other) if v.claim.kind == "independent"]
    assert independent.status is Status.PROVED
    stated = independent.detail["loss"]
    assert "terms that are no density" in stated and "labels of bits, y" in stated


def test_a_weight_multiplies_what_it_weighs() -> None:
    """Of every example, of every element, and of all: the loss is the weighted mean of the parts."""
    for weight, factor in (
        (" weight 0.5", 0.5),
        (" weight lookup(y, rare)", 2.0),
        (" weight 3 * where(bits, bits, 1)", 3.0),
    ):
        alone = model(bits=weight, y=" weight 0")
        weights = example_weights(alone) | {"rare.weight": np.full(3, 2.0)}
        inputs = example_inputs(alone, "loss", 3)
        plain = model(y=" weight 0")
        wanted = interpret(plain.programs["loss"], weights, inputs)["loss"]
        found = interpret(alone.programs["loss"], weights, inputs)["loss"]
        np.testing.assert_allclose(found, factor * wanted, rtol=1e-12)


def test_no_gradient_goes_through_a_weight() -> None:
    module = model(
        y=" weight lookup(y, rare)", terms="minimise squared(h -> dense(2)) weight mean(rare, over = class)"
    )
    graph = differentiate(module.programs["loss"], "loss", ["rare.weight", "y.dense_0.weight"])
    out = interpret(graph, example_weights(module), example_inputs(module, "loss", 3))
    assert not out[gradient_name("rare.weight")].any() and out[gradient_name("y.dense_0.weight")].any()


ALONE = "model m\ninput a: real[3]\ninput b: real[3]\nminimise info_nce(a -> dense(4), b -> dense(4))\n"


def test_terms_alone_are_no_likelihood() -> None:
    module = lower(parse_text(ALONE), Source("m.mp", ALONE))
    assert list(module.programs) == ["loss"]
    (independent,) = api.verdicts(module)
    assert independent.status is Status.PROVED and "no likelihood" in independent.detail["loss"]


def test_padding_counts_nothing() -> None:
    """The term of a padded sequence is that of its real steps."""
    module = model(terms="minimise squared(x -> dense(2))")
    inputs, weights = example_inputs(module, "loss", 3), example_weights(module)
    inputs["length"] = np.array([2.0, 2.0, 2.0])
    whole = interpret(module.programs["loss"], weights, inputs)["terms"]
    inputs["x"] = inputs["x"][:, :2]
    np.testing.assert_allclose(
        interpret(module.programs["loss"], weights, inputs)["terms"], whole, rtol=1e-12
    )


def test_a_weight_that_changes() -> None:
    """From 1 to 0.2 in four steps; outside of training it is the last one. The steps done are an untrained parameter."""
    module = model(terms="minimise squared(h) weight anneal(1, 0.2, steps = 4)")
    (steps,) = [n for n, p in module.parameters.items() if not p.trainable]
    weights, inputs, found = example_weights(module), example_inputs(module, "loss", 3), []
    weights[steps] = np.asarray(0.0)
    for _ in range(6):
        out = interpret(module.programs["loss"], weights, inputs)
        weights[steps] = out[f"{STATE}{steps}"]
        found.append(out["terms"])
    np.testing.assert_allclose(np.divide(found, found[0]), [1, 0.8, 0.6, 0.4, 0.2, 0.2], rtol=1e-12)


@pytest.mark.parametrize(
    "law", ["categorical(logits = x -> dense(3){})", "autoregressive{} {{ embedding(4) -> dense(3) }}"]
)
def test_smoothed_labels_change_the_loss_alone(law: str) -> None:
    """The loss is 1 - s of that of the class and s of that of all classes alike (Szegedy et al. 2016, section 7)."""
    head, stated = "model m\ncondition x: real[4]\ninput y: category(3)\ny ~ ", ", smoothing = 0.3"
    if "auto" in law:
        head, stated = (
            "model m\ninput y: category(3)[time]\ny ~ ",
            "(likelihood = categorical, smoothing = 0.3)",
        )
        law = law.replace("embedding(4)", "embedding(4) -> shift")
    plain, smooth = (
        lower(parse_text(t), Source("m.mp", t)) for t in (head + law.format(""), head + law.format(stated))
    )
    weights, inputs = example_weights(plain), example_inputs(plain, "loss", 3)
    score = [interpret(m.programs["log_prob"], weights, inputs)["log_prob"] for m in (plain, smooth)]
    np.testing.assert_array_equal(*score)
    every = []
    for k in range(3):
        other = inputs | {"y": np.full_like(inputs["y"], k)}
        every.append(interpret(plain.programs["loss"], weights, other)["loss"])
    loss = [interpret(m.programs["loss"], weights, inputs)["loss"] for m in (plain, smooth)]
    if "auto" not in law:  # there another target is another past
        np.testing.assert_allclose(loss[1], 0.7 * loss[0] + 0.3 * np.mean(every), rtol=1e-12)
    assert loss[1] != pytest.approx(loss[0])


REFUSED = {
    "minimise squared(y)": "MP204", "minimise squaredd(x)": "MP110",
    "z = squared(x)\nminimise sum(z, over = [time, channel])": "MP110", "minimise cross_entropy(x, y)": "MP214",
    "minimise info_nce(x, x)": "MP214", "minimise dense(3)(x) weight x -> last -> dense(2)": "MP214",
    "minimise squared(x) weight squared(h, bits)": "MP214", "minimise cross_entropy(h -> dense(2), y)": "MP207",
}  # fmt: skip


@pytest.mark.parametrize("terms", REFUSED)
def test_refused(terms: str) -> None:
    with pytest.raises(SpecError) as caught:
        model(terms=terms)
    assert caught.value.diagnostics[0].code == REFUSED[terms], caught.value.diagnostics
