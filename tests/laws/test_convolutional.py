"""Laws of convolutional networks: docs/laws.md, rows 5 to 7."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import specs_under_test as specs
import torch
from one_layer import pipeline, predict
from scipy.linalg import convolution_matrix
from torch import nn
from written import lowered

from mpcompile.analysis.dependence import support
from mpcompile.backend import DOUBLE, find_backend, installed
from mpcompile.ir import Array
from mpcompile.runner.examples import example_weights

BACKENDS = installed()


def image(*rows: tuple[float, ...]) -> Array:
    return np.array(rows, float)[None, None]


def run(text: str, x: Array, backend: str) -> Array:
    """A pipeline of layers with fixed weights, as emitted."""
    module = pipeline(text, *x.shape[1:])
    session = find_backend(backend).session(module, example_weights(module), options=DOUBLE)
    return session.run("predict", {"x": x})["y"]


# --- 5: convolution ---


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_convolution_moves_with_its_input(backend: str) -> None:
    """Translation equivariance at stride 1; the convolutional part of specs/cnn.mp moves by one as its input by two."""
    x = np.zeros((1, 2, 16, 16))
    x[:, :, 6:9, 5:8] = np.random.default_rng(1).standard_normal((1, 2, 3, 3))
    stage = "conv(3, 3, pad = same, bias = false) -> relu -> conv(3, 3, pad = same, bias = false) -> relu"
    for text, step in (
        (stage, 1),
        (f"{stage} -> maxpool(2)", 2),
        ("conv(3, 3, stride = 2, pad = 1, bias = false)", 2),
    ):
        y, down, right = run(text, np.concatenate([x, np.roll(x, step, 2), np.roll(x, step, 3)]), backend)
        assert np.abs(y).max() > 0.01
        np.testing.assert_allclose(down, np.roll(y, 1, 1), atol=1e-12)
        np.testing.assert_allclose(right, np.roll(y, 1, 2), atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_convolution_is_its_toeplitz_matrix(backend: str) -> None:
    """Notes, section 2.1: scipy's matrix of the mirrored kernel in one dimension, blocks of them in two."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 1, 9))
    module = pipeline("conv(1, 4, bias = false)", 1, 9)
    (name,) = module.parameters
    kernel = rng.standard_normal((1, 1, 4))
    session = find_backend(backend).session(module, {name: kernel}, options=DOUBLE)
    matrix = convolution_matrix(kernel[0, 0, ::-1], 9, "valid")
    assert all(len({*np.diagonal(matrix, k)}) == 1 for k in range(-5, 9))  # constant along every diagonal
    np.testing.assert_allclose(session.run("predict", {"x": x})["y"][0, 0], matrix @ x[0, 0], rtol=1e-10)

    x, kernel = rng.standard_normal((1, 1, 5, 6)), rng.standard_normal((1, 1, 3, 2))
    module = pipeline("conv(1, [3, 2], bias = false)", 1, 5, 6)
    (name,) = module.parameters
    session = find_backend(backend).session(module, {name: kernel}, options=DOUBLE)
    rows = [convolution_matrix(row[::-1], 6, "valid") for row in kernel[0, 0]]
    matrix = sum(np.kron(np.eye(3, 5, i), row) for i, row in enumerate(rows))
    np.testing.assert_allclose(session.run("predict", {"x": x})["y"].ravel(), matrix @ x.ravel(), rtol=1e-10)


@pytest.mark.parametrize(("axes", "groups"), [(1, 1), (2, 1), (2, 2), (3, 1)])
def test_a_convolution_has_kernel_times_channels_weights(axes: int, groups: int) -> None:
    """K^d C_in C_out / groups, and C_out biases (notes, figure 6); torch has as many."""
    module = pipeline(f"conv(6, 3, groups = {groups})", 4, *(5,) * axes)
    sizes = [int(np.prod(p.shape)) for p in module.parameters.values()]
    assert sorted(sizes) == [6, 3**axes * 4 * 6 // groups]
    theirs = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](4, 6, 3, groups=groups)
    assert sum(sizes) == sum(p.numel() for p in theirs.parameters())


# --- 6: upsampling ---

CODE = image((6, 8), (4, 8))


@pytest.mark.parametrize("backend", BACKENDS)
def test_nearest_is_figure_8(backend: str) -> None:
    expected = image((6, 6, 8, 8), (6, 6, 8, 8), (4, 4, 8, 8), (4, 4, 8, 8))
    np.testing.assert_array_equal(run("upsample(2)", CODE, backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bed_of_nails_is_figure_9(backend: str) -> None:
    expected = image((6, 0, 8, 0), (0, 0, 0, 0), (4, 0, 8, 0), (0, 0, 0, 0))
    np.testing.assert_array_equal(run("upsample(2, bed_of_nails)", CODE, backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_unpooling_is_figure_10(backend: str) -> None:
    """An image whose maxima lie where figure 10 puts them back."""
    x = image((1, 2, 3, 1), (2, 6, 1, 8), (3, 1, 8, 2), (4, 2, 7, 1))
    np.testing.assert_array_equal(run("maxpool(2)", x, backend), CODE)
    expected = image((0, 0, 0, 0), (0, 6, 0, 8), (0, 0, 8, 0), (4, 0, 0, 0))
    np.testing.assert_array_equal(run("maxpool(2) as pool -> unpool(pool)", x, backend), expected)


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


# --- 7: U-Net ---


class Positive(nn.Module):
    """specs/unet.mp by hand, with averages for maxima and positive weights: an input is read where its gradient is
    not zero, as nothing cancels. `skip` and `deep` weigh the two things that are joined on the way up."""

    def __init__(self, skip: float, deep: float) -> None:
        super().__init__()
        self.skip, self.deep = skip, deep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def level(v: torch.Tensor) -> torch.Tensor:
            return nn.functional.avg_pool2d(v, 3, 1, 1)  # a kernel of 3x3 ones

        def up(deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
            return level(self.deep * nn.functional.interpolate(deep, scale_factor=2) + self.skip * skip)

        pool = nn.AvgPool2d(2)
        c1 = level(x)
        c2 = level(pool(c1))
        return up(up(level(pool(c2)), c2), c1)


def jacobian(net: nn.Module, size: int) -> Array:
    """Which input pixels each output pixel reads: bool [pixels, pixels]."""
    function: Callable[[torch.Tensor], torch.Tensor] = lambda v: net(v.reshape(1, 1, size, size)).flatten()  # noqa: E731
    return torch.autograd.functional.jacobian(function, torch.ones(size * size)).numpy() != 0


def pixels(text: str, size: int) -> Array:
    """The same by exact sets, for a spec of the U-Net: colours and classes of a pixel count as one."""
    m = lowered(text.replace("size = 32", f"size = {size}").replace("width = 8", "width = 1"))
    found = support(m.programs["predict"], "image", "mask", {"N": 1}, over=1).value
    return found.reshape(size**2, 3, size**2).any(1)


def test_a_unet_reads_through_its_skips_and_through_its_depth() -> None:
    """For every output pixel: what it reads, what is left of that without skips, and without depth."""
    text, size = specs.path("unet").read_text(encoding="utf-8"), 24
    wide, join = "deep -> conv_transpose(ch, 2, stride = 2)", " -> concat(skip) -> level(ch)"
    assert wide + join in text
    whole = pixels(text, size)
    deep = pixels(text.replace(wide + join, f"{wide} -> concat(0 * skip) -> level(ch)"), size)
    shallow = pixels(text.replace(wide + join, f"(0 * ({wide})){join}"), size)
    np.testing.assert_array_equal(whole, jacobian(Positive(1, 1), size))
    np.testing.assert_array_equal(deep, jacobian(Positive(0, 1), size))
    np.testing.assert_array_equal(shallow, jacobian(Positive(1, 0), size))
    np.testing.assert_array_equal(whole, deep | shallow)
    middle = size * size // 2 + size // 2
    assert shallow[middle].sum() == 5 * 5  # two layers of 3x3 at full size
    assert deep[middle].sum() > 15 * 15  # and through a quarter of it, nearly all of the image
