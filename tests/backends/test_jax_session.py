"""The JAX session beside torch's: the same gradients, the same steps, and checkpoints that cross over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import specs_under_test
from regression import RULES, batch, regression, start

import mpcompile_torch
from mpcompile.backend import DOUBLE, OptimizerSpec, SessionOptions
from mpcompile.ir import Array, Builder, Graph, Parameter, float_type
from mpcompile.ops import Scan, Sum
from mpcompile.passes.pipeline import for_inference
from mpcompile_jax import BACKEND
from mpcompile_jax.gradients import gradient_program


def same(found: dict[str, Array], want: dict[str, Array], tolerance: float) -> None:
    assert list(found) == list(want)
    for key, expected in want.items():
        assert found[key].dtype == expected.dtype and found[key].shape == expected.shape
        np.testing.assert_allclose(found[key], expected, rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.kind}-{r.arguments}-{r.weight_decay}-{r.clip}")
def test_steps_are_those_of_torch(rule: OptimizerSpec) -> None:
    """In float32; the next test has those in float64."""
    ours, theirs = (b.session(regression(), start(), rule) for b in (BACKEND, mpcompile_torch.BACKEND))
    tolerance = 1e-4
    for i in range(6):
        made, want = ours.step(batch(i), 0.01), theirs.step(batch(i), 0.01)
        assert made == pytest.approx(want, rel=tolerance) and list(made) == list(want)
    same(ours.state(), theirs.state(), tolerance)
    assert ours.state()["parameter/running"] == pytest.approx(theirs.state()["parameter/running"])


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.kind}-{r.arguments}-{r.weight_decay}-{r.clip}")
def test_a_checkpoint_continues_on_the_other_backend(rule: OptimizerSpec) -> None:
    def fresh(backend: Any) -> Any:
        return backend.session(regression(), start(), rule, options=DOUBLE)

    whole = fresh(mpcompile_torch.BACKEND)
    told = [whole.step(batch(i), 0.01) for i in range(6)]
    for first, second in ((BACKEND, mpcompile_torch.BACKEND), (mpcompile_torch.BACKEND, BACKEND)):
        begun, ended = fresh(first), fresh(second)
        for i in range(3):
            assert begun.step(batch(i), 0.01) == pytest.approx(told[i], rel=1e-9)
        ended.load_state(begun.state())
        same(ended.state(), begun.state(), 0)
        for i in range(3, 6):
            assert ended.step(batch(i), 0.01) == pytest.approx(told[i], rel=1e-9)
        same(ended.state(), whole.state(), 1e-9)


def test_a_run_that_stops_and_resumes_is_bit_identical() -> None:
    rule = OptimizerSpec("adam", clip=1.0)
    whole, half, rest = (BACKEND.session(regression(), start(), rule) for _ in range(3))
    for i in range(6):
        whole.step(batch(i), 0.01)
    for i in range(3):
        half.step(batch(i), 0.01)
    rest.load_state(half.state())
    for i in range(3, 6):
        rest.step(batch(i), 0.01)
    for key, value in whole.state().items():
        assert np.array_equal(rest.state()[key], value), key


def test_states_are_copies() -> None:
    session = BACKEND.session(regression(), start(), OptimizerSpec("adam"))
    before = session.state()
    kept = {k: v.copy() for k, v in before.items()}
    session.step(batch(0), 0.01)
    assert all(np.array_equal(before[k], kept[k]) for k in kept)


def test_a_session_without_an_optimiser_takes_no_step() -> None:
    with pytest.raises(ValueError, match="without an optimiser"):
        BACKEND.session(regression(), start()).step(batch(0), 0.1)


def test_mixed_precision_runs() -> None:
    exact = BACKEND.session(regression(), start(), OptimizerSpec("sgd"))
    mixed = BACKEND.session(regression(), start(), OptimizerSpec("sgd"), options=SessionOptions(mixed=True))
    assert mixed.step(batch(0), 0.01)["loss"] == pytest.approx(exact.step(batch(0), 0.01)["loss"], rel=0.05)


#: One spec of each kind beside those of `tests/conformance/test_parity.py`.
KINDS = ["unet", "lstm_stacked", "gated_pixelcnn"]


@pytest.mark.parametrize("name", KINDS)
def test_five_steps_of_a_spec_are_those_of_torch(name: str) -> None:
    module = specs_under_test.module(name)
    parameters, rule = specs_under_test.weights(module, spread=0.01), OptimizerSpec("sgd", clip=1.0)
    ours, theirs = (b.session(module, parameters, rule) for b in (BACKEND, mpcompile_torch.BACKEND))
    for seed in range(5):
        inputs = specs_under_test.inputs(module, "loss", 4, seed=seed)
        made, want = ours.step(inputs, 0.01), theirs.step(inputs, 0.01)
        assert list(made) == list(want)
        assert made == pytest.approx(want, rel=1e-3, abs=1e-6)
    same(ours.state(), theirs.state(), 1e-4)


def test_a_module_for_inference_has_no_loss_and_runs() -> None:
    made = for_inference(regression(), start())
    assert "loss" not in made.module.programs
    mine, theirs = (b.session(made.module, made.weights) for b in (BACKEND, mpcompile_torch.BACKEND))
    for program in made.module.programs:
        same(mine.run(program, batch(0)), theirs.run(program, batch(0)), 1e-5)


@pytest.mark.parametrize(
    "name", [*KINDS, "realnvp", "char_lstm", "bilstm", "vrnn", "vae", "cnn", "transformer", "glow", "iaf"]
)
def test_the_gradient_is_that_of_torch(name: str) -> None:
    """The derived one, but of models that pool; that of jax, which `test_jax_specs` compares with torch's, is theirs."""
    module = specs_under_test.module(name)
    if name in ("cnn", "unet"):
        assert gradient_program(module) is None
        return
    parameters, inputs = specs_under_test.weights(module), specs_under_test.inputs(module, "loss", 4)
    backends = (BACKEND, mpcompile_torch.BACKEND)
    made, want = (b.session(module, parameters, options=DOUBLE).gradients(inputs) for b in backends)
    for found, expected in zip(made, want, strict=True):
        same(found, expected, 1e-8)


def test_jax_differentiates_what_learns_nothing() -> None:
    module = regression()
    module.parameters = {n: replace(p, trainable=False) for n, p in module.parameters.items()}
    assert gradient_program(module) is None


def test_jax_differentiates_a_loop_to_a_fixed_point() -> None:
    module = regression()
    loop = next(e for e in Scan.examples() if e.op.until_fixed_point)
    b = Builder(Graph("loss"))
    given = [b.emit(Parameter(f"p{i}", float_type(*x.shape))) for i, x in enumerate(loop.inputs)]
    last = b.emit_all(loop.op, *given)[0]
    b.graph.outputs["loss"] = b.emit(Sum((0, 1)), last)
    module.programs["loss"] = b.graph
    assert gradient_program(module) is None


@pytest.mark.parametrize("clip", [None, 0.1])
def test_a_step_that_nobody_asks_for_the_norm_is_the_same_step(clip: float | None) -> None:
    """It leaves the norm out where it is work of its own, and says nothing false."""
    rule = OptimizerSpec("adam", clip=clip)
    asked, quiet = (BACKEND.session(regression(), start(), rule) for _ in range(2))
    for i in range(3):
        told, found = asked.step(batch(i), 0.01), quiet.step(batch(i), 0.01, norm=False)
        assert told["gradient_norm"] > 0.0
        assert dict(found) == {n: told[n] for n in told if n != "gradient_norm" or clip is not None}
    same(quiet.state(), asked.state(), 0)
