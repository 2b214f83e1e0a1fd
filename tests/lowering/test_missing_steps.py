"""Missing elements of a sequence: a step leaves them out, or sums over them where a class is carried on."""

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

HEAD = "model m\ncondition one: real[1]\ncondition length: integer(1..time)\ninput x: category(3)[time]?\n"
#: A chain whose states are x themselves, and one of hidden states beside it.
CHAIN = (
    f"{HEAD}recurrence over time {{\ncarry k: category(3) = 0\nx ~ categorical(logits = k -> embedding(3))\n"
    "missing x ~ exact\nk = x\n}\n"
)
HIDDEN = (
    f"{HEAD}recurrence over time {{\ncarry k: category(3) = 0\ncarry j: category(2) = 1\n"
    "latent s: category(2) ~ exact prior categorical(logits = concat(j -> embedding(2), k -> embedding(2)) -> dense(2))\n"
    "x ~ categorical(logits = concat(s -> embedding(2), k -> embedding(2)) -> dense(3))\nmissing x ~ exact\n"
    "k = x\nj = s\n}\n"
)
#: Nothing reads x, so a law of single elements leaves a missing one out.
UNREAD = (
    f"{HEAD}recurrence over time {{\ncarry j: category(2) = 1\n"
    "latent s: category(2) ~ exact prior categorical(logits = j -> embedding(2))\n"
    "x ~ categorical(logits = s -> embedding(3))\nj = s\n}\n"
)
X = np.array([[0, -1, 2, 1], [-1, -1, -1, 2], [1, 2, 0, 0], [2, 0, 1, -1], [1, -1, 0, 0]])
LENGTHS = np.array([4.0, 4.0, 4.0, 4.0, 2.0])


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def run(m: Module, weights: dict[str, Array], x: Array, lengths: Array) -> Array:
    graph = m.programs["log_prob"]
    given = {"x": x, "length": lengths, "one": np.ones((len(x), 1))}
    return interpret(graph, weights, {k: v for k, v in given.items() if k in graph.inputs})["log_prob"]


@pytest.mark.parametrize("text", [CHAIN, HIDDEN, UNREAD], ids=["a chain", "beside hidden states", "unread"])
def test_a_missing_class_of_a_step_is_summed_over(text: str) -> None:
    """Against the sum over all fillings, by the model whose x is all there."""
    module, whole = module_of(text), module_of(text.replace("?", "").replace("missing x ~ exact\n", ""))
    weights = {k: np.asarray(v) for k, v in example_weights(module, 2, spread=0.9).items()}
    assert module.parameters.keys() == whole.parameters.keys()
    found = run(module, weights, X, LENGTHS)
    for row, length, each in zip(X, LENGTHS, found, strict=True):
        holes = np.flatnonzero(row < 0)
        fillings = np.repeat(row[None], 3 ** len(holes), 0)
        fillings[:, holes] = list(itertools.product(range(3), repeat=len(holes)))
        logs = run(whole, weights, fillings, np.full(len(fillings), length))
        assert each == pytest.approx(np.logaddexp.reduce(logs), rel=1e-10)
    all_there = np.abs(X)
    np.testing.assert_allclose(
        run(module, weights, all_there, LENGTHS), run(whole, weights, all_there, LENGTHS), rtol=1e-10
    )


#: Two carried values that are always the same: a step leaves some pairs of them without any probability.
SAME = (
    f"{HEAD.replace('?', '')}recurrence over time {{\ncarry k: category(2) = 0\ncarry j: category(2) = 0\n"
    "latent s: category(2) ~ exact prior categorical(logits = concat(k -> embedding(2), j -> embedding(2)) -> dense(2))\n"
    "x ~ categorical(logits = s -> embedding(3))\nj = s\nk = s\n}\n"
)


@pytest.mark.parametrize("text", [HIDDEN, SAME], ids=["missing", "two that are the same"])
def test_gradients_are_differences_where_states_cannot_be(text: str) -> None:
    """A class that cannot be has no gradient, and makes none of the others undefined."""
    module, name = module_of(text), "x.embedding_0.weight"
    weights = {k: np.asarray(v) for k, v in example_weights(module, 2, spread=0.9).items()}
    given = {"x": X if "?" in text else np.abs(X), "length": LENGTHS, "one": np.ones((len(X), 1))}
    graph = module.programs["loss"]
    given = {k: v for k, v in given.items() if k in graph.inputs}
    found = interpret(differentiate(graph, "loss", list(weights)), weights, given)
    assert all(np.isfinite(v).all() for v in found.values())
    step = np.zeros_like(weights[name])
    step[1, 0] = 1e-5
    ends = [interpret(graph, weights | {name: weights[name] + s}, given)["loss"] for s in (step, -step)]
    assert found[f"grad({name})"][1, 0] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


REFUSED = {
    "a state that remembers": (
        CHAIN.replace("k = x", "k = x\nh = gru(x -> embedding(2), h)").replace("carry k", "carry h[2] = 0\ncarry k"),
        "MP411", "`h` remembers every earlier `x`",
    ),
    "read bare": (CHAIN.replace("missing x ~ exact\n", ""), "MP216", "`x` may be missing"),
    "numbers": (CHAIN.replace("category(3)[time]?", "real[time]?").replace("k = x", "")
                .replace("categorical(logits = k -> embedding(3))", "normal(0, 1)"), "MP411", "`x` is real"),
    "never missing": (CHAIN.replace("?", ""), "MP411", "`x` is never missing"),
    "several at a step": (CHAIN.replace("[time]?", "[time, place: 2]?"), "MP411", "of a step has axes"),
    "under a posterior": (
        CHAIN.replace("exact", "enumerate(categorical(logits = k -> embedding(3)))"), "MP411", "is summed out",
    ),
    "itself": (CHAIN.replace("logits = k", "logits = x"), "MP127", "`x` reads itself"),
    "at the top": (
        f"{HEAD.replace('[time]?', '?').replace('condition length: integer(1..time)', '')}x ~ categorical(logits = 0)\n"
        "missing x ~ exact\n", "MP411", "`x` has no posterior",
    ),
    "no law here": (CHAIN.replace("missing x", "missing y"), "MP411", "`y` has no law in this recurrence"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_exact_says_why(text: str, code: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        module_of(text)
    found = caught.value.diagnostics[0]
    assert found.code == code and said in found.message and found.help, found
