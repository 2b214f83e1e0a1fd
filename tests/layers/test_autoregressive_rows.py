"""FVSBN, NADE, PixelCNNs, Pixel-RNNs and WaveNet against formulas written out; discretised mixtures of logistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import specs_under_test as specs
from derived import derived, optimised
from stated import answers

from mpcompile import api
from mpcompile.backend import DOUBLE, find_backend
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.layers.masks import ranks
from mpcompile.lowering import lower
from mpcompile.ops import Scan
from mpcompile.runner.data import load_data
from mpcompile.runner.examples import example_inputs, example_weights


def from_text(text: str) -> Module:
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})


def weights(m: Module) -> dict[str, np.ndarray]:
    return {k: np.asarray(v, np.float64) for k, v in example_weights(m).items()}


def logits(m: Module, w: dict[str, np.ndarray], x: np.ndarray, **given: np.ndarray) -> np.ndarray:
    (out,) = interpret(m.programs["conditionals"], w, {"x": x, **given}, {}).values()
    return np.asarray(out)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-z)))


def test_fvsbn_is_one_regression_for_each_pixel() -> None:
    m = specs.module("fvsbn")
    w = weights(m)
    x = example_inputs(m, "log_prob", 3)["x"]
    (weight,) = (v for k, v in w.items() if k.endswith("weight"))
    (bias,) = (v for k, v in w.items() if k.endswith("bias"))
    expected = np.stack([bias[d] + x[:, :d] @ weight[d, :d] for d in range(x.shape[1])], 1)
    np.testing.assert_allclose(logits(m, w, x), expected, atol=1e-12)


@pytest.mark.parametrize("order", ["natural", "random"])
def test_nade_is_the_naive_formula(order: str) -> None:
    """Larochelle and Murray 2011, eqs. 5 and 6: h_d = sigmoid(c + W[before d] x), for each d anew."""
    text = f"""
        model m
        input x: binary[9]
        x ~ autoregressive(order = {order}, seed = 2, likelihood = bernoulli) {{ nade(5) }}"""
    m = from_text(text)
    w = weights(m)
    named = {k.rpartition(".")[2]: v for k, v in w.items()}
    rank = ranks(order, 9, 2)
    x = example_inputs(m, "log_prob", 4)["x"]
    expected = np.zeros((4, 9))
    for d in range(9):
        before = [i for i in range(9) if rank[i] < rank[d]]
        hidden = sigmoid(named["bias"] + x[:, before] @ named["weight"][before])
        expected[:, d] = named["bias_out"][d] + hidden @ named["weight_out"][d]
    np.testing.assert_allclose(logits(m, w, x), expected, atol=1e-12)
    assert [v.status for v in answers(m)] == ["proved"]


def test_nade_needs_an_order() -> None:
    with pytest.raises(SpecError, match="autoregressive"):
        from_text("model m\ninput x: real[4]\ntarget y: real[4]\ny ~ normal(x -> nade(3))")


def test_a_class_moves_every_gate() -> None:
    """With all other biases zero, each of them still tells two classes apart."""
    m = specs.module("gated_pixelcnn")
    w = weights(m)
    biases = [k for k in w if "embedding" in k]
    assert len(biases) == 2 * m.params["layers"]
    for kept in biases:
        only = {k: v * (k == kept or k not in biases) for k, v in w.items()}
        first, second = logits(m, only, np.zeros((2, 1, 8, 8)), label=np.array([3, 4]))
        assert abs(first - second).max() > 1e-6


ROW = """
model m
input x: binary[1, 6, 5]
x ~ autoregressive(likelihood = bernoulli) {
  conv(3, 3, pad = same, mask = causal2d(type = A)) -> row_lstm(2, 3) -> conv(1, 1)
}
check { autoregressive(x) }
"""


def test_row_lstm_is_the_recurrence_of_the_paper() -> None:
    """van den Oord et al. 2016, eq. 3, with torch's convolutions."""
    torch = pytest.importorskip("torch")
    fn = torch.nn.functional
    m = from_text(ROW)
    w = {k.removeprefix("x.net."): torch.tensor(v) for k, v in weights(m).items()}
    x = torch.tensor(example_inputs(m, "log_prob", 2)["x"])
    first = w["conv_0.weight"].clone()
    first[:, :, 1, 1:] = 0
    first[:, :, 2] = 0
    image = fn.conv2d(x, first, w["conv_0.bias"], padding=1)
    kernel = w["row_lstm_0.input.weight"].clone()
    kernel[..., 2] = 0
    driven = fn.conv2d(image, kernel, w["row_lstm_0.input.bias"], padding=(0, 1))
    h = c = torch.zeros(2, 2, 5, dtype=torch.float64)
    rows = []
    for r in range(6):
        o, f, i, g = (driven[:, :, r] + fn.conv1d(h, w["row_lstm_0.weight_hh"], padding=1)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        rows.append(h)
    expected = fn.conv2d(torch.stack(rows, 2), w["conv_1.weight"], w["conv_1.bias"])
    np.testing.assert_allclose(logits(m, weights(m), x.numpy()), expected.numpy(), atol=1e-12)


def test_row_lstm_sees_the_triangle_above() -> None:
    """By differences: the logit of a pixel reads those left of it and, a row up, one more to the right each row."""
    m = from_text(ROW.replace("conv(3, 3, pad = same, mask = causal2d(type = A))", "shift_down"))
    w = weights(m)
    x = np.zeros((1, 1, 6, 5))
    base = logits(m, w, x)
    seen = np.zeros((6, 5), bool)
    for r, c in np.ndindex(6, 5):
        moved = x.copy()
        moved[0, 0, r, c] = 1
        seen[r, c] = abs(logits(m, w, moved) - base)[0, 0, 4, 1] > 1e-15
    expected = np.array([[r < 4 and c <= 1 + (3 - r) for c in range(5)] for r in range(6)])
    assert (seen == expected).all()
    assert [v.status for v in answers(m)] == ["proved"]


DISCRETE = """
model m
input x: integer(LOW..HIGH)[1, 2, 2]
x ~ autoregressive(likelihood = discretized(mixture(logistic)), components = 2) {
  conv(6, 3, pad = same, mask = causal2d(type = A))
}
"""


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (3, 9)])
def test_discretised_mixture(low: int, high: int) -> None:
    """Against scipy's logistic distribution function, and as a law: masses of all levels add to one."""
    from scipy.stats import logistic

    m = from_text(DISCRETE.replace("LOW", str(low)).replace("HIGH", str(high)))
    w = weights(m)
    levels = np.arange(low, high + 1)
    x = np.full((len(levels), 1, 2, 2), float(low))
    x[:, 0, 1, 1] = levels  # the last pixel: all conditionals but its own are the same
    parameters = interpret(m.programs["conditionals"], w, {"x": x}, {})
    score = interpret(m.programs["log_prob"], w, {"x": x}, {})["log_prob"]
    pi, loc, log_scale = (parameters[k][:, :, 0, 1, 1] for k in ("logits", "loc", "log_scale"))
    pi = np.exp(pi) / np.exp(pi).sum(1, keepdims=True)
    t = 2 * (levels - low)[:, None] / (high - low) - 1
    half = 1 / (high - low)
    upper = np.where(t > 1 - half, np.inf, t + half)
    lower = np.where(t < half - 1, -np.inf, t - half)
    scale = np.exp(log_scale)
    mass = (pi * (logistic.cdf(upper, loc, scale) - logistic.cdf(lower, loc, scale))).sum(1)
    np.testing.assert_allclose(mass.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(score - score[0], np.log(mass) - np.log(mass[0]), atol=1e-9)


def test_the_receptive_field_of_wavenet_doubles_with_each_layer() -> None:
    """By differences: 1 + cycles (2^layers - 1), and the two taps of the first convolution."""
    m = specs.module("wavenet")
    w = weights(m)
    time = 40
    x = np.zeros((1, time), np.int64)
    timbre = np.zeros(1, np.int64)
    base = logits(m, w, x, timbre=timbre)
    seen = []
    for t in range(time):
        moved = x.copy()
        moved[0, t] = 1
        if np.abs(logits(m, w, moved, timbre=timbre) - base)[0, -1].max() > 0:
            seen.append(time - 1 - t)
    layers, cycles = int(m.params["layers"]), int(m.params["cycles"])
    assert seen == list(range(1 + cycles * (2**layers - 1) + 1, 0, -1))


DIAGONAL = """
model m
input x: binary[1, 5, 4]
x ~ autoregressive(likelihood = bernoulli) {
  conv(3, 3, pad = same, mask = causal2d(type = A)) -> diagonal_bilstm(2) -> conv(1, 1)
}
"""


def test_diagonal_bilstm_is_the_recurrence_pixel_by_pixel() -> None:
    """Without skewed maps: each state from those above and beside it, from both sides."""
    torch = pytest.importorskip("torch")
    fn = torch.nn.functional
    m = from_text(DIAGONAL)
    w = {k.removeprefix("x.net."): torch.tensor(v) for k, v in weights(m).items()}
    x = torch.tensor(example_inputs(m, "log_prob", 2)["x"])
    first = w["conv_0.weight"].clone()
    first[:, :, 1, 1:] = 0
    first[:, :, 2] = 0
    image = fn.conv2d(x, first, w["conv_0.bias"], padding=1)
    total = torch.zeros(2, 2, 5, 4, dtype=torch.float64)
    for side, step in (("left", 1), ("right", -1)):
        part = {k.partition(f"{side}.")[2]: v for k, v in w.items() if f".{side}." in k}
        kernel = next(v for k, v in part.items() if k.endswith("weight"))[:, :, 0, 0]
        bias = next(v for k, v in part.items() if k.endswith("bias"))
        above, beside = part["weight_hh"][..., 0], part["weight_hh"][..., 1]
        zero = torch.zeros(2, 2, dtype=torch.float64)
        h, c = {}, {}
        for r in range(5):
            for q in range(4)[::step]:
                up, near = h.get((r - 1, q), zero), h.get((r, q - step), zero)
                gates = image[:, :, r, q] @ kernel.T + bias + up @ above.T + near @ beside.T
                o, f, i, g = gates.chunk(4, 1)
                c[r, q] = f.sigmoid() * c.get((r, q - step), zero) + i.sigmoid() * g.tanh()
                h[r, q] = o.sigmoid() * c[r, q].tanh()
                row = r + (side == "right")
                if row < 5:
                    total[:, :, row, q] += h[r, q]
    expected = fn.conv2d(total, w["conv_1.weight"], w["conv_1.bias"])
    np.testing.assert_allclose(logits(m, weights(m), x.numpy()), expected.numpy(), atol=1e-12)
    assert [v.status for v in answers(m)] == ["proved"]


def test_all_that_a_diagonal_pixel_rnn_misses_is_the_end_of_the_row_above() -> None:
    """By differences, for the spec: columns further than three from the last one, its 7 x 7 kernel's reach."""
    m = diagonal()
    w = {k: 3 * v for k, v in weights(m).items()}
    alone = np.concatenate([np.zeros((1, 64)), np.eye(64)]).reshape(65, 1, 8, 8)
    found = logits(m, w, alone).reshape(65, 64)
    seen = found[1:] != found[:1]  # [source, target]
    for source, target in np.ndindex(64, 64):
        above = source // 8 + 1 == target // 8 and source % 8 == 7
        missed = above and target % 8 < 4
        assert seen[source, target] == (source < target and not missed)


def diagonal() -> Module:
    return api.load(specs.ROOT / "specs" / "vision" / "diagonal_bilstm.mp")


def test_a_diagonal_pixel_rnn_is_emitted_and_sampled_as_a_whole() -> None:
    """A recurrence over diagonals follows no loop over rows and columns: its network runs until nothing changes."""
    m = diagonal()
    w = weights(m)
    given = example_inputs(m, "log_prob", 3)
    found = find_backend("torch").session(m, w, options=DOUBLE).run("log_prob", given)
    expected = interpret(m.programs["log_prob"], w, given)
    np.testing.assert_allclose(found["log_prob"], expected["log_prob"], rtol=1e-9)
    fast = derived(m.programs["sample"]).graph
    (loop,) = (n.op for n in fast.nodes() if isinstance(n.op, Scan) and n.op.until_fixed_point)
    assert loop.length == 64  # at the most, one iteration for each pixel


LOCAL = """
model m(levels = 8, hop = 3)
input x: category(levels)[hop * frames]
condition control: real[frames, 2]
condition voice: category(4)
block layer(d) on h {
  fine = control -> dense(8) -> stretch(hop)
  whole = voice -> embedding(8)
  z = (h -> conv1d(8, 2, dilation = d)) + fine + whole -> gate -> dense(4)
  yield h + z
}
x ~ autoregressive(likelihood = categorical) {
  embedding(4) -> shift -> conv1d(4, 2) -> layer(1) -> layer(2) -> dense(levels)
}
train { data: "sound.npz", batch: 4, steps: 2 }
"""


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_wavenet_reads_controls_of_a_slower_sequence(backend: str) -> None:
    """van den Oord et al. 2016, section 2.5: frame f is read by its `hop` steps and, through states, by later ones."""
    m = from_text(LOCAL)
    (verdict,) = answers(m)
    assert verdict.how == "offset sets, for every length"
    w = weights(m)
    rng = np.random.default_rng(0)
    x, voice = rng.integers(0, 8, (1, 15)), np.array([2])
    control = np.repeat(rng.standard_normal((1, 5, 2)), 6, 0)
    control[np.arange(1, 6), np.arange(5)] += 1
    given = {"x": np.repeat(x, 6, 0), "control": control, "voice": np.repeat(voice, 6)}
    out = interpret(m.programs["conditionals"], w, given)["logits"]
    moved = np.abs(out[1:] - out[:1]).max(2) > 1e-12
    for frame, row in enumerate(
        moved
    ):  # two layers of dilation 1 and 2 look three steps back; the last has its own
        reach = np.arange(15)
        assert (row == ((reach >= 3 * frame) & (reach < 3 * frame + 3 + 2))).all()
    fast = optimised(m)
    noise = {"control": control[:2], "voice": voice.repeat(2), "noise_x": rng.uniform(size=(2, 15))}
    slow = interpret(m.programs["sample"], w, noise)["x"]
    found = find_backend(backend).session(fast.module, w, options=DOUBLE).run("sample", noise)["x"]
    np.testing.assert_array_equal(found, slow)


def test_controls_come_with_the_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = {
        "x": rng.integers(0, 8, (20, 12)),
        "control": rng.standard_normal((20, 4, 2)),
        "voice": np.arange(20) % 4,
    }
    np.savez(tmp_path / "sound.npz", **parts)
    taken = load_data(from_text(LOCAL), str(tmp_path / "sound.npz")).split("train").take(np.arange(2))
    assert taken["x"].shape == (2, 12) and taken["control"].shape == (2, 4, 2)
    np.savez(tmp_path / "sound.npz", **(parts | {"x": rng.integers(0, 8, (20, 13))}))
    with pytest.raises(SpecError, match="MP503"):
        load_data(from_text(LOCAL), str(tmp_path / "sound.npz"))
