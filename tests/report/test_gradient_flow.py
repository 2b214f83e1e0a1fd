"""How far gradients reach, against products of Jacobians written by hand, and the spectral radius."""

from __future__ import annotations

import numpy as np
import pytest
from specs_under_test import inputs, module, weights

from mpcompile.report.gradient_flow import clipping, describe, lines, radii, reaches

WEIGHT = "digit.rnn_0.weight_hh"


def test_elman_by_hand() -> None:
    """v^T ds_T / ds_{T-d} with J_t = diag(1 - h_t^2) U."""
    m = module("elman")
    w, x = weights(m, spread=0.3), inputs(m, "loss", 5)
    u, units = w[WEIGHT], w[WEIGHT].shape[0]
    driven = x["image"].reshape(5, 8, 8) @ w["digit.rnn_0.weight_ih"].T + w["digit.rnn_0.bias"]
    states, h = [], np.zeros((5, units))
    for t in range(8):
        h = np.tanh(driven[:, t] + h @ u.T)
        states.append(h)
    way = np.random.default_rng(0).standard_normal((5, units))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    expected = [1.0]
    for h in reversed(states):
        way = (way * (1 - h**2)) @ u
        expected.append(float(np.sqrt((way**2).sum(1).mean())))
    (found,) = reaches(m, w, x)
    assert found.loop == "digit.rnn_0"
    np.testing.assert_allclose(found.norms, expected, rtol=1e-9)


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.5])
def test_a_rotation_decays_or_grows_with_its_radius(radius: float) -> None:
    """Near zero tanh is linear, and with an orthogonal U every norm is the radius to the power of the distance."""
    m = module("elman")
    w = {k: np.zeros_like(v) for k, v in weights(m).items()}
    size = w[WEIGHT].shape
    w[WEIGHT] = radius * np.linalg.qr(np.random.default_rng(0).normal(size=size))[0]
    (found,) = reaches(m, w, inputs(m, "loss", 2))
    np.testing.assert_allclose(found.norms, radius ** np.arange(9), rtol=1e-9)
    assert found.rate == pytest.approx(radius) == radii(m, w)[WEIGHT][0]


def test_every_loop_of_every_kind_is_found() -> None:
    loops = {n: [r.loop for r in reaches(module(n), weights(module(n)), inputs(module(n), "loss", 2))]
             for n in ("lstm_stacked", "bilstm", "vrnn")}  # fmt: skip
    assert {n: len(set(found)) for n, found in loops.items()} == {"lstm_stacked": 2, "bilstm": 2, "vrnn": 1}


def test_clipping_scales_to_the_threshold() -> None:
    m = module("gru")
    w, x = weights(m), inputs(m, "loss", 2)
    norm, scale = clipping(m, w, x, 0.5)
    assert scale * norm == pytest.approx(0.5) and clipping(m, w, x, 2 * norm) == (norm, 1.0)
    text = "\n".join(lines(describe(m, w, x, 0.5)))
    assert f"norm {norm:.4g}, clipped at 0.5" in text and "h.gru_0.weight_hh" in text
