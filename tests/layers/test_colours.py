"""Colours of a pixel as one mixture, against eq. 3 of Salimans et al. 2017 and scipy's distribution function."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from derived import optimised
from scipy.stats import logistic
from stated import answers

from mpcompile import api
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_weights

SPEC = Path(__file__).parents[2] / "specs" / "vision" / "pixelcnn_mixture.mp"
LEVELS, K = 5, 3
#: One pixel: a masked kernel reads nothing of it, so the numbers of its mixture are the bias.
PIXEL = f"""
model m
input x: integer(0..{LEVELS - 1})[3, 1, 1]
x ~ autoregressive(order = pixel, likelihood = discretized(mixture(logistic)), components = {K}) {{
  conv({10 * K}, 1, mask = causal2d(type = A))
  colour_mixture(x, {K})
}}"""


def lowered(text: str) -> Module:
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})


def masses(loc: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """Of each level: [..., LEVELS]."""
    t = 2 * np.arange(LEVELS) / (LEVELS - 1) - 1
    half = 1 / (LEVELS - 1)
    upper, lower_ = np.where(t > 1 - half, np.inf, t + half), np.where(t < half - 1, -np.inf, t - half)
    loc, scale = loc[..., None], np.exp(log_scale)[..., None]
    return np.asarray(logistic.cdf(upper, loc, scale) - logistic.cdf(lower_, loc, scale))


def test_a_component_holds_for_the_whole_pixel() -> None:
    """p(r, g, b) = sum over k of pi_k p_k(r) p_k(g given r) p_k(b given r, g); all colours together have mass one."""
    m = lowered(PIXEL)
    w = example_weights(m, spread=0.8)
    (bias,) = (v for k, v in w.items() if k.endswith("bias"))
    pi, red, green, blue, *scales, a, b, c = bias.reshape(10, K)
    pi = np.exp(pi) / np.exp(pi).sum()
    every = np.array(list(product(range(LEVELS), repeat=3)))
    s = 2 * every / (LEVELS - 1) - 1
    expected = np.zeros(len(every))
    for k in range(K):
        locs = (
            np.full(len(every), red[k]),
            green[k] + np.tanh(a[k]) * s[:, 0],
            blue[k] + np.tanh(b[k]) * s[:, 0] + np.tanh(c[k]) * s[:, 1],
        )
        term = np.full(len(every), pi[k])
        for i, loc in enumerate(locs):
            term *= masses(loc, scales[i][k])[np.arange(len(every)), every[:, i]]
        expected += term
    x = every.reshape(-1, 3, 1, 1).astype(float)
    found = np.exp(interpret(m.programs["log_prob"], w, {"x": x})["log_prob"])
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_its_sampler_is_derived_and_draws_the_law() -> None:
    """Evenly spread noise for red, of its component and within it: frequencies of its levels are their masses."""
    optimised(api.load(SPEC))
    m = lowered(PIXEL)
    w, n = example_weights(m, spread=0.8), 4000
    noise = np.random.default_rng(0).uniform(size=(2, n, 3, 1, 1))
    noise[:, :, 0, 0, 0] = (np.arange(n) + 0.5) / n, (np.arange(n) * 0.6180339887) % 1
    x = interpret(m.programs["sample"], w, {"noise_x": noise[0], "noise_x_2": noise[1]})["x"][:, :, 0, 0]
    (bias,) = (v for k, v in w.items() if k.endswith("bias"))
    pi, red, _, _, scale, *_ = bias.reshape(10, K)
    expected = (np.exp(pi) / np.exp(pi).sum()) @ masses(red, scale)
    found = np.bincount(x[:, 0].astype(int), minlength=LEVELS) / n
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("sizes", [{}, {"size": 32, "levels": 256, "components": 10}])
def test_the_spec_is_proven(sizes: dict[str, int]) -> None:
    """Green sees red and blue both, of its own pixel, through the mixture alone; at the size of a photograph too."""
    verdicts = answers(api.load(SPEC, sizes))
    assert [v.status for v in verdicts] == ["proved", "proved"]
    assert "for every size" in verdicts[0].how


@pytest.mark.parametrize(
    ("before", "after"), [("[3, 1, 1]", "[1, 1, 1]"), (f"conv({10 * K}, 1", f"conv({9 * K}, 1")]
)
def test_what_it_needs_is_said(before: str, after: str) -> None:
    with pytest.raises(SpecError, match=r"MP201"):
        lowered(PIXEL.replace(before, after))
