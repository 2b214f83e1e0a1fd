"""Latents with axes, summed place by place: against a sum over all configurations of an observed twin."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from mpcompile.backend import DOUBLE, open_session
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs, example_weights

HEAD = "model m\ncondition one: real[1]\n"
X = "input x: binary[code: 3, channel: 2]\n"
EMBEDDED = "bernoulli(logits = k -> embedding(2))"


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def text_of(
    law: str, x: str = "binary[code: 3, channel: 2]", k: str = "category(3)[code: 3]", more: str = ""
) -> str:
    """One latent over places, under its own prior at each, and one variable that reads it."""
    prior = "prior categorical(logits = 0)"
    return f"{HEAD}input x: {x}\n{more}latent k: {k} ~ exact {prior}\nx ~ {law}\n"


def twin(text: str) -> str:
    """The model with its counted latents observed."""
    inputs = "".join(
        f"input {n}: {t}\n"
        for n, t in re.findall(r"latent (\w+): ((?:category\(\d\)|binary)(?:\[[^\]]*\])?) ~", text)
    )
    observed = re.sub(r"latent (\w+): .*? prior ", r"\1 ~ ", text)
    return observed.replace("input x:", inputs + "input x:")


def configurations(shape: tuple[int, ...], levels: int, real: Array) -> Array:
    """All values of a latent; what stands behind an end is zero. [configurations, *shape]."""
    places = np.flatnonzero(np.broadcast_to(real, shape))
    rows = np.array(list(itertools.product(range(levels), repeat=len(places))), int).reshape(-1, len(places))
    out = np.zeros((len(rows), int(np.prod(shape))), int)
    out[:, places] = rows
    return out.reshape(-1, *shape)


def brute_force(text: str, module: Module, weights: dict[str, Array], given: dict[str, Array]) -> Array:
    """log of the sum of the twin's joint density over all configurations of its latents, [N]."""
    observed = module_of(twin(text))
    known = {k.replace(".prior.", "."): v for k, v in weights.items()}
    known = {k: known[k] for k in observed.parameters}
    found = []
    for row in range(len(given["x"])):
        one = {k: v[row : row + 1] for k, v in given.items()}
        all_ = []
        for name, f in module.latents.items():
            length = int(one["length"][0]) if "length" in one else 0
            shape = tuple(s if isinstance(s, int) else one["x"].shape[1] for s in f.type.shape[1:])
            real = np.ones(shape, bool)
            if "length" in one and not isinstance(f.type.shape[1], int):
                real[length:] = False
            all_.append((name, configurations(shape, f.classes or 2, real), f.classes is None))
        index = np.indices([len(c) for _, c, _ in all_]).reshape(len(all_), -1)
        feed = {k: np.repeat(v, index.shape[1], 0) for k, v in one.items()}
        for (name, values, bits), at in zip(all_, index, strict=True):
            feed[name] = values[at].astype(float) if bits else values[at]
        joint = interpret(observed.programs["log_prob"], known, feed)["log_prob"]
        found.append(np.logaddexp.reduce(joint))
    return np.array(found)


def compared(text: str, rows: int = 3, length: int = 3) -> None:
    module = module_of(text)
    weights = {k: np.asarray(v) for k, v in example_weights(module, 1, spread=0.9).items()}
    given = example_inputs(module, "log_prob", rows, length=length)
    if "length" in given:
        given["length"] = np.array([length, length - 1, 1], given["length"].dtype)[:rows]
    found = interpret(module.programs["log_prob"], weights, given)["log_prob"]
    np.testing.assert_allclose(found, brute_force(text, module, weights, given), rtol=1e-10)


TIME = "condition length: integer(1..time)\n"
LEGAL = {
    "a table": text_of(EMBEDDED),
    "a net of each place": text_of("bernoulli(logits = k -> embedding(4) -> tanh -> layer_norm -> dense(2))"),
    "a sum over other axes": text_of(EMBEDDED, "binary[channel: 2, code: 3]"),
    "every length": text_of(EMBEDDED, "binary[time, 2]", "category(3)[time]", TIME),
    "an image": text_of("bernoulli(logits = k -> embedding(2) -> conv(2, 1))", "binary[2, 2, 2]",
                        "category(3)[height: 2, width: 2]"),
    "a length and more": text_of(EMBEDDED, "binary[time, place: 2, channel: 2]",
                                 "category(2)[time: time, place: 2]", TIME),
    "bits": text_of("bernoulli(logits = b -> dense(2))", k="binary[code: 3]")
    .replace("latent k", "condition spot: real[code: 3]\nlatent b")
    .replace("categorical(logits = 0)", "bernoulli(logits = spot)"),
    "through a value": text_of("bernoulli(logits = h)").replace("x ~", "h = k -> embedding(2) -> tanh\nx ~"),
    "two laws": f"{HEAD}input y: category(4)[code: 3]\n" + text_of(EMBEDDED).removeprefix(HEAD)
    + "y ~ categorical(logits = concat(k -> embedding(2), x) -> dense(4) -> rename(channel = class))\n",
    "two latents": f"{HEAD}{X}"
    "latent k: category(2)[code: 3] ~ exact prior categorical(logits = 0)\n"
    "latent j: category(3)[code: 3] ~ exact prior categorical(logits = k -> embedding(3))\n"
    "x ~ bernoulli(logits = concat(k -> embedding(2), j -> embedding(2)) -> dense(2))\n",
    "under a class of all places": f"{HEAD}condition spot: real[code: 3]\n{X}"
    "latent c: category(2) ~ exact prior categorical(logits = one -> dense(2))\n"
    "latent k: category(3)[code: 3] ~ exact prior categorical(logits = c -> embedding(3) -> spread(code, like = spot) "
    "-> rename(channel = class))\n"
    "x ~ bernoulli(logits = k -> embedding(2))\n",
    "two groups": f"{HEAD}input y: binary[place: 2]\ninput x: binary[code: 3, channel: 2]\n"
    "latent k: category(3)[code: 3] ~ exact prior categorical(logits = 0)\n"
    "latent j: category(2)[place: 2] ~ exact prior categorical(logits = 0)\n"
    "x ~ bernoulli(logits = k -> embedding(2))\ny ~ bernoulli(logits = j -> embedding(1))\n",
}  # fmt: skip


@pytest.mark.parametrize("text", LEGAL.values(), ids=LEGAL)
def test_a_sum_place_by_place_is_the_sum_over_all_configurations(text: str) -> None:
    compared(text)


Q = "categorical(logits = x -> dense(3) -> rename(channel = class))"
ENUMERATED = text_of(EMBEDDED).replace("exact", f"enumerate({Q})")
MISSING = (
    f"{HEAD}target y: category(3)[code: 3]?\ninput x: binary[code: 3, channel: 2]\ny ~ categorical(logits = 0)\n"
    f"missing y ~ enumerate({Q})\nlatent k: category(2)[code: 3] ~ exact prior categorical(logits = y -> embedding(2) -> "
    "rename(channel = class))\nx ~ bernoulli(logits = concat(k -> embedding(2), y -> embedding(2)) -> dense(2))\n"
)
ALL = configurations((3,), 3, np.ones(3, bool))


def at_all(text: str, name: str, weights: dict[str, Array], x: Array) -> Array:
    """log_prob of a model at all configurations of one variable, for one example: [configurations]."""
    m = module_of(text)
    feed = {"x": np.repeat(x[None], len(ALL), 0), "one": np.ones((len(ALL), 1)), name: ALL}
    graph = m.programs["log_prob"]
    return interpret(
        graph, {k: weights[k] for k in m.parameters}, {k: v for k, v in feed.items() if k in graph.inputs}
    )["log_prob"]


def test_an_expectation_place_by_place_is_that_over_all_configurations() -> None:
    module = module_of(ENUMERATED)
    weights = {k: np.asarray(v) for k, v in example_weights(module, 1, spread=0.9).items()}
    given = example_inputs(module, "elbo", 2)
    found = interpret(module.programs["elbo"], weights, given)
    whole = interpret(module.programs["log_weight"], weights, given)["log_weight"]
    for row, x in enumerate(given["x"]):
        joint = at_all(twin(ENUMERATED), "k", weights, x)
        log_q = at_all(
            f"{HEAD}{X}input k: category(3)[code: 3]\nk ~ {Q}\n",
            "k",
            weights,
            x,
        )
        assert found["elbo"][row] == pytest.approx((np.exp(log_q) * (joint - log_q)).sum(), rel=1e-10)
        assert whole[row] == pytest.approx(np.logaddexp.reduce(joint), rel=1e-10)


def test_classes_that_are_missing_are_counted_place_by_place() -> None:
    module = module_of(MISSING)
    weights = {k: np.asarray(v) for k, v in example_weights(module, 1, spread=0.9).items()}
    given = example_inputs(module, "elbo", 4)
    given["y"] = np.array([[-1, 2, -1], [0, 1, 2], [-1, -1, -1], [1, -1, 0]])
    found = interpret(module.programs["elbo"], weights, given)["elbo"]
    whole = interpret(module.programs["log_weight"], weights, given)["log_weight"]
    there = MISSING.replace("?", "").replace(f"missing y ~ enumerate({Q})\n", "")
    named = {k.replace("y.missing.", "y."): v for k, v in weights.items()}
    for row, x in enumerate(given["x"]):
        joint, y = at_all(there, "y", weights, x), given["y"][row]
        logits = x @ named["y.dense_0.weight"].T + named["y.dense_0.bias"]
        log_q = logits - np.logaddexp.reduce(logits, 1)[:, None]
        missing = y < 0
        fits = (missing | (y == ALL)).all(1)
        own = np.where(missing, log_q[np.arange(3), ALL], 0).sum(1)
        assert found[row] == pytest.approx((np.exp(own) * (joint - own))[fits].sum(), rel=1e-10)
        assert whole[row] == pytest.approx(np.logaddexp.reduce(joint[fits]), rel=1e-10)


#: Nets that read a class at other places than their own, along an axis of fixed size and along a length.
STRAY = {
    "a window": "k -> embedding(2) -> conv(2, 3, pad = same, over = AXIS)",
    "a matrix over places": "k -> embedding(2) -> dense(3, over = AXIS)",
    "a mean": "(k -> embedding(2)) + spread(mean(k -> embedding(2), over = AXIS), AXIS, like = k)",
    "shares": "k -> embedding(2) -> softmax(over = AXIS)",
    "running sums": "k -> embedding(2) -> cumsum(over = AXIS)",
    "a delay": "k -> embedding(2) -> shift(1, over = AXIS)",
    "attention": "k -> embedding(2) -> attention(1, over = AXIS)",
    "a norm": "k -> embedding(2) -> layer_norm(over = [AXIS, channel])",
    "statistics of a batch": "k -> embedding(2) -> batch_norm",
    "one place": "spread(at(k -> embedding(2), AXIS, 0), AXIS, like = k)",
    "through a value": "h",
}


#: Those that need a fixed size.
FIXED = {"a matrix over places", "a norm", "statistics of a batch"}


@pytest.mark.parametrize(
    ("net", "axis"),
    [
        (net, axis)
        for name, net in STRAY.items()
        for axis in ("code", "time")
        if axis == "code" or name not in FIXED
    ],
    ids=lambda x: "",
)
def test_a_law_that_reads_other_places_is_refused(net: str, axis: str) -> None:
    x, k, more = ("binary[code: 3, channel: 2]", "category(3)[code: 3]", "") if axis == "code" else (
        "binary[time, 2]", "category(3)[time]", TIME)  # fmt: skip
    text = text_of(f"bernoulli(logits = {net.replace('AXIS', axis)})", x, k, more)
    text = text.replace("x ~", f"h = k -> embedding(2) -> shift(1, over = {axis})\nx ~")
    with pytest.raises(SpecError) as caught:
        module_of(text)
    found = caught.value.diagnostics[0]
    assert found.code == "MP411" and "at other places than its own" in found.message, found
    assert found.path and found.path[0].text.startswith("k[") and found.help


OTHER = "(k -> embedding(2)) + spread(mean(j -> embedding(2), over = place), code, like = k)"
REFUSED = {
    "a law of all elements": (
        text_of("flow(base = normal) { affine(k -> embedding(4)) }", "real[code: 3, channel: 2]"),
        "is a law of all elements of `x` together",
    ),
    "a prior of all elements": (
        LEGAL["a table"].replace("prior categorical(logits = 0)",
                                 "prior autoregressive(order = natural) { embedding(4) -> shift(1) -> dense(3) }"),
        "is a law of all elements of `k` together",
    ),
    "a variable without the places": (
        text_of("bernoulli(logits = k -> embedding(2) -> flatten -> dense(2))", "binary[2]"),
        "all of its places have too many states",
    ),
    "a weight": (LEGAL["a table"].replace("(2))", "(2)) weight 0.5"), "a weight beside latents that are summed out"),
    "a prior that looks around": (
        LEGAL["two latents"].replace("k -> embedding(3)", "k -> embedding(3) -> cumsum(over = code)"),
        "the prior of `j` reads `k` at other places",
    ),
    "a drawn latent": (
        LEGAL["a table"].replace("x ~", "latent z ~ normal(x -> dense(4)) prior normal(k -> embedding(4))\nx ~"),
        "the prior of `z` reads `k`",
    ),
    "two groups": (
        LEGAL["two groups"].replace("logits = k -> embedding(2)", f"logits = {OTHER}"), "with classes of other places",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_product_over_places_is_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        module_of(text)
    found = caught.value.diagnostics[0]
    assert found.code in ("MP411", "MP205") and said in found.message and found.help, found


def test_torch_code_of_several_counted_classes_has_the_numbers_of_the_oracle() -> None:
    """The list of the joint states is a rule with operators, of which a list is made."""
    module = optimise(module_of(MISSING)).module
    weights, given = example_weights(module, 1), example_inputs(module, "elbo", 3)
    session = open_session("torch", module, weights, options=DOUBLE)
    found = np.asarray(session.run("elbo", given)["elbo"])
    own = {k: np.asarray(v, float) for k, v in weights.items()}
    np.testing.assert_allclose(found, interpret(module.programs["elbo"], own, given)["elbo"], rtol=1e-10)
