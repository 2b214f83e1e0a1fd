"""A distribution is one class and one row: two that are defined here are used in every role that the language has.

`CONTRIBUTING.md` says what adding one touches; these classes touch nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from scipy.stats import gumbel_r

from mpcompile import api, ops
from mpcompile.backend import find_backend, installed
from mpcompile.diagnostics import Source, SpecError
from mpcompile.distributions import DISTRIBUTIONS, Elementwise
from mpcompile.distributions.location_scale import LocationScale
from mpcompile.distributions.sampling import Sampling
from mpcompile.distributions.slots import Slot
from mpcompile.distributions.support import BITS, Support
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module, Shape, Value
from mpcompile.layers import Context
from mpcompile.lowering import lower
from mpcompile.ops import build as F
from mpcompile.runner.examples import example_inputs, example_weights


@dataclass(frozen=True)
class Gumbel(LocationScale):
    """Density exp(-z - exp(-z)) / scale: of a maximum of many."""

    keyword: ClassVar[str] = "gumbel_max"

    def standard_log_prob(self, ctx: Context, z: Value) -> Value:
        return F.neg(ctx.b, F.add(ctx.b, z, ctx.b.emit(ops.Exp(), F.neg(ctx.b, z))))

    def standard_draw(self, ctx: Context, noise: Value) -> Value:
        waiting = F.neg(ctx.b, ctx.b.emit(ops.Log(), noise))
        return F.neg(ctx.b, ctx.b.emit(ops.Log(), waiting))


@dataclass(frozen=True)
class Hit(Elementwise):
    """Bits that are 1 where a Poisson count of mean exp(log_rate) is not 0: P(0) = exp(-exp(log_rate))."""

    keyword: ClassVar[str] = "hit"
    support: ClassVar[Support] = BITS
    slots: ClassVar[tuple[Slot, ...]] = (Slot("log_rate"),)
    log_rate: Value

    def _misses(self, ctx: Context) -> Value:
        return F.neg(ctx.b, ctx.b.emit(ops.Exp(), self.log_rate))

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b, miss = ctx.b, self._misses(ctx)
        hit = b.emit(ops.Log(), F.sub(b, 1.0, b.emit(ops.Exp(), miss)))
        return F.add(b, F.mul(b, x, hit), F.mul(b, F.sub(b, 1.0, x), miss))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        return F.to_float(ctx.b, F.less(ctx.b, ctx.b.emit(ops.Exp(), self._misses(ctx)), noise[0]))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return F.sub(ctx.b, 1.0, ctx.b.emit(ops.Exp(), self._misses(ctx)))

    def parameters(self) -> dict[str, Value]:
        return {"log_rate": self.log_rate}


ROLES = {
    "law": "input x: real[4]\ntarget y: real[3]\ny ~ gumbel_max(x -> dense(6))",
    "likelihood": "input y: real[3]\ny ~ autoregressive(likelihood = gumbel_max) { dense(6, mask = strict(degrees)) }",
    "base": "condition x: real[4]\ninput y: real[3]\ny ~ flow(base = gumbel_max(x -> dense(6))) { affine }",
    "latent": "input y: real[3]\nlatent z ~ gumbel_max(y -> dense(4)) prior gumbel_max(0, 2)\ny ~ normal(z -> dense(6))",
    "prior": "input x: real[4]\ntarget y: real[3]\nprior weights ~ gumbel_max(0, 1)\ny ~ normal(x -> dense(3), 1)",
    "bits": "input x: real[4]\ntarget y: binary[3]\ny ~ hit(x -> dense(3))",
    "bits in order": "input y: binary[3]\ny ~ autoregressive(likelihood = hit) { dense(3, mask = strict(degrees)) }",
}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for law in (Gumbel, Hit):
        monkeypatch.setitem(DISTRIBUTIONS, law.keyword, law)
    yield


def made(text: str, sampling: Sampling | None = None) -> Module:
    text = f"model m\n{text}\n"
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {}, sampling)


@pytest.mark.parametrize("role", ROLES)
def test_a_law_from_outside_is_proven_and_runs_everywhere(role: str) -> None:
    m = made(ROLES[role])
    assert all(v.status.accepted for v in api.verdicts(m))
    weights = example_weights(m)
    for backend in installed():
        session = find_backend(backend).session(m, weights)
        for program in ("loss", "sample"):
            given = example_inputs(m, program, 3)
            found, expected = session.run(program, given), interpret(m.programs[program], weights, given)
            for name, value in expected.items():
                np.testing.assert_allclose(
                    found[name], value, rtol=2e-4, atol=2e-5, err_msg=f"{backend} {name}"
                )


def test_its_density_is_its_own() -> None:
    m = made(ROLES["law"])
    w, x = example_weights(m, spread=0.5), example_inputs(m, "log_prob", 5)
    loc, log_scale = np.split(x["x"] @ w["y.dense_0.weight"].T + w["y.dense_0.bias"], 2, 1)
    expected = gumbel_r.logpdf(x["y"], loc, np.exp(log_scale)).sum(1)
    np.testing.assert_allclose(interpret(m.programs["log_prob"], w, x)["log_prob"], expected, rtol=1e-9)


def test_temperature_stretches_it_and_top_k_is_refused() -> None:
    w = example_weights(made(ROLES["base"]), spread=0.5)
    drawn: dict[float, Array] = {}
    for t in (1.0, 0.5):
        m = made(ROLES["base"], Sampling(t))
        drawn[t] = interpret(m.programs["sample"], w, example_inputs(m, "sample", 5))["y"]
    m = made(ROLES["base"])
    given = example_inputs(m, "sample", 5)
    loc = np.split(given["x"] @ w["y.base.dense_0.weight"].T + w["y.base.dense_0.bias"], 2, 1)[0]
    centre = interpret(m.programs["inverse"], w, {"z": loc, "x": given["x"]})["y"]
    np.testing.assert_allclose(drawn[0.5] - centre, 0.5 * (drawn[1.0] - centre), rtol=1e-9)
    with pytest.raises(SpecError, match="MP209 top_k is for categorical likelihoods, this is gumbel_max"):
        made(ROLES["likelihood"], Sampling(1.0, 2))
    with pytest.raises(SpecError, match="MP209 a hit likelihood has no temperature"):
        made(ROLES["bits in order"], Sampling(0.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "input x: real[4]\ntarget y: binary[3]\ny ~ gumbel_max(x -> dense(6))",
            "MP209 gumbel_max is a law of real numbers",
        ),
        ("input x: real[4]\ntarget y: binary[3]\ny ~ hit(x -> dense(5))", "MP207 the parameter has the axes"),
        ("input x: real[4]\ntarget y: binary[3]\ny ~ hit()", "MP123 `hit` needs `log_rate`"),
        (
            "input y: real[3]\nlatent z ~ hit(y -> dense(2)) prior normal(0, 1)\ny ~ normal(z -> dense(3))",
            "MP411 the posterior of z cannot be hit: the gradient ends at its draws",
        ),
        (
            "input y: real[3]\ny ~ autoregressive(likelihood = flow) { dense(6, mask = strict(degrees)) }",
            "MP205 .* negative_binomial, gumbel_max or hit, got 'flow'",
        ),
    ],
)
def test_it_is_refused_as_others_are(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        made(text)
