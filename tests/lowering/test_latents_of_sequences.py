"""Latents at the top that every step of a recurrence reads: the style of a whole sequence."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from stated import answers

from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_weights

STYLES = {
    "summed out": "latent k: category(3) ~ exact prior categorical(logits = 0)",
    "drawn": "latent k ~ normal(x -> mean(over = time) -> dense(4)) prior normal(0, 1)",
}
STEP = """recurrence over time {
  carry h[4] = 0
  x ~ bernoulli(logits = concat(h, READ) -> dense(1))
  h = gru(x, h)
}
"""


def styled(how: str) -> Module:
    step = STEP.replace("READ", "onehot(k)" if how == "summed out" else "k")
    text = f"model m\ninput x: binary[time, 1]\n{STYLES[how]}\n{step}"
    return lower(parse_text(text), Source("m.mp", text))


@pytest.mark.parametrize("how", STYLES)
def test_a_step_reads_the_style_of_its_sequence(how: str) -> None:
    """Every program has it, and no element is predicted from itself or from a later one, whatever the style."""
    m = styled(how)
    found = {str(v.claim): v.status for v in answers(m)}
    assert found["autoregressive(x)"] == "proved" and set(found.values()) == {"proved"}
    assert "k" in m.programs["conditionals"].inputs


def test_sequences_have_mass_one_where_their_style_is_summed_out() -> None:
    m = styled("summed out")
    weights = {k: np.asarray(v) for k, v in example_weights(m, 0, spread=0.5).items()}
    x = np.array(list(itertools.product((0.0, 1.0), repeat=4)))[..., None]
    total = interpret(m.programs["log_prob"], weights, {"x": x})["log_prob"]
    assert np.exp(total).sum() == pytest.approx(1, abs=1e-12)
    each = []
    for k in range(3):
        given = {"x": x, "k": np.full(len(x), k)}
        logits = next(iter(interpret(m.programs["conditionals"], weights, given).values())).reshape(len(x), 4)
        each.append((x[..., 0] * logits - np.logaddexp(0, logits)).sum(1))
    np.testing.assert_allclose(total, np.logaddexp.reduce(each, axis=0) - np.log(3), rtol=1e-10)
