"""Laws at the ends of numbers: scales that underflow, classes of hardly any probability, noise next to one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from written import lowered

from mpcompile.backend import SessionOptions, find_backend, installed
from mpcompile.ir import Array

BACKENDS = installed()
LARGEST = 1 - 2.0**-24  # the largest noise in single precision

MIXTURE = """
model m
condition x: real[1]
input y: integer(0..255)[1]
y ~ discretized(mixture(logistic, components = 1), x -> dense(3))
"""
CLASSES = """
model m
condition x: real[1]
input y: category({classes})
y ~ categorical(logits = x -> dense({classes}))
"""
SMOOTH = """
model m
condition x: real[1]
input y: real[1]
y ~ mixture(logistic, x -> dense({size}), components = {components})
"""


def exact(level: Array, loc: float, log_scale: float) -> Array:
    """Log mass of levels of 256 under one logistic, by differences of its distribution function in long double."""
    half, z = np.longdouble(1) / 255, np.longdouble(-log_scale)
    log_inverse = z
    x = level.astype(np.longdouble) * 2 * half - 1 - loc
    upper, lower = (x + half) * np.exp(log_inverse), (x - half) * np.exp(log_inverse)
    below, above = -np.logaddexp(0, -upper), -np.logaddexp(0, lower)
    w = 2 * half * np.exp(log_inverse)
    inside = below + above + np.log(-np.expm1(-w))
    return np.asarray(np.where(level == 0, below, np.where(level == 255, above, inside)), np.float64)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_discretised_logistic_at_any_scale(backend: str) -> None:
    """The mass of every level and its gradient, in both precisions; at a log scale of 104 the width underflows."""
    m = lowered(MIXTURE)
    levels = np.array([0, 1, 100, 127, 128, 254, 255])
    given = {"x": np.zeros((len(levels), 1)), "y": levels[:, None]}
    for precision, rtol in (("float32", 2e-5), ("float64", 1e-9)):
        weights = {k: np.zeros(p.shape) for k, p in m.parameters.items()}
        session = find_backend(backend).session(m, weights, options=SessionOptions(precision=precision))
        for log_scale in (-9.0, -6.0, -4.0, -1.0, 0.0, 3.0, 20.0, 60.0, 80.0, 104.0, 300.0):
            bias = np.array([0.0, 0.1, log_scale])
            session.load_state(session.state() | {"parameter/y.dense_0.bias": bias.astype(precision)})
            found = np.asarray(session.run("log_prob", given)["log_prob"], np.float64)
            wanted = exact(levels, float(np.asarray(0.1, precision)), max(log_scale, -7.0))
            np.testing.assert_allclose(
                found, wanted, rtol=rtol, atol=1e-6 if precision == "float32" else 1e-12
            )
            for gradient in session.gradients(given)[1].values():
                assert np.isfinite(gradient).all(), (precision, log_scale)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("classes", [2, 3, 7, 256])
def test_no_noise_draws_a_class_of_no_probability(backend: str, classes: int) -> None:
    """The largest and the smallest noise, with classes of probability e^-80 and zero last, first and between."""
    m, rng = lowered(CLASSES.format(classes=classes)), np.random.default_rng(classes)
    for precision in ("float32", "float64"):
        noise = np.array([2.0**-25, 0.25, LARGEST], precision)
        logits = rng.uniform(0, 3, (40, classes))
        logits[rng.random(logits.shape) < 0.6] = -80.0
        logits[:, 0] = np.where((logits == -80).all(1), 0.0, logits[:, 0])
        logits[:20, -1] = np.where((logits[:20, :-1] > -80).any(1), -80.0, logits[:20, -1])
        weights = {k: np.zeros(p.shape) for k, p in m.parameters.items()}
        session = find_backend(backend).session(m, weights, options=SessionOptions(precision=precision))
        for row in logits:
            session.load_state(session.state() | {"parameter/y.dense_0.bias": row.astype(precision)})
            drawn = session.run("sample", {"x": np.zeros((3, 1)), "noise_y": noise})["y"]
            probable = row > -80
            assert probable[drawn].all(), (precision, row, drawn)
            if precision == "float64" and classes > 1:
                share = np.exp(row - logsumexp(row)).cumsum()
                assert drawn[1] == int((share[:-1] < 0.25).sum())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("components", [1, 2, 5, 30])
def test_every_noise_falls_into_one_component(backend: str, components: int) -> None:
    """Narrow components far apart: a draw lies at one of them, never between (none) nor beyond (two at once)."""
    m = lowered(SMOOTH.format(size=3 * components, components=components))
    rng = np.random.default_rng(components)
    loc = 1e3 * (1 + np.arange(components))
    logits = rng.uniform(-4, 4, components)
    shares = np.exp(logits - logsumexp(logits)).cumsum()
    noise = np.concatenate([rng.random(200), shares[:-1], shares[:-1] * (1 + 1e-7), shares[:-1] * (1 - 1e-7),
                            [2.0**-25, LARGEST]]).astype(np.float32)[:, None]  # fmt: skip
    noise = np.minimum(noise, np.float32(LARGEST))
    bias = np.concatenate([logits, loc, np.full(components, -8.0)])
    weights = {k: bias if k.endswith("bias") else np.zeros(p.shape) for k, p in m.parameters.items()}
    session = find_backend(backend).session(m, weights, options=SessionOptions(precision="float32"))
    given = {"x": np.zeros((len(noise), 1)), "noise_y": noise, "noise_y_2": np.roll(noise, 1, 0)}
    drawn = session.run("sample", given)["y"]
    assert np.abs(drawn[:, 0, None] - loc).min(1).max() < 1.0
