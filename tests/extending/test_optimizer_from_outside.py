"""An optimiser is one class with its arithmetic, and one row: no backend has a line about it.

`Lion` acts on each element alone, `Lars` reads norms of a whole weight. Both are stated in a spec, trained on every
backend to equal weights, recorded in `run.json`, and resumed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from mpcompile import ops
from mpcompile.backend import DOUBLE, OptimizerSpec, find_backend, installed
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.ir import Array, Module
from mpcompile.ir.optimizers import OPTIMIZERS, Moment, Optimizer, Term
from mpcompile.lowering import lower
from mpcompile.passes.pipeline import optimise
from mpcompile.ranges import Fraction, NonNegative, Positive
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile.runner.loop import Options, train
from mpcompile.runner.record import settings_of
from mpcompile.runner.run import open_run
from mpcompile.runner.settings import settings


@dataclass(frozen=True)
class Lion(Optimizer):
    """Chen et al. 2023."""

    keyword: ClassVar[str] = "lion"
    slots: ClassVar[tuple[str, ...]] = ("mean",)
    decoupled: ClassVar[bool] = True
    rate: NonNegative = 1e-4
    kept_now: Fraction = 0.9
    kept_later: Fraction = 0.99

    def change(
        self, weight: Term, gradient: Term, kept: Mapping[str, Term], now: Moment
    ) -> tuple[Term, dict[str, Term]]:
        mean = kept["mean"]
        direction = (mean * self.kept_now + gradient * (1 - self.kept_now)).apply(ops.Sign())
        return direction * now.rate, {"mean": mean * self.kept_later + gradient * (1 - self.kept_later)}


@dataclass(frozen=True)
class Lars(Optimizer):
    """You et al. 2017, without momentum: a weight moves by a share of its norm."""

    keyword: ClassVar[str] = "lars"
    trust: Positive = 0.02
    weight_decay: NonNegative | None = None

    def change(
        self, weight: Term, gradient: Term, kept: Mapping[str, Term], now: Moment
    ) -> tuple[Term, dict[str, Term]]:
        def norm(x: Term) -> Term:
            return (x * x).apply(ops.Sum(tuple(range(len(x.shape))))).sqrt()

        ratio = self.trust * (norm(weight) + 1e-3) / (norm(gradient) + 1e-3)
        return gradient * ratio * (now.rate / now.number.sqrt()), {}


def lion(p: Array, g: Array, mean: Array, rate: float, decay: float, number: int) -> tuple[Array, Array]:
    moved = rate * np.sign(0.8 * mean + (1 - 0.8) * g)
    return p * (1 - rate * decay) - moved, 0.99 * mean + (1 - 0.99) * g


def lars(p: Array, g: Array, mean: Array, rate: float, decay: float, number: int) -> tuple[Array, Array]:
    g = g + decay * p
    ratio = 0.02 * (np.linalg.norm(p) + 1e-3) / (np.linalg.norm(g) + 1e-3)
    return p - rate / np.sqrt(number) * ratio * g, mean


CASES = [
    ("lion(0.01, kept_now = 0.8)", lion, {"kept_now": 0.8, "kept_later": 0.99}),
    ("lars(0.5)", lars, {"trust": 0.02}),
]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "lion", Lion)
    monkeypatch.setitem(OPTIMIZERS, "lars", Lars)


def made(optimizer: str, more: str = "") -> Module:
    text = f"""model m
input x: real[4]
target y: real[2]
y ~ normal(loc = x -> dense(5) -> tanh -> dense(2))
train {{ optimizer: {optimizer}, batch: 8, steps: 6{more} }}
"""
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})


@pytest.mark.parametrize("backend", installed())
@pytest.mark.parametrize("more", ["", ", weight_decay: 0.1, clip: 0.5"], ids=["plain", "decay and clip"])
@pytest.mark.parametrize(("text", "rule", "arguments"), CASES, ids=["lion", "lars"])
def test_every_backend_trains_with_it(
    text: str, rule: Any, arguments: dict[str, float], more: str, backend: str
) -> None:
    m = optimise(made(text, more)).module
    stated = settings(m)
    assert stated.optimizer.arguments == arguments
    start = example_weights(m, spread=0.3)
    session = find_backend(backend).session(m, start, stated.optimizer, options=DOUBLE)
    gradients = find_backend(backend).session(m, start, options=DOUBLE)
    want = {n: np.asarray(a, np.float64) for n, a in start.items()}
    means = {n: np.zeros_like(a) for n, a in want.items()}
    for number in range(1, 6):
        batch = example_inputs(m, "loss", 8, seed=number)
        gradients.load_state({f"parameter/{n}": a for n, a in want.items()})
        _, found = gradients.gradients(batch)
        norm = np.sqrt(sum(np.sum(g**2) for g in found.values()))
        clip = stated.optimizer.clip
        for n, g in found.items():
            g = g if clip is None else g * min(1.0, clip / norm)
            want[n], means[n] = rule(want[n], g, means[n], 0.01, stated.optimizer.weight_decay, number)
        session.step(batch, 0.01)
    state = session.state()
    for n, expected in want.items():
        np.testing.assert_allclose(state[f"parameter/{n}"], expected, rtol=1e-9, atol=1e-11, err_msg=n)
        if "lion" in text:
            np.testing.assert_allclose(state[f"optimizer/mean/{n}"], means[n], rtol=1e-9, atol=1e-11)


def test_a_run_records_it_and_goes_on(tmp_path: Path) -> None:
    m = made("lion(0.01, kept_now = 0.8)", ", weight_decay: 0.1")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x_train=rng.normal(size=(32, 4)), y_train=rng.normal(size=(32, 2)))
    options = Options(backend="torch", data=str(tmp_path / "d.npz"))
    train(m, tmp_path / "whole", options)
    train(m, tmp_path / "half", replace(options, steps=3))
    assert train(m, tmp_path / "half", replace(options, resume=True, steps=6)).step == 6
    whole, half = (
        sorted((tmp_path / n / "checkpoints").glob("last-*"))[-1] / "state.safetensors"
        for n in ("whole", "half")
    )
    assert whole.read_bytes() == half.read_bytes()
    facts = json.loads((tmp_path / "half" / "run.json").read_text())
    assert settings_of(facts).optimizer == OptimizerSpec("lion", {"kept_now": 0.8, "kept_later": 0.99}, 0.1)


@pytest.mark.parametrize("value", ["1.5", '"much"', "null"])
def test_a_wrong_record_of_it_is_refused(tmp_path: Path, value: str) -> None:
    np.savez(tmp_path / "d.npz", x_train=np.zeros((8, 4)), y_train=np.zeros((8, 2)))
    train(made("lion"), tmp_path / "run", Options(backend="torch", steps=1, data=str(tmp_path / "d.npz")))
    text = (tmp_path / "run" / "run.json").read_text()
    assert '"kept_now": 0.9' in text
    (tmp_path / "run" / "run.json").write_text(text.replace('"kept_now": 0.9', f'"kept_now": {value}'))
    with pytest.raises(SpecError, match="kept_now"):
        open_run(tmp_path / "run")


def test_it_is_refused_in_its_place() -> None:
    with pytest.raises(SpecError, match="MP511 `kept_now` of lion"):
        made("lion(kept_now = 1)")
