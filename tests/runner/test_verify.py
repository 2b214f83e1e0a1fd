"""What `verify` says of a backend that is wrong: the first value that differs, and no excuse for it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from specs_under_test import module
from written import lowered

from mpcompile import api
from mpcompile.analysis.dependence import support
from mpcompile.backend import find_backend, installed
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Graph
from mpcompile.passes.gradient import differentiate
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile.runner.verify import SIZES, SMALLER_SIZES, Row, _Question, numeric_leaks, sizes_for, verify
from mpcompile_torch import BACKEND

VISION = Path(__file__).parents[2] / "specs" / "vision"


class Wrong:
    """A session of torch, one of whose gradients or results is off by a part in a hundred."""

    def __init__(self, inner: Any, gradient: str = "", program: str = "") -> None:
        self.inner, self.gradient, self.program = inner, gradient, program

    def run(self, program: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        made: dict[str, Array] = dict(self.inner.run(program, inputs))
        return {k: v * 1.01 for k, v in made.items()} if program == self.program else made

    def gradients(self, inputs: Mapping[str, Array]) -> Any:
        outputs, found = self.inner.gradients(inputs)
        return outputs, {k: v * 1.01 if k == self.gradient else v for k, v in found.items()}


def rows(monkeypatch: pytest.MonkeyPatch, **wrong: str) -> list[Row]:
    class Backend:
        @staticmethod
        def session(*args: Any, **kwargs: Any) -> Wrong:
            return Wrong(BACKEND.session(*args, **kwargs), **wrong)

    monkeypatch.setattr("mpcompile.backend.find_backend", lambda _: Backend)
    return list(verify(module("mlp"), ["torch"]))


def test_a_right_backend_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(row.holds for row in rows(monkeypatch))


@pytest.mark.parametrize(
    ("wrong", "check", "value"),
    [({"gradient": "y.dense_0.weight"}, "gradients", "y.dense_0.weight"),
     ({"program": "log_prob"}, "values", "log_prob")],
)  # fmt: skip
def test_a_wrong_number_fails_in_both_precisions(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], check: str, value: str
) -> None:
    failed = [row for row in rows(monkeypatch, **wrong) if not row.holds]
    assert {(r.check, r.precision, r.value) for r in failed} == {
        (check, p, value) for p in ("float32", "float64")
    }
    assert all(row.moved < 1e-5 for row in failed)  # these values are sharply determined in float32


def test_a_gradient_beside_a_kink_is_not_sharp() -> None:
    """Where a `relu` is reached within the roundings of a float32 program, either side of it is right in float32."""
    m = lowered("model kink\n\ninput x: real[2]\ntarget y: real[1]\n\ny ~ normal(x -> dense(1) -> relu, 1)\n")
    gradient = differentiate(m.programs["loss"], "loss", ["y.dense_0.weight"])
    weights = {"y.dense_0.weight": np.array([[1.0, 1.0]]), "y.dense_0.bias": np.zeros(1)}
    for gap, sharp in ((2.0**-22, False), (2.0**-10, True)):
        inputs = [{"x": np.array([[1.0, -1.0 - gap]] * 16), "y": np.ones((16, 1))}]
        question = _Question("gradients", "loss", gradient, weights, inputs)
        assert (question.moved["y.dense_0.weight"] < 1e-5) == sharp


def test_a_gradient_through_a_maximum_is_sharp() -> None:
    """A maximum is one of its elements: what it is compared with in its gradient is not moved beside it."""
    m = lowered(
        "model top\n\ninput x: real[node: 5, channel: 3]\ntarget y: real[1]\n\n"
        "y ~ normal(x -> dense(4) -> max(over = node) -> dense(1), 1)\n"
    )
    gradient = differentiate(m.programs["loss"], "loss", list(m.parameters))
    weights, inputs = example_weights(m), [example_inputs(m, "loss", 3)]
    question = _Question("gradients", "loss", gradient, weights, inputs)
    assert 0 < max(question.moved.values()) < 1e-4


def test_a_movement_to_no_number_excuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    m = module("mlp")
    question = _Question(
        "values", "loss", m.programs["loss"], example_weights(m), [example_inputs(m, "loss", 3)]
    )
    assert question.expected
    monkeypatch.setattr(_Question, "_oracle", lambda *_: {"loss": np.array(np.nan)})
    assert question.moved == {"loss": 0.0}


VANISHING = {
    "convolutions": """
model vanishing
input x: real[3, 8, 8]
target y: category(2)
block lev(ch) = conv(ch, 3, pad = 1) -> batch_norm -> relu
y ~ categorical(logits = x -> lev(4) -> lev(8) -> lev(8) -> lev(8) -> global_avgpool -> dense(2))
""",
    "large": """
model vanishing
input x: real[2, 24, 20]
target y: real[1]
y ~ normal(x -> conv(8, 5, pad = 2) -> batch_norm -> tanh -> conv(8, 3) -> batch_norm -> tanh -> flatten -> dense(1), 1)
""",
    "dense": """
model vanishing
input x: real[9]
target y: real[1]
y ~ normal(x -> dense(8) -> batch_norm -> tanh -> dense(8) -> batch_norm -> tanh -> dense(1), 1)
""",
    "sequence": """
model vanishing
input x: real[time, 3]
target y: real[1]
y ~ normal(x -> conv1d(8, 3) -> batch_norm -> gelu -> dense(4) -> layer_norm -> last -> dense(1), 1)
""",
}


def test_gradients_that_vanish_identically_are_judged_by_what_they_are_sums_of() -> None:
    """A bias before a norm over the batch: its gradient is rounding alone, at another size on every backend."""
    for name, text in VANISHING.items():
        m = lowered(text)
        alone = replace(
            m, programs={"loss": m.programs["loss"]}
        )  # a backend compiles no program but this one
        slow = {"jax"} if name != "dense" else set()  # whose convolutions take seconds to compile
        rows = list(verify(alone, [b for b in installed() if b not in slow]))
        assert {row.check for row in rows} == {"values", "gradients"}
        assert not [row for row in rows if not row.holds], name


def test_a_gradient_that_should_vanish_and_does_not_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Biased(Wrong):
        def gradients(self, inputs: Mapping[str, Array]) -> Any:
            outputs, found = self.inner.gradients(inputs)
            return outputs, found | {self.gradient: found[self.gradient] + 1e-3}

    class Backend:
        @staticmethod
        def session(*args: Any, **kwargs: Any) -> Wrong:
            return Biased(BACKEND.session(*args, **kwargs), gradient="y.dense_0.bias")

    monkeypatch.setattr("mpcompile.backend.find_backend", lambda _: Backend)
    failed = [row for row in verify(lowered(VANISHING["dense"]), ["torch"]) if not row.holds]
    assert {(r.precision, r.value) for r in failed} == {(p, "y.dense_0.bias") for p in ("float32", "float64")}


@pytest.mark.parametrize("backend", installed())
def test_one_session_is_alive_at_a_time(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Nothing holds a session, its weights and its programs when the next one is made, without the help of `gc`."""
    alive: list[weakref.ref[Any]] = []

    class Backend:
        @staticmethod
        def session(*args: Any, **kwargs: Any) -> Any:
            assert not any(old() for old in alive)
            made = find_backend(backend).session(*args, **kwargs)
            alive.append(weakref.ref(made))
            return made

    monkeypatch.setattr("mpcompile.backend.find_backend", lambda _: Backend)
    gc.disable()
    try:
        assert all(row.holds for row in verify(module("mlp"), [backend]))
        assert len(alive) == 2
        assert not any(old() for old in alive)
    finally:
        gc.enable()


@pytest.mark.parametrize(("size", "expected"), [(572, SMALLER_SIZES), (348, SIZES)])
def test_very_large_images_are_verified_in_smaller_batches(
    size: int, expected: tuple[tuple[int, int], ...]
) -> None:
    m = api.load(VISION / "unet_paper.mp", {"size": size})
    gradient = differentiate(m.programs["loss"], "loss", list(m.parameters))
    assert sizes_for(gradient) == expected


def test_elements_are_changed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many examples are held at once, the same dependencies are seen: here none counts as derived."""
    m, examples = module("made"), list[int]()

    def underived(*args: Any) -> Any:
        return replace(support(*args), value=np.zeros_like(support(*args).value))

    def counted(graph: Graph, weights: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
        examples.append(len(inputs["x"]))
        return interpret(graph, weights, inputs)

    monkeypatch.setattr("mpcompile.runner.verify.interpret", counted)
    weights = example_weights(m, 0, 0.02)
    assert numeric_leaks(m, "x", weights) == 0
    monkeypatch.setattr("mpcompile.runner.verify.support", underived)
    whole, pieces = (numeric_leaks(m, "x", weights, limit=limit) for limit in (2**28, 1))
    assert whole == pieces > 0
    size = m.fields["x"].type.shape[1:]
    assert examples == 2 * [1 + np.prod(size)] + [2] * int(np.prod(size))
