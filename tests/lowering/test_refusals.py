"""Codes that lowering and claims raise, each by a spec, at the place marked with §."""

from __future__ import annotations

import pytest

from mpcompile import api
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.lowering import lower

X = "model m\ninput x: real[4]\n"
XY = X + "target y: real[1]\n"
XT = "model m\ninput x: real[time, 4]\n"
IMAGE = "model m\ninput x: real[1, 4, 4]\n"
MLP = XY + "y ~ normal(x -> dense(1), 1)\n"

#: (code, name): the spec.
REFUSED = {
    ("MP126", "nets"): XY + "net f = g\nnet g = §f\ny ~ normal(x -> f -> dense(1), 1)\n",
    ("MP126", "masks"): XY + "mask a = transpose(b)\nmask b = §a\ny ~ normal(x -> dense(1, mask = a), 1)\n",
    ("MP126", "block"): XY + "block f(n) = dense(n) -> §f(n)\ny ~ normal(x -> f(2) -> dense(1), 1)\n",
    ("MP132", "no order"): MLP + "check { §autoregressive(y) }\n",
    ("MP132", "no support"): MLP + "check { §complete(y) }\n",
    ("MP132", "no bijectors"): MLP + "check { §jacobian(y) is triangular }\n",
    ("MP110", "a variable"): XY + "§q ~ normal(x -> dense(1), 1)\n",
    ("MP110", "of numbers"): XY + "y ~ normal(x -> dense(§square(3)), 1)\n",
    ("MP110", "a posterior"): X + "latent k: category(3) ~ §relu\nx ~ normal(k -> onehot -> dense(8))\n",
    ("MP110", "a condition"): X + "x ~ autoregressive(§condition = x) { nade(4) }\n",
    ("MP110", "a value"): XY + "y ~ normal(x -> dense(1), scale = §inf)\n",
    ("MP110", "a value of another kind"): XY + "y ~ normal(x -> dense(1), scale = §cosine)\n",
    ("MP127", "a number"): "model m(a = §b, b = 4)\ninput x: real[a]\nx ~ normal(0, 1)\n",
    ("MP205", "a repeat"): XY + "y ~ normal(x -> repeat i in §0..-2 { dense(3) } -> dense(1), 1)\n",
    ("MP208", "a net of two values"): XY + "net f = dense(8)\ny ~ normal(§f(x, x) -> dense(1), 1)\n",
    ("MP208", "a net of none"): XY + "net g = dense(8)\nnet f = g\ny ~ normal(§f -> dense(1), 1)\n",
    ("MP208", "a block of none"): XY + "block f = dense(8)\ny ~ normal(§f -> dense(1), 1)\n",
    ("MP202", "a length that nothing has"): XY + "y ~ normal(x -> §over(time) -> last -> dense(1), 1)\n",
    ("MP203", "widths"): X
    + "input z: real[3]\ntarget y: real[8]\nnet f = §dense(8)\ny ~ normal((x -> f) + (z -> f), 1)\n",
    ("MP206", "strict"): X + "x ~ autoregressive { dense(8, mask = §strict(checkerboard)) }\n",
    ("MP206", "coupling"): X + "x ~ flow { §coupling(mask = causal2d(type = A), net = dense(4)) }\n",
    ("MP206", "coupling by degrees"): X + "x ~ flow { §coupling(mask = degrees, net = dense(4)) }\n",
    ("MP206", "convolution"): IMAGE + "x ~ autoregressive { §conv(2, 3, pad = same, mask = degrees) }\n",
    ("MP304", "at most"): MLP + "check { §parameters <= 4 }\n",
    ("MP304", "less"): MLP + "check { §parameters < 5 }\n",
    ("MP405", "length"): XT + "x ~ §flow { affine }\n",
    ("MP405", "scalar"): "model m\ninput x: real\nx ~ §flow { affine }\n",
}  # fmt: skip


@pytest.mark.parametrize(("code", "name"), REFUSED)
def test_is_refused_at_its_place(code: str, name: str) -> None:
    marked = REFUSED[code, name]
    before, text = marked[: marked.index("§")].split("\n"), marked.replace("§", "")
    try:
        found = api.check(lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text)))
    except SpecError as fault:
        found = fault.diagnostics
    place = (len(before), len(before[-1]) + 1)
    assert [(d.code, (d.span.line, d.span.column)) for d in found] == [(code, place)]


def test_a_bound_that_holds_is_not_refuted() -> None:
    """The model has 5 weights: the claims of MP304 are refuted by what they say, not by being there."""
    for bound in ("<= 5", "< 6", "== 5", ">= 5", "> 4"):
        text = MLP + f"check {{ parameters {bound} }}\n"
        assert api.check(lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text))) == []
