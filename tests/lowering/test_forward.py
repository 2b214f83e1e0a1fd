"""Recurrences whose latents are summed out: the forward recursion against a sum over all paths of an observed twin.

In the twin the latents are inputs with the same laws, so its joint density at all their values adds up to log p(x).
"""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from stated import answers

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_weights

HEAD = "model m\ncondition one: real[1]\ncondition length: integer(1..time)\ninput x: category(3)[time]\n"
START = "latent start: category(2) ~ exact prior categorical(logits = one -> dense(2))\n"
#: Statements of one step, and the first values of its carried ones.
STEPS = {
    "markov": (
        "carry k: category(2) = start\n",
        "latent s: category(2) ~ exact prior categorical(logits = k -> embedding(2))\n"
        "x ~ categorical(logits = s -> embedding(3))\nk = s\n",
    ),
    "second order": (
        "carry k: category(2) = start\ncarry j: category(2) = 1\n",
        "latent s: category(2) ~ exact prior "
        "categorical(logits = concat(k -> embedding(2), j -> embedding(3)) -> dense(2))\n"
        "x ~ categorical(logits = s -> embedding(3))\nj = k\nk = s\n",
    ),
    "two that are the same": (
        "carry k: category(2) = start\ncarry j: category(2) = 0\n",
        "latent s: category(2) ~ exact prior "
        "categorical(logits = concat(k -> embedding(2), j -> embedding(3)) -> dense(2))\n"
        "x ~ categorical(logits = s -> embedding(3))\nj = s\nk = s\n",
    ),
    "two chains": (
        "carry k: category(2) = start\ncarry j: category(3) = 0\n",
        "latent s: category(2) ~ exact prior categorical(logits = k -> embedding(2))\n"
        "latent r: category(3) ~ exact prior "
        "categorical(logits = concat(j -> embedding(2), s -> embedding(2)) -> dense(3))\n"
        "x ~ categorical(logits = concat(s -> embedding(2), r -> embedding(2)) -> dense(3))\nk = s\nj = r\n",
    ),
    "a net of the past": (
        "carry k: category(2) = start\ncarry h[3] = 0\n",
        "e = h -> dense(3) -> tanh\n"
        "latent s: category(2) ~ exact prior categorical(logits = concat(k -> embedding(2), e) -> dense(2))\n"
        "u = concat(s -> embedding(2), h)\nx ~ categorical(logits = concat(u, e) -> dense(3))\n"
        "h = gru(x -> embedding(2), h)\nk = s\n",
    ),
    "a bit": (
        "carry k: binary[1] = 0\n",
        "latent s: binary[1] ~ exact prior bernoulli(logits = concat(one, k) -> dense(1))\n"
        "x ~ categorical(logits = concat(one, s) -> dense(3))\nk = s\n",
    ),
}  # fmt: skip


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def spec(name: str) -> str:
    carries, steps = STEPS[name]
    start = START if "= start" in carries else ""
    return f"{HEAD}{start}recurrence over time {{\n{carries}{steps}}}\n"


def twin(text: str) -> tuple[str, dict[str, int]]:
    """The model with its latents observed, and the classes of each."""
    found = re.findall(r"latent (\w+): (category\((\d)\)|binary\[1\]) ~ exact prior", text)
    inputs = ""
    for name, kind, _ in found:
        shape = "" if name == "start" else "[time, 1]" if kind == "binary[1]" else "[time]"
        inputs += f"input {name}: {kind.replace('[1]', '')}{shape}\n"
    observed = re.sub(r"latent (\w+): \S+ ~ exact prior", r"\1 ~", text)
    return observed.replace("input x:", inputs + "input x:"), {n: int(k or 2) for n, _, k in found}


@pytest.mark.parametrize("name", STEPS)
def test_the_forward_recursion_is_the_sum_over_all_paths(name: str) -> None:
    time = 3
    module, (text, classes) = module_of(spec(name)), twin(spec(name))
    observed = module_of(text)
    weights = {k: np.asarray(v) for k, v in example_weights(module, 3, spread=0.9).items()}
    known = {k.replace(".prior.", "."): v for k, v in weights.items()}  # a prior is the twin's law
    assert known.keys() == {*example_weights(observed)}
    rows = np.array([[0, 1, 2], [2, 2, 0], [1, 0, 0]])
    lengths = np.array([3.0, 3.0, 2.0])
    given = {"x": rows, "one": np.ones((3, 1)), "length": lengths}
    found = interpret(module.programs["log_prob"], weights, given)["log_prob"]
    total = np.full(3, -np.inf)
    paths = [range(k) for n, k in classes.items() for _ in range(1 if n == "start" else time)]
    for path in itertools.product(*paths):
        values, at = dict[str, Array](), 0
        for n in classes:
            width = 1 if n == "start" else time
            part = np.array(path[at : at + width])
            values[n] = np.repeat(part if n == "start" else part[None], 3, 0)
            at += width
        real = np.ones(3, bool)  # a path is counted once: what stands behind the end is zero
        for n, v in values.items():
            if n != "start":
                real &= (v[:, 2] == 0) | (lengths == 3)
        if name == "a bit":
            values = {n: v[..., None].astype(float) for n, v in values.items()}
        joint = interpret(observed.programs["log_prob"], known, given | values)["log_prob"]
        total = np.logaddexp(total, np.where(real, joint, -np.inf))
    np.testing.assert_allclose(found, total, rtol=1e-10)


@pytest.mark.parametrize("name", STEPS)
def test_no_element_is_predicted_from_itself_or_a_later_one(name: str) -> None:
    """For every length; and where the state is remembered, from all before it."""
    m = module_of(spec(name) + "check { autoregressive(x); complete(x) }\n")
    found = {str(v.claim): v for v in answers(m)}
    assert found["autoregressive(x)"].status == "proved" == found["complete(x)"].status
    assert all(
        v.scope is not None and str(v.scope) == "every length" for v in found.values() if v.claim.order
    )


def test_conditionals_are_the_mixture_over_the_states_of_a_step() -> None:
    m = module_of(spec("markov"))
    weights = {k: np.asarray(v) for k, v in example_weights(m, 1, spread=0.9).items()}
    rows = np.array([[0, 1, 2, 1], [2, 2, 0, 1]])
    given = {"x": rows, "one": np.ones((2, 1)), "length": np.full(2, 4.0)}
    found = interpret(m.programs["conditionals"], weights, given)
    states = found["log_states"]
    logits = found["law"].reshape(2, 4, 2, 3)
    each = np.take_along_axis(logits - np.logaddexp.reduce(logits, 3)[..., None], rows[:, :, None, None], 3)[
        ..., 0
    ]
    total = np.logaddexp.reduce(states + each, axis=2).sum(1)
    np.testing.assert_allclose(
        total, interpret(m.programs["log_prob"], weights, given)["log_prob"], rtol=1e-12
    )
    np.testing.assert_allclose(np.logaddexp.reduce(states, axis=2), 0, atol=1e-12)


def test_all_sequences_have_mass_one() -> None:
    module = module_of(spec("a net of the past"))
    weights = {k: np.asarray(v) for k, v in example_weights(module, 0, spread=0.9).items()}
    rows = np.array(list(itertools.product(range(3), repeat=4)))
    given = {"x": rows, "one": np.ones((81, 1)), "length": np.full(81, 4.0)}
    assert np.exp(interpret(module.programs["log_prob"], weights, given)["log_prob"]).sum() == pytest.approx(
        1, abs=1e-12
    )


def test_a_start_that_is_read_elsewhere_is_summed_outside() -> None:
    """`start` is read by a law as well, so the whole recurrence is evaluated for each of its classes."""
    text = (
        spec("markov").replace("input x:", "input y: binary[1]\ninput x:")
        + "y ~ bernoulli(logits = start -> embedding(1))\n"
    )
    module = module_of(text)
    weights = {k: np.asarray(v) for k, v in example_weights(module, 0, spread=0.9).items()}
    rows = np.array(list(itertools.product(range(3), range(3), range(2))))
    given = {
        "x": rows[:, :2],
        "y": rows[:, 2:].astype(float),
        "one": np.ones((18, 1)),
        "length": np.full(18, 2.0),
    }
    assert np.exp(interpret(module.programs["log_prob"], weights, given)["log_prob"]).sum() == pytest.approx(
        1, abs=1e-12
    )


REFUSED = {
    "a state that remembers": (
        spec("a net of the past").replace("h = gru(x -> embedding(2), h)", "h = gru(s -> embedding(2), h)"),
        "`h` remembers every earlier `s`",
    ),
    "through a local value": (
        spec("a net of the past").replace("h = gru(x -> embedding(2), h)", "h = gru(u, h)"),
        "`h` remembers every earlier",
    ),
    "a drawn latent beside it": (
        spec("markov").replace("x ~", "latent z ~ normal(x -> embedding(4)) prior normal(0, 1)\nx ~"), "`z` is drawn",
    ),
    "many states": (spec("markov").replace("category(2)", "category(70)").replace("embedding(2)", "embedding(70)")
                    .replace("dense(2)", "dense(70)"), "4900 joint states"),
    "an axis": (spec("markov").replace("s: category(2)", "s: category(2)[code: 9]"), "`s` has axes"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_no_recursion_sums_is_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        module_of(text)
    (found,) = caught.value.diagnostics
    assert found.code == "MP411" and said in found.message and found.help
