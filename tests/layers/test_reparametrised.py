"""Weight and spectral normalisation against torch's parametrisations, in training and afterwards, and under masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from one_layer import gradients, pipeline, predict
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from written import lowered

from mpcompile.analysis import prove
from mpcompile.backend import DOUBLE, find_backend, installed
from mpcompile.diagnostics import SpecError
from mpcompile.ir import Array, Module

LAYERS: list[tuple[str, tuple[int, ...], Callable[[], Any]]] = [
    ("dense(3, norm = {})", (4,), lambda: nn.Linear(4, 3)),
    ("conv(3, 2, norm = {})", (2, 4, 3), lambda: nn.Conv2d(2, 3, 2)),
]


def fill(module: Module) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {k.rpartition(".")[2]: rng.normal(0, 0.7, p.shape) for k, p in module.parameters.items()}


def named(module: Module, weights: dict[str, Array]) -> dict[str, Array]:
    return {k: weights[k.rpartition(".")[2]] for k in module.parameters}


@pytest.mark.parametrize(("text", "shape", "make"), LAYERS)
@pytest.mark.parametrize("norm", ["weight", "spectral"])
def test_is_torchs(norm: str, text: str, shape: tuple[int, ...], make: Callable[[], Any]) -> None:
    """Values, gradients, and the vector of the power iteration after a step of training."""
    module = pipeline(text.format(norm), *shape)
    weights = fill(module)
    layer = make().double()
    theirs = weight_norm(layer) if norm == "weight" else spectral_norm(layer)
    parts = theirs.parametrizations.weight
    with torch.no_grad():
        layer.bias.copy_(torch.tensor(weights["bias"]))
        if norm == "weight":
            parts.original0.copy_(torch.tensor(weights["gain"]).reshape(parts.original0.shape))
            parts.original1.copy_(torch.tensor(weights["weight"]))
        else:
            parts.original.copy_(torch.tensor(weights["weight"]))
            parts[0]._v.copy_(torch.tensor(weights["weight_v"]))
    x = torch.tensor(np.random.default_rng(1).normal(size=(3, *shape)), requires_grad=True)
    y = theirs.train()(x)
    cotangent = np.random.default_rng(2).normal(size=y.shape)
    (y * torch.tensor(cotangent)).sum().backward()
    out, found = gradients(module, named(module, weights), x.detach().numpy(), cotangent)
    np.testing.assert_allclose(out["y"], y.detach(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found["x"], x.grad, rtol=1e-9, atol=1e-11)
    slopes = {k.rpartition(".")[2]: v for k, v in found.items()}
    source = parts.original1 if norm == "weight" else parts.original
    np.testing.assert_allclose(slopes["weight"], source.grad, rtol=1e-8, atol=1e-10)
    if norm == "weight":
        np.testing.assert_allclose(slopes["gain"], parts.original0.grad.flatten(), rtol=1e-9, atol=1e-11)
    else:
        (moved,) = (v for k, v in out.items() if k.startswith("state/"))
        np.testing.assert_allclose(moved, parts[0]._v, rtol=1e-9, atol=1e-11)
        assert not module.parameters[next(k for k in module.parameters if k.endswith("weight_v"))].trainable


def test_the_power_iteration_finds_the_largest_singular_value() -> None:
    """With the vector that training leaves behind, the layer's matrix has norm 1."""
    module = pipeline("dense(5, norm = spectral, bias = false)", 4)
    weights = fill(module)
    weights["weight_v"] = np.linalg.svd(weights["weight"])[2][0]
    matrix = predict(module, named(module, weights), np.eye(4))
    assert np.linalg.norm(matrix, 2) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("backend", installed())
def test_backends_agree(backend: str) -> None:
    module = pipeline("conv(3, 2, norm = spectral) -> flatten -> dense(3, norm = weight)", 2, 3, 3)
    rng = np.random.default_rng(0)
    weights = {k: rng.normal(0, 0.7, p.shape) for k, p in module.parameters.items()}
    x, cotangent = rng.normal(size=(2, 2, 3, 3)), rng.normal(size=(2, 3))
    expected, wanted = gradients(module, weights, x, cotangent)
    session = find_backend(backend).session(module, weights, options=DOUBLE)
    out, found = session.gradients({"x": x, "cotangent": cotangent})
    np.testing.assert_allclose(out["y"], expected["y"], rtol=1e-9, atol=1e-12)
    for name, slope in found.items():
        np.testing.assert_allclose(slope, wanted[name], rtol=1e-8, atol=1e-11, err_msg=name)


MASKED = """model m
input x: binary[5]
mask up = degrees
x ~ autoregressive(likelihood = bernoulli) {{
  dense(12, mask = up, norm = {0}) -> tanh -> dense(5, mask = strict(up), norm = {0})
}}
check {{ complete(x) }}
"""


@pytest.mark.parametrize("norm", ["weight", "spectral"])
def test_what_a_mask_removes_stays_zero(norm: str) -> None:
    """Proofs are those without a norm, and a unit that sees nothing has finite gradients."""
    module = lowered(MASKED.format(norm))
    assert all(v.status == "proved" for v in prove(module))
    plain = lowered(MASKED.format("none"))
    shared = {k: p.live for k, p in plain.parameters.items()}
    assert shared == {k: module.parameters[k].live for k in shared}
    rng = np.random.default_rng(0)
    weights = {k: rng.normal(size=p.shape) for k, p in module.parameters.items()}
    session = find_backend("torch").session(module, weights, options=DOUBLE)
    out, slopes = session.gradients({"x": rng.integers(0, 2, (3, 5)).astype(float)})
    assert np.isfinite(out["loss"]) and all(np.isfinite(s).all() for s in slopes.values())


def test_zeros_have_no_direction() -> None:
    with pytest.raises(SpecError, match="no direction"):
        pipeline("dense(3, init = zeros, norm = weight)", 4)
