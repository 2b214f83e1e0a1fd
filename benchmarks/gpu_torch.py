"""Models written by hand in torch, for `gpu.py`: what an engineer writes who knows the sizes and the device.

Each model defines its parameters in the order of its spec, so that weights of one load into the other one by one. Each
`forward` returns the loss that the spec trains: the negative log-likelihood of an example, averaged over the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpcompile.backend import OptimizerSpec, find_backend
from mpcompile.ir import Array, Module

Inputs = dict[str, Array]


class Layer(nn.Module):
    """A pre-norm layer of a transformer: causal attention, then two dense layers with a gelu between them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, time, width] -> [N, time, width]."""
        n, time, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(n, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(read.transpose(1, 2).reshape(n, time, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """A causal transformer over characters, as `specs/transformer.mp`."""

    def __init__(self, characters: int, width: int, heads: int, layers: int, longest: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.position = nn.Embedding(longest, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters)

    def forward(self, text: Tensor) -> Tensor:
        """text int[N, time] -> loss []."""
        x = F.pad(self.embedding(text[:, :-1]), (0, 0, 1, 0)) + self.position.weight[: text.shape[1]]
        for layer in self.layers:
            x = layer(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1), text.flatten(), reduction="sum") / len(text)


class Causal(nn.Conv2d):
    """A convolution that applies the live taps of a masked 3x3 kernel: rows up to the centre, or a part of its row."""

    def __init__(self, inputs: int, outputs: int, rows: slice, columns: slice) -> None:
        super().__init__(inputs, outputs, 3)
        self.live = (slice(None), slice(None), rows, columns)
        self.around = (1, columns.stop - 2, 1 - rows.start, rows.stop - 2)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, inputs, rows, columns] -> [N, outputs, rows, columns]."""
        return F.conv2d(F.pad(x, self.around), self.weight[self.live], self.bias)


def vertical(inputs: int, outputs: int) -> Causal:
    """Reads its own row and the row above."""
    return Causal(inputs, outputs, slice(0, 2), slice(0, 3))


def horizontal(inputs: int, outputs: int, taps: int) -> Causal:
    """Reads `taps` columns of its own row, from the left neighbour on."""
    return Causal(inputs, outputs, slice(1, 2), slice(0, taps))


def shift_down(x: Tensor) -> Tensor:
    """Move rows down by one. x [N, C, rows, columns] -> the same shape."""
    return F.pad(x, (0, 0, 1, -1))


def gate(x: Tensor) -> Tensor:
    """x [N, 2 width, ...] -> [N, width, ...]."""
    content, opening = x.chunk(2, 1)
    return content.tanh() * opening.sigmoid()


class Gated(nn.Module):
    """A layer of the gated PixelCNN."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.above = vertical(width, 2 * width)
        self.label = nn.Embedding(classes, 2 * width)
        self.left = horizontal(width, 2 * width, 2)
        self.down = nn.Conv2d(2 * width, 2 * width, 1)
        self.label2 = nn.Embedding(classes, 2 * width)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, v: Tensor, h: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Both stacks [N, width, rows, columns], label int[N] -> both stacks."""
        deep = self.above(v) + self.label(label)[..., None, None]
        wide = self.left(h) + self.down(shift_down(deep)) + self.label2(label)[..., None, None]
        return gate(deep), h + self.out(gate(wide))


class PixelCNN(nn.Module):
    """A conditional gated PixelCNN, as `specs/gated_pixelcnn.mp`."""

    def __init__(self, width: int, layers: int, classes: int) -> None:
        super().__init__()
        self.above = vertical(1, width)
        self.down = nn.Conv2d(width, width, 1)
        self.left = horizontal(1, width, 1)
        self.layers = nn.ModuleList(Gated(width, classes) for _ in range(layers))
        self.head = nn.Conv2d(width, width, 1)
        self.logits = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """x [N, 1, rows, columns], label int[N] -> loss []."""
        v = self.above(x)
        h = self.down(shift_down(v)) + self.left(x)
        for layer in self.layers:
            v, h = layer(v, h, label)
        logits = self.logits(F.relu(self.head(F.relu(h))))
        return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)


class Dilated(nn.Module):
    """A layer of WaveNet: a dilated causal convolution of two taps, a gate, and a dense layer."""

    def __init__(self, width: int, dilation: int, classes: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.label = nn.Embedding(classes, 2 * width)
        self.conv = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
        self.dense = nn.Linear(width, width)

    def forward(self, h: Tensor, skip: Tensor, timbre: Tensor) -> tuple[Tensor, Tensor]:
        """h and skip [N, width, time], timbre int[N] -> both."""
        z = gate(self.conv(F.pad(h, (self.dilation, 0))) + self.label(timbre)[..., None])
        z = F.conv1d(z, self.dense.weight[..., None], self.dense.bias)
        return h + z, skip + z


class WaveNet(nn.Module):
    """WaveNet, as `specs/wavenet.mp`. Channels come before time throughout, which cuDNN takes as it is."""

    def __init__(self, width: int, layers: int, cycles: int, levels: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(levels, width)
        self.start = nn.Conv1d(width, width, 2)
        dilations = [2**j for _ in range(cycles) for j in range(layers)]
        self.layers = nn.ModuleList(Dilated(width, d, classes) for d in dilations)
        self.head = nn.Linear(width, width)
        self.logits = nn.Linear(width, levels)

    def forward(self, x: Tensor, timbre: Tensor) -> Tensor:
        """x int[N, time], timbre int[N] -> loss []."""
        h = self.start(F.pad(self.embedding(x[:, :-1]).mT, (2, 0)))
        skip = torch.zeros_like(h)
        for layer in self.layers:
            h, skip = layer(h, skip, timbre)
        logits = self.logits(F.relu(self.head(F.relu(skip).mT)))
        return F.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="sum") / len(x)


MODELS: dict[str, Any] = {"transformer": Transformer, "gated_pixelcnn": PixelCNN, "wavenet": WaveNet}


class Loop:
    """The plain training loop of torch around a loss."""

    def __init__(
        self,
        loss: Callable[..., Any],
        weights: Sequence[Tensor],
        rule: OptimizerSpec,
        device: str,
        mixed: bool,
    ) -> None:
        self.loss, self.weights, self.clip = loss, list(weights), rule.clip
        self.device, self.mixed = device, mixed
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[rule.kind]
        own = vars(rule.rule)
        more = {"betas": (own["beta1"], own["beta2"]), "eps": own["eps"], "weight_decay": rule.weight_decay}
        self.optimizer = kind(self.weights, lr=0.0, fused=True, **more)

    def step(self, inputs: Inputs, rate: float, norm: bool = False) -> dict[str, float]:
        """One update. The loss is read at its end, when the device has done everything; no norm is told."""
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        given = {name: torch.from_numpy(a).to(self.device) for name, a in inputs.items()}
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.mixed):
            made = self.loss(**given)
        loss = made["loss"] if isinstance(made, dict) else made
        loss.backward()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
        self.optimizer.step()
        return {"loss": loss.item()}


def emitted(module: Module, weights: Inputs, rule: OptimizerSpec, device: str, mixed: bool) -> Loop:
    """The plain loop around the emitted model under `torch.compile`."""
    model: Any = find_backend("torch").compile(module, weights, device=device)
    trained = [p for p in model.parameters() if p.requires_grad]
    return Loop(torch.compile(model.loss, dynamic=False), trained, rule, device, mixed)


def by_hand(
    name: str,
    sizes: dict[str, int],
    weights: Inputs,
    rule: OptimizerSpec,
    device: str,
    mixed: bool,
    compiled: bool,
) -> Loop:
    """The plain loop around a model of `MODELS` with these weights."""
    model = MODELS[name](**sizes).to(device)
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), weights.values(), strict=True):
            assert parameter.shape == array.shape
            parameter.copy_(torch.from_numpy(np.asarray(array, np.float32)))
    loss = torch.compile(model, dynamic=False) if compiled else model
    return Loop(loss, list(model.parameters()), rule, device, mixed)


def kernels(work: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of each kernel that runs on the GPU during some work."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
    return {e.key: e.device_time_total / 1e3 for e in seen.key_averages() if e.device_time_total}
