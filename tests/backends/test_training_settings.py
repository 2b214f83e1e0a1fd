"""Rules, groups of parameters, means of weights, skipped steps: the published arithmetic in numpy, every backend."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mpcompile.backend import DOUBLE, SessionOptions, find_backend, installed, open_session, without_dead
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.group import Group
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile.runner.settings import settings

TEXT = """model m
input x: real[4]
target y: real[3]
net encoder = dense(5) -> tanh -> layer_norm
block res(w) = residual(layer_norm -> dense(w) -> tanh)
block deep(w) = batch_norm -> repeat i in 1..2 { res(w) } -> dense(3)
y ~ normal(loc = encoder(x) -> deep(5))
"""
RATE, DECAY = 0.01, 0.1


def made(train: str) -> Module:
    text = f"{TEXT}train {{ {train} }}\n"
    return optimise(lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})).module


# --- the published rules: (weight, gradient, slots, decay) -> weight; slots change in place ---

Slots = dict[str, Array]
Rule = Callable[[Array, Array, Slots, float], Array]


def rmsprop(p: Array, g: Array, s: Slots, decay: float) -> Array:
    """torch.optim.RMSprop(alpha=0.9, eps=1e-3, momentum=0.5)."""
    g = g + decay * p
    s["v"] = 0.9 * s["v"] + 0.1 * g * g
    s["momentum"] = 0.5 * s["momentum"] + g / (np.sqrt(s["v"]) + 1e-3)
    return p - RATE * s["momentum"]


def lion(p: Array, g: Array, s: Slots, decay: float) -> Array:
    """Chen et al. 2023, algorithm 2."""
    moved = np.sign(0.8 * s["m"] + 0.2 * g)
    s["m"] = 0.95 * s["m"] + 0.05 * g
    return p - RATE * (moved + decay * p)


def muon(p: Array, g: Array, s: Slots, decay: float) -> Array:
    """Jordan 2024: the polynomial of the iteration acts on singular values; vectors as in adamw."""
    s["m"] = 0.9 * s["m"] + (1 - 0.9) * g
    if p.ndim == 1:
        number = s["number"] = s.get("number", np.zeros(())) + 1
        s["v"] = 0.99 * s["v"] + 0.01 * g * g
        step = s["m"] / (1 - 0.9**number) / (np.sqrt(s["v"] / (1 - 0.99**number)) + 1e-8)
        return p - RATE * (step + decay * p)
    ahead = 0.9 * s["m"] + (1 - 0.9) * g
    u, sizes, v = np.linalg.svd(ahead / (np.linalg.norm(ahead) + 1e-7), full_matrices=False)
    for _ in range(4):
        sizes = 3.4445 * sizes - 4.7750 * sizes**3 + 2.0315 * sizes**5
    return p - RATE * (0.2 * np.sqrt(max(p.shape)) * (u * sizes) @ v + decay * p)


RULES: dict[str, tuple[str, Rule, tuple[str, ...]]] = {
    "rmsprop": (f"rmsprop({RATE}, alpha = 0.9, eps = 1e-3, momentum = 0.5)", rmsprop, ("v", "momentum")),
    "lion": (f"lion({RATE}, beta1 = 0.8, beta2 = 0.95)", lion, ("m",)),
    "muon": (f"muon({RATE}, momentum = 0.9, iterations = 4, beta1 = 0.9, beta2 = 0.99)", muon, ("m", "v")),
}


#: jax compiles for seconds what onnxruntime runs as the same graph: of the two element-wise rules it has one.
CASES = [(kind, b) for kind in RULES for b in installed() if (kind, b) != ("rmsprop", "jax")]


@pytest.mark.parametrize(("kind", "backend"), CASES)
def test_steps_are_the_published_arithmetic(kind: str, backend: str) -> None:
    """With frozen parts, matrices that alone decay, clipping, a mean of weights, and a step that is skipped."""
    text, rule, slots = RULES[kind]
    m = made(
        f"optimizer: {text}, weight_decay: {DECAY}, decay: matrices, freeze: [encoder], clip: 0.5, ema: 0.9, skip: 1e3"
    )
    spec = settings(m).optimizer
    assert spec.kept == (*slots, "ema") and spec.skip == 1e3
    start = example_weights(m, spread=0.3)
    found = find_backend(backend)
    session = found.session(m, start, spec, options=DOUBLE)
    oracle = found.session(m, start, options=DOUBLE)
    trained = [n for n, p in m.parameters.items() if p.trained]
    assert trained and not any(n.startswith("encoder.") for n in trained)
    want = {n: np.asarray(a, np.float64) for n, a in start.items()}
    kept = {n: {s: np.zeros_like(want[n]) for s in spec.kept_for(want[n].shape)} for n in trained}
    for number in range(1, 7):
        batch = example_inputs(m, "loss", 8, seed=number)
        if number == 3:  # a step of no use, and one whose gradient is too large
            batch["x"] = np.full_like(batch["x"], np.nan)
        if number == 4:
            batch["y"] = batch["y"] + 1e6
        before = session.state()
        told = session.step(batch, RATE)
        if number in (3, 4):
            assert told["skipped"] == 1
            after = session.state()
            assert all(np.array_equal(after[k], a) for k, a in before.items())
            continue
        assert told["skipped"] == 0
        oracle.load_state({f"parameter/{n}": a for n, a in want.items()})
        outputs, gradients = oracle.gradients(batch)
        assert list(gradients) == trained
        norm = np.sqrt(sum(np.sum(g**2) for g in gradients.values()))
        assert told["gradient_norm"] == pytest.approx(norm, rel=1e-9)
        for n, g in gradients.items():
            decay = DECAY if want[n].ndim > 1 else 0.0
            want[n] = rule(want[n], g * min(1.0, 0.5 / norm), kept[n], decay)
            kept[n]["ema"] = 0.9 * kept[n]["ema"] + 0.1 * want[n]
        want |= {n: outputs[o] for n, o in m.updates("loss").items()}
    state = session.state()
    assert state["optimizer/step"] == 4
    assert {k for k in state if k.startswith("optimizer/")} == {
        "optimizer/step",
        *(f"optimizer/{s}/{n}" for n in trained for s in spec.kept_for(want[n].shape)),
    }
    for n, expected in want.items():
        np.testing.assert_allclose(state[f"parameter/{n}"], expected, rtol=1e-9, atol=1e-11, err_msg=n)
        if n not in trained and n not in m.updates("loss"):
            assert np.array_equal(state[f"parameter/{n}"], np.asarray(start[n], np.float64))
    for n, arrays in kept.items():
        for slot, array in [(s, a) for s, a in arrays.items() if s in spec.kept]:
            np.testing.assert_allclose(
                state[f"optimizer/{slot}/{n}"], array, rtol=1e-9, atol=1e-11, err_msg=n
            )


@pytest.mark.parametrize("backend", installed())
def test_statistics_of_a_frozen_part_stay(backend: str) -> None:
    m = made("optimizer: sgd(0.1), freeze: [deep]")
    session = find_backend(backend).session(m, example_weights(m), settings(m).optimizer)
    before = session.state()
    session.step(example_inputs(m, "loss", 8), 0.1)
    changed = {k for k, a in session.state().items() if not np.array_equal(a, before[k])}
    assert changed == {
        "optimizer/step",
        *(f"parameter/{n}" for n in m.parameters if n.startswith("encoder.")),
    }


@pytest.mark.parametrize("backend", installed())
def test_masked_weights_keep_their_groups_when_they_are_packed(backend: str) -> None:
    """Boxes of a weight decay and are averaged as the weight is; the frozen one keeps its bits, dead elements stay 0."""
    text = f"""model m
input x: binary[12]
mask up = degrees(hidden = 24)
x ~ autoregressive(likelihood = bernoulli) {{ dense(24, mask = up) -> relu -> dense(12, mask = strict(up)) }}
train {{ optimizer: lion({RATE}), weight_decay: {DECAY}, decay: matrices, ema: 0.5, skip: not_finite,
  freeze: ["x.net.dense_0.weight"] }}
"""
    own = optimise(lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {}))
    m = own.module
    spec, start = settings(m).optimizer, example_weights(m, spread=0.3)
    supports = {n: p.support for n, p in m.parameters.items() if p.support is not None}
    start = without_dead(start, supports)
    plain = find_backend(backend).session(m, start, spec, options=DOUBLE)
    packed = open_session(backend, own, start, spec, options=DOUBLE, blocks=2)
    for number in range(3):
        for session in (plain, packed):
            session.step(example_inputs(m, "loss", 8, seed=number), RATE)
    want, found = plain.state(), packed.state()
    assert want.keys() == found.keys()
    for key, array in want.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-9, atol=1e-12, err_msg=key)
        name = key.rpartition("/")[2]
        if name in supports:
            assert not array[~supports[name].stored].any()
    name = "x.net.dense_0.weight"
    assert np.array_equal(found[f"parameter/{name}"], np.asarray(start[name], np.float64))
    assert f"optimizer/ema/{name}" not in found


def test_muon_takes_layers_of_a_region_one_by_one() -> None:
    """Weights that lie in one array elsewhere, and kernels of several axes: the graph's step is that of the kernel."""
    text = """model m
input x: real[2, height: 3, width: 3]
target y: real[2]
net body = conv(3, kernel = 3) -> flatten -> dense(4) -> repeat i in 1..9 { dense(4) -> tanh } -> dense(2)
y ~ normal(loc = body(x))
train { optimizer: muon(0.01) }
"""
    m = optimise(lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})).module
    start, batch = example_weights(m), example_inputs(m, "loss", 4)
    states = []
    for backend in ("torch", "onnx"):
        session = open_session(backend, m, start, settings(m).optimizer, options=DOUBLE)
        for _ in range(2):
            session.step(batch, 0.01)
        session.load_state(session.state())
        session.step(batch, 0.01)
        states.append(session.state())
    assert states[0].keys() == states[1].keys()
    assert "optimizer/v/body.conv_0.bias" in states[0] and "optimizer/v/body.conv_0.weight" not in states[0]
    for key, array in states[0].items():
        np.testing.assert_allclose(states[1][key], array, rtol=1e-9, atol=1e-12, err_msg=key)


def test_muon_is_refused_where_weights_are_not_whole() -> None:
    text = "model m\ninput x: binary[4]\nx ~ autoregressive { nade(8) }\ntrain { optimizer: muon(0.01) }\n"
    masked = text.replace("nade(8)", "dense(8, mask = up) -> relu -> dense(4, mask = strict(up))")
    masked = masked.replace("]\n", "]\nmask up = degrees(hidden = 8)\n")
    lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})
    with pytest.raises(SpecError, match="would fill what a mask removes") as refused:
        lower(parse_text(masked, "m.mp", "mp"), Source("m.mp", masked), {})
    assert refused.value.diagnostics[0].code == "MP511"
    m = made("optimizer: muon(0.01)")
    with pytest.raises(SpecError, match="reads whole weights"):
        open_session(
            "torch",
            m,
            example_weights(m),
            settings(m).optimizer,
            options=SessionOptions(group=Group(0, 2, 2, "sharded")),
        )


def test_torch_compiles_the_loss_of_a_step_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss that is differentiated, and nothing else; its compiler takes half a minute, so that another stands in."""
    m, calls = made("optimizer: sgd(0.1)"), list[str]()

    def compiler(method: Callable[..., object]) -> Callable[..., object]:
        def called(*args: object) -> object:
            calls.append(method.__name__)
            return method(*args)

        return called

    monkeypatch.setattr("torch.compile", compiler)
    start, batch = example_weights(m), example_inputs(m, "loss", 4)
    plain, compiled = (
        open_session("torch", m, start, settings(m).optimizer, options=SessionOptions(compiled=c))
        for c in (False, True)
    )
    plain.step(batch, 0.1)
    compiled.run("loss", batch)
    assert not calls
    compiled.step(batch, 0.1)
    assert calls == ["loss"]
    for key, array in plain.state().items():
        assert np.array_equal(compiled.state()[key], array)
    for backend in ("jax", "onnx"):
        with pytest.raises(SpecError, match="has no `--compile`") as refused:
            open_session(backend, m, start, settings(m).optimizer, options=SessionOptions(compiled=True))
        assert refused.value.diagnostics[0].code == "MP511"
