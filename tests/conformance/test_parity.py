"""One spec, every backend, the same numbers: values, gradients, trajectories, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from emptied import held_to_types
from specs_under_test import KINDS, NAMES, inputs, module, optimised, prepared, weights

import mpcompile.runner.verify as verifying
from mpcompile.backend import (
    DOUBLE,
    OptimizerSpec,
    Session,
    SessionOptions,
    find_backend,
    installed,
    open_session,
)
from mpcompile.diagnostics import SpecError
from mpcompile.ir import Array
from mpcompile.passes.pipeline import Optimised
from mpcompile.runner.verify import SPREAD, verify

BACKENDS = installed()
OTHERS = [b for b in BACKENDS if b != "torch"]


def test_all_three_are_installed() -> None:
    assert BACKENDS == ["jax", "onnx", "torch"]


@pytest.mark.parametrize("name", NAMES)
def test_verify_is_green(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mpcompile verify`: float32 to 1e-4, float64 to 1e-9, two batch sizes, two lengths, and the laws.

    The sessions in single precision then take batches of none and sequences of none.
    For jax, which compiles every program at every size, test_jax_specs has the values in float64, and in float32 those of
    one spec of each kind.
    """
    opened: dict[tuple[str, str], Session] = {}

    def opening(
        backend: str, made: Optimised, given: Mapping[str, Array], options: SessionOptions
    ) -> Session:
        session = open_session(backend, made, given, options=options)
        return opened.setdefault((backend, options.precision), session)

    monkeypatch.setattr(verifying, "open_session", opening)
    monkeypatch.setattr(verifying, "optimise", lambda m: prepared(name))
    bad = [r for r in verify(module(name), ["torch", "onnx"]) if not r.holds]
    assert not bad
    for backend in ("torch", "onnx"):
        held_to_types(module(name), opened[backend, "float32"], ((0, 3), (2, 0), (0, 0)))


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_verify_is_green_on_cuda(backend: str) -> None:
    """The same comparisons with the oracle on the CPU, all specs. Where there is no such device, nothing is compared."""
    mlp = module("mlp")
    try:
        find_backend(backend).session(mlp, weights(mlp), options=SessionOptions(device="cuda"))
    except SpecError as absent:
        pytest.skip(str(absent))
    bad = [(name, r) for name in NAMES for r in verify(module(name), [backend], device="cuda") if not r.holds]
    assert not bad


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """max |a - b| / max |a|, over arrays that are not all but zero."""
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-6)) if a.size else 0.0


@pytest.mark.parametrize("name", KINDS)
def test_gradients_are_those_of_torch(name: str) -> None:
    """Every parameter's gradient on jax in float32 to 1e-4 of its largest entry; in float64 test_jax_specs has all.

    Jax is given what the runner trains: `iaf` reads its density off a loop with `until_fixed_point`.
    """
    m = module(name)
    w = weights(m, spread=SPREAD)
    x = inputs(m, "loss", 6)
    _, expected = find_backend("torch").session(m, w).gradients(x)
    _, found = find_backend("jax").session(optimised(name), w).gradients(x)
    gaps = {k: relative(expected[k], found[k]) for k in expected if np.abs(expected[k]).max() > 1e-5}
    assert expected.keys() == found.keys()
    assert max(gaps.values()) < 1e-4, max(gaps.items(), key=lambda item: item[1])


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("name", KINDS)
def test_fifty_steps_of_sgd_end_at_the_same_weights(name: str, backend: str) -> None:
    """50 clipped steps from one seed, fresh data and noise each: every parameter to 1e-7 of its largest entry.

    `benchmarks/trajectories.py` does the same with all specs.
    In double precision, so that it is the arithmetic that is compared: in single precision a bias that stays near zero
    (realnvp's projections) keeps the rounding of its cancelling gradients, 9e-4 of its size on jax.
    """
    m = optimised(name)
    w = weights(m, spread=SPREAD)
    rule = OptimizerSpec("sgd", clip=1.0)
    sessions = [find_backend(b).session(m, w, rule, options=DOUBLE) for b in ("torch", backend)]
    for step in range(50):
        x = inputs(m, "loss", 4, seed=step)
        for session in sessions:
            session.step(x, 1e-2)
    expected, found = (s.state() for s in sessions)
    gaps = {k: relative(v, found[k]) for k, v in expected.items() if k.startswith("parameter/")}
    assert max(gaps.values()) < 1e-7, max(gaps.items(), key=lambda item: item[1])


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "adagrad"])
def test_state_crosses_backends(kind: str, backend: str) -> None:
    """Three steps on torch, state handed over, three on the other: the same as six on torch, and back again."""
    m = module("mlp")
    rule = OptimizerSpec(kind, {"momentum": 0.9} if kind == "sgd" else {}, weight_decay=1e-3, clip=0.5)
    w = weights(m)
    whole, first = (find_backend("torch").session(m, w, rule, options=DOUBLE) for _ in range(2))
    for step in range(6):
        whole.step(inputs(m, "loss", 8, seed=step), 1e-2)
    for step in range(3):
        first.step(inputs(m, "loss", 8, seed=step), 1e-2)
    second = find_backend(backend).session(m, w, rule, options=DOUBLE)
    second.load_state(first.state())
    for step in range(3, 6):
        second.step(inputs(m, "loss", 8, seed=step), 1e-2)
    expected, found = whole.state(), second.state()
    assert expected.keys() == found.keys()
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-9, atol=1e-12, err_msg=key)
