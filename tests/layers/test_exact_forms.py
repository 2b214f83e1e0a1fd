"""Layers in the exact forms of the definitions: without biases, with mirrored kernels, with strict masks."""

from __future__ import annotations

import numpy as np
import pytest
from one_layer import gradients, pipeline, predict
from written import lowered

from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.layers import LAYERS
from mpcompile.ranges import slots

#: A use of each layer that has biases, and the shape of its input.
BIASED: dict[str, tuple[str, tuple[int, ...]]] = {
    "dense": ("dense(3{})", (4,)),
    "conv": ("conv(3, 3{})", (2, 5, 5)),
    "conv1d": ("conv1d(3, 2{})", (5, 2)),
    "conv_transpose": ("conv_transpose(3, 2{})", (2, 3, 3)),
    "rnn": ("rnn(3, layers = 2{})", (4, 2)),
    "lstm": ("lstm(3, bidirectional = true{})", (4, 2)),
    "gru": ("gru(3{})", (4, 2)),
    "attention": ("attention(2, groups = 1{})", (5, 4)),
    "layer_norm": ("layer_norm(eps = 1e-5{})", (4,)),
    "batch_norm": ("batch_norm(affine = true{})", (4,)),
    "group_norm": ("group_norm(2{})", (4, 3, 3)),
    "instance_norm": ("instance_norm(affine = true{})", (4, 3, 3)),
    "row_lstm": ("row_lstm(2{})", (2, 3, 3)),
    "diagonal_bilstm": ("diagonal_bilstm(2{})", (2, 3, 3)),
    "resnet": ("resnet(3, 1{})", (2, 4, 4)),
}


def fill(module: Module, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {k: rng.normal(0, 0.7, p.shape) for k, p in module.parameters.items()}


def biases(module: Module) -> list[str]:
    return [name for name in module.parameters if "bias" in name]


def test_every_layer_with_a_bias_is_here() -> None:
    """`nade` has its place in a density, and a test of its own."""
    found = {name for name, cls in LAYERS.items() if any(s.name == "bias" for s in slots(cls))}
    assert found == {*BIASED, "nade"}


@pytest.mark.parametrize("name", BIASED)
def test_a_bias_is_left_out(name: str) -> None:
    """Without biases a layer is the layer whose biases are zero."""
    text, shape = BIASED[name]
    full, bare = pipeline(text.format(""), *shape), pipeline(text.format(", bias = false"), *shape)
    assert biases(full) and not biases(bare)
    weights = fill(full)
    assert set(bare.parameters) == set(weights) - set(biases(full))
    for k in biases(full):
        weights[k] = np.zeros_like(weights[k])
    for k in weights:
        weights[k] = np.abs(weights[k]) if "running" in k else weights[k]
    x = np.random.default_rng(1).normal(size=(3, *shape))
    kept = {k: weights[k] for k in bare.parameters}
    np.testing.assert_allclose(predict(bare, kept, x), predict(full, weights, x), rtol=1e-12, atol=1e-14)


def test_nade_leaves_its_biases_out() -> None:
    text = "model m\ninput x: binary[4]\nx ~ autoregressive(likelihood = bernoulli) {{ nade(3{}) }}\n"
    full, bare = lowered(text.format("")), lowered(text.format(", bias = false"))
    assert len(biases(full)) == 2 and not biases(bare)
    weights = fill(full)
    weights |= {k: np.zeros_like(weights[k]) for k in biases(full)}
    x = np.random.default_rng(1).integers(0, 2, (3, 4)).astype(float)
    found, wanted = (
        next(
            iter(interpret(m.programs["log_prob"], {k: weights[k] for k in m.parameters}, {"x": x}).values())
        )
        for m in (bare, full)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_nothing_else_has_a_bias() -> None:
    """Every other layer that a vector, an image or a sequence can go through declares no bias."""
    for name, cls in LAYERS.items():
        required = [s for s in slots(cls) if s.required]
        if name in (*BIASED, "nade") or any(s.range is None for s in required):
            continue
        for shape in ((4,), (4, 8, 8), (5, 4)):
            call = f"{name}({', '.join(['2'] * len(required))})" if required else name
            try:
                module = pipeline(call, *shape)
            except SpecError:
                continue
            assert not biases(module), call


def test_a_mirrored_kernel_is_a_convolution() -> None:
    """(K * I)[i, j] = sum of K[m, n] I[i - m, j - n] (notes, section 2.1), and in one dimension numpy's."""
    module = pipeline("conv(1, 3, pad = same, bias = false, flip = true)", 1, 5, 6)
    weights, image = fill(module), np.random.default_rng(1).normal(size=(5, 6))
    (kernel,) = (w[0, 0] for w in weights.values())
    wanted = np.zeros((5, 6))
    for i, j in np.ndindex(5, 6):
        for m in (-1, 0, 1):
            for n in (-1, 0, 1):
                if 0 <= i - m < 5 and 0 <= j - n < 6:
                    wanted[i, j] += kernel[m + 1, n + 1] * image[i - m, j - n]
    np.testing.assert_allclose(predict(module, weights, image[None, None])[0, 0], wanted, rtol=1e-12)
    module = pipeline("conv1d(1, 3, bias = false, flip = true)", 7, 1)
    weights, x = fill(module), np.random.default_rng(2).normal(size=7)
    (kernel,) = (w[0, 0] for w in weights.values())
    found = predict(module, weights, x[None, :, None])[0, :, 0]
    np.testing.assert_allclose(found, np.convolve(x, kernel)[:7], rtol=1e-12)
    with pytest.raises(SpecError, match="leave out `flip`"):
        pipeline("conv(4, 3, mask = causal2d, flip = true)", 1, 5, 5)


def test_a_convolution_commutes_and_a_correlation_does_not() -> None:
    """I * K = K * I (notes, footnote 3), of two squares whose product is whole; the correlation is mirrored instead."""
    one, other = np.random.default_rng(3).normal(size=(2, 3, 3))

    def product(kernel: Array, image: Array, flip: str) -> Array:
        module = pipeline(f"conv(1, 3, pad = 2, bias = false, flip = {flip})", 1, 3, 3)
        weights = dict.fromkeys(fill(module), kernel[None, None])
        return np.asarray(predict(module, weights, image[None, None])[0, 0])

    np.testing.assert_allclose(product(one, other, "true"), product(other, one, "true"), rtol=1e-12)
    found = product(one, other, "false")
    assert np.abs(found - product(other, one, "false")).max() > 0.1
    np.testing.assert_allclose(found, product(other, one, "false")[::-1, ::-1], rtol=1e-12)


def test_channels_with_kernels_of_their_own() -> None:
    """`groups` of `conv1d` are those of `conv` (depthwise here)."""
    module = pipeline("conv1d(3, 2, groups = 3, bias = false)", 5, 3)
    weights, x = fill(module), np.random.default_rng(2).normal(size=(2, 5, 3))
    (w,) = weights.values()
    before = np.concatenate([np.zeros((2, 1, 3)), x[:, :-1]], 1)
    np.testing.assert_allclose(predict(module, weights, x), before * w[:, 0, 0] + x * w[:, 0, 1], rtol=1e-12)


def softmax(scores: Array) -> Array:
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def test_attention_with_the_strict_mask_of_the_notes() -> None:
    """Y = softmax(Q K^T / sqrt(d) + M) V with M minus infinity on and above the diagonal (notes, section 6.7).

    Square matrices, no biases, no projection. The first query sees no key: its row is zero, and so are its gradients.
    """
    module = pipeline("attention(1, mask = before, project = false, bias = false)", 5, 4)
    (name,) = module.parameters
    weights = fill(module)
    wq, wk, wv = (part.T for part in np.split(weights[name], 3))
    x = np.random.default_rng(1).normal(size=(5, 4))
    q, k, v = x @ wq, x @ wk, x @ wv
    wanted = np.zeros((5, 4))
    for t in range(1, 5):
        wanted[t] = softmax(q[t] @ k[:t].T / 2.0) @ v[:t]
    np.testing.assert_allclose(predict(module, weights, x[None])[0], wanted, rtol=1e-12)
    cotangent = np.zeros((1, 5, 4))
    cotangent[0, 0] = 1.0
    _, found = gradients(module, weights, x[None], cotangent)
    assert all(np.all(g == 0.0) for g in found.values())
