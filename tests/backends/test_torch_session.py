"""The torch session: gradients, update rules, state that resumes exactly, and what is written back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from regression import RULES, batch, regression, start

from mpcompile.backend import DOUBLE, OptimizerSpec, SessionOptions
from mpcompile.diagnostics import Source, Span
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Builder, Graph, Init, Module, Parameter, ParameterSpec, float_type, symbol
from mpcompile.ir.optimizers import OPTIMIZERS
from mpcompile.ops import Mul, Sub, Sum, Transpose
from mpcompile.passes.train_step import NEXT, RATE, STEP, train_step
from mpcompile_torch import BACKEND


def test_gradients_are_those_of_finite_differences() -> None:
    module, parameters = regression(), start()
    session = BACKEND.session(module, parameters, options=DOUBLE)
    outputs, gradients = session.gradients(batch(0))
    assert set(gradients) == {n for n, p in module.parameters.items() if p.trainable}
    for name, gradient in gradients.items():
        for index in np.ndindex(gradient.shape):
            around = []
            for sign in (1, -1):
                moved = {k: v.copy() for k, v in parameters.items()}
                moved[name][index] += sign * 1e-5
                around.append(interpret(module.programs["loss"], moved, batch(0))["loss"])
            assert gradient[index] == pytest.approx((around[0] - around[1]) / 2e-5, rel=1e-5, abs=1e-6)
    assert outputs["loss"].dtype == np.float64 and outputs["loss"].shape == ()


def reference(spec: OptimizerSpec, steps: int, rate: float) -> dict[str, Array]:
    """The update rules as textbooks have them."""
    session = BACKEND.session(regression(), start(), options=DOUBLE)
    state = session.state()
    given = {"beta1": 0.9, "beta2": 0.999, "momentum": 0.0, "eps": 1e-10 if spec.kind == "adagrad" else 1e-8}
    given |= spec.arguments
    p = {n: state[f"parameter/{n}"] for n in session.trained}
    a = {n: np.zeros_like(v) for n, v in p.items()}
    c = {n: np.zeros_like(v) for n, v in p.items()}
    for t in range(1, steps + 1):
        session.load_state({**session.state(), **{f"parameter/{n}": v for n, v in p.items()}})
        _, g = session.gradients(batch(t))
        norm = np.sqrt(sum((v**2).sum() for v in g.values()))
        scale = 1.0 if spec.clip is None else min(1.0, spec.clip / norm)
        for n in p:
            d = g[n] * scale
            if spec.kind == "adamw":
                p[n] = p[n] * (1 - rate * spec.weight_decay)
            else:
                d = d + spec.weight_decay * p[n]
            if spec.kind in ("adam", "adamw"):
                b1, b2 = given["beta1"], given["beta2"]
                a[n], c[n] = b1 * a[n] + (1 - b1) * d, b2 * c[n] + (1 - b2) * d**2
                p[n] = p[n] - rate * (a[n] / (1 - b1**t)) / (np.sqrt(c[n] / (1 - b2**t)) + given["eps"])
            elif spec.kind == "adagrad":
                a[n] = a[n] + d**2
                p[n] = p[n] - rate * d / (np.sqrt(a[n]) + given["eps"])
            else:
                a[n] = given["momentum"] * a[n] + d
                p[n] = p[n] - rate * a[n]
    return p


@pytest.mark.parametrize("spec", RULES, ids=lambda s: f"{s.kind}-{s.arguments}-{s.weight_decay}-{s.clip}")
def test_steps_follow_the_rule(spec: OptimizerSpec) -> None:
    session = BACKEND.session(regression(), start(), spec, options=DOUBLE)
    for t in range(1, 6):
        session.step(batch(t), 0.05)
    state = session.state()
    for name, want in reference(spec, 5, 0.05).items():
        np.testing.assert_allclose(state[f"parameter/{name}"], want, rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("spec", RULES, ids=lambda s: f"{s.kind}-{s.arguments}-{s.weight_decay}-{s.clip}")
def test_a_resumed_run_is_the_run(spec: OptimizerSpec) -> None:
    whole = BACKEND.session(regression(), start(), spec)
    for t in range(6):
        whole.step(batch(t), 0.1 / (t + 1))
    half = BACKEND.session(regression(), start(), spec)
    for t in range(3):
        half.step(batch(t), 0.1 / (t + 1))
    saved = {k: v.copy() for k, v in half.state().items()}
    half.step(batch(9), 0.3)  # must not reach what was saved
    other = BACKEND.session(regression(), {n: np.zeros(v.shape) for n, v in start().items()}, spec)
    other.load_state(saved)
    for t in range(3, 6):
        other.step(batch(t), 0.1 / (t + 1))
    assert list(other.state()) == list(whole.state())
    for key, want in whole.state().items():
        assert other.state()[key].tobytes() == want.tobytes(), key


def test_keys_of_the_state() -> None:
    names = {"first.weight", "second.weight", "second.bias", "unused"}
    plain = {f"parameter/{n}" for n in [*names, "running"]} | {"optimizer/step"}
    slots = {"adam": {"m", "v"}, "adamw": {"m", "v"}, "adagrad": {"sum"}, "sgd": {"momentum"}}
    for kind, own in slots.items():
        session = BACKEND.session(
            regression(), start(), OptimizerSpec(kind, {"momentum": 0.5} if kind == "sgd" else {})
        )
        state = session.state()
        assert set(state) == plain | {f"optimizer/{s}/{n}" for s in own for n in names}
        assert state["optimizer/step"].dtype == np.int64
        assert {v.dtype for k, v in state.items() if k != "optimizer/step"} == {np.dtype(np.float32)}


def test_a_step_reports_scalars_and_writes_state_back() -> None:
    session = BACKEND.session(regression(), start(), OptimizerSpec("sgd"), options=DOUBLE)
    before = session.state()["parameter/running"]
    _, gradients = session.gradients(batch(0))
    report = session.step(batch(0), 0.01)
    assert set(report) == {"loss", "error", "gradient_norm"}
    assert all(type(v) is float for v in report.values())
    norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    assert report["gradient_norm"] == pytest.approx(norm)
    np.testing.assert_allclose(session.state()["parameter/running"], before * 0.5 + 1.0)


def test_mixed_precision_stays_close() -> None:
    exact = BACKEND.session(regression(), start(), OptimizerSpec("sgd"))
    mixed = BACKEND.session(regression(), start(), OptimizerSpec("sgd"), options=SessionOptions(mixed=True))
    a, b = exact.run("loss", batch(0)), mixed.run("loss", batch(0))
    assert b["loss"].dtype == np.float32
    assert b["loss"] == pytest.approx(a["loss"], rel=0.05)
    mixed.step(batch(0), 0.01)
    assert {t.dtype for t in mixed.tensors.values()} == {torch.float32}


def test_a_session_leaves_the_global_generator_and_dtype_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    BACKEND.session(regression(), start(), options=DOUBLE)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("mixed", [False, True])
def test_steps_on_cuda(mixed: bool) -> None:
    here = BACKEND.session(regression(), start(), OptimizerSpec("adam"))
    there = BACKEND.session(
        regression(), start(), OptimizerSpec("adam"), options=SessionOptions(device="cuda", mixed=mixed)
    )
    for t in range(3):
        a, b = here.step(batch(t), 0.01), there.step(batch(t), 0.01)
        assert b["loss"] == pytest.approx(a["loss"], rel=0.05 if mixed else 1e-4)


def transposed() -> Module:
    """A loss whose gradient by its weight is computed as the transpose of an array."""
    module = Module("transposed", Source("transposed.mp", ""))
    module.parameters["w"] = ParameterSpec("w", (3, 4), Init("zeros"), Span.none())
    g = Graph("loss")
    b = Builder(g)
    x, w = b.input("x", float_type(symbol("N"), 4, 3)), b.emit(Parameter("w", float_type(3, 4)))
    d = b.emit(Sub(), x, b.emit(Transpose((1, 0)), w))
    g.outputs["loss"] = b.emit(Sum((0, 1, 2)), b.emit(Mul(), d, d))
    module.programs["loss"] = g.live()
    return module


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_gradient_is_laid_out_as_its_weight(kind: str) -> None:
    """Torch's fused kernels read arrays in the order of memory, whatever their strides say."""
    rng = np.random.default_rng(0)
    start, x = {"w": rng.normal(size=(3, 4))}, {"x": rng.normal(size=(2, 4, 3))}
    session = BACKEND.session(transposed(), start, OptimizerSpec(kind), options=DOUBLE)
    step = train_step(transposed(), OptimizerSpec(kind))
    state = session.state()
    for number in range(1, 4):
        given = {k: v for k, v in state.items() if k.startswith("optimizer/")}
        given |= {RATE: np.array(0.1), STEP: np.array(number), **x}
        made = interpret(step, {"w": state["parameter/w"]}, given)
        session.step(x, 0.1)
        state = session.state()
        for name, value in made.items():
            if name.startswith(NEXT):
                np.testing.assert_allclose(state[name.removeprefix(NEXT)], value, rtol=1e-10, atol=1e-12)
