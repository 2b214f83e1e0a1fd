"""`divergence(q, p)` of two laws, by hand and by SciPy; pairs without a closed form are refused by their names."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from written import lowered

from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Array

HEAD = """model m
condition length: integer(1..time)
input a: real[time, 3]
input b: real[time, 3]
input c: real[3]
weight w: real[channel: 3] = constant(0.5)
minimise """


def value(term: str, a: Array, b: Array, c: Array) -> float:
    given = {"a": a, "b": b, "c": c, "length": np.array([2, 4])}
    graph = lowered(HEAD + term + "\n").programs["loss"]
    return float(interpret(graph, {"w.weight": np.full(3, 0.5)}, {k: given[k] for k in graph.inputs})["loss"])


def normal(m: Array, s: Array, n: Array, t: Array) -> Array:
    return np.asarray(np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5)


def test_divergences_are_those_by_hand() -> None:
    """Summed over real steps and averaged; scales as values, laws of one net, numbers, weights, classes along an axis."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(s) for s in ((2, 4, 3), (2, 4, 3), (2, 3)))
    there = (np.arange(4) < np.array([[2], [4]]))[..., None]
    by_hand = {
        "divergence(normal(a, 1), normal(b, 2))": normal(a, np.float64(1), b, np.float64(2)),
        "divergence(normal(a, exp(b)), normal(0, 1))": normal(a, np.exp(b), np.float64(0), np.float64(1)),
        "divergence(normal(a, log_scale = b), normal(w, 1))": normal(a, np.exp(b), np.float64(0.5), np.float64(1)),
        "divergence(normal(c, 2), normal(a, exp(b)))": normal(c[:, None], np.float64(2), a, np.exp(b)),
        "divergence(normal(concat(a, b)), normal(b, 1))": normal(a, np.exp(b), b, np.float64(1)),
        "divergence(bernoulli(logits = a), bernoulli(logits = b))":
            expit(a) * (np.log(expit(a)) - np.log(expit(b))) + expit(-a) * (np.log(expit(-a)) - np.log(expit(-b))),
        "divergence(laplace(a, 1), normal(b, 2))":
            0.5 * np.log(8 * np.pi) + (2 + (a - b) ** 2) / 8 - 1 - np.log(2),
    }  # fmt: skip
    for term, each in by_hand.items():
        np.testing.assert_allclose(
            value(term, a, b, c), (each * there).sum((1, 2)).mean(), rtol=1e-9, err_msg=term
        )
    classes = (softmax(a, -1) * (log_softmax(a, -1) - log_softmax(b, -1))).sum(-1)
    found = value("divergence(categorical(a), categorical(logits = b)) weight 0.5", a, b, c)
    np.testing.assert_allclose(found, 0.5 * (classes * there[..., 0]).sum(1).mean(), rtol=1e-9)
    alone = value("0.5 * divergence(normal(c, 2), normal(0, 1)) -> sum(over = channel)", a, b, c)
    np.testing.assert_allclose(
        alone, 0.5 * normal(c, np.float64(2), np.float64(0), np.float64(1)).sum(1).mean(), rtol=1e-9
    )


@pytest.mark.parametrize(
    ("term", "code", "said"),
    [
        (
            "divergence(logistic(a, 1), logistic(b, 2))",
            "MP205",
            "of logistic from logistic has no closed form",
        ),
        ("divergence(normal(a, 1), laplace(b, 2))", "MP205", "of normal from laplace has no closed form"),
        ("divergence(truncated(normal, a), normal(b, 2))", "MP205", "no divergence of truncated"),
        ("divergence(flow(base = normal) { affine }, normal(b, 2))", "MP205", "no divergence of flow"),
        (
            "divergence(normal(a, 1), normal(c -> rename(channel = other), 2))",
            "MP214",
            "of [other: 3] and of [time, channel: 3]",
        ),
        ("divergence(normal(a, 1), normal(c -> dense(1), 2))", "MP214", "of [channel: 1] and of"),
        (
            "divergence(categorical(logits = a), categorical(logits = c))",
            "MP214",
            "of one number and of [time]",
        ),
        ("divergence(normal(a, 1))", "MP208", "takes two laws"),
        ("a -> divergence(normal(a, 1), normal(b, 1))", "MP208", "takes two laws"),
        ("divergence(a, b)", "MP110", "unknown distribution"),
        (
            "divergence(categorical(logits = a -> sum(over = channel)), categorical(logits = a))",
            "MP207",
            "no axis",
        ),
        (
            "squared(a)\nb ~ normal(divergence(normal(a, 1), normal(0, 1)), 1)",
            "MP110",
            "is a term of a loss",
        ),
    ],
)
def test_what_has_no_divergence_is_refused(term: str, code: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        lowered(HEAD + term + "\n")
    assert caught.value.diagnostics[0].code == code and said in caught.value.diagnostics[0].message
