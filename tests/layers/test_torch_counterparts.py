"""Every spatial layer and every normalisation is its torch.nn counterpart: values and gradients, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from one_layer import gradients, pipeline, predict

from mpcompile.backend import DOUBLE
from mpcompile.interpret import interpret
from mpcompile.runner.examples import example_weights

torch = pytest.importorskip("torch")
nn = torch.nn


def unpooled(**options: Any) -> Callable[[Any], Any]:
    """Max pooling, and its values doubled back where they came from."""
    return lambda x: (
        lambda y, at: nn.functional.max_unpool2d(2 * y, at, output_size=x.shape[2:], **options)
    )(*nn.functional.max_pool2d(x, return_indices=True, **options))


class Projected(nn.Module):  # type: ignore[name-defined,misc]
    """He et al. 2016, eq. 2, with a projection of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(3, 4, 1, stride=2)

    def forward(self, x: Any) -> Any:
        return self.net(x) + self.shortcut(x)


class Hard(nn.Module):  # type: ignore[name-defined,misc]
    """`nn.Hardsigmoid`, whose gradient torch computes in single precision."""

    def forward(self, x: Any) -> Any:
        return nn.functional.relu6(nn.functional.relu6(x + 3) / 6)


Pad = nn.ConstantPad2d
CASES: list[tuple[str, tuple[int, ...], Callable[[], Any]]] = [
    # convolutions: one, two and three axes; stride, dilation, groups, padding that is not the same on both sides
    ("conv(6, 3, stride = 2, pad = 1, dilation = 2, groups = 2)", (4, 13),
     lambda: nn.Conv1d(4, 6, 3, 2, 1, 2, 2)),
    ("conv(4, [3, 2], stride = [2, 1], pad = [[0, 1], [2, 0]])", (3, 7, 6),
     lambda: nn.Sequential(Pad((2, 0, 0, 1), 0.0), nn.Conv2d(3, 4, (3, 2), (2, 1)))),
    ("conv(4, 3, pad = [2, 0], bias = false)", (2, 5, 6), lambda: nn.Conv2d(2, 4, 3, padding=(2, 0), bias=False)),
    ("conv(3, 3, pad = [[0, 1]], groups = 3)", (3, 5, 5),
     lambda: nn.Sequential(Pad((0, 1, 0, 1), 0.0), nn.Conv2d(3, 3, 3, groups=3))),
    ("conv(2, [1, 2, 3], pad = same)", (2, 3, 4, 5), lambda: nn.Conv3d(2, 2, (1, 2, 3), padding="same")),
    ("conv(4, 4, pad = same, dilation = 3)", (2, 8, 9), lambda: nn.Conv2d(2, 4, 4, padding="same", dilation=3)),
    ("conv_transpose(3, 3, stride = 2, pad = 1, output_padding = 1)", (4, 5),
     lambda: nn.ConvTranspose1d(4, 3, 3, 2, 1, 1)),
    ("conv_transpose(6, [3, 2], stride = [3, 2], pad = [1, 0], output_padding = [2, 1], groups = 2, dilation = [2, 1])",
     (4, 3, 4), lambda: nn.ConvTranspose2d(4, 6, (3, 2), (3, 2), (1, 0), (2, 1), 2, dilation=(2, 1))),
    ("conv_transpose(2, 2, stride = 2, bias = false)", (3, 2, 3, 2),
     lambda: nn.ConvTranspose3d(3, 2, 2, 2, bias=False)),
    ("conv_transpose(2, 3, stride = 2, pad = same)", (2, 4, 3),
     lambda: nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2), Pad((0, -1, 0, -1), 0.0))),
    # pooling: overlap, padding, unequal axes
    ("maxpool(3, stride = 2, pad = 1)", (2, 7, 8), lambda: nn.MaxPool2d(3, 2, 1)),
    ("maxpool([2, 3], stride = [2, 1])", (2, 6, 5), lambda: nn.MaxPool2d((2, 3), (2, 1))),
    ("maxpool(2)", (2, 9), lambda: nn.MaxPool1d(2)),
    ("avgpool(3, stride = 2, pad = 1)", (2, 7, 8), lambda: nn.AvgPool2d(3, 2, 1)),
    ("avgpool(3, stride = 2, pad = 1, count_padding = false)", (2, 7),
     lambda: nn.AvgPool1d(3, 2, 1, count_include_pad=False)),
    ("avgpool(2, stride = 1)", (1, 3, 4, 2), lambda: nn.AvgPool3d(2, 1)),
    ("global_avgpool", (3, 4, 5), lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())),
    ("maxpool(2) as pool -> (pool + pool) -> unpool(pool)", (2, 5, 6),
     lambda: unpooled(kernel_size=2, stride=2)),
    # upsampling
    ("upsample(3)", (2, 4, 3), lambda: nn.Upsample(scale_factor=3)),
    ("upsample(2, bilinear)", (2, 4, 3), lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
    ("upsample(3, bilinear)", (2, 1, 5), lambda: nn.Upsample(scale_factor=3, mode="bilinear")),
    ("upsample(4, linear)", (3, 5), lambda: nn.Upsample(scale_factor=4, mode="linear")),
    ("upsample(2, trilinear)", (1, 2, 3, 2), lambda: nn.Upsample(scale_factor=2, mode="trilinear")),
    ("upsample(2, bilinear, align_corners = true)", (2, 4, 3),
     lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
    ("upsample(3, linear, align_corners = true)", (2, 1),
     lambda: nn.Upsample(scale_factor=3, mode="linear", align_corners=True)),
    ("upsample(2, trilinear, align_corners = true)", (1, 2, 3, 2),
     lambda: nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)),
    ("depth_to_space(2)", (8, 3, 2), lambda: nn.PixelShuffle(2)),
    ("space_to_depth(2)", (2, 4, 6), lambda: nn.PixelUnshuffle(2)),
    # normalisations (in training)
    ("batch_norm", (5,), lambda: nn.BatchNorm1d(5)),
    ("batch_norm(momentum = 0.25, eps = 1e-3)", (3, 6), lambda: nn.BatchNorm1d(3, 1e-3, 0.25)),
    ("batch_norm", (3, 4, 2), lambda: nn.BatchNorm2d(3)),
    ("batch_norm(affine = false)", (2, 2, 3, 2), lambda: nn.BatchNorm3d(2, affine=False)),
    ("group_norm(2)", (4, 3, 5), lambda: nn.GroupNorm(2, 4)),
    ("group_norm(3, affine = false)", (6,), lambda: nn.GroupNorm(3, 6, affine=False)),
    ("instance_norm", (3, 7), lambda: nn.InstanceNorm1d(3)),
    ("instance_norm(affine = true)", (3, 4, 2), lambda: nn.InstanceNorm2d(3, affine=True)),
    ("instance_norm(eps = 1e-3)", (2, 2, 3, 2), lambda: nn.InstanceNorm3d(2, 1e-3)),
    ("layer_norm", (6,), lambda: nn.LayerNorm(6)),
    ("rms_norm(eps = 1e-5)", (6,), lambda: nn.RMSNorm(6, eps=1e-5)),
    # activations
    *[(text, (4, 3), make) for text, make in (
        ("prelu", lambda: nn.PReLU(4, init=0.1)), ("prelu(shared = true)", lambda: nn.PReLU(init=0.1)),
        ("elu", lambda: nn.ELU()), ("elu(alpha = 0.3)", lambda: nn.ELU(0.3)), ("selu", lambda: nn.SELU()),
        ("mish", lambda: nn.Mish()), ("relu6", lambda: nn.ReLU6()), ("silu", lambda: nn.SiLU()),
        ("hard_sigmoid", lambda: lambda x: nn.functional.relu6(x + 3) / 6), ("hard_swish", lambda: nn.Hardswish()),
        ("gelu", lambda: nn.GELU()), ("gelu(approximate = tanh)", lambda: nn.GELU("tanh")),
        ("softplus", lambda: nn.Softplus()), ("leaky_relu(0.1)", lambda: nn.LeakyReLU(0.1)),
        ("glu(activation = silu)", lambda: lambda x: x[:, :2] * nn.functional.silu(x[:, 2:])),
    )],
    # one after another, for `test_backends_agree`
    ("glu -> prelu -> hard_swish -> elu(0.3) -> mish -> selu -> gelu(tanh) -> rms_norm -> hard_sigmoid -> relu6",
     (6,), lambda: nn.Sequential(nn.GLU(1), nn.PReLU(3), nn.Hardswish(), nn.ELU(0.3), nn.Mish(), nn.SELU(),
                                 nn.GELU("tanh"), nn.RMSNorm(3, 1e-6), Hard())),
    # structure
    ("residual(conv(4, 3, stride = 2, pad = 1), shortcut = conv(4, 1, stride = 2))", (3, 5, 6), Projected),
]  # fmt: skip


def loaded(make: Callable[[], Any], weights: dict[str, np.ndarray]) -> tuple[Any, dict[str, Any]]:
    """The torch layer with our weights, and its parameters by our names: ours end as theirs do, in order."""
    torch.manual_seed(0)
    theirs = make()
    if not isinstance(theirs, nn.Module):
        return theirs, {}
    theirs = theirs.double().train()
    state = {k: v for k, v in theirs.state_dict(keep_vars=True).items() if v.is_floating_point()}
    paired = {}
    for name in weights:
        last = name.rsplit(".", 1)[-1]
        key = next(k for k in state if k.rsplit(".", 1)[-1] == last)
        paired[name] = state.pop(key)
        with torch.no_grad():
            paired[name].copy_(torch.tensor(weights[name]))
    assert not state, f"torch has {list(state)} beside ours"
    return theirs, paired


@pytest.mark.parametrize(("text", "shape", "make"), CASES, ids=[c[0] for c in CASES])
def test_is_the_counterpart(text: str, shape: tuple[int, ...], make: Callable[[], Any]) -> None:
    """Values, the gradient for the input and for every weight, and the running statistics afterwards."""
    module = pipeline(text, *shape)
    weights = example_weights(module)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, *shape))
    theirs, paired = loaded(make, weights)
    given = torch.tensor(x, requires_grad=True)
    made = theirs(given)
    cotangent = rng.standard_normal(tuple(made.shape))
    (made * torch.tensor(cotangent)).sum().backward()

    out, found = gradients(module, weights, x, cotangent)
    np.testing.assert_allclose(out["y"], made.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found["x"], given.grad.numpy(), rtol=1e-9, atol=1e-12)
    for name, tensor in paired.items():
        if module.parameters[name].trainable:
            np.testing.assert_allclose(found[name], tensor.grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=name)
        else:
            after = out[module.updates("loss")[name]]
            np.testing.assert_allclose(after, tensor.numpy(), rtol=1e-12, atol=1e-12, err_msg=name)
    if isinstance(theirs, nn.Module):
        with torch.no_grad():
            # torch has moved the running statistics on; ours are the oracle's to be given
            moved = weights | {k: paired[k].numpy() for k in module.updates("loss")}
            expected = theirs.eval()(given).numpy()
        np.testing.assert_allclose(predict(module, moved, x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["torch", "onnx", "jax"])
def test_backends_agree(backend: str) -> None:
    """The layers that are new to backends as compositions: each as emitted, in float64, against the oracle."""
    from mpcompile.backend import find_backend

    several = (
        "conv_transpose(6",
        "maxpool(2) as",
        "upsample(3, bi",
        "conv(4, [3",
        "batch_norm(m",
        "group_norm(2",
        "glu ->",
    )
    for text, shape, _ in [c for c in CASES if c[0].startswith(several)]:
        module = pipeline(text, *shape)
        weights = example_weights(module)
        x = np.random.default_rng(3).standard_normal((3, *shape))
        shape = predict(module, weights, x).shape
        cotangent = np.cos(np.arange(np.prod(shape))).reshape(shape)
        session = find_backend(backend).session(module, weights, options=DOUBLE)
        expected, wanted = gradients(module, weights, x, cotangent)
        out, found = session.gradients({"x": x, "cotangent": cotangent})
        for key, value in out.items():
            np.testing.assert_allclose(value, expected[key], rtol=1e-9, atol=1e-11, err_msg=f"{text}: {key}")
        for key, value in found.items():
            np.testing.assert_allclose(value, wanted[key], rtol=1e-9, atol=1e-11, err_msg=f"{text}: {key}")


def test_stochastic_depth_drops_whole_examples() -> None:
    """In training a draw for each example, its mean the value (Huang et al. 2016, eq. 2); else the identity."""
    module = pipeline("residual(tanh -> stochastic_depth(0.25))", 2, 3)
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    (noise,) = module.noise["loss"]
    u = np.array([0.1, 0.74, 0.76, 0.9]).reshape(4, 1, 1)
    given = {"x": x, "cotangent": np.ones_like(x), noise: u}
    kept = np.array([1, 1, 0, 0]).reshape(4, 1, 1) / 0.75
    y = interpret(module.programs["loss"], {}, given)["y"]
    np.testing.assert_allclose(y, x + kept * np.tanh(x), rtol=1e-14)
    np.testing.assert_allclose(predict(module, {}, x), x + np.tanh(x), rtol=1e-14)
