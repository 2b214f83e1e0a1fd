"""Couplings with a net for each parameter of their law: RealNVP and NICE as the notes write them."""

from __future__ import annotations

import numpy as np
import pytest
from written import lowered

from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module

S, T = "dense(3) -> tanh -> dense(2)", "dense(5) -> tanh -> dense(2)"
FLOW = "model m\ninput x: real[4]\nx ~ flow(base = normal) {{ coupling(mask = channel(parity = 1), {}) }}\n"


def fill(module: Module) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {k: rng.normal(0, 0.7, p.shape) for k, p in module.parameters.items()}


def net(weights: dict[str, Array], slot: str, x: Array) -> Array:
    w = {k.partition(f".{slot}.")[2]: v for k, v in weights.items() if f".{slot}." in k}
    (w1, b1), (w2, b2) = ((w[f"net.dense_{i}.weight"], w[f"net.dense_{i}.bias"]) for i in (0, 1))
    return np.asarray(np.tanh(x @ w1.T + b1) @ w2.T + b2)


def test_real_nvp_has_a_net_for_s_and_a_net_for_t() -> None:
    """y_A = x_A exp(s(x_B)) + t(x_B), y_B = x_B: halves, two nets, no bound on s (notes, section 7.5)."""
    module = lowered(FLOW.format(f"law = affine(scale = exp), log_scale = {S}, shift = {T}"))
    weights, x = fill(module), np.random.default_rng(1).normal(size=(3, 4))
    s, t = (net(weights, slot, x[:, 2:]) for slot in ("log_scale", "shift"))
    found = interpret(module.programs["forward"], weights, {"x": x})
    wanted = np.concatenate([x[:, :2] * np.exp(s) + t, x[:, 2:]], 1)
    np.testing.assert_allclose(found["z"], wanted, rtol=1e-13)
    np.testing.assert_allclose(found["log_det"], s.sum(1), rtol=1e-13)
    back = interpret(module.programs["inverse"], weights, {"z": found["z"]})
    np.testing.assert_allclose(next(iter(back.values())), x, rtol=1e-12, atol=1e-13)


def test_nice_adds_a_net_of_the_second_half() -> None:
    """y_A = x_A + beta(x_B), y_B = x_B (notes, section 7.5): the volume stays."""
    module = lowered(FLOW.format(f"law = additive, shift = {T}"))
    weights, x = fill(module), np.random.default_rng(1).normal(size=(3, 4))
    found = interpret(module.programs["forward"], weights, {"x": x})
    wanted = np.concatenate([x[:, :2] + net(weights, "shift", x[:, 2:]), x[:, 2:]], 1)
    np.testing.assert_allclose(found["z"], wanted, rtol=1e-13)
    assert not np.any(found["log_det"])


SCALES = {
    "exp": np.exp,
    "softplus": lambda a: np.log1p((np.e - 1) * np.exp(a)),
    "sigmoid": lambda a: 2 / (1 + np.exp(-a)),
}


@pytest.mark.parametrize("scale", SCALES)
def test_the_slope_is_a_function_of_what_the_first_net_gives(scale: str) -> None:
    """y_A = x_A f(a(x_B)) + t(x_B), the log-determinant the sum of log f; also far out, where f underflows."""
    module = lowered(FLOW.format(f"law = affine(scale = {scale}), log_scale = {S}, shift = {T}"))
    weights, x = fill(module), np.random.default_rng(1).normal(size=(3, 4))
    slope = SCALES[scale](net(weights, "log_scale", x[:, 2:]))
    found = interpret(module.programs["forward"], weights, {"x": x})
    np.testing.assert_allclose(
        found["z"][:, :2], x[:, :2] * slope + net(weights, "shift", x[:, 2:]), rtol=1e-13
    )
    np.testing.assert_allclose(found["log_det"], np.log(slope).sum(1), rtol=1e-12)
    back = interpret(module.programs["inverse"], weights, {"z": found["z"]})
    np.testing.assert_allclose(back["x"], x, rtol=1e-12, atol=1e-13)
    (bias,) = (k for k in weights if k.endswith("log_scale.net.dense_1.bias"))
    low = interpret(module.programs["forward"], weights | {bias: np.full(2, -900.0)}, {"x": x})["log_det"]
    assert np.all(np.abs(low + 1800) < 20)


@pytest.mark.parametrize("scale", SCALES)
def test_one_net_for_both_gives_a_scale_without_a_bound(scale: str) -> None:
    """Off a checkerboard the law leaves elements alone; a projection of zeros is the identity."""
    text = FLOW.replace("channel(parity = 1)", "checkerboard")
    module = lowered(text.format(f"law = affine(scale = {scale}), net = dense(3) -> tanh"))
    assert not any("bound" in name for name in module.parameters)
    weights, x = fill(module), np.random.default_rng(1).normal(size=(3, 4))
    z = interpret(module.programs["forward"], weights, {"x": x})["z"]
    moved = np.any(z != x, 0)
    assert moved.sum() == 2
    fresh = {k: np.zeros_like(v) if "project" in k else v for k, v in weights.items()}
    np.testing.assert_allclose(interpret(module.programs["forward"], fresh, {"x": x})["z"], x, rtol=1e-15)


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ("law = affine", "MP205", "needs `net`, or `log_scale` and `shift`, and has none of them"),
        (f"law = affine, shift = {T}", "MP205", "needs `net`, or `log_scale` and `shift`, and has `shift`"),
        (f"law = additive, log_scale = {S}, shift = {T}", "MP205", "needs `net`, or `shift`"),
        (f"law = spline, shift = {T}", "MP205", "needs `net`"),
        (f"net = {S}, log_scale = {S}, shift = {T}", "MP205", "and has `net` and `log_scale` and `shift`"),
        (
            "law = additive, shift = dense(3)",
            "MP207",
            "`shift` of a coupling gives [channel: 2] here, and this gives [channel: 3]",
        ),
        (f"law = affine(scale = relu), net = {S}", "MP205", "tanh_exp, exp, softplus or sigmoid"),
    ],
)
def test_is_refused(given: str, code: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        lowered(FLOW.format(given))
    (found,) = caught.value.diagnostics
    assert found.code == code and says in found.message
