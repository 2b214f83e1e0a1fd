"""What layers over space are by definition: `same` padding, crops, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from one_layer import pipeline, predict

from mpcompile.diagnostics import SpecError
from mpcompile.ops._taps import inside
from mpcompile.ops._windows import Windows
from mpcompile.runner.examples import example_weights

Array = np.ndarray


def run(text: str, x: Array) -> Array:
    module = pipeline(text, *x.shape[1:])
    return predict(module, example_weights(module), x)


def test_bilinear_by_hand() -> None:
    """Centres of results lie at -1/4, 1/4, 3/4, 5/4 between the two elements; the outermost are level."""
    np.testing.assert_allclose(run("upsample(2, linear)", np.array([[[0.0, 4.0]]])), [[[0, 1, 3, 4]]])


@pytest.mark.parametrize("layer", ["conv(1, {k}, stride = {s}, pad = same, dilation = {d})",
                                   "maxpool({k}, stride = {s}, pad = same)"])  # fmt: skip
def test_same_is_tensorflows(layer: str) -> None:
    """ceil(n / stride) results, and padding as in XLA's SAME: where a window holds a one, the result moves."""
    lax = pytest.importorskip("jax.lax")
    for n in (5, 8, 9):
        for k in (1, 2, 3, 7):
            for s in (1, 2, 3):
                d = 2 if "dilation" in layer and k < 4 else 1
                module = pipeline(layer.format(k=k, s=s, d=d), 1, n)
                op = next(
                    node.op for node in module.programs["predict"].nodes() if hasattr(node.op, "padding")
                )
                (expected,) = lax.padtype_to_pads((n,), ((k - 1) * d + 1,), (s,), "SAME")
                assert op.padding == (tuple(expected),), (n, k, s, d)
                (y,) = module.programs["predict"].outputs.values()
                assert y.shape[2] == -(-n // s)


def test_crop_takes_the_centre() -> None:
    x = np.arange(20.0).reshape(1, 1, 20)
    module = pipeline("maxpool(1) as whole -> conv(1, 6) as small -> add(whole -> crop(small))", 1, 20)
    weights = {name: np.zeros(p.shape) for name, p in module.parameters.items()}
    np.testing.assert_array_equal(predict(module, weights, x)[0, 0], np.arange(2, 17))


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("conv(3, [3, 3, 3])", "MP201", "3 sizes for 2 spatial axes"),
        ("conv(3, 0)", "MP205", "at least 1"),
        ("conv(3, 2048)", "MP112", "at most 1024"),
        ("conv(3, 3, pad = [1, 2, 3])", "MP201", "3 entries for 2 spatial axes"),
        ("conv(3, 3, pad = [[1, 2, 3]])", "MP113", "a pair"),
        ("conv(3, 3, pad = full)", "MP205", "full"),
        ("conv(4, 3, groups = 3)", "MP201", "3 groups do not divide"),
        ("conv_transpose(4, 3, stride = 2, pad = same, output_padding = 1)", "MP205", "output_padding"),
        ("conv_transpose(4, 3, stride = 2, output_padding = 2)", "MP201", "below the stride"),
        ("upsample(2, cubic)", "MP205", "cubic"),
        ("upsample(2, linear)", "MP205", "bilinear"),
        ("upsample(0)", "MP205", "at least 1"),
        ("relu as pool -> unpool(pool)", "MP201", "maxpool"),
        ("maxpool(2) as pool -> conv(2, 1) -> unpool(pool)", "MP201", "unpool"),
        ("maxpool(2) as small -> upsample(4) as big -> add(small -> crop(big))", "MP201", "cannot cut"),
        ("flatten -> maxpool(2)", "MP213", "maxpool acts on axes of space"),
        ("group_norm(2)", "MP201", "2 groups do not divide 3 channels"),
        ("flatten -> instance_norm", "MP213", "neither"),
        ("batch_norm(momentum = 0)", "MP205", "momentum"),
    ],
)
def test_is_refused(text: str, code: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        pipeline(text, 3, 8, 8)
    (found,) = caught.value.diagnostics
    assert found.code == code and says in found.message + found.help


def test_taps_that_meet_only_padding_are_left_out_of_an_analysis() -> None:
    """Windows stay where they are, and what they read of the input stays what it was."""
    rng = np.random.default_rng(0)
    left_out = 0
    for _ in range(300):
        size, kernel, stride, dilation, low, high = (int(n) for n in rng.integers(1, [6, 12, 4, 4, 12, 12]))
        if size + low + high - dilation * (kernel - 1) < 1:
            continue
        whole = Windows((size,), (kernel,), (stride,), ((low, high),), (dilation,))
        weights, x = rng.normal(size=(1, 1, kernel)), rng.normal(size=(1, 1, size))
        inner, kept = inside(whole, weights)
        left_out += kernel - inner.kernel[0]
        assert inner.count == whole.count and kept.shape[2:] == inner.kernel

        def of(windows: Windows, w: Array, x: Array = x) -> Array:
            padded = windows.pad(x, 2)
            return np.sum([windows.read_full(padded, at) * w[(0, 0, *tap)] for tap, at in windows.taps()], 0)

        np.testing.assert_allclose(of(inner, kept), of(whole, weights), atol=1e-12)
    assert left_out > 100
    assert inside(Windows((8,), (1001,), (1,), ((500, 500),), (1,)), np.ones((1, 1, 1001)))[0].kernel == (15,)
