"""Receptive fields against published figures, the closed form for chains, and sets counted by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stated import answers

from mpcompile import api, ops
from mpcompile.analysis.claims.no_blind_spot import PICTURE
from mpcompile.analysis.claims.receptive_field import _most as most
from mpcompile.analysis.claims.receptive_field import receptive_field
from mpcompile.analysis.receptive import ReceptiveField, picture, receptive_fields
from mpcompile.diagnostics import Source, Span
from mpcompile.ir import (
    Bound,
    Builder,
    Claim,
    Frame,
    Graph,
    Module,
    NoRule,
    Parameter,
    Value,
    float_type,
    symbol,
)
from mpcompile.text import parse

Pad = tuple[int, int]


class Net:
    """Layers of one channel over an image, or over a line."""

    def __init__(self, *space: int) -> None:
        self.graph = Graph("net")
        self.b = Builder(self.graph)
        self.dims = len(space)
        self.x = self.b.input("x", float_type(symbol("N"), 1, *space))
        self.count = 0

    def conv(
        self, x: Value, k: int, s: int = 1, pad: Pad = (0, 0), d: int = 1, mask: np.ndarray | None = None
    ) -> Value:
        self.count += 1
        n = self.dims
        w = self.b.emit(Parameter(f"w{self.count}", float_type(1, 1, *(k,) * n)))
        if mask is not None:
            w = self.b.emit(ops.Mul(), w, self.b.constant(mask.reshape(1, 1, k, k).astype(float)))
        return self.b.emit(ops.Conv((s,) * n, (pad,) * n, (d,) * n), x, w)

    def pool(self, x: Value, k: int, s: int, pad: Pad = (0, 0)) -> Value:
        return self.b.emit(ops.MaxPool((k,) * self.dims, (s,) * self.dims, (pad,) * self.dims), x)

    def add(self, x: Value, y: Value) -> Value:
        return self.b.emit(ops.Add(), x, y)

    def field(self, y: Value) -> ReceptiveField:
        self.graph.outputs["y"] = y
        found = receptive_fields(self.graph, "x")["y"]
        assert isinstance(found, ReceptiveField) and found.exact
        return found


# --- published figures: Araujo, Norris and Sim 2019, Computing receptive fields of convolutional networks, table 1 ---


def test_alexnet_v2() -> None:
    net = Net(231, 231)
    x = net.pool(net.conv(net.x, 11, 4), 3, 2)
    x = net.pool(net.conv(x, 5, 1, (2, 2)), 3, 2)
    for _ in range(3):
        x = net.conv(x, 3, 1, (1, 1))
    found = net.field(net.pool(x, 3, 2))
    assert (found.size, found.axes[0].jump, found.axes[0].padding) == (195, 32, 64)
    assert found.aligned


def test_vgg_16() -> None:
    net = Net(224, 224)
    x = net.x
    for layers in (2, 2, 3, 3, 3):
        for _ in range(layers):
            x = net.conv(x, 3, 1, (1, 1))
        x = net.pool(x, 2, 2)
    found = net.field(x)
    assert (found.size, found.axes[0].jump, found.axes[1].padding) == (212, 32, 90)


def resnet_v1_50(pad_of: dict[str, Pad]) -> ReceptiveField:
    """TF-slim's: the stride of a block is in its last unit."""
    net = Net(224, 224)
    x = net.pool(net.conv(net.x, 7, 2, (3, 3)), 3, 2, pad_of["pool"])
    for units, stride in ((3, 2), (4, 2), (6, 2), (3, 1)):
        for unit in range(units):
            s = stride if unit == units - 1 else 1
            branch = net.conv(net.conv(x, 1), 3, s, pad_of["strided"] if s == 2 else (1, 1))
            x = net.add(net.pool(x, 1, s) if s > 1 else x, net.conv(branch, 1))
    return net.field(x)


def test_resnet_v1_50_and_its_alignment() -> None:
    found = resnet_v1_50({"pool": (1, 1), "strided": (1, 1)})
    assert (found.size, found.axes[0].jump) == (483, 32) and found.aligned
    same = resnet_v1_50({"pool": (0, 1), "strided": (0, 1)})  # what SAME gives for even sizes
    assert same.axes[0].jump == 32 and not same.aligned and same.axes[0].centred
    assert same.size == 483


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3)), max_size=4
    )
)
def test_chains_have_the_closed_form(layers: list[tuple[int, int, int, int]]) -> None:
    """r = 1 + Σ (k - 1) d Π strides before; jump = Π strides; padding = Σ p Π strides before."""
    net = Net(400)
    x, size, jump, padding = net.x, 1, 1, 0
    for k, s, d, p in layers:
        x = net.conv(x, k, s, (p, p), d)
        size, padding, jump = size + (k - 1) * d * jump, padding + p * jump, jump * s
    found = net.field(x).axes[0]
    assert (found.size, found.jump, found.padding) == (size, jump, padding)
    assert found.centred and found.aligned


def test_wavenet_of_three_blocks(tmp_path: Path) -> None:
    """van den Oord et al. 2016: dilations 1 .. 512, three times, kernels of two: 3 * 1023 + 1 samples."""
    path = tmp_path / "wavenet.mp"
    text = """model wavenet
input x: category(4)[time]
x ~ autoregressive(likelihood = categorical) {
  embedding(2) -> shift
  repeat i in 0..29 { conv1d(2, 2, dilation = 2 ** (i % 10)) -> tanh }
  dense(4)
}
check { receptive_field(x) == 3070; no_blind_spot(x); autoregressive(x) }
"""
    path.write_text(text, encoding="utf-8")
    verdicts = answers(api.load(path))
    sure = "offset sets; nothing on the way is subtracted, for every length"
    assert [(v.status, v.how) for v in verdicts[:2]] == [("proved", sure)] * 2
    assert (verdicts[2].status, verdicts[2].how) == ("proved", "offset sets, for every length")
    assert verdicts[0].detail["size"] == "3070"
    path.write_text(text.replace("3070", "3071"), encoding="utf-8")
    assert [d.code for v in answers(api.load(path)) for d in v.diagnostics] == ["MP303"]


# --- masks: the blind spot ---


def test_the_blind_spot_of_a_pixelcnn() -> None:
    """7x7 mask A and eight 3x3 masks B, against sets of pairs added up by hand."""
    a = np.zeros((7, 7), bool)
    a[:3], a[3, :3] = True, True
    b = np.zeros((3, 3), bool)
    b[:1], b[1, :2] = True, True
    net, reach = Net(40, 40), {(0, 0)}
    x = net.x
    for mask, k in ((a, 7), *((b, 3),) * 8):
        x = net.conv(x, k, 1, (k // 2, k // 2), mask=mask)
        taps = [(int(i) - k // 2, int(j) - k // 2) for i, j in np.argwhere(mask)]
        reach = {(i + u, j + v) for i, j in reach for u, v in taps}
    found = net.field(x)
    (s,) = found.offsets.values()
    at = {(int(i) + s.origin[0], int(j) + s.origin[1]) for i, j in np.argwhere(s.bits)}
    assert at == reach
    rows, columns = zip(*reach, strict=True)
    box = (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
    assert found.blind == pytest.approx(1 - len(reach) / box)
    assert 0.15 < found.blind < 0.2  # half of the row of the pixel itself, and the cone above to the right


def test_upsampling_has_a_field_for_every_phase() -> None:
    net = Net(24)
    b, x = net.b, net.x
    w = b.emit(Parameter("up", float_type(1, 1, 2)))
    found = net.field(net.conv(b.emit(ops.ConvTranspose((2,), ((0, 0),), (1,)), x, w), 3, 1, (1, 1))).axes[0]
    assert [(h.low, h.high) for h in found.phases] == [(-1, 0), (0, 1)]
    assert found.jump == Fraction(1, 2) and not found.centred  # -1/2 and 1/2 - 1/2


def test_linear_upsampling_is_centred_in_every_phase() -> None:
    net = Net(24)
    w = net.b.emit(Parameter("up", float_type(1, 1, 3)))
    found = net.field(net.b.emit(ops.ConvTranspose((2,), ((1, 1),), (1,)), net.x, w)).axes[0]
    assert [(h.low, h.high) for h in found.phases] == [(0, 0), (0, 1)]
    assert found.centred and found.centre == 0


def test_dilations_that_leave_holes() -> None:
    net = Net(60)
    found = net.field(net.conv(net.conv(net.x, 3, 1, (2, 2), 2), 3, 1, (4, 4), 4))
    assert found.size == 13 and found.blind == pytest.approx(6 / 13)


# --- names, and what has no rule ---


def test_every_named_layer_and_every_reason() -> None:
    net = Net(6)
    b = net.b
    for name in ("first", "second"):
        with b.frame(Frame(name, name, b.span)):
            net.x = net.conv(net.x, 3, 1, (1, 1))
    with b.frame(Frame("uneven", "uneven", b.span)):
        net.x = b.emit(ops.Mul(), net.x, b.constant(np.array([1.0, 0, 0, 1, 0, 1])))
    net.graph.outputs["y"] = net.x
    found = receptive_fields(net.graph, "x")
    assert {k: f.size for k, f in found.items() if isinstance(f, ReceptiveField)} == {"first": 3, "second": 5}
    assert {k for k, f in found.items() if isinstance(f, NoRule)} == {"uneven", "y"}


@pytest.mark.parametrize(
    ("claim", "codes"),
    [
        ("receptive_field(x) >= 5", []),
        ("receptive_field(x) <= 4", ["MP303"]),
        ("no_blind_spot(x)", ["MP305"]),
        ("receptive_field(x) == 5; no_blind_spot(x)", ["MP305"]),
    ],
)
def test_claims_about_a_classifier(tmp_path: Path, claim: str, codes: Sequence[str]) -> None:
    path = tmp_path / "model.mp"
    path.write_text(
        "model c\ninput x: real[1, 9, 9]\ntarget y: category(2)[9, 9]\n"
        f"y ~ categorical(logits = x -> conv(2, 3, pad = same, dilation = 2))\ncheck {{ {claim} }}\n",
        encoding="utf-8",
    )
    assert [d.code for v in answers(api.load(path)) for d in v.diagnostics] == codes


def test_a_dense_layer_sees_all_of_a_fixed_image(tmp_path: Path) -> None:
    """Flattened places have no offsets; exact sets at the declared size answer instead."""
    text = (Path(__file__).parents[2] / "specs" / "cnn.mp").read_text(encoding="utf-8")
    path = tmp_path / "cnn.mp"
    path.write_text(text.replace("parameters <= 200_000", "receptive_field(image) == 8"), encoding="utf-8")
    (verdict,) = answers(api.load(path))
    assert (verdict.status, verdict.how) == (
        "proved",
        "sets of inputs; a run modulo 65519, for the declared sizes",
    )


def test_an_output_without_a_layer_has_a_field(tmp_path: Path) -> None:
    path = tmp_path / "model.mp"
    path.write_text(
        "model m\ninput x: real[time, 2]\ntarget y: real[time, 2]\ny ~ normal(x, 1)\n"
        "check { receptive_field(x) == 1 }\n",
        encoding="utf-8",
    )
    assert [(v.status, v.detail["size"]) for v in answers(api.load(path))] == [("proved", "1")]


CANCELS = """
program predict(x: float[N, 4]) -> (first: float[N, 1], all: float[N]) {
  %first = slice(%x) {axis: 1, start: 0, stop: 1}
  %sum = sum(%x) {axes: [1]}
  %twice = add(%sum, %sum)
  %once = sub(%twice, %sum)
  %all = sub(%once, %sum)
  return first = %first
  return all = %all
}
"""


def test_an_output_that_reads_less_than_claimed_stands_for_no_other() -> None:
    """The one whose sets are as wide as claimed cancels."""
    claim = Claim("receptive_field", "x", "predict", Span.none(), Bound(">=", 3))
    source = Source("m.mp", CANCELS)
    verdict = receptive_field(Module("m", source, programs={"predict": parse(CANCELS)}), claim)
    assert verdict.status == "refuted" and verdict.diagnostics


@pytest.mark.parametrize("sizes", ["3", "5, dilation = 4"])
def test_a_blind_spot_of_an_image_is_drawn_about_its_pixel(tmp_path: Path, sizes: str) -> None:
    path = tmp_path / "model.mp"
    path.write_text(
        f"model m\ninput x: binary[1, 40, 40]\nx ~ autoregressive(order = pixel) {{\n"
        f"  conv(2, {sizes}, pad = same, mask = causal2d(type = A))\n"
        "  conv(1, 3, pad = same, mask = causal2d(type = B))\n}\n"
        "check { no_blind_spot(x) }\n",
        encoding="utf-8",
    )
    (found,) = (d for v in answers(api.load(path)) for d in v.diagnostics)
    legend, *rows = found.notes
    row, column = (int(n) for n in re.findall(r"\d+", legend)[:2])
    assert [line.count("X") for line in rows] == [0] * (len(rows) - 2) + [1, 0]
    assert rows[-2].index("X") == column and len(rows) == min(row + 1, PICTURE[0]) + 1
    assert "o" in "".join(rows)


def test_a_value_that_reads_nothing_has_no_blind_spot() -> None:
    assert ReceptiveField((), {}, True).blind == 0.0


def test_a_map_has_a_line_for_each_row() -> None:
    seen = np.array([[True, True, False], [True, False, False]])
    allowed = np.array([[True, True, True], [True, False, False]])
    assert picture(seen, allowed, (1, 1)) == "##o\n#X."


@pytest.mark.parametrize("seed", range(20))
def test_the_farthest_places_of_sets_are_those_counted_out(seed: int) -> None:
    """Of random sets of an image; empty ones among them."""
    rng = np.random.default_rng(seed)
    height, width, rows = (int(n) for n in rng.integers(1, 6, 3))
    seen = rng.random((rows, height, width)) < rng.choice([0.0, 0.1, 0.4])
    reach = {
        (row, axis): int(places.max() - places.min()) + 1
        for row, axis in np.ndindex(rows, 2)
        if (places := np.argwhere(seen[row])[:, axis]).size
    }
    graph = Net(height, width).graph
    best, element, ends = most(graph, "x", seen.reshape(rows, -1), {"N": 1})
    assert best == max(reach.values(), default=0)
    if reach:
        axis = next(a for a in range(2) if reach.get((element, a)) == best)
        low, high = (at.reshape(-1) for at in ends)
        assert seen[element].reshape(-1)[low].any() and seen[element].reshape(-1)[high].any()
        assert {*np.unravel_index(high, (height, width))[axis]} == {
            i + best - 1 for i in np.unravel_index(low, (height, width))[axis]
        }
