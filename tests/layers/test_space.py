"""What layers over space are by definition: the notes' figures, `same` padding, adjoints, crops, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from one_layer import pipeline, predict

from mpcompile.diagnostics import SpecError
from mpcompile.runner.examples import example_weights

Array = np.ndarray


def image(*rows: tuple[float, ...]) -> Array:
    return np.array(rows, float)[None, None]


def run(text: str, x: Array) -> Array:
    module = pipeline(text, *x.shape[1:])
    return predict(module, example_weights(module), x)


CODE = image((6, 8), (4, 8))


def test_nearest_is_figure_8() -> None:
    expected = image((6, 6, 8, 8), (6, 6, 8, 8), (4, 4, 8, 8), (4, 4, 8, 8))
    np.testing.assert_array_equal(run("upsample(2)", CODE), expected)


def test_bed_of_nails_is_figure_9() -> None:
    expected = image((6, 0, 8, 0), (0, 0, 0, 0), (4, 0, 8, 0), (0, 0, 0, 0))
    np.testing.assert_array_equal(run("upsample(2, bed_of_nails)", CODE), expected)


def test_unpooling_is_figure_10() -> None:
    """An image whose maxima lie where figure 10 puts them back."""
    x = image((1, 2, 3, 1), (2, 6, 1, 8), (3, 1, 8, 2), (4, 2, 7, 1))
    np.testing.assert_array_equal(run("maxpool(2)", x), CODE)
    expected = image((0, 0, 0, 0), (0, 6, 0, 8), (0, 0, 8, 0), (4, 0, 0, 0))
    np.testing.assert_array_equal(run("maxpool(2) as pool -> unpool(pool)", x), expected)


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


@pytest.mark.parametrize("options", ["2, 3", "4, [3, 2], stride = 2, pad = [[1, 0]], groups = 2",
                                     "2, 3, stride = 2, pad = same"])  # fmt: skip
def test_the_transpose_is_the_adjoint(options: str) -> None:
    """<conv(x), y> = <x, conv_transpose(y)> for all x and y, with one kernel."""
    rng = np.random.default_rng(0)
    channels = int(options[0])
    shape = (2, 2, 8, 8) if "stride" in options else (2, 2, 7, 6)
    forward = pipeline(f"conv({options}, bias = false)", *shape[1:])
    (name,) = forward.parameters
    w = {name: rng.standard_normal(forward.parameters[name].shape)}
    x = rng.standard_normal(shape)
    y = rng.standard_normal(predict(forward, w, x).shape)
    back = f"conv_transpose(2{options[1:]}, bias = false"
    reach = [shape[a] - (pipeline(back + ")", *y.shape[1:]).programs["predict"].outputs["y"].shape[a])
             for a in (2, 3)]  # fmt: skip
    transpose = pipeline(
        f"{back}, output_padding = {reach})" if any(reach) else back + ")", channels, *y.shape[2:]
    )
    (other,) = transpose.parameters
    left = (predict(forward, w, x) * y).sum()
    right = (x * predict(transpose, {other: w[name]}, y)).sum()
    assert left == pytest.approx(right, rel=1e-12)


def test_a_convolution_moves_with_its_input() -> None:
    """Translation equivariance at stride 1; at stride 2 by every second element."""
    x = np.zeros((1, 2, 12, 12))
    x[:, :, 3:6, 3:6] = np.random.default_rng(1).standard_normal((1, 2, 3, 3))
    for stride, step in ((1, 1), (2, 2)):
        text = f"conv(3, 3, stride = {stride}, pad = 1, bias = false)"
        moved = run(text, np.roll(x, step, 3))
        np.testing.assert_allclose(moved, np.roll(run(text, x), step // stride, 3), atol=1e-12)


def test_crop_takes_the_centre() -> None:
    x = np.arange(20.0).reshape(1, 1, 20)
    module = pipeline("(maxpool(1) as whole -> conv(1, 6) as small -> add(whole -> crop(small)))", 1, 20)
    weights = {name: np.zeros(p.shape) for name, p in module.parameters.items()}
    np.testing.assert_array_equal(predict(module, weights, x)[0, 0], np.arange(2, 17))


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("conv(3, [3, 3, 3])", "MP201", "3 sizes for 2 spatial axes"),
        ("conv(3, 0)", "MP201", "at least 1"),
        ("conv(3, 2048)", "MP112", "larger than 1024"),
        ("conv(3, 3, pad = [1, 2, 3])", "MP201", "3 entries for 2 spatial axes"),
        ("conv(3, 3, pad = [[1, 2, 3]])", "MP113", "a pair"),
        ("conv(3, 3, pad = full)", "MP205", "full"),
        ("conv(4, 3, groups = 3)", "MP201", "3 groups do not divide"),
        ("conv_transpose(4, 3, stride = 2, pad = same, output_padding = 1)", "MP205", "output_padding"),
        ("conv_transpose(4, 3, stride = 2, output_padding = 2)", "MP201", "below the stride"),
        ("upsample(2, cubic)", "MP205", "cubic"),
        ("upsample(2, linear)", "MP205", "bilinear"),
        ("upsample(0)", "MP201", "at least 1"),
        ("relu as pool -> unpool(pool)", "MP201", "maxpool"),
        ("maxpool(2) as pool -> conv(2, 1) -> unpool(pool)", "MP201", "unpool"),
        ("maxpool(2) as small -> upsample(4) as big -> add(small -> crop(big))", "MP201", "cannot cut"),
        ("flatten -> maxpool(2)", "MP201", "maxpool needs real [channels, space...]"),
        ("group_norm(2)", "MP201", "2 groups do not divide 3 channels"),
        ("flatten -> instance_norm", "MP201", "neither"),
        ("batch_norm(momentum = 0)", "MP205", "momentum"),
    ],
)
def test_is_refused(text: str, code: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        pipeline(text, 3, 8, 8)
    (found,) = caught.value.diagnostics
    assert found.code == code and says in found.message + found.help
