"""Latents of classes: summed out, enumerated, relaxed; against brute force, and against the mean of many draws."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.passes.gradient import differentiate
from mpcompile.runner.examples import example_inputs, example_weights

HEAD = "model m\ncondition one: real[1]\ninput x: binary[3]\n"
TAIL = " prior categorical(logits = one -> dense(4))\nx ~ bernoulli(logits = k -> embedding(6) -> tanh -> dense(3))\n"
POSTERIOR = "logits = concat(one, x) -> dense(4)"
EXACT = f"{HEAD}latent k: category(4) ~ exact{TAIL}"
ENUMERATE = f"{HEAD}latent k: category(4) ~ enumerate(categorical({POSTERIOR})){TAIL}"
GUMBEL = f"{HEAD}latent k: category(4) ~ gumbel({POSTERIOR}, temperature = 0.5){TAIL}"
STATES = np.array(list(itertools.product([0.0, 1.0], repeat=3)))


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def weights_of(module: Module, seed: int = 1) -> dict[str, Array]:
    return {k: np.asarray(v) for k, v in example_weights(module, seed, spread=0.8).items()}


def run(module: Module, program: str, weights: Mapping[str, Array], **inputs: Array) -> dict[str, Array]:
    rows = len(next(iter(inputs.values())))
    given = {"x": STATES[:rows], "one": np.ones((rows, 1))} | inputs
    graph = module.programs[program]
    return interpret(graph, dict(weights), {k: v for k, v in given.items() if k in graph.inputs})


def by_hand(weights: Mapping[str, Array]) -> tuple[Array, Array]:
    """log p(k) [4] and log p(x given k) [8, 4] of the models above."""
    prior = weights["k.prior.dense_0.bias"] + weights["k.prior.dense_0.weight"].reshape(-1)
    hidden = np.tanh(weights["x.embedding_0.weight"])
    logits = hidden @ weights["x.dense_0.weight"].T + weights["x.dense_0.bias"]
    likelihood = STATES @ logits.T - np.log1p(np.exp(logits)).sum(1)
    return prior - np.log(np.exp(prior).sum()), likelihood


def test_exact_is_the_sum_over_classes() -> None:
    module = module_of(EXACT)
    weights = weights_of(module)
    log_prob = run(module, "log_prob", weights, x=STATES)["log_prob"]
    prior, likelihood = by_hand(weights)
    np.testing.assert_allclose(log_prob, np.log(np.exp(prior + likelihood).sum(1)), rtol=1e-12)
    assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-12)
    assert "elbo" not in module.programs and set(module.programs["sample"].outputs) >= {"x"}


def test_enumerate_is_the_mean_of_hard_draws_and_below_the_likelihood() -> None:
    """`elbo` of `gumbel` has hard draws: its mean over 1e5 of them is the expectation over all classes."""
    module, drawn = module_of(ENUMERATE), module_of(GUMBEL)
    weights = weights_of(module)
    bound = run(module, "elbo", weights, x=STATES)
    n = 100_000
    rows = {"x": np.tile(STATES[5:6], (n, 1)), "noise_k": np.random.default_rng(0).uniform(size=n)}
    elbo = run(drawn, "elbo", weights, **rows)["elbo"]
    assert abs(elbo.mean() - bound["elbo"][5]) < 5 * elbo.std() / n**0.5
    whole = run(module, "log_weight", weights, x=STATES)["log_weight"]
    prior, likelihood = by_hand(weights)
    np.testing.assert_allclose(whole, np.log(np.exp(prior + likelihood).sum(1)), rtol=1e-12)
    assert (bound["elbo"] < whole).all()
    np.testing.assert_allclose(bound["elbo"], -bound["reconstruction"] - bound["kl"], rtol=1e-12)


def test_a_relaxed_draw_nears_a_hard_one_and_passes_a_gradient() -> None:
    """At a low temperature the loss is that of hard draws by the Gumbel-max trick."""
    cold = module_of(GUMBEL.replace("0.5", "1e-3"))
    weights, n = weights_of(cold), 50_000
    rows = {"x": np.tile(STATES[5:6], (n, 1)), "noise_k": np.random.default_rng(0).uniform(size=(n, 4))}
    loss = run(cold, "loss", weights, **rows)["loss"]
    elbo = run(module_of(ENUMERATE), "elbo", weights, x=STATES)["elbo"][5]
    assert float(loss) == pytest.approx(-elbo, abs=0.02)
    warm = module_of(GUMBEL)
    names = ["k.dense_0.bias"]
    graph = differentiate(warm.programs["loss"], "loss", names)
    rows = {"x": STATES, "one": np.ones((8, 1)), "noise_k": np.random.default_rng(1).uniform(size=(8, 4))}
    found = next(v for k, v in interpret(graph, weights, rows).items() if "dense_0.bias" in k)
    for i in range(4):
        step = np.zeros(4)
        step[i] = 1e-5
        ends = [
            run(warm, "loss", weights | {names[0]: weights[names[0]] + s}, **rows)["loss"]
            for s in (step, -step)
        ]
        assert found[i] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_latents_that_depend_on_an_enumerated_one_are_drawn_for_each_class() -> None:
    """At fixed noise the bound is the sum over y of q(y) (log p(x, z_y, y) - log q(z_y, y)), of a model given y."""
    parts = (
        "latent z ~ normal(concat(x, y -> embedding(2)) -> dense(4)) prior normal(0, 1)\n"
        "x ~ bernoulli(logits = concat(z, y -> embedding(2)) -> dense(3))\n"
    )
    counted = module_of(
        f"{HEAD}latent y: category(3) ~ enumerate(categorical(logits = x -> dense(3))) prior categorical(logits = one -> "
        f"dense(3))\n{parts}"
    )
    given = module_of(f"{HEAD}condition y: category(3)\n{parts}")
    q = module_of(f"{HEAD}target y: category(3)\ny ~ categorical(logits = x -> dense(3))\n")
    weights = weights_of(counted)
    noise = np.random.default_rng(0).normal(size=(8, 2))
    elbo = run(counted, "elbo", weights, x=STATES, noise_z=noise)["elbo"]
    prior = weights["y.prior.dense_0.bias"] + weights["y.prior.dense_0.weight"].reshape(-1)
    prior = prior - np.log(np.exp(prior).sum())
    total = np.zeros(8)
    for y in range(3):
        label = np.full(8, y)
        log_q = run(q, "log_prob", weights, x=STATES, y=label)["log_prob"]
        inner = run(given, "elbo", weights, x=STATES, y=label, noise_z=noise)["elbo"]
        total += np.exp(log_q) * (inner + prior[y] - log_q)
    np.testing.assert_allclose(elbo, total, rtol=1e-10)


REFUSED = {
    "a law": (EXACT.replace("exact", f"categorical({POSTERIOR})"), "no gradient passes through draws of classes"),
    "a real one": (EXACT.replace("category(4) ~", "real[2] ~"), "`exact` is of classes, and `k` is real"),
    "no type": (EXACT.replace(": category(4) ~", " ~"), "`latent k` has no type"),
    "a count": (EXACT.replace("category(4) ~", "integer(0..) ~"), "a latent is real, binary or a category"),
    "an axis": (
        EXACT.replace("category(4) ~", "category(4)[code: 9] ~")
        .replace("one -> dense(4)", "0")
        .replace("tanh -> dense(3)", "mean(over = code) -> dense(3)"),
        "all of its places have too many states together",
    ),
    "many states": (EXACT.replace("category(4) ~", "category(5000) ~"), "5000 joint states, more than 4096"),
    "another prior": (EXACT.replace("categorical(logits = one -> dense(4))", "normal(0, 1)"), "`k` is category(4)"),
    "another law": (ENUMERATE.replace(f"categorical({POSTERIOR})", "normal(0, 1)"), "cannot be normal"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_no_sum_or_gradient_reaches_is_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        module_of(text)
    (found,) = caught.value.diagnostics
    assert found.code == "MP411" and said in found.message and found.help


RELAXED = (
    "model m\ninput x: binary[time, 3]\nrecurrence over time {\n  carry h[4] = 0\n  carry k: category(4) = 0\n"
    "  latent s: category(4) ~ gumbel(logits = x -> dense(4), temperature = TEMPERATURE) prior categorical(logits = h)\n"
    "  x ~ bernoulli(logits = concat(READ, onehot(k)) -> dense(3))\n  h = concat(x, READ) -> dense(4)\n  CARRIED\n}\n"
)
READS_A_CLASS = {
    "carried": ("onehot(s)", "k = s", "the carried `k`"),
    "merged": ("onehot(s) -> add(s -> flatten -> onehot(4))", "", "flatten"),
    "compared": ("where(s, onehot(s), 0 * onehot(s))", "", "where"),
}


@pytest.mark.parametrize(("read", "carried", "who"), READS_A_CLASS.values(), ids=READS_A_CLASS)
def test_a_relaxed_class_is_read_by_its_shares(read: str, carried: str, who: str) -> None:
    """The gradient of whatever would read the class itself would be zero, without a word."""
    text = RELAXED.replace("TEMPERATURE", "0.5")
    module_of(text.replace("READ", "onehot(s)").replace("CARRIED", ""))
    with pytest.raises(SpecError) as caught:
        module_of(text.replace("READ", read).replace("CARRIED", carried))
    (found,) = caught.value.diagnostics
    assert found.code == "MP411" and found.message.startswith(f"{who} reads the class") and found.help


def test_a_temperature_changes_in_a_recurrence_too() -> None:
    """By the one `anneal` of the language; the steps that are done are counted once for all steps of a sequence."""
    text = RELAXED.replace("READ", "onehot(s)").replace("CARRIED", "")
    module = module_of(text.replace("TEMPERATURE", "anneal(2, 0.5, steps = 10)"))
    steps = [name for name in module.parameters if name.endswith(".steps")]
    assert len(steps) == 1 and not module.parameters[steps[0]].trainable
    weights, x = example_weights(module), example_inputs(module, "loss", 2, length=3)
    fixed = module_of(text.replace("TEMPERATURE", "1.25"))
    want = interpret(fixed.programs["loss"], {k: v for k, v in weights.items() if k in fixed.parameters}, x)
    made = interpret(module.programs["loss"], weights | {steps[0]: np.array(5.0)}, x)
    np.testing.assert_allclose(made["loss"], want["loss"], rtol=1e-12)
    with pytest.raises(SpecError, match="a temperature is positive"):
        module_of(text.replace("TEMPERATURE", "anneal(2, 0, steps = 10)"))


def test_a_posterior_reads_no_latent_that_is_summed_out() -> None:
    text = EXACT.replace(
        "x ~", "latent z ~ normal(concat(x, k -> embedding(2)) -> dense(4)) prior normal(0, 1)\nx ~"
    )
    with pytest.raises(SpecError, match="reads `k`, which is summed out and has no draw"):
        module_of(text)


def test_a_mixture_beside_a_drawn_latent() -> None:
    """A latent whose prior reads the summed class: log q(z) stands outside of the sum, log p(z given k) within."""
    text = EXACT.replace(
        "x ~", "latent z ~ normal(concat(one, x) -> dense(4)) prior normal(k -> embedding(4))\nx ~"
    ).replace(
        "bernoulli(logits = k -> embedding(6) -> tanh -> dense(3))", "bernoulli(logits = z -> dense(3))"
    )
    module = module_of(text)
    weights = {k: 0.3 * v for k, v in weights_of(module).items()}
    rng, n = np.random.default_rng(0), 20_000
    totals = []
    for x in STATES:
        out = run(module, "log_weight", weights, x=np.tile(x, (n, 1)), noise_z=rng.normal(size=(n, 2)))[
            "log_weight"
        ]
        totals.append(np.exp(out).mean())
    assert sum(totals) == pytest.approx(1, abs=0.05)
