"""Dequantisation: the noise, uniform or learned, changes the bound and never the probability of the integers."""

from __future__ import annotations

from functools import cache

import flows_under_test as flows
import numpy as np
import pytest
from scipy.integrate import quad
from stated import answers

from mpcompile import api
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.lowering import lower

BODY = "logit(alpha = 0) -> affine(condition = x) -> leaky_relu(slope = 0.7)"


@cache
def made(body: str, type: str = "integer(2..4)[1]") -> Module:
    text = f"model m\ninput x: {type}\nx ~ flow {{ {body} }}\n"
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text))


@pytest.mark.parametrize("noise", ["", f" {{ {BODY} }}"], ids=["uniform", "learned"])
def test_the_bound_is_one_whose_exponential_has_the_probability_as_its_mean(noise: str) -> None:
    """E_q[p(y) / (levels q(u | x))] = P(x) = integral of p over the bin (Ho et al. 2019, eq. 13), by quadrature."""
    m = made(f"dequantize{noise} -> logit(alpha = 0) -> affine")
    w = flows.weights(m, 1)
    count = 200_000
    graph = m.programs["log_prob"]
    rng = np.random.default_rng(0)
    (name,) = m.noise["log_prob"]
    drawn = rng.standard_normal((count, 1)) if noise else rng.uniform(size=(count, 1))
    total = 0.0
    for x in (2.0, 3.0, 4.0):
        logs = interpret(graph, w, {"x": np.full((count, 1), x), name: drawn})["log_prob"]

        def density(y: float) -> float:
            logit = np.log(y / (1 - y))
            z = logit * np.exp(w["x.affine_0.log_scale"][0]) + w["x.affine_0.shift"][0]
            slope = np.exp(w["x.affine_0.log_scale"][0]) / (y * (1 - y))
            return float(np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) * slope)

        exact = quad(density, (x - 2) / 3, (x - 1) / 3)[0]
        weights = np.exp(logs)
        assert abs(weights.mean() - exact) < 5 * weights.std() / np.sqrt(count) + 1e-9
        assert logs.mean() < np.log(exact)
        total += exact
    assert abs(total - 1) < 1e-6


def test_learned_noise_starts_as_good_as_any_and_its_gradient_reaches_it() -> None:
    m = made(f"dequantize {{ {BODY} }} -> logit(alpha = 0.05)")
    assert {"x.dequantize_0.affine_0.condition.dense_0.weight", "x.dequantize_0.affine_0.shift"} & {
        *m.parameters
    }
    assert (
        set(m.noise["forward"]) == {"noise_dequantize"}
        and m.noise["forward"]["noise_dequantize"].kind == "uniform"
    )
    assert m.noise["log_prob"]["noise_dequantize"].kind == "normal"


def test_both_flows_are_proven() -> None:
    m = made(f"dequantize {{ {BODY} }} -> logit")
    assert [(v.claim.subject, v.status) for v in answers(m)] == [("x_noise", "proved"), ("x", "proved")]
    assert api.check(m) == []


def refused(body: str) -> tuple[str, str]:
    with pytest.raises(SpecError) as caught:
        made(body)
    (found,) = caught.value.diagnostics
    assert found.span.line == 3
    return found.code, found.message


def test_noise_that_would_leave_its_bin_is_refused() -> None:
    said = "the noise of `dequantize` lies in (0, 1), and its flow gives"
    assert refused("dequantize { affine } -> logit") == ("MP408", f"{said} the reals")
    code, message = refused("dequantize { logit(alpha = 0.05) } -> logit")
    assert code == "MP408" and message.startswith(f"{said} (-0.05")
    assert refused("dequantize { logit(alpha = 0) -> actnorm } -> logit")[0] == "MP407"
    assert refused("dequantize -> logit { affine }") == ("MP121", "`logit` takes no steps of its own")
