"""The laws of a model in their order factorise its joint density: random models, injected faults, sums over states."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from mpcompile import api
from mpcompile.analysis import prove
from mpcompile.analysis.claims import KINDS
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.lowering.joint import joint
from mpcompile.lowering.statements import Statements
from mpcompile.runner.examples import example_weights
from tests.support.joint_models import DISCRETE, Graph, drawn, faulty


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def refusals(graph: Graph) -> set[str]:
    """The codes by which a model is refused; empty where it passes."""
    try:
        return {
            d.code for v in prove(module_of(graph.text())) if v.status == "refuted" for d in v.diagnostics
        }
    except SpecError as fault:
        return {d.code for d in fault.diagnostics}


@pytest.mark.parametrize("seed", range(12))
def test_no_fault_passes(seed: int) -> None:
    """Five random models and one fault in each; of 1,000 such faults none passes."""
    expected = {"support": {"MP209"}, "twice": {"MP105"}, "posterior": {"MP127"}, "later": {"MP127"}}
    for k in range(5):
        rng = np.random.default_rng([seed, k])
        graph = drawn(rng)
        broken, fault = faulty(graph, rng)
        found = refusals(broken)
        assert found and (fault == "itself" or found == expected[fault]), (fault, broken.text())
        if k == 0:
            assert not refusals(graph), graph.text()


@pytest.mark.parametrize("seed", range(6))
def test_the_claim_sees_what_is_not_hidden(seed: int) -> None:
    """The factors alone, from which lowering hides nothing: the live inputs of a graph refute the joint density."""
    rng = np.random.default_rng(seed)
    found = 0
    while found < 3:
        broken, fault = faulty(drawn(rng, latents=False), rng)
        if fault not in ("later", "itself"):
            continue
        text = broken.text()
        statements = Statements(parse_text(text), Source("m.mp", text), {})
        joint(statements)
        (claim,) = statements.claims
        verdict = KINDS["joint"].answer(statements.out, claim)
        inside = any(n.kind == "rows" and n.name in n.parents for n in broken.nodes)
        assert (verdict.status == "refuted") != inside, text
        assert inside or {d.code for d in verdict.diagnostics} == {"MP127"}
        found += 1


def sum_over_states(module: Module, seed: int) -> float:
    """The sum of exp(log_prob) over all states of the modelled variables, in float64."""
    modelled = [f for f in module.fields.values() if f.role == "input"]
    ranges = [range(f.classes or 2) for f in modelled for _ in range(2 if f.base == "binary" else 1)]
    states = np.array(list(itertools.product(*ranges)))
    given: dict[str, Array] = {"one": np.ones((len(states), 1))}
    at = 0
    for f in modelled:
        width = 2 if f.base == "binary" else 1
        given[f.name] = states[:, at : at + width].astype(float) if width == 2 else states[:, at]
        at += width
    weights = {k: np.asarray(v) for k, v in example_weights(module, seed, spread=0.7).items()}
    return float(np.exp(interpret(module.programs["log_prob"], weights, given)["log_prob"]).sum())


@pytest.mark.parametrize("seed", range(10))
def test_the_joint_mass_is_one(seed: int) -> None:
    graph = drawn(np.random.default_rng(seed), DISCRETE, latents=False)
    assert sum_over_states(module_of(graph.text()), seed) == pytest.approx(1, abs=1e-9), graph.text()


def test_a_variable_that_is_read_by_two_laws_counts_once() -> None:
    text = (
        "model m\ncondition one: real[1]\ninput a: category(3)\ninput b: category(3)\ninput c: binary[2]\n"
        "a ~ categorical(logits = one -> dense(3))\nb ~ categorical(logits = a -> embedding(3))\n"
        "c ~ bernoulli(logits = concat(a -> embedding(2), b -> embedding(2)) -> dense(2))\n"
    )
    module = module_of(text)
    (verdict,) = (v for v in prove(module) if v.claim.kind == "joint")
    assert f"{verdict.claim} {verdict.status}: {verdict.how}" == (
        "joint(a, b, c | one) proved: 3 laws, each once, for the declared sizes"
    )
    assert sum_over_states(module, 0) == pytest.approx(1, abs=1e-9)


LADDER = """model ladder
input x: real[2]
latent z2 ~ normal(z1 -> dense(2)) prior normal(0, 1)
latent z1 ~ normal(x -> dense(4)) prior normal(z2 -> dense(4))
x ~ normal(z1 -> dense(2), 1)
"""


def test_posteriors_are_inferred_in_an_order_of_their_own() -> None:
    """Generated from the top, inferred from the bottom: the mean of `elbo` over its noise is that of `log_weight`.

    A divergence of `z1` in closed form, at the `z2` that was drawn from its own draw, is another number.
    """
    module = module_of(LADDER)
    weights = {k: np.asarray(v) for k, v in example_weights(module, 3, spread=0.7).items()}
    rng, n = np.random.default_rng(0), 100_000
    x = np.tile(rng.normal(size=(1, 2)), (n, 1))
    noise = {
        k: rng.normal(size=(n, v.shape[1])) for k, v in module.programs["elbo"].inputs.items() if k != "x"
    }
    elbo = interpret(module.programs["elbo"], weights, {"x": x, **noise})["elbo"]
    rest = {k: noise[k] for k in module.programs["log_weight"].inputs if k != "x"}
    weight = interpret(module.programs["log_weight"], weights, {"x": x, **rest})["log_weight"]
    error = np.std(elbo - weight) / n**0.5
    assert error > 0 and abs(elbo.mean() - weight.mean()) < 5 * error
    assert module.programs["sample"].outputs.keys() == {"x"}


def test_posteriors_that_wait_for_each_other_are_refused() -> None:
    text = LADDER.replace("normal(x -> dense(4)) prior", "normal(concat(x, z2) -> dense(4)) prior")
    with pytest.raises(SpecError, match=r"posteriors read each other in a circle: `z1` -> `z2` -> `z1`"):
        module_of(text)


def test_a_prior_may_read_what_is_observed_before_it(tmp_path: Path) -> None:
    """A class with a law of its own, then a latent given the class: drawn in this order, and observed in the bound."""
    path = tmp_path / "m.mp"
    path.write_text(
        "model m\ncondition one: real[1]\ninput y: category(3)\ninput x: real[4]\n"
        "y ~ categorical(logits = one -> dense(3))\n"
        "latent z ~ normal(concat(x, y -> embedding(2)) -> dense(4)) prior normal(y -> embedding(4))\n"
        "x ~ normal(concat(z, y -> embedding(2)) -> dense(8))\n"
    )
    assert {p.status for p in api.examine(path).properties} == {"proved"}
    sample = api.load(path).programs["sample"]
    assert set(sample.outputs) == {"y", "x"} and {"one"} == {k for k in sample.inputs if "noise" not in k}


def test_predict_draws_parents_that_are_targets() -> None:
    """The mean of `b` given a draw of `a`, and at `c`, which has a law and is given."""
    text = (
        "model m\ncondition one: real[1]\ninput c: real[2]\ntarget a: real[2]\ntarget b: real[2]\n"
        "c ~ normal(one -> dense(2), 1)\na ~ normal(c, 0.5)\nb ~ normal(concat(a, c) -> dense(2), 1)\n"
    )
    module = module_of(text)
    predict = module.programs["predict"]
    assert set(predict.outputs) == {"a", "b"} and set(predict.inputs) == {"c", "noise_a"}
    assert set(module.noise["predict"]) == {"noise_a"}
