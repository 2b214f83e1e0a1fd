"""A session that stores weights without what masks remove trains as one that multiplies with masks.

`python benchmarks/packed.py --check` runs the first law for every masked spec, backend, optimiser and decay.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from specs_under_test import fresh, inputs, path, weights

from mpcompile import api
from mpcompile.backend import (
    DOUBLE,
    MaskedSession,
    OptimizerSpec,
    Session,
    find_backend,
    installed,
    open_session,
    without_dead,
)
from mpcompile.ir import Array, Module
from mpcompile.passes.packing import fuse
from mpcompile.passes.pipeline import optimise

EACH = [
    OptimizerSpec("adam", clip=0.5, weight_decay=0.1), OptimizerSpec("sgd", {"momentum": 0.9}, 0.1),
    OptimizerSpec("adamw", weight_decay=0.1), OptimizerSpec("adagrad", weight_decay=0.1), OptimizerSpec("perceptron"),
]  # fmt: skip
#: torch has all; another backend has to compile a step for each.
CASES = [(b, s) for b in installed() for s in EACH[: None if b == "torch" else 1]]
PROGRAMS = [*(("made", b) for b in installed()), ("rgb_pixelcnn", "torch"), ("rgb_pixelcnn", "onnx")]


@cache
def made(name: str) -> tuple[Module, dict[str, Array], dict[str, Any]]:
    """A module, its weights with dead elements at zero, and a batch."""
    m = optimise(fresh(name)).module
    supports = {n: p.support for n, p in m.parameters.items() if p.support is not None}
    return m, without_dead(weights(m), supports), inputs(m, "loss", 4)


@cache
def opened(backend: str, name: str, number: int) -> tuple[Session, MaskedSession]:
    """One with masks, and one that is packed: in two blocks, or cropped."""
    m, w, _ = made(name)
    packed = open_session(backend, m, w, EACH[number], options=DOUBLE, blocks=2)
    assert isinstance(packed, MaskedSession) and packed.layout
    return find_backend(backend).session(m, w, EACH[number], options=DOUBLE), packed


def sessions(backend: str, name: str, rule: OptimizerSpec) -> tuple[Session, MaskedSession]:
    """Both at their beginning."""
    _, w, _ = made(name)
    masked, packed = opened(backend, name, EACH.index(rule))
    state = {k: np.zeros_like(a) for k, a in masked.state().items()} | {
        f"parameter/{n}": a for n, a in w.items()
    }
    for session in (masked, packed):
        session.load_state(state)
    return masked, packed


def held_to(found: dict[str, Array], want: dict[str, Array]) -> None:
    """Equal state, with dead elements exactly zero in weights and slots."""
    assert found.keys() == want.keys()
    for key, array in want.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-9, atol=1e-9, err_msg=key)
    for name, spec in made("made")[0].parameters.items():
        for key in [k for k in found if k.endswith(f"/{name}") and spec.support is not None]:
            assert not found[key][~spec.support.stored].any()


@pytest.mark.parametrize(("backend", "rule"), CASES, ids=lambda c: getattr(c, "kind", c))
def test_packed_training_is_training_with_masks(backend: str, rule: OptimizerSpec) -> None:
    m, _, _ = made("made")
    masked, packed = sessions(backend, "made", rule)
    for k in range(200):
        batch = inputs(m, "loss", 4, seed=k)
        told = [s.step(batch, 1e-2)["gradient_norm"] for s in (masked, packed)]
        assert told[0] == pytest.approx(told[1], rel=1e-9)
    held_to(packed.state(), masked.state())


@pytest.mark.parametrize("backend", installed())
def test_a_checkpoint_goes_on_packed_and_with_masks(backend: str) -> None:
    """Written packed, continued with masks, and back; and masked when a state that is not ours is loaded."""
    rule = EACH[0]
    m, _, batch = made("made")
    masked, packed = sessions(backend, "made", rule)
    apart = [masked, packed, masked]
    for k, session in enumerate(apart):
        if k:
            session.load_state(apart[k - 1].state())
        session.step(batch, 1e-2)
    found = masked.state()
    _, packed = sessions(backend, "made", rule)
    for _ in apart:
        packed.step(batch, 1e-2)
    held_to(packed.state(), found)
    foreign = {k: a + 1 if k.startswith("parameter/") else a for k, a in packed.state().items()}
    packed.load_state(foreign)
    state = packed.state()
    for name, spec in m.parameters.items():
        live = np.ones(spec.shape, bool) if spec.support is None else spec.support.stored
        np.testing.assert_array_equal(
            state[f"parameter/{name}"], np.where(live, foreign[f"parameter/{name}"], 0)
        )


@pytest.mark.parametrize(("name", "backend"), PROGRAMS)
def test_programs_and_gradients_have_the_names_of_the_model(name: str, backend: str) -> None:
    m, _, batch = made(name)
    masked, packed = sessions(backend, name, EACH[0])
    (_, want), (_, found) = masked.gradients(batch), packed.gradients(batch)
    assert list(found) == list(want) == [n for n, p in m.parameters.items() if p.trainable]
    for key, array in want.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-9, atol=1e-11, err_msg=key)
    given = inputs(m, "log_prob", 2)
    want, found = masked.run("log_prob", given), packed.run("log_prob", given)
    np.testing.assert_allclose(found["log_prob"], want["log_prob"], rtol=1e-12)


def test_what_is_not_packed_has_zeros_too() -> None:
    """On another device, for small weights, and under an optimiser that mixes elements: the state is masked alike."""
    m, w, _ = made("made")
    session = open_session("torch", m, {n: a + 1 for n, a in w.items()}, options=DOUBLE)
    assert isinstance(session, MaskedSession)
    assert not any(len(packed.boxes) > 1 for packed in session.layout.weights.values())
    for name, spec in m.parameters.items():
        if spec.support is not None:
            assert not session.state()[f"parameter/{name}"][~spec.support.stored].any()


def test_large_weights_are_packed_and_small_ones_are_not() -> None:
    """Four to eight blocks for two thousand units, none for a layer of 256."""

    def blocks(hidden: int) -> int:
        m = optimise(api.load(path("made"), {"hidden": hidden})).module
        weight = fuse(m)[1].weights.get("x.net.dense_1.weight")
        return 1 if weight is None else len(weight.boxes)

    assert blocks(2000) in (4, 8) and blocks(256) == 1
