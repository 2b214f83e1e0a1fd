"""Attention against torch and against its formulas: shared heads, another sequence, positions, masks at every length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from one_layer import gradients, pipeline, predict
from written import lowered

from mpcompile.analysis import prove
from mpcompile.backend import DOUBLE, find_backend, installed
from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module

F = torch.nn.functional


def fill(module: Module, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {k: rng.normal(0, 0.5, p.shape) for k, p in module.parameters.items()}


def by_name(weights: dict[str, Array]) -> dict[str, torch.Tensor]:
    return {k.rpartition(".")[2]: torch.tensor(v) for k, v in weights.items()}


def heads(x: torch.Tensor, count: int) -> torch.Tensor:
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def test_heads_of_keys_are_shared() -> None:
    """Grouped queries are those of `scaled_dot_product_attention(enable_gqa=True)`."""
    module = pipeline("attention(4, groups = 2, mask = causal)", 5, 8)
    weights, x = fill(module), torch.tensor(np.random.default_rng(1).normal(size=(2, 5, 8)))
    w = by_name(weights)
    q, k, v = (x @ w["weight_qkv"].T + w["bias_qkv"]).split([8, 4, 4], -1)
    mixed = F.scaled_dot_product_attention(
        heads(q, 4), heads(k, 2), heads(v, 2), is_causal=True, enable_gqa=True
    )
    wanted = mixed.transpose(1, 2).flatten(2) @ w["weight_out"].T + w["bias_out"]
    np.testing.assert_allclose(predict(module, weights, x.numpy()), wanted, rtol=1e-10, atol=1e-12)


def test_another_sequence_is_attended_to() -> None:
    """`to` is `nn.MultiheadAttention` with keys and values of another sequence, of another length and width."""
    module = pipeline("dense(6) as m -> dense(4) -> attention(2, to = m)", 5, 8)
    weights, x = fill(module), torch.tensor(np.random.default_rng(1).normal(size=(2, 5, 8)))
    first, second = ({k: v for k, v in weights.items() if f"dense_{i}" in k} for i in (0, 1))
    d, e = by_name(first), by_name(second)
    m = x @ d["weight"].T + d["bias"]
    h = m @ e["weight"].T + e["bias"]
    w = by_name({k: v for k, v in weights.items() if "attention" in k})
    theirs = torch.nn.MultiheadAttention(4, 2, kdim=6, vdim=6, batch_first=True).double()
    wk, wv = w["weight_kv"].chunk(2)
    state = {
        "q_proj_weight": w["weight_q"], "k_proj_weight": wk, "v_proj_weight": wv,
        "in_proj_bias": torch.cat([w["bias_q"], w["bias_kv"]]),
        "out_proj.weight": w["weight_out"], "out_proj.bias": w["bias_out"],
    }  # fmt: skip
    theirs.load_state_dict(state)
    wanted, _ = theirs(h, m, m)
    np.testing.assert_allclose(predict(module, weights, x.numpy()), wanted.detach(), rtol=1e-10, atol=1e-12)
    for option in ("rotary = 100", "alibi = true"):
        with pytest.raises(SpecError, match="leave out"):
            pipeline(f"dense(4) as m -> attention(2, to = m, {option})", 5, 8)


def test_queries_and_keys_are_turned_by_their_positions() -> None:
    """Rotary positions: pairs as complex numbers times e^(i t base^(-2 i / E)); scores then know distances alone."""
    module = pipeline("attention(2, rotary = 50, project = false, bias = false)", 6, 8)
    weights, x = fill(module), torch.tensor(np.random.default_rng(1).normal(size=(2, 6, 8)))
    (w,) = by_name(weights).values()
    q, k, v = (heads(part, 2) for part in (x @ w.T).chunk(3, -1))
    angle = torch.outer(
        torch.arange(6.0, dtype=torch.float64), 50.0 ** (-torch.arange(2, dtype=torch.float64) / 2)
    )

    def turned(z: torch.Tensor) -> torch.Tensor:
        made = torch.complex(z[..., :2], z[..., 2:]) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([made.real, made.imag], -1)

    wanted = F.scaled_dot_product_attention(turned(q), turned(k), v).transpose(1, 2).flatten(2)
    np.testing.assert_allclose(predict(module, weights, x.numpy()), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mask", ["causal", "before", "none"])
def test_scores_fall_with_distance(mask: str) -> None:
    """ALiBi, with each mask; a query without a key gives zeros."""
    module = pipeline(f"attention(2, mask = {mask}, alibi = true, project = false, bias = false)", 5, 4)
    weights, x = fill(module), np.random.default_rng(1).normal(size=(5, 4))
    (w,) = weights.values()
    q, k, v = np.split(x @ w.T, 3, 1)
    distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    seen = {"causal": np.tri(5), "before": np.tri(5, k=-1), "none": np.ones((5, 5))}[mask]
    wanted = np.zeros((5, 4))
    for h, own in enumerate((slice(0, 2), slice(2, 4))):
        scores = q[:, own] @ k[:, own].T / 2**0.5 - 2.0 ** (-8 * (h + 1) / 2) * distance
        e = np.exp(scores) * seen
        wanted[:, own] = e / np.maximum(e.sum(1, keepdims=True), 1e-300) @ v[:, own]
    np.testing.assert_allclose(predict(module, weights, x[None])[0], wanted, rtol=1e-10, atol=1e-14)


def test_sinusoids_are_those_of_the_paper() -> None:
    module = pipeline("sinusoid", 7, 6)
    position, i = np.arange(7)[:, None], np.arange(3)
    angle = position / 10000 ** (2 * i / 6)
    wanted = np.stack([np.sin(angle), np.cos(angle)], 2).reshape(7, 6)
    np.testing.assert_allclose(predict(module, {}, np.zeros((1, 7, 6)))[0], wanted, atol=1e-14)


ALL = (
    "sinusoid -> attention(2, mask = before, rotary = 100) as m -> residual(attention(4, groups = 2, mask = causal, "
    "alibi = true, bias = false)) -> attention(2, to = m, project = false)"
)


@pytest.mark.parametrize("backend", installed())
def test_backends_agree(backend: str) -> None:
    """Every option as emitted, in float64, against the oracle: values and gradients."""
    module = pipeline(ALL, 5, 8)
    weights = fill(module)
    x, cotangent = np.random.default_rng(1).normal(size=(2, 2, 5, 8))
    expected, wanted = gradients(module, weights, x, cotangent)
    session = find_backend(backend).session(module, weights, options=DOUBLE)
    out, found = session.gradients({"x": x, "cotangent": cotangent})
    np.testing.assert_allclose(out["y"], expected["y"], rtol=1e-9, atol=1e-12)
    for name, slope in found.items():
        np.testing.assert_allclose(slope, wanted[name], rtol=1e-9, atol=1e-11, err_msg=name)


WORDS = "model m\ninput x: category(5)[time]\n{}x ~ autoregressive(likelihood = categorical) {{ {} -> dense(5) }}\n"


@pytest.mark.parametrize(
    ("net", "complete"),
    [
        ("embedding(8) -> shift -> attention(2, mask = causal, groups = 1, rotary = 100)", "proved"),
        ("embedding(8) -> sinusoid -> shift -> attention(2, mask = causal, alibi = true)", "proved"),
        # the row without a key is told from the others by its place, so the sets are known from above only
        ("embedding(8) -> shift -> residual(attention(2, mask = before))", "undecided"),
    ],
)
def test_what_is_read_is_known_for_every_length(net: str, complete: str) -> None:
    module = lowered(WORDS.format("", net) + "check { complete(x) }\n")
    verdicts = {v.claim.kind: v for v in prove(module)}
    assert verdicts["autoregressive"].status == "proved" and "every length" in verdicts["autoregressive"].how
    assert verdicts["complete"].status == complete
    leak = lowered(WORDS.format("", net.replace("shift -> ", "").replace("residual(", "(")))
    assert {v.claim.kind: v.status for v in prove(leak)}["autoregressive"] == "refuted"


def test_padding_makes_no_difference() -> None:
    """Steps of a sequence do not change with the padding behind it, under the strict mask as well."""
    net = "embedding(4) -> shift -> residual(attention(2, mask = before))"
    module = lowered(WORDS.format("condition length: integer(1..time)\n", net))
    assert all(v.status == "proved" for v in prove(module))
    weights = fill(module)
    x, length = np.array([[1, 2, 3, 4], [2, 0, 0, 0]]), np.array([4.0, 1.0])
    whole = interpret(module.programs["log_prob"], weights, {"x": x, "length": length})
    alone = interpret(module.programs["log_prob"], weights, {"x": x[1:, :1], "length": length[1:]})
    found, wanted = (next(iter(out.values())) for out in (whole, alone))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[1], wanted[0], rtol=1e-12)
    session = find_backend("torch").session(module, weights, options=DOUBLE)
    _, slopes = session.gradients({"x": x, "length": length})
    assert all(np.isfinite(slope).all() for slope in slopes.values())
