"""Backward recurrences: posteriors read all that is still to come, and no law does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mpcompile.analysis import prove
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import format_model, parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_weights

BACK = "recurrence over time backward {\n  carry g[3] = 0\n  e = %s -> dense(2) -> tanh\n  g = gru(e, g)\n}\n"
SMOOTH = (
    "model m\ninput x: real[time, 2]\ncondition length: integer(1..time)\n"
    + BACK % "x"
    + "recurrence over time {\n"
    "  carry z[2] = 0\n  latent s ~ normal(concat(z, g) -> dense(4)) prior normal(z -> dense(4))\n"
    "  x ~ normal(s -> dense(4))\n  z = s\n}\n"
)
GIVEN = (
    "model m\ninput x: binary[time, 1]\ncondition c: real[time, 2]\n"
    + BACK % "c"
    + "recurrence over time {\n"
    "  carry h[3] = 0\n  x ~ bernoulli(logits = concat(h, g) -> dense(1))\n  h = gru(x, h)\n}\n"
)


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def weights_of(module: Module) -> dict[str, Array]:
    return {k: np.asarray(v) for k, v in example_weights(module, 0, spread=0.6).items()}


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def test_the_state_of_a_step_is_that_of_a_loop_from_the_last_real_step() -> None:
    """The posterior of the first step by hand: a GRU over the steps from the end of the example to its begin."""
    module = module_of(SMOOTH)
    weights = weights_of(module)
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(3, 5, 2)), np.array([5.0, 3.0, 1.0])
    found = interpret(module.programs["encode"], weights, {"x": x, "length": lengths})
    e = np.tanh(x @ weights["e.dense_0.weight"].T + weights["e.dense_0.bias"])
    wi, wh, bi, bn = (weights[f"g.gru_0.{n}"] for n in ("weight_ih", "weight_hh", "bias", "bias_hn"))
    for i in range(3):
        g = np.zeros(3)
        for t in reversed(range(int(lengths[i]))):
            a, b = wi @ e[i, t] + bi, wh @ g
            r, u = sigmoid(a[:3] + b[:3]), sigmoid(a[3:6] + b[3:6])
            g = (1 - u) * np.tanh(a[6:] + r * (b[6:] + bn)) + u * g
        out = np.concatenate([np.zeros(2), g]) @ weights["s.dense_0.weight"].T + weights["s.dense_0.bias"]
        np.testing.assert_allclose(found["s_loc"][i, 0], out[:2], rtol=1e-9)
    assert not found["s_loc"][1, 3:].any()


def test_posteriors_read_the_future_and_laws_do_not() -> None:
    """Numerically: the posterior of step 1 changes with x of step 3, and no draw of an earlier step of `sample` does."""
    module = module_of(SMOOTH)
    weights = weights_of(module)
    x, length = np.random.default_rng(0).normal(size=(1, 4, 2)), np.array([4.0])
    changed = x.copy()
    changed[0, 3] += 1
    encode = module.programs["encode"]
    before, after = (interpret(encode, weights, {"x": v, "length": length})["s_loc"] for v in (x, changed))
    assert np.abs(before - after)[0, 1].max() > 1e-6
    verdicts = {str(v.claim): v.status for v in prove(module)}
    assert verdicts["joint(s, x | )"] == "proved" and verdicts["padding"] == "proved"
    assert "g" not in module.programs["sample"].inputs and set(module.programs["sample"].outputs) == {"x"}


LAWS = {
    "a law": ("x ~ normal(s -> dense(4))", "x ~ normal(concat(s, g) -> dense(4))"),
    "a prior": ("prior normal(z -> dense(4))", "prior normal(concat(z, g) -> dense(4))"),
    "an assignment": ("z = s", "z = g -> dense(2)"),
    "through a net": ("x ~ normal(s -> dense(4))", "x ~ normal(concat(s, f()) -> dense(4))"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), LAWS.values(), ids=LAWS)
def test_no_law_reads_what_looks_ahead(old: str, new: str) -> None:
    net = "net f = g -> dense(2)\n"
    text = SMOOTH.replace(old, new).replace("recurrence over time b", f"{net}recurrence over time b")
    with pytest.raises(SpecError) as caught:
        module_of(text)
    (found,) = caught.value.diagnostics
    assert (
        found.code == "MP127" and "`g`" in found.message and "which reads `x` of later steps" in found.message
    )
    assert "a block that the posterior calls" in found.help


def test_a_law_may_read_ahead_in_what_is_given() -> None:
    module = module_of(GIVEN)
    assert {v.status for v in prove(module)} == {"proved"}
    weights = weights_of(module)
    states = np.array(list(itertools.product([0.0, 1.0], repeat=4)))[..., None]
    c = np.repeat(np.random.default_rng(0).normal(size=(1, 4, 2)), 16, 0)
    log_prob = interpret(module.programs["log_prob"], weights, {"x": states, "c": c})["log_prob"]
    assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-12)
    assert "c" in module.programs["sample"].inputs


def test_in_yaml_and_without_laws() -> None:
    model = parse_text(format_model(parse_text(SMOOTH), "yaml"), syntax="yaml")
    assert lower(model, Source("m.yaml", "")).programs.keys() == module_of(SMOOTH).programs.keys()
    with pytest.raises(SpecError, match="a law in a backward recurrence"):
        module_of(
            "model m\ninput x: binary[time, 1]\nrecurrence over time backward {\n  carry g[3] = 0\n"
            "  x ~ bernoulli(logits = g -> dense(1))\n}\n"
        )
