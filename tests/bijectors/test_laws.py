"""Laws of every bijector: its log-determinant is that of its true Jacobian, its inverse is one, in both precisions."""

from __future__ import annotations

import flows_under_test as flows
import numpy as np
import pytest

from mpcompile import api
from mpcompile.backend import SessionOptions, find_backend
from mpcompile.bijectors import BIJECTORS, LAWS
from mpcompile.interpret import interpret
from mpcompile.runner.initial import initial

CASES = flows.cases()
sweep = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)

#: Integers come back as integers; what they were made real with does not.
DISCRETE = [c for c in CASES if c.type.startswith("integer")]


def test_every_bijector_and_every_law_is_swept() -> None:
    text = " ".join([*(c.chain for c in CASES), *(chain for _, chain in flows.ANGULAR.values())])
    assert [b for b in (*BIJECTORS, *LAWS) if b not in text] == []


@sweep
def test_the_log_determinant_is_that_of_the_true_jacobian(case: flows.Case) -> None:
    """Against slogdet of central differences, at data and far out; and a bijection's Jacobian never changes its sign."""
    m = flows.module(case)
    w, inputs = flows.weights(m), flows.points(case, 4)
    if case.at == (-2.0, 2.0):
        inputs["x"][2:] *= 10
    sign, expected = np.linalg.slogdet(flows.jacobians(m, w, inputs))
    _, log_det = flows.forward(m, w, inputs)
    np.testing.assert_allclose(log_det, expected, rtol=1e-6, atol=2e-6)
    assert abs(sign.sum()) == len(sign)


@sweep
def test_the_proof_holds(case: flows.Case) -> None:
    """No finding but that of a single coupling, which leaves some elements as they are (MP331)."""
    assert [d for d in api.check(flows.module(case)) if d.code != "MP331"] == []


@sweep
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_round_trips(case: flows.Case, precision: str) -> None:
    """x -> z -> x, in float32 on torch. The error is z's rounding, as large as the inverse's Jacobian makes it."""
    m = flows.module(case)
    w, inputs = flows.weights(m), flows.points(case, 8, seed=1)
    if case.at == (-2.0, 2.0):
        inputs["x"][4:] *= 10
    if precision == "float64":
        z = flows.forward(m, w, inputs)[0]
        back = flows.backward(m, w, z, inputs)
    else:
        session = find_backend("torch").session(m, w, options=SessionOptions(precision="float32"))
        narrow = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in inputs.items()}
        z = session.run("forward", narrow)["z"]
        given = {k: v for k, v in narrow.items() if k in m.programs["inverse"].inputs}
        back = np.asarray(session.run("inverse", {"z": z, **given})["x"], np.float64)
    if case in DISCRETE:
        np.testing.assert_array_equal(back, inputs["x"])
        return
    amplified = np.abs(np.linalg.inv(flows.jacobians(m, w, inputs))).sum((1, 2))
    largest = sum(np.abs(v).reshape(8, -1).max(1) for v in (z, inputs["x"]))
    rounding = np.finfo(precision).eps * (1 + largest) * (1 + amplified)
    assert (np.abs(back - inputs["x"]).reshape(8, -1).max(1) <= 40 * rounding).all()


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if "inverse" not in c.chain and "factor_out" not in c.chain],
    ids=lambda c: c.name,
)
def test_what_is_proven_is_what_runs(case: flows.Case) -> None:
    """The maps whose Jacobians are analysed, one after the other, are the flow; their log-determinants its."""
    m = flows.module(case)
    w, inputs = flows.weights(m), flows.points(case, 3)
    h, total = inputs["x"], np.zeros(3)
    for step in m.flow_steps["x"]:
        out = interpret(step.graph, w, inputs | {"x": h, "seen": h})
        h, total = out["y"], total + out.get("log_det", 0)
    z, log_det = flows.forward(m, w, inputs)
    np.testing.assert_allclose(h.reshape(3, -1), z, atol=1e-12)
    np.testing.assert_allclose(total, log_det, atol=1e-12)


@pytest.mark.parametrize("law", flows.LAWS[:3])  # equal units of a monotone law would stay equal
@pytest.mark.parametrize(
    "chain", [f"coupling(mask = checkerboard, {flows.NET}, law = ", "autoregressive(hidden = [5], law = "]
)
def test_a_fresh_bijector_is_the_identity(law: str, chain: str) -> None:
    m = flows.flow("real[3]", f"{chain}{law})")
    x = np.random.default_rng(0).uniform(-3, 3, (9, 3))
    z, log_det = flows.forward(m, {k: v.astype(float) for k, v in initial(m).items()}, {"x": x})
    np.testing.assert_allclose(z, x, atol=1e-12)
    np.testing.assert_allclose(log_det, 0, atol=1e-12)


DENSITIES = {
    "real[1]": "leaky_relu(slope = 0.3) -> autoregressive(hidden = [8], law = spline(bins = 4, bound = 2)) -> affine",
    "real[2]": f"actnorm -> conv1x1 -> coupling(mask = checkerboard, law = {flows.SPLINE}, {flows.NET}) -> "
    f"autoregressive(hidden = [8]) -> batch_norm -> inverse(autoregressive(hidden = [8], law = {flows.SPLINE}))",
}


@pytest.mark.parametrize("type", DENSITIES)
def test_densities_integrate_to_one(type: str) -> None:
    m = flows.flow(type, DENSITIES[type])
    axis = np.linspace(-14, 14, 281 if type == "real[2]" else 4001)
    grid = np.stack(np.meshgrid(*[axis] * int(type[5])), -1).reshape(-1, int(type[5]))
    w = flows.weights(m, 2)  # nothing of note beyond the grid
    p = np.exp(interpret(m.programs["log_prob"], w, {"x": grid})["log_prob"])
    assert abs(p.sum() * (axis[1] - axis[0]) ** grid.shape[1] - 1) < 2e-3
