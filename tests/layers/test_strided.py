"""Strides and windows along a length: a padded example has the results that it has alone, at each of its places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpcompile import api
from mpcompile.analysis.prove import prove
from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.runner.data import load_data
from mpcompile.runner.examples import example_weights

SPEC = """model m
input x: real[{size}, head: 2, channel: 3]
condition length: integer(1..frames)
target y: real[frames, head: 2, channel: 2]
y ~ normal(loc = x -> {layer} -> dense(2), scale = 1)
"""
LAYERS = (
    "conv(3, 5, over = frames, stride = 2, pad = same)",
    "conv(3, 4, over = frames, stride = 2, pad = [[2, 1]])",
    "conv(3, 3, over = frames, pad = same) -> maxpool(2, over = frames)",
    "maxpool(3, over = frames, stride = 2, pad = same)",
    "avgpool(3, over = frames, stride = 2, pad = same)",
    "avgpool(3, over = frames, stride = 2, pad = same, count_padding = false)",
    "conv(3, 3, over = [frames, head], stride = [2, 1], pad = same)",
)


def module(tmp_path: Path, layer: str, size: str = "frames: 2 * frames") -> Module:
    path = tmp_path / "m.mp"
    path.write_text(SPEC.format(layer=layer, size=size), encoding="utf-8")
    return api.load(path)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_padded_example_has_the_results_of_itself_alone(tmp_path: Path, layer: str) -> None:
    checked = module(tmp_path, layer)
    graph, weights = checked.programs["predict"], example_weights(checked)
    rng = np.random.default_rng(0)
    x, lengths = rng.standard_normal((3, 10, 2, 3)), np.array([5, 1, 3])

    def run(x: Array, length: Array) -> Array:
        return interpret(graph, weights, {"x": x, "length": length.astype(float)})["y"]

    together = run(x, lengths)
    assert together.shape == (3, 5, 2, 2) and np.isfinite(together).all()
    for i, n in enumerate(lengths):
        alone = run(x[i : i + 1, : 2 * n], lengths[i : i + 1])
        np.testing.assert_allclose(together[i, :n], alone[0], rtol=1e-12)
    (padding,) = [v for v in prove(checked) if v.claim.kind == "padding"]
    assert padding.status == "proved"


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        ("conv(3, 5, over = frames, stride = 2, pad = same)", "frames: frames"),
        ("maxpool(2, over = frames)", "frames"),
        ("maxpool(4, over = frames)", "frames: 2 * frames"),
    ],
)
def test_a_stride_that_divides_no_length_is_refused(tmp_path: Path, layer: str, size: str) -> None:
    with pytest.raises(SpecError, match=r"MP205.*does not divide the length .*frames"):
        module(tmp_path, layer, size)


DATA = """model m
input x: real[2 * frames, channel: 3]
condition length: integer(1..frames)
target y: real[channel: 1]
y ~ normal(loc = x -> conv(2, 3, over = frames, stride = 2, pad = same) -> last -> dense(1), scale = 1)
"""


def test_data_are_padded_to_the_multiple(tmp_path: Path) -> None:
    (tmp_path / "m.mp").write_text(DATA, encoding="utf-8")
    checked = api.load(tmp_path / "m.mp")
    x, y = np.arange(63.0).reshape(3, 7, 3), np.zeros((3, 1))
    np.savez(tmp_path / "d.npz", x=x, length=np.array([4, 1, 3]), y=y)
    taken = load_data(checked, str(tmp_path / "d.npz"), whole=True).split("train").take(np.arange(3))
    assert taken["x"].shape == (3, 8, 3) and not taken["x"][:, 7].any()
    np.testing.assert_array_equal(taken["x"][:, :7], x)
    rows = np.array([5, 1, 7])  # sequences one after the other: the lengths are of rows
    np.savez(tmp_path / "p.npz", x=x.reshape(-1, 3)[:13], length=rows, y=y)
    taken = load_data(checked, str(tmp_path / "p.npz"), whole=True).split("train").take(np.arange(3))
    assert taken["x"].shape == (3, 32, 3) and taken["length"].tolist() == [3, 1, 4]
    np.testing.assert_array_equal(taken["x"][2, :7], x.reshape(-1, 3)[6:13])
    np.savez(tmp_path / "e.npz", x=x, length=np.array([7, 1, 3]), y=y)
    with pytest.raises(SpecError, match=r"MP504.*up to 7 .* 4 steps, of 2 rows each"):
        load_data(checked, str(tmp_path / "e.npz"), whole=True)
