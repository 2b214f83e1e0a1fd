"""Classes of a step that are enumerated under a posterior: the bound against its sum over all paths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_weights

HEAD = "model m\ncondition one: real[1]\ncondition length: integer(1..time)\ninput x: category(3)[time]\n"
Q = "categorical(logits = concat(k -> embedding(2), x -> embedding(2)) -> dense(2))"
P = "categorical(logits = k -> embedding(2))"
LAW = "x ~ categorical(logits = concat(s -> embedding(3), h) -> dense(3))\n"
CARRY = "carry k: category(2) = 1\n"
TEXT = (
    f"{HEAD}recurrence over time {{\n{CARRY}carry h[2] = 0\nlatent s: category(2) ~ enumerate({Q}) prior {P}\n"
    f"{LAW}h = gru(x -> embedding(2), h)\nk = s\n}}\n"
)
#: Of each step alone: no class is carried on.
ALONE = (
    TEXT.replace(CARRY, "")
    .replace("k = s\n", "")
    .replace("concat(k -> embedding(2), x", "concat(h, x")
    .replace("k -> embedding(2)", "h -> dense(2)")
)  # fmt: skip
X = np.array([[0, 1, 2], [2, 2, 0], [1, 0, 0]])
LENGTHS = np.array([3.0, 3.0, 2.0])


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def observed(text: str, posterior: bool) -> Module:
    """The model with its class as data: under its prior and the law of x, or under the posterior alone."""
    s = text[text.index("latent s") : text.index("\nx ~")]
    q, p = s[s.index("enumerate(") + 10 : s.index(") prior ")], s[s.index(" prior ") + 7 :]
    own = text.replace("input x", "input s: category(2)[time]\ninput x").replace(
        s, f"s ~ {q if posterior else p}"
    )
    if posterior:  # x is given, and known before the class of its step
        law = text[text.index("x ~") : text.index("h = gru")]
        own = own.replace(law, "").replace("input x", "condition x")
    return module_of(own)


def by_path(text: str, weights: dict[str, Array]) -> tuple[Array, Array]:
    """log p(x, path) and log q(path | x) of every path, [examples, paths]; minus infinity for one beyond the end."""
    joint, q = observed(text, False), observed(text, True)
    found: tuple[list[Array], list[Array]] = ([], [])
    for path in itertools.product(range(2), repeat=3):
        s = np.repeat(np.array(path)[None], 3, 0)
        real = (s[:, 2] == 0) | (LENGTHS == 3)
        given = {"x": X, "length": LENGTHS, "one": np.ones((3, 1)), "s": s}
        for m, prefix, rows in ((joint, "s.prior.", found[0]), (q, "s.", found[1])):
            own = {k: weights[k.replace("s.", prefix, 1) if k.startswith("s.") else k] for k in m.parameters}
            graph = m.programs["log_prob"]
            each = interpret(graph, own, {k: v for k, v in given.items() if k in graph.inputs})["log_prob"]
            rows.append(np.where(real, each, -np.inf))
    return np.stack(found[0], 1), np.stack(found[1], 1)


@pytest.mark.parametrize("text", [TEXT, ALONE], ids=["a chain", "each step alone"])
def test_the_bound_is_the_expectation_over_all_paths(text: str) -> None:
    module = module_of(text)
    weights = {k: np.asarray(v) for k, v in example_weights(module, 2, spread=0.9).items()}
    given = {"x": X, "length": LENGTHS, "one": np.ones((3, 1))}
    log_p, log_q = by_path(text, weights)
    np.testing.assert_allclose(np.logaddexp.reduce(log_q, 1), 0, atol=1e-12)

    def run(program: str) -> dict[str, Array]:
        graph = module.programs[program]
        return interpret(graph, weights, {k: v for k, v in given.items() if k in graph.inputs})

    found, whole = run("elbo"), run("log_weight")["log_weight"]
    with np.errstate(invalid="ignore"):
        bound = np.where(np.isneginf(log_q), 0, np.exp(log_q) * (log_p - log_q)).sum(1)
    np.testing.assert_allclose(found["elbo"], bound, rtol=1e-10)
    np.testing.assert_allclose(found["elbo"], -found["reconstruction"] - found["kl"], rtol=1e-12)
    np.testing.assert_allclose(whole, np.logaddexp.reduce(log_p, 1), rtol=1e-10)
    assert (found["elbo"] < whole).all() and "noise_s" not in module.programs["loss"].inputs


REFUSED = {
    "a state that remembers": (TEXT.replace("gru(x ->", "gru(s ->"), "`h` remembers every earlier `s`"),
    "two ways": (
        TEXT.replace("x ~", f"latent r: category(2) ~ exact prior {P}\nx ~", 1),
        "`r` is summed out, and a latent of the same step",
    ),
    "a weight": (TEXT.replace("-> dense(3))\nh", "-> dense(3)) weight 0.5\nh"), "a weight beside latents"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_counted_step_by_step_is_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        module_of(text)
    found = caught.value.diagnostics[0]
    assert found.code in ("MP411", "MP205") and said in found.message and found.help, found
