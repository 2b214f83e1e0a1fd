"""Values with a name at the top are the expression in its place, and no way around who may read what."""

from __future__ import annotations

import numpy as np
import pytest

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.lowering import lower
from mpcompile.ops import Scan
from mpcompile.runner.examples import example_inputs, example_weights

HEAD = """model m
input x: binary[time, 3]
input y: real[4]
condition c: real[4]
condition length: integer(1..time)
net body = dense(8) -> relu
net step = dense(5)
net out = dense(8)
net start = dense(4)
"""
WRITTEN = """latent z ~ normal(y -> start) prior normal(0, 1)
y ~ normal(concat(z -> body, c) -> out)
recurrence over time {
  carry h[5] = 0
  x ~ bernoulli(logits = concat(h, c -> step) -> dense(3))
  h = gru(concat(x, c -> step), h)
}
"""
STATED = """latent z ~ normal(y -> start) prior normal(0, 1)
h0 = z -> body
both = concat(h0, c)
e = c -> step
block logits on v { yield concat(v, e) -> dense(3) }
y ~ normal(both -> out)
recurrence over time {
  carry h[5] = 0
  x ~ bernoulli(logits = h -> logits)
  h = gru(concat(x, e), h)
}
"""


def model(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def test_a_value_is_the_expression_in_its_place() -> None:
    """In every program, with the same weights; the loops have none of the value's own."""
    whole, named = model(HEAD + WRITTEN), model(HEAD + STATED)
    weights = example_weights(whole)
    of = {n: n.replace("logits_0.", "") for n in named.parameters}
    assert set(of.values()) == set(whole.parameters)
    renamed = {n: weights[former] for n, former in of.items()}
    assert list(whole.programs) == list(named.programs)
    for name, graph in named.programs.items():
        inputs = example_inputs(whole, name, 2)
        found, wanted = interpret(graph, renamed, inputs), interpret(whole.programs[name], weights, inputs)
        assert list(found) == list(wanted)
        for key in wanted:
            np.testing.assert_allclose(found[key], wanted[key], rtol=1e-12, atol=1e-12)
    (loop,) = [n.op for n in named.programs["loss"].nodes() if isinstance(n.op, Scan)]
    (other,) = [n.op for n in whole.programs["loss"].nodes() if isinstance(n.op, Scan)]
    assert len(loop.body.nodes()) < len(other.body.nodes())  # `e` is made once, outside


LATENT = "latent z ~ normal(y -> start) prior normal(0, 1)\n"
REFUSED = {
    "MP127 itself": "a = y -> start\nb = a -> body\ny ~ normal(b -> out)\n",
    "MP127 later": LATENT + "a = y -> start\nx ~ bernoulli(logits = z -> over(time) -> dense(3))\n"
    "y ~ normal(concat(a, z) -> out)\n",
    "MP127 in a step": "recurrence over time {\n carry h[2] = 0\n x ~ bernoulli(logits = s -> dense(3))\n"
    " h = gru(x, h)\n}\ns = x -> last\n",
    "MP126 circle": "a = b -> body\nb = a -> relu\ny ~ normal(a -> out)\n",
}  # fmt: skip


@pytest.mark.parametrize("wanted", REFUSED)
def test_a_value_carries_what_it_reads(wanted: str) -> None:
    with pytest.raises(SpecError) as caught:
        model(HEAD + REFUSED[wanted])
    assert caught.value.diagnostics[0].code == wanted.split()[0]
