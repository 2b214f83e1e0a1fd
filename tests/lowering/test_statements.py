"""Statements are well formed: one law a variable, and no law reads its own variable or one that is drawn later."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from mpcompile import api
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import format_model, parse_text
from mpcompile.interpret import interpret
from mpcompile.lowering import lower
from mpcompile.runner.initial import initial

BITS = "autoregressive { dense(8, mask = degrees(seed = 0)) -> relu -> dense(4, mask = strict(degrees(seed = 0))) }"
FLOW = "flow(base = normal) { coupling(mask = checkerboard, net = dense(4)) }"
STEP = "recurrence over time {\n  carry h[4] = 0\n  %s\n  h = gru(x, h)\n}\n"

#: Statements that give one variable two laws, behind `model m`.
TWICE = {
    "observed": f"input x: binary[4]\nx ~ {BITS}\nx ~ {BITS}\n",
    "observed, other laws": f"input x: real[4]\nx ~ {FLOW}\nx ~ normal(0, 1)\n",
    "target": "input a: real[2]\ntarget y: real[1]\ny ~ normal(a -> dense(2))\ny ~ normal(a -> dense(1), 1)\n",
    "inside and outside": "input x: real[time, 2]\n" + STEP % "x ~ normal(h -> dense(2), 1)" + "x ~ normal(0, 1)\n",
    "outside and inside": "input x: real[time, 2]\nx ~ normal(0, 1)\n" + STEP % "x ~ normal(h -> dense(2), 1)",
    "in one step": "input x: real[time, 2]\n" + STEP % "x ~ normal(0, 1)\n  x ~ normal(h -> dense(2), 1)",
    "in two recurrences": "input x: real[time, 2]\n" + STEP % "x ~ normal(0, 1)"
    + "recurrence over time {\n  x ~ normal(0, 1)\n}\n",
    "latent": "input x: real[4]\nlatent z ~ normal(x -> dense(4)) prior normal(0, 1)\n"
    "latent z ~ normal(x -> dense(4)) prior normal(0, 1)\nx ~ normal(z -> dense(8))\n",
    "latent and observed": "input x: real[4]\nlatent z ~ normal(x -> dense(4)) prior normal(0, 1)\n"
    "z ~ normal(0, 1)\nx ~ normal(z -> dense(8))\n",
    "latent of a step and of the model": "input x: real[time, 2]\n"
    "latent z ~ normal(x -> last -> dense(4)) prior normal(0, 1)\n"
    + STEP % "latent z ~ normal(x -> dense(4)) prior normal(0, 1)\n  x ~ normal(concat(h, z) -> dense(2), 1)",
    "latent of a declared name": "input x: real[4]\nlatent x ~ normal(x -> dense(4)) prior normal(0, 1)\n",
    "local value of a declared name": "input x: real[time, 2]\ninput y: real[2]\n"
    + STEP % "y = h -> dense(2)\n  x ~ normal(y, 1)",
}  # fmt: skip


@pytest.mark.parametrize("text", TWICE.values(), ids=TWICE)
def test_a_variable_has_one_law(text: str) -> None:
    """In both syntaxes: the YAML form of the same statements is refused with the same code."""
    with pytest.raises(SpecError) as caught:
        parse_text("model m\n" + text)
    assert [d.code for d in caught.value.diagnostics] == ["MP105"]


def test_a_variable_has_one_law_in_yaml() -> None:
    step = "  - recurrence:\n      over: time\n      carry: {'h[4]': 0}\n"
    step += "      steps:\n        - x ~ normal(h, 1)\n        - h = gru(x, h)\n"
    head = "model: m\ninput: {x: 'real[time, 4]'}\ndensity:\n"
    parse_text(head + step, syntax="yaml")
    for text in (
        step + "  - x ~ normal(0, 1)\n",
        "  - x ~ normal(0, 1)\n" * 2,
        step.replace("        - h", "        - x ~ normal(0, 1)\n        - h"),
    ):
        with pytest.raises(SpecError, match="MP105"):
            parse_text(head + text, syntax="yaml")


DECLARED = "model m\ninput a: real[2]\ninput b: real[2]\ncondition c: real[2]\n"
TARGETS = "model m\ncondition c: real[2]\ntarget a: real[2]\ntarget b: real[2]\n"
#: Statements in which one reads what is not there when it is drawn, with part of what is said.
READS = {
    "itself": (DECLARED, "a ~ normal(a -> dense(2), 1)\nb ~ normal(0, 1)\n", "`a` reads itself"),
    "itself, a criterion": (
        "model m\ntarget a: binary[2]\ninput x: real[2]\n", "a ~ perceptron(concat(a, x) -> dense(2))\n",
        "`a` reads itself",
    ),
    "itself, a target": (TARGETS, "a ~ normal(a -> dense(2), 1)\nb ~ normal(0, 1)\n", "`a` reads itself"),
    "itself, through a net": (
        DECLARED + "net f = a -> dense(2)\n", "a ~ normal(c -> dense(2) -> add(f()), 1)\nb ~ normal(0, 1)\n",
        "`a` reads itself through `f` (line 5)",
    ),
    "itself, in the condition of a flow": (
        DECLARED, f"a ~ flow(base = normal(a -> dense(2), 1)) {{ affine }}\nb ~ {FLOW.replace('4', '2')}\n",
        "`a` reads itself",
    ),
    "a later variable": (
        DECLARED, "a ~ normal(b -> dense(2), 1)\nb ~ normal(0, 1)\n", "`a` reads `b`, which is stated after it",
    ),
    "a circle": (
        DECLARED, "a ~ normal(b -> dense(2), 1)\nb ~ normal(a -> dense(2), 1)\n", "in a circle: `a` -> `b` -> `a`",
    ),
    "what is observed, in a prior": (
        DECLARED, "latent z ~ normal(a -> dense(4)) prior normal(a, 1)\na ~ normal(z, 1)\nb ~ normal(0, 1)\n",
        "the prior of `z` reads `a`, and laws read each other in a circle: `z` -> `a` -> `z`",
    ),
    "itself, in a step": (
        "model m\ninput x: real[time, 4]\n", STEP % "x ~ normal(concat(x, h) -> dense(4), 1)", "`x` reads itself",
    ),
    "what a recurrence does not draw": (
        "model m\ninput x: real[time, 4]\ninput b: real[4]\n", STEP % "x ~ normal(h + b, 1)" + "b ~ normal(0, 1)\n",
        "a step reads `b`, which is stated after the recurrence",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("head", "text", "said"), READS.values(), ids=READS)
def test_a_law_reads_what_is_drawn_before_it(tmp_path: Path, head: str, text: str, said: str) -> None:
    path = tmp_path / "m.mp"
    path.write_text(head + text)
    with pytest.raises(SpecError) as caught:
        api.load(path)
    (found,) = caught.value.diagnostics
    assert found.code == "MP127" and said in found.message and found.help
    assert found.span.line > head.count("\n") - ("net" in head)


CHAIN = (
    "model m\ninput b: category(5)\ninput c: category(3)\ncondition one: real[1]\n"
    "b ~ categorical(logits = one -> dense(5))\nc ~ categorical(logits = b -> embedding(4) -> dense(3))\n"
)


def test_a_law_may_read_an_earlier_category(tmp_path: Path) -> None:
    """p(b) p(c | b): the sampler draws b, with its classes known, then c; all pairs together have mass 1."""
    path = tmp_path / "m.mp"
    path.write_text(CHAIN)
    module = api.load(path)
    pairs = np.array(list(product(range(5), range(3))))
    given = {"b": pairs[:, 0], "c": pairs[:, 1], "one": np.ones((15, 1))}
    weights = {k: np.asarray(v, float) for k, v in initial(module, 0).items()}
    lp = interpret(module.programs["log_prob"], weights, given)["log_prob"]
    assert abs(np.exp(lp).sum() - 1) < 1e-9
    assert set(module.programs["sample"].outputs) == {"b", "c"}


def test_a_flow_may_read_an_earlier_variable(tmp_path: Path) -> None:
    path = tmp_path / "m.mp"
    path.write_text(DECLARED + "a ~ normal(c, 1)\nb ~ flow(base = normal(a -> dense(2), 1)) { affine }\n")
    assert {p.status for p in api.examine(path).properties} == {"proved"}


def test_what_is_refused_is_refused_in_yaml() -> None:
    for head, text, _ in READS.values():
        if "net" in head or "flow" in text:
            continue
        model = parse_text(format_model(parse_text(head + text), "yaml"), syntax="yaml")
        with pytest.raises(SpecError, match="MP127"):
            lower(model, Source("m.yaml", ""))


PRIORS = "model m\ninput a: real[2]\ntarget y: real[1]\nnet f = dense(2)\nnet g = dense(1)\ny ~ normal(a -> f -> g, 1)\n"


@pytest.mark.parametrize(
    "pair", [("weights", "f"), ("f", "weights"), ("f", "f"), ("weights", "weights"), ("f", "g")]
)
def test_a_weight_has_one_prior(tmp_path: Path, pair: tuple[str, str]) -> None:
    path = tmp_path / "m.mp"
    path.write_text(PRIORS + "".join(f"prior {name} ~ normal(0, 1)\n" for name in pair))
    if pair == ("f", "g"):
        assert api.load(path).programs
        return
    with pytest.raises(SpecError, match="MP105"):
        api.load(path)


@pytest.mark.parametrize(
    ("carry", "net", "law"),
    [
        ("x -> last -> dense(4)", "dense(4)", "normal(h -> f, 1)"),
        ("0", "dense(4)(x + 0)", "normal(f(), 1)"),
    ],
)
@pytest.mark.parametrize("other", ["", "target y: binary[1]\ny ~ perceptron(c -> dense(1))\n"])
def test_a_recurrence_reads_its_variable_nowhere_before_it_is_drawn(
    tmp_path: Path, carry: str, net: str, law: str, other: str
) -> None:
    """Not in the first value of a carry and not through a net, whether or not the model can be sampled."""
    path = tmp_path / "m.mp"
    text = f"model m\ninput x: real[time, 4]\ncondition c: real[2]\nnet f = {net}\n{other}"
    path.write_text(
        text + f"recurrence over time {{\n  carry h[4] = {carry}\n  x ~ {law}\n  h = gru(x, h)\n}}\n"
    )
    with pytest.raises(SpecError, match="MP127"):
        api.load(path)


def test_a_flow_conditions_not_on_its_own_variable(tmp_path: Path) -> None:
    path = tmp_path / "m.mp"
    for body in (
        "coupling(mask = checkerboard, condition = x, net = dense(4))",
        "autoregressive(hidden = [4], condition = x)",
    ):
        path.write_text(f"model m\ninput x: real[4]\nx ~ flow(base = normal) {{ {body} }}\n")
        with pytest.raises(SpecError, match="MP127"):
            api.load(path)
