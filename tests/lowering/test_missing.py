"""Classes that are missing: each example against a sum over them by hand, and programs about what is there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.passes.gradient import differentiate
from mpcompile.runner.examples import example_weights

HEAD = "model m\ncondition one: real[1]\ninput x: binary[3]\n"
LAW = "y ~ categorical(logits = one -> dense(4))\n"
REST = (
    "latent z ~ normal(concat(x, onehot(y)) -> dense(4)) prior normal(y -> embedding(4))\n"
    "x ~ bernoulli(logits = concat(z, onehot(y)) -> dense(3))\n"
)
Q = "categorical(logits = x -> dense(4))"
TEXT = f"{HEAD}target y: category(4)?\n{LAW}missing y ~ enumerate({Q})\n{REST}"
TERM = "minimise cross_entropy(x -> dense(4), fill(y, 0)) weight 3 * observed(y)\n"
X = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
NOISE = np.random.default_rng(0).normal(size=(8, 2))
Y = np.array([-1, 2, 0, -1, 3, -1, 1, -1])


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


MODULE = module_of(TEXT + TERM)
WEIGHTS = {k: np.asarray(v) for k, v in example_weights(MODULE, 1, spread=0.8).items()}
OBSERVED = module_of(f"{HEAD}input y: category(4)\n{LAW}{REST}")


def run(module: Module, program: str, **inputs: Array) -> dict[str, Array]:
    rows = len(inputs.get("y", inputs.get("x", X)))
    given = {"x": X[:rows], "one": np.ones((rows, 1)), "noise_z": NOISE[:rows]} | inputs
    graph = module.programs[program]
    own = {k: v for k, v in WEIGHTS.items() if k in module.parameters}
    return interpret(graph, own, {k: v for k, v in given.items() if k in graph.inputs})


def posterior() -> Array:
    """log q(y given x), [8, 4]."""
    logits = X @ WEIGHTS["y.missing.dense_0.weight"].T + WEIGHTS["y.missing.dense_0.bias"]
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def at_each_class(program: str) -> Array:
    """A result of the model whose classes are all there, at each class, [8, 4]."""
    return np.stack([run(OBSERVED, program, y=np.full(8, k))[program] for k in range(4)], 1)


def test_each_example_is_summed_over_what_it_lacks() -> None:
    """Mixed, all missing and all there in one program: the bound, the importance weight and its sum."""
    log_q, bound, weight = posterior(), at_each_class("elbo"), at_each_class("log_weight")
    summed = (np.exp(log_q) * (bound - log_q)).sum(1)
    whole = np.log(np.exp(weight).sum(1))
    for y in (Y, np.full(8, -1), np.abs(Y)):
        rows, there = np.arange(8), y >= 0
        made = run(MODULE, "elbo", y=y)
        np.testing.assert_allclose(made["elbo"], np.where(there, bound[rows, y], summed), rtol=1e-11)
        np.testing.assert_allclose(made["elbo"], -made["reconstruction"] - made["kl"], rtol=1e-12)
        found = run(MODULE, "log_weight", y=y)["log_weight"]
        np.testing.assert_allclose(found, np.where(there, weight[rows, y], whole), rtol=1e-11)


@pytest.mark.parametrize("n", [0, 1])
def test_a_batch_of_none_and_of_one(n: int) -> None:
    whole = run(MODULE, "elbo", y=Y)["elbo"]
    np.testing.assert_allclose(run(MODULE, "elbo", y=Y[:n])["elbo"], whole[:n], rtol=1e-12)


def test_a_term_counts_what_is_there() -> None:
    logits = X @ WEIGHTS["minimise_0.dense_0.weight"].T + WEIGHTS["minimise_0.dense_0.bias"]
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = np.where(Y >= 0, -3 * logs[np.arange(8), Y], 0).mean()
    made = run(MODULE, "loss", y=Y)
    assert made["terms"] == pytest.approx(wanted, rel=1e-12)
    assert made["loss"] == pytest.approx(wanted - run(MODULE, "elbo", y=Y)["elbo"].mean(), rel=1e-12)


def test_gradients_agree_with_differences() -> None:
    """Of the classifier, which only what is missing trains, and finite where all classes are there."""
    name = "y.missing.dense_0.bias"
    given = {"x": X, "one": np.ones((8, 1)), "noise_z": NOISE}
    graph = differentiate(MODULE.programs["loss"], "loss", [name])
    found = interpret(graph, WEIGHTS, given | {"y": Y})[f"grad({name})"]
    for i in range(4):
        ends = []
        for step in (1e-5, -1e-5):
            moved = WEIGHTS | {name: WEIGHTS[name] + step * np.eye(4)[i]}
            ends.append(interpret(MODULE.programs["loss"], moved, given | {"y": Y})["loss"])
        assert found[i] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)
    there = interpret(graph, WEIGHTS, given | {"y": np.abs(Y)})[f"grad({name})"]
    np.testing.assert_array_equal(there, np.zeros(4))


def test_programs_of_means_put_the_most_probable_class_in_its_place() -> None:
    log_q = posterior()
    filled = np.where(Y >= 0, Y, log_q.argmax(1))
    made, known = run(MODULE, "encode", y=Y), run(OBSERVED, "encode", y=filled)
    np.testing.assert_allclose(made["z_loc"], known["z_loc"], rtol=1e-12)
    np.testing.assert_allclose(
        run(MODULE, "predict", noise_y=np.full(8, 0.5))["y"], np.exp(log_q), rtol=1e-12
    )
    wanted = run(OBSERVED, "reconstruct", y=filled)["x"]
    np.testing.assert_allclose(run(MODULE, "reconstruct", y=Y)["x"], wanted, rtol=1e-12)


def test_two_variables_and_a_summed_latent_together() -> None:
    """A missing bit beside a missing class and an `exact` latent: q of each, and the sum over the latent within."""
    laws = (
        "latent k: category(2) ~ exact prior categorical(logits = one -> dense(2))\n"
        "x ~ bernoulli(logits = concat(onehot(k), onehot(y), b -> reshape([1])) -> dense(3))\n"
    )
    own = f"b ~ bernoulli(logits = one -> dense(1) -> sum(over = channel))\n{LAW}"
    ways = "missing b ~ enumerate(bernoulli(logits = x -> dense(1) -> sum(over = channel)))\n"
    ways += f"missing y ~ enumerate({Q})\n"
    module = module_of(f"{HEAD}input b: binary?\ninput y: category(4)?\n{own}{ways}{laws}")
    whole = module_of(f"{HEAD}input b: binary\ninput y: category(4)\n{own}{laws}")
    weights = {k: np.asarray(v) for k, v in example_weights(module, 2, spread=0.8).items()}

    def at(m: Module, program: str, b: Array, y: Array) -> Array:
        given = {"x": X, "one": np.ones((8, 1)), "b": b, "y": y}
        graph = m.programs[program]
        own = {k: v for k, v in weights.items() if k in m.parameters}
        return interpret(graph, own, {k: v for k, v in given.items() if k in graph.inputs})[program]

    q_y = X @ weights["y.missing.dense_0.weight"].T + weights["y.missing.dense_0.bias"]
    q_y = q_y - np.log(np.exp(q_y).sum(1, keepdims=True))
    q_b = (X @ weights["b.missing.dense_0.weight"].T + weights["b.missing.dense_0.bias"])[:, 0]
    total = np.zeros(8)
    some = np.zeros(8)
    for bit, k in itertools.product(range(2), range(4)):
        log_q = q_y[:, k] - np.log1p(np.exp(-q_b if bit else q_b))
        log_p = at(whole, "log_prob", np.full(8, float(bit)), np.full(8, k))
        total += np.exp(log_q) * (log_p - log_q)
        if bit:
            some += np.exp(q_y[:, k]) * (log_p - q_y[:, k])
    np.testing.assert_allclose(at(module, "elbo", np.full(8, np.nan), np.full(8, -1)), total, rtol=1e-10)
    np.testing.assert_allclose(at(module, "elbo", np.ones(8), np.full(8, -1)), some, rtol=1e-10)


REFUSED = {
    "never missing": (TEXT.replace("category(4)?", "category(4)"), "MP411", "its type has no `?`"),
    "no law": (TEXT.replace(LAW, ""), "MP411", "`y` has no law"),
    "unknown": (TEXT.replace("missing y", "missing w"), "MP110", "unknown variable `w`"),
    "an axis": (
        TEXT.replace("category(4)?", "category(4)[code: 2]?"), "MP411", "whose classes are summed place by place",
    ),
    "a number": (TEXT.replace("category(4)?", "real?"), "MP411", "`y` is real"),
    "a weight": (TEXT.replace("-> dense(4))\nmissing", "-> dense(4)) weight 2\nmissing"), "MP205", "has a weight"),
    "itself": (TEXT.replace("x -> dense(4))", "onehot(y) -> dense(4))"), "MP127", "which may be missing"),
    "a latent": (TEXT.replace("x -> dense(4))", "z -> dense(4))"), "MP127", "a latent"),
    "read bare in a term": (TEXT + TERM.replace("fill(y, 0)", "y"), "MP216", "`y` may be missing"),
    "drawn": (TEXT.replace(f"enumerate({Q})", "categorical(logits = 0)"), "MP129", "a draw"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_what_no_sum_is_taken_of_is_refused(text: str, code: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        module_of(text)
    found = caught.value.diagnostics[0]
    assert found.code == code and said in found.message and found.help
