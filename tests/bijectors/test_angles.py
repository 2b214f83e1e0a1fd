"""Flows of angles: mass one on the torus, periodic, invertible, and no net that reads an angle as a number."""

from __future__ import annotations

from math import pi, tau

import flows_under_test as flows
import numpy as np
import pytest
from stated import answers

from mpcompile import api
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.lowering import lower
from mpcompile.passes.incremental import DeriveSamplers
from mpcompile.runner.initial import initial


def flow(type: str, chain: str, base: str = "uniform", more: str = "") -> Module:
    text = f"model m\ninput x: {type}\n{more}x ~ flow(base = {base}) {{ {chain} }}\n"
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text))


@pytest.mark.parametrize("name", flows.ANGULAR)
def test_mass_inverse_period_and_jacobian(name: str) -> None:
    """The trapezoid rule on the torus: its error is the square of a step times the kinks of the density at knots."""
    type, chain = flows.ANGULAR[name]
    m = flow(type, chain)
    w, shape = flows.weights(m), tuple(int(n) for n in type[6:-1].split(","))
    size = int(np.prod(shape))
    axis = np.linspace(-pi, pi, 20000 if size == 1 else 320, endpoint=False)
    grid = np.stack(np.meshgrid(*[axis] * size), -1).reshape(-1, *shape)
    mild = {k: 0.3 * v for k, v in w.items()}  # of which the kinks are small
    p = np.exp(interpret(m.programs["log_prob"], mild, {"x": grid})["log_prob"])
    assert abs(p.mean() * tau**size - 1) < (1e-6 if size == 1 else 1e-5) and p.std() * tau**size > 0.02
    x = np.random.default_rng(0).uniform(-pi, pi, (9, *shape))
    z, log_det = flows.forward(m, w, {"x": x})
    assert (np.abs(z) <= pi + 1e-12).all()
    turned = np.random.default_rng(1).integers(-2, 3, x.shape) * tau
    z_turned, log_det_turned = flows.forward(m, w, {"x": x + turned})
    np.testing.assert_allclose(np.cos(z_turned - z), 1, atol=1e-12)
    np.testing.assert_allclose(log_det_turned, log_det, atol=1e-10)
    back = flows.backward(m, w, z, {})
    np.testing.assert_allclose(np.cos(back - x), 1, atol=1e-12)
    assert np.abs(back).max() <= pi + 1e-12
    np.testing.assert_allclose(np.cos(flows.forward(m, w, {"x": back})[0] - z), 1, atol=1e-12)
    jacobians = flows.jacobians(m, w, {"x": x})
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobians)[1], atol=1e-5)
    if name == "one":
        ends = flows.jacobians(m, w, {"x": np.array([[pi - 1e-5], [1e-5 - pi]])}, 1e-7)
        np.testing.assert_allclose(ends[0], ends[1], rtol=1e-3)  # the slope does not jump
    assert [v.status for v in answers(m)] == ["proved"]


def test_the_moved_part_has_a_triangular_jacobian_and_the_other_stays() -> None:
    m = flow("angle[4]", flows.couple(0))
    j = flows.jacobians(m, flows.weights(m), {"x": np.random.default_rng(2).uniform(-3, 3, (5, 4))})
    np.testing.assert_allclose(j[:, ::2, ::2], np.broadcast_to(np.eye(2), (5, 2, 2)), atol=1e-8)
    assert np.abs(j[:, 1, 3]).max() < 1e-8 < np.abs(j[:, 1, 0]).min() and np.abs(j[:, 0, 1::2]).max() < 1e-8


def test_a_fresh_one_is_the_identity_and_rotate_turns() -> None:
    m = flow("angle[3]", f"{flows.couple(0)} -> rotate(shift = 3)")
    start = {k: v.astype(float) for k, v in initial(m).items()}
    x = np.random.default_rng(0).uniform(-pi, pi, (5, 3))
    z, log_det = flows.forward(m, start, {"x": x})
    np.testing.assert_allclose(z, (x + 3 + pi) % tau - pi, atol=1e-12)
    np.testing.assert_allclose(log_det, 0, atol=1e-12)


def test_the_base_may_be_any_law_of_angles() -> None:
    m = flow("angle[2]", f"{flows.couple(0)} -> {flows.couple(1)}", base="von_mises(0.5, 2)")
    axis = np.linspace(-pi, pi, 400, endpoint=False)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    mild = {k: 0.5 * v for k, v in flows.weights(m).items()}
    p = np.exp(interpret(m.programs["log_prob"], mild, {"x": grid})["log_prob"])
    assert abs(p.mean() * tau**2 - 1) < 1e-6


def test_the_sampler_of_an_autoregressive_one_is_derived() -> None:
    m = flow("angle[5]", f"autoregressive(hidden = [8, 6], order = random, {flows.CIRCULAR})")
    w, z = flows.weights(m), np.random.default_rng(0).uniform(-pi, pi, (4, 5))
    derived = DeriveSamplers()(m.programs["inverse"])
    assert [str(r) for r in derived.refused] == []
    found, wanted = (interpret(g, w, {"z": z})["x"] for g in (derived.graph, m.programs["inverse"]))
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def refused(type: str, chain: str, base: str = "uniform") -> str:
    with pytest.raises(SpecError) as caught:
        flow(type, chain, base)
    (found,) = caught.value.diagnostics
    assert found.span.line == 3
    return f"{found.code} {found.message}"


@pytest.mark.parametrize("net", [
    "dense(5) -> tanh", "sin -> dense(5)", "circle as c -> dense(5)", "concat(circle -> dense(3))",
])  # fmt: skip
def test_nets_that_keep_the_period_are_those_that_compile(net: str) -> None:
    chain = f"coupling(mask = checkerboard, {flows.CIRCULAR}, net = {net})"
    if net.startswith("dense"):
        assert refused("angle[2]", chain) == (
            "MP409 the net of this coupling reads an angle as a number, so that x and x + 2 pi differ"
        )
    elif "concat" not in net:
        m = flow("angle[2]", chain)
        x = np.random.default_rng(0).uniform(-3, 3, (4, 2))
        w = flows.weights(m)
        np.testing.assert_allclose(flows.forward(m, w, {"x": x + tau})[1], flows.forward(m, w, {"x": x})[1])


def test_maps_of_the_reals_and_of_angles_do_not_mix() -> None:
    assert refused("angle[2]", "affine") == "MP408 `affine` is a map of the reals, and x is an angle"
    assert refused("angle[2]", "inverse(sigmoid)").startswith("MP408 `sigmoid` is a map of")
    assert refused("angle[2]", "autoregressive(hidden = [3])").startswith(
        "MP408 `autoregressive` is a map of the reals"
    )
    said = "is a map of angles, and x is not an angle"
    assert refused("real[2]", "inverse(rotate)", "normal") == f"MP408 `rotate` {said}"
    assert refused("real[2]", flows.couple(0), "normal") == f"MP408 `coupling` {said}"
    assert refused("angle[2]", "rotate", "normal").startswith(
        "MP209 the base of this flow is a density of angles"
    )
    assert refused(
        "angle[2]", "autoregressive(hidden = [3], law = spline(4, bound = 2, circular = true))"
    ).startswith("MP205")


def test_a_parity_that_stands_still_is_found() -> None:
    more = "check { complete(x) }\n"
    still = flow("angle[4]", f"{flows.couple(0)} -> rotate -> {flows.couple(0)}", more=more)
    found = {v.claim.kind: v.status for v in answers(still)}
    assert found["complete"] == "refuted" and [d.code for d in api.check(still) if d.code == "MP331"]
    chain = " -> rotate -> ".join(flows.couple(i) for i in (0, 1, 0, 1))
    assert {v.claim.kind: v.status for v in answers(flow("angle[4]", chain, more=more))}[
        "complete"
    ] == "proved"
