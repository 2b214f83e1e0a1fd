"""Where numbers end: far out, at the ends of intervals, in both precisions; and densities integrate to one."""

from __future__ import annotations

import flows_under_test as flows
import numpy as np
import pytest
from specs_under_test import NAMES, module, weights

from mpcompile.backend import SessionOptions, find_backend
from mpcompile.bijectors import BIJECTORS
from mpcompile.interpret import interpret
from mpcompile.ir import Array

#: Maps of the reals onto the reals, which no point is too far out for.
FAR = [c for c in flows.cases() if c.at == (-2.0, 2.0)]

#: Sizes at which every one of them is tried in single precision as well.
SINGLE = ("real[3]", "real[2, 4, 2]")


def far_points(case: flows.Case, size: float) -> dict[str, Array]:
    """Points of which some elements lie `size` out, and some at data."""
    inputs = flows.points(case, 8, seed=3)
    inputs["x"] = inputs["x"] * np.where(
        np.random.default_rng(0).random(inputs["x"].shape) < 0.6, size / 2, 1.0
    )
    return inputs


@pytest.mark.parametrize("case", FAR, ids=lambda c: c.name)
def test_far_out_points_come_back(case: flows.Case) -> None:
    """|x| up to 1e4, double on the oracle and single on torch. The error is rounding, as the inverse amplifies it."""
    m, inputs = flows.module(case), far_points(case, 1e4)
    w = flows.weights(m)
    z, log_det = flows.forward(m, w, inputs)
    assert np.isfinite(z).all() and np.isfinite(log_det).all()
    amplified = np.abs(np.linalg.inv(flows.jacobians(m, w, inputs, 1e-3))).sum((1, 2))
    found = {"float64": (flows.backward(m, w, z, inputs), inputs["x"], z)}
    if case.type in SINGLE:
        session = find_backend("torch").session(m, w, options=SessionOptions(precision="float32"))
        narrow = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in inputs.items()}
        given = {k: v for k, v in narrow.items() if k in m.programs["inverse"].inputs}
        single = session.run("forward", narrow)["z"]
        found["float32"] = (session.run("inverse", {"z": single, **given})["x"], narrow["x"], single)
    for precision, (back, x, latent) in found.items():
        largest = np.abs(latent).reshape(8, -1).max(1) + np.abs(x).reshape(8, -1).max(1)
        allowed = 200 * np.finfo(precision).eps * (1 + largest) * (1 + amplified)
        assert (np.abs(np.asarray(back, float) - x).reshape(8, -1).max(1) <= allowed).all(), precision


def single(chain: str, x: Array, program: str = "forward", value: str = "x") -> dict[str, Array]:
    """A program of a flow of one number in float32 on torch."""
    m = flows.flow("real[1]", chain)
    session = find_backend("torch").session(m, flows.weights(m), options=SessionOptions(precision="float32"))
    return session.run(program, {value: np.asarray(x, np.float32).reshape(-1, 1)})


def test_the_slope_of_sigmoid_is_said_far_beyond_where_it_saturates() -> None:
    """y is 1 in single precision from 17 on; log dy/dx = -|x| is right anywhere."""
    x = np.array([-80.0, -17.0, 0.0, 16.0, 18.0, 1e4])
    log_det = single("sigmoid -> logit(alpha = 0.05)", x)["log_det"]
    assert np.isfinite(log_det).all()


FIXED = (  # chains of a map without parameters and its inverse
    "inverse(logit(alpha = 0)) -> logit(alpha = 0)",
    "inverse(logit) -> logit",
    "tanh -> inverse(tanh)",
    "sigmoid -> inverse(sigmoid)",
    "softplus -> inverse(softplus)",
    "leaky_relu(0.1) -> inverse(leaky_relu(0.1))",
    "leaky_relu(0.1) -> tanh -> inverse(tanh) -> inverse(leaky_relu(0.1))",
)


def test_every_bijector_without_parameters_is_tried_beside_its_inverse() -> None:
    fixed = [name for name, cls in BIJECTORS.items() if cls.fixed]
    assert "tanh" in fixed
    assert not [name for name in fixed if not any(f"inverse({name}" in chain for chain in FIXED)]


@pytest.mark.parametrize("chain", FIXED)
def test_a_map_and_its_inverse_are_the_identity(chain: str) -> None:
    """Run one after the other they would round to the ends of an interval, and come back as infinite."""
    x = np.array([-1e4, -80.0, -8.5, -1e-3, 0.0, 8.5, 17.0, 1e4])
    out = single(chain, x)
    np.testing.assert_array_equal(out["z"][:, 0], x.astype(np.float32))
    np.testing.assert_array_equal(out["log_det"], 0)
    np.testing.assert_array_equal(single(chain, x, "inverse", "z")["x"][:, 0], x.astype(np.float32))


def test_only_a_map_and_its_own_inverse_are_left_out() -> None:
    z = single("leaky_relu(0.1) -> inverse(leaky_relu(0.2))", np.array([-2.0, 0.5]))["z"][:, 0]
    np.testing.assert_allclose(z, [-1.0, 0.5], rtol=1e-6)


@pytest.mark.parametrize("alpha", [1e-8, 1e-6, 1e-3, 0.05])
def test_logit_keeps_its_digits_at_both_ends(alpha: float) -> None:
    x = np.array([0.0, 1e-7, 0.25, 0.5, 1 - 2.0**-24, 1.0])
    out = single(f"logit(alpha = {alpha})", x)
    x = x.astype(np.float32).astype(np.float64)
    p, q = alpha + (1 - 2 * alpha) * x, alpha + (1 - 2 * alpha) * (1 - x)
    np.testing.assert_allclose(out["z"][:, 0], np.log(p) - np.log(q), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(out["log_det"], np.log(1 - 2 * alpha) - np.log(p) - np.log(q), rtol=1e-6)


def test_logit_is_finite_on_the_closed_interval_where_it_has_a_margin() -> None:
    ends = np.array([0.0, 1.0])
    assert np.isinf(single("logit(alpha = 0)", ends)["z"]).all()
    z = single("logit(alpha = 0.05)", ends)["z"][:, 0]
    np.testing.assert_allclose(z, [-np.log(19), np.log(19)], rtol=1e-5)
    assert np.isnan(single("logit(alpha = 0.05)", np.array([-0.2, 1.2]))["z"]).all()  # data outside of it


@pytest.mark.parametrize("chain", ["autoregressive(hidden = [4], law = spline(bins = 4, bound = 2))"])
def test_spline_tails_are_the_identity_and_join_without_a_jump(chain: str) -> None:
    """Outside of the box y = x exactly, with slope 1; at its edge value and slope are continuous."""
    m = flows.flow("real[1]", chain)
    w = flows.weights(m)
    out = np.array([[-1e4], [-2.0], [2.0], [50.0], [1e4]])
    z, log_det = flows.forward(m, w, {"x": out})
    np.testing.assert_array_equal(z, out)
    np.testing.assert_array_equal(log_det, 0)
    edge = np.array([[-2 + 1e-9], [2 - 1e-9]])
    z, log_det = flows.forward(m, w, {"x": edge})
    np.testing.assert_allclose(z, edge, atol=1e-8)
    np.testing.assert_allclose(log_det, 0, atol=1e-6)
    assert np.abs(flows.forward(m, w, {"x": np.array([[0.3]])})[0] - 0.3) > 1e-3


def test_the_inverse_of_a_spline_is_that_of_a_number_beside() -> None:
    """Single precision, bins from wide to narrow: the x that comes back has a z within some roundings of the one given.

    What is left of the error of a round trip is 1 / slope times that: with slopes from 1e-3 on at the knots and smaller
    ones between, a flat piece keeps few digits of x. The usual root of the quadratic gives a z that is off by 1 here.
    """
    m = flows.flow("real[64]", "autoregressive(hidden = [1], law = spline(bins = 8, bound = 3))")
    rng = np.random.default_rng(0)
    w = {k: np.zeros_like(v) for k, v in flows.weights(m).items()}
    w["x.autoregressive_0.project.bias"] = 6 * rng.standard_normal(64 * 23)
    session = find_backend("torch").session(m, w, options=SessionOptions(precision="float32"))
    z = session.run("forward", {"x": rng.uniform(-3.1, 3.1, (200, 64)).astype(np.float32)})["z"]
    back = session.run("inverse", {"z": z})["x"].astype(float)

    def exact(x: Array) -> Array:
        return flows.forward(m, w, {"x": x})[0]

    unit, found = 3 * float(np.finfo(np.float32).eps), exact(back)
    beside = np.maximum(*(np.abs(exact(back + step) - found) for step in (unit, -unit)))
    assert (np.abs(found - z) <= 10 * (unit + beside)).all()


PLANE = [
    n for n in NAMES
    if "forward" in module(n).programs
    and next(f for k, f in module(n).fields.items() if k in module(n).flow_steps).type.shape[1:] == (2,)
]  # fmt: skip


def test_every_flow_in_the_plane_is_swept() -> None:
    assert {"realnvp2d", "maf", "iaf", "nsf", "nsf_ar", "mixture_flow", "conditional_flow"} <= {*PLANE}


@pytest.mark.parametrize("name", PLANE)
def test_a_density_in_the_plane_integrates_to_one(name: str) -> None:
    m = module(name)
    w = weights(m, 2, spread=0.1)
    axis = np.linspace(-9, 9, 151)
    x = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    given = {k: np.ones(len(x), int) for k, f in m.fields.items() if f.role == "condition"}
    p = np.exp(interpret(m.programs["log_prob"], w, {"x": x, **given})["log_prob"])
    assert abs(p.sum() * (axis[1] - axis[0]) ** 2 - 1) < 5e-3
