"""Every operation that a reader knows gives what the framework gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpcompile.foreign.running import difference
from mpcompile_torch.reader import record
from mpcompile_torch.reader.rules import RULES

Call = Callable[[torch.Tensor], torch.Tensor]
I = torch.tensor([2, 0, 1])  # noqa: E741
TURN = torch.polar(torch.ones(2), torch.tensor([0.3, 1.0]))
AT = torch.tensor([[[1, 0, 2, 3]]]).expand(2, 3, 4)

#: On x[2, 3, 4].
CASES: list[Call] = [
    lambda x: (-x.abs().sqrt() + x.exp().log() + x.tanh() * x.sigmoid()
        + x.relu() + x.floor() + x.erf() + x.sin() + x.cos()),
    lambda x: (x.abs().rsqrt() + (x + 9).reciprocal()
        + x.abs().log1p() + x.expm1() + torch.exp2(x) + (x.abs() + 1).log2()),
    lambda x: ((x.abs() + 1).log10() + x.ceil() + F.silu(x)
        + F.gelu(x) + F.gelu(x, approximate="tanh") + F.softplus(x, 2.0)),
    lambda x: (F.leaky_relu(x, 0.2) + F.elu(x, 0.7) + F.selu(x)
        + F.hardtanh(x) + F.mish(x) + F.hardswish(x) + F.logsigmoid(x)),
    lambda x: (torch.add(x, x.flip(0), alpha=3) - torch.sub(x, 2.0, alpha=0.5)
        + (5 - x) * x / (x.abs() + 2) + x.sign()),
    lambda x: x**2 + x**3 + (x.abs() + 1) ** 0.5 + (x.abs() + 1) ** -1.5 + 2.0**x + (x.abs() + 1) ** -2,
    lambda x: torch.maximum(x, x.flip(1)) + torch.minimum(x, x.roll(1, 2)) + x.clamp(-0.5, 0.5) + x.clamp_min(0.1),
    lambda x: torch.where((x < 0) | (x >= 1), x, 2 * x) + torch.where((x > 0) & ~(x <= 0.3), x, -x),
    lambda x: ((x == 0) ^ (x != 0)).float() * x + x.masked_fill(x > 0, 3.0) + (x > 0).float().mean(),
    lambda x: torch.div(x, 0.3, rounding_mode="floor") + torch.lerp(x, -x, 0.3) + torch.addcmul(x, x, x, value=0.5),
    lambda x: x.view(6, 4).t().unsqueeze(0).squeeze()[1:3, ::2],
    lambda x: x.permute(2, 0, 1).transpose(0, 1).expand(2, 2, 4, 3)[1, :, -1],
    lambda x: torch.cat([x, x[:, :1]], 1) + torch.stack([x, -x, x, x], 1)[:, :, 0],
    lambda x: torch.cat(x.split([1, 2], 1), 1) + torch.stack(x.unbind(1), 1) + torch.cat(x.chunk(2, 2), 2),
    lambda x: (x.roll((1, 2), (1, 2)) + x.flip(1, 2)
        + F.pad(x, (1, 0, 0, 2), value=3.0)[:, :3, :4] + F.pad(x, (-1, 1))),
    lambda x: x.unfold(2, 2, 1).sum(-1)[..., :1] + x.repeat(1, 1, 2)[..., :3] + x.repeat_interleave(2, 1)[:, :3, :1],
    lambda x: x.diagonal(0, 1, 2) + x.as_strided((2, 3), (12, 4)) + x.tril()[:, :, 0] + x.triu(1)[:, :, 1],
    lambda x: x[:, I] + x.index_select(1, I) + x[:, [0, -1, 1]] + x.gather(2, AT) + x.take_along_dim(AT, 2),
    lambda x: x[torch.tensor([0, 1]), torch.tensor([2, 1])] + x[x.new_tensor([[True] * 3, [False] * 3]).bool()][:2],
    lambda x: (x.scatter(2, AT, x * 2)
        + torch.index_put(x, (torch.tensor([0]), I[:1]), x[0, 0]) + x.scatter_add(2, AT, x)),
    lambda x: x.sum() + x.sum(1) + x.mean((0, 2)).sum() + x.amax(1) + x.amin((0, 1)) + x.max(1).values + x.min(),
    lambda x: ((x.argmax(1) + x.max(1).indices + x.argmin(1)).float()
        + (x > 0).any(1).float() + (x > 0).all(1).float()),
    lambda x: (x.logsumexp(1) + x.var(1) + x.std(1, correction=0)
        + torch.var_mean(x, 1)[1] + x.norm(dim=1) + x.norm(1, 1)),
    lambda x: x.cumsum(1) + x.flip(2).cumsum(2),
    lambda x: x.softmax(1) + x.log_softmax(2) + F.layer_norm(x, (3, 4)) + F.rms_norm(x, (4,)) + F.normalize(x, dim=1),
    lambda x: F.group_norm(x, 3) + F.instance_norm(x) + F.batch_norm(x, torch.zeros(3), torch.ones(3)),
    lambda x: (x @ x.mT @ x + torch.baddbmm(x, x, torch.ones(2, 4, 4), beta=0.5, alpha=2)
        + torch.einsum("bij,bkj->bik", x, x) @ x),
    lambda x: (torch.addmm(x[0], x[0, :, :2], x[1, :2], beta=2)
        + torch.mv(x[0], x[1, 0])[:, None] + torch.dot(x[0, 0], x[1, 1])),
    lambda x: (F.scaled_dot_product_attention(x, x, x, is_causal=True)
        + F.scaled_dot_product_attention(x, x, x, scale=0.3)),
    lambda x: (F.conv1d(x, torch.ones(6, 3, 2), torch.ones(6), padding=1).sum(1, keepdim=True)
        + F.conv1d(x, torch.ones(3, 1, 3), groups=3, padding=2, dilation=1)[..., :5]),
    lambda x: F.conv_transpose1d(x, torch.ones(3, 2, 3), stride=2, padding=1, output_padding=1),
    lambda x: (F.conv2d(x[None], torch.ones(2, 2, 2, 2), stride=(1, 2))
        + F.conv2d(x, torch.ones(2, 2, 2, 2), stride=(1, 2))),
    lambda x: (F.max_pool2d(x, 2, 1) + F.avg_pool2d(x, 2, 1)
        + F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)[:, 1:, 1:]),
    lambda x: (F.adaptive_avg_pool2d(x, 1)
        + F.adaptive_avg_pool2d(x, (2, 3)).sum() + F.adaptive_avg_pool1d(x, 2)[:, :1]),
    lambda x: F.interpolate(x[None], scale_factor=2.0) + F.interpolate(x[None], size=(6, 8), mode="bilinear"),
    lambda x: (F.interpolate(x, size=9, mode="linear", align_corners=True).sum()
        + F.pixel_shuffle(x.reshape(1, 4, 3, 2), 2)),
    lambda x: torch.view_as_real(torch.view_as_complex(x.reshape(2, 3, 2, 2).contiguous()) * TURN),
    lambda x: (x.topk(2, 1).values.sum(1) + x.sort(2).values[:, 0]
        + x.cumprod(1)[:, 0] + torch.remainder(x, 0.3)[:, 0]),
    lambda x: F.embedding((x[..., 0].abs() * 2).long().clamp(0, 2), torch.arange(9.0).reshape(3, 3)),
    lambda x: x.half().float() + x.double().float() + (x > 0) + x.long(),
]  # fmt: skip


class Module(nn.Module):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(x)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_an_operation_is_what_the_framework_computes(number: int) -> None:
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(number))
    recording = record(Module(CASES[number]), {"x": x})
    assert recording.graph.inputs and len(recording.graph.nodes()) > 1
    half = number == len(CASES) - 1  # whose elements are rounded to half precision on the way
    assert difference(recording) < (2e-3 if half else 1e-5)


LAYERS = [
    nn.LSTM(4, 5, 2, batch_first=True), nn.GRU(4, 5, batch_first=True, bidirectional=True), nn.RNN(4, 5),
    nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=True), nn.MultiheadAttention(4, 2, batch_first=True),
    nn.Sequential(nn.Conv1d(3, 6, 3, padding=1), nn.BatchNorm1d(6), nn.GLU(1)), nn.Bilinear(4, 4, 2), nn.PReLU(),
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_layer_is_what_the_framework_computes(layer: nn.Module) -> None:
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    several = isinstance(layer, nn.MultiheadAttention | nn.Bilinear)
    call = (lambda m, x: m(*(x,) * (3 if isinstance(m, nn.MultiheadAttention) else 2))) if several else None
    recording = record(layer.eval(), {"x" if several else _name(layer): x}, call)
    assert difference(recording) < 1e-5
    assert set(recording.parameters) <= set(layer.state_dict())


def _name(layer: nn.Module) -> str:
    import inspect

    return next(iter(inspect.signature(layer.forward).parameters))


def test_dropout_is_noise_of_its_own() -> None:
    recording = record(nn.Dropout(0.5).train(), {"input": torch.randn(2, 3)})
    assert recording.noise and difference(recording) < 1e-6


def test_rules_have_names_of_operations() -> None:
    known = set(dir(torch.ops.aten)) | {
        n for n in RULES if hasattr(torch.ops.aten, n) or hasattr(torch.ops.prims, n)
    }
    assert {n for n in RULES if n not in known} <= {"concat", "unique2"}
