"""Sequence models in torch."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from by_hand import State, Weights, renamed
from by_hand.torch_flows import MaskedLinear


def categorical(logits: Tensor, x: Tensor) -> Tensor:
    """logits [N, time, classes], x int[N, time] -> mean over N of the negative log-likelihood of a sequence."""
    return F.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="sum") / len(x)


class Vrnn(nn.Module):
    """The time loop holds what the hidden state needs; the prior and the decoder see all steps at once."""

    def __init__(self, keys: int = 24, hidden: int = 32, code: int = 8) -> None:
        super().__init__()
        self.posterior = self.phi(keys + hidden, hidden, 2 * code)
        self.prior = self.phi(hidden, hidden, 2 * code)
        self.decoder = self.phi(code + hidden, hidden, keys)
        self.cell = nn.GRUCell(keys + code, hidden)

    @staticmethod
    def phi(inputs: int, hidden: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def loss(self, x: Tensor, length: Tensor, noise: Tensor) -> Tensor:
        present = torch.arange(x.shape[1]) < length[:, None]
        x = x * present[..., None]
        h = x.new_zeros(len(x), self.cell.hidden_size)
        states, codes, laws = [], [], []
        for x_t, noise_t in zip(x.unbind(1), noise.unbind(1), strict=True):
            law = self.posterior(torch.cat([x_t, h], 1))
            mean, log_scale = law.chunk(2, 1)
            z = mean + log_scale.exp() * noise_t
            states.append(h), codes.append(z), laws.append(law)
            h = self.cell(torch.cat([x_t, z], 1), h)
        h, z = torch.stack(states, 1), torch.stack(codes, 1)
        mean, log_scale = torch.stack(laws, 1).chunk(2, 2)
        prior_mean, prior_log_scale = self.prior(h).chunk(2, 2)
        ratio = log_scale - prior_log_scale
        distance = (mean - prior_mean) * torch.exp(-prior_log_scale)
        kl = (0.5 * (torch.exp(2 * ratio) + distance**2 - 1) - ratio).sum(2)
        logits = self.decoder(torch.cat([z, h], 2))
        nats = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(2)
        return ((nats + kl) * present).sum(1).mean()

    @staticmethod
    def state(weights: Weights) -> State:
        found = renamed(
            weights,
            (r"z\.phi_0\.dense_0", "posterior.0"),
            (r"z\.phi_0\.dense_1", "posterior.2"),
            (r"z\.prior\.phi_0\.dense_0", "prior.0"),
            (r"z\.prior\.phi_0\.dense_1", "prior.2"),
            (r"x\.phi_0\.dense_0", "decoder.0"),
            (r"x\.phi_0\.dense_1", "decoder.2"),
            (r"h\.gru_0\.bias$", "cell.bias_ih"),
            (r"h\.gru_0\.bias_hn", "cell.bias_hh"),
            (r"h\.gru_0", "cell"),
        )
        return _whole_bias(found, "cell.bias_hh")


def _whole_bias(state: State, name: str) -> State:
    """Give the bias of the new gate as the bias of all gates, zero in the others."""
    bias = state[name]
    return state | {name: np.pad(bias, (2 * len(bias), 0))}


class WaveLayer(nn.Module):
    def __init__(self, width: int, dilation: int, classes: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.timbre = nn.Embedding(classes, 2 * width)
        self.conv = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, timbre: Tensor) -> tuple[Tensor, Tensor]:
        h = self.conv(F.pad(x, (self.dilation, 0))) + self.timbre(timbre)[..., None]
        a, b = h.chunk(2, 1)
        h = self.out(torch.tanh(a) * torch.sigmoid(b))
        return x + h, h


class WaveNet(nn.Module):
    """Channels first, as convolutions want them."""

    def __init__(self, width: int = 8, levels: int = 32, classes: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(levels, width)
        self.first = nn.Conv1d(width, width, 2)
        self.layers = nn.ModuleList(WaveLayer(width, 2 ** (i % 3), classes) for i in range(6))
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv1d(width, width, 1), nn.ReLU(), nn.Conv1d(width, levels, 1)
        )

    def loss(self, x: Tensor, timbre: Tensor) -> Tensor:
        h = self.first(F.pad(self.embedding(x).mT, (2, -1)))
        skip: Tensor | int = 0
        for layer in self.layers:
            h, more = layer(h, timbre)
            skip = skip + more
        return F.cross_entropy(self.head(skip), x, reduction="sum") / len(x)

    @staticmethod
    def state(weights: Weights) -> State:
        layer = r"x\.net\.layer\.(\d+)\."
        found = renamed(
            weights,
            (r"x\.net\.start_0\.embedding_0", "embedding"),
            (r"x\.net\.start_0\.conv1d_0", "first"),
            (layer + "embedding_0", r"layers.\1.timbre"),
            (layer + "conv1d_0", r"layers.\1.conv"),
            (layer + "dense_0", r"layers.\1.out"),
            (r"x\.net\.head_0\.dense_0", "head.1"),
            (r"x\.net\.head_0\.dense_1", "head.3"),
        )
        dense = {n for n in found if n.endswith("weight") and ("head" in n or "out" in n)}
        return {n: a[..., None] if n in dense else a for n, a in found.items()}


class CharLstm(nn.Module):
    def __init__(self, characters: int = 36, width: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.out = nn.Linear(hidden, characters)

    def loss(self, text: Tensor) -> Tensor:
        h, _ = self.lstm(F.pad(self.embedding(text[:, :-1]), (0, 0, 1, 0)))
        return categorical(self.out(h), text)

    @staticmethod
    def state(weights: Weights) -> State:
        found = renamed(
            weights,
            (r"text\.net\.embedding_0", "embedding"),
            (r"text\.net\.lstm_0\.bias", "lstm.bias_ih_l0"),
            (r"text\.net\.lstm_0\.(\w+)", r"lstm.\1_l0"),
            (r"text\.net\.dense_0", "out"),
        )
        return found | {"lstm.bias_hh_l0": np.zeros_like(found["lstm.bias_ih_l0"])}


class Gru(nn.Module):
    def __init__(self, keys: int = 24, hidden: int = 48) -> None:
        super().__init__()
        self.gru = nn.GRU(keys, hidden, batch_first=True)
        self.out = nn.Linear(hidden, keys)

    def loss(self, x: Tensor, length: Tensor) -> Tensor:
        present = torch.arange(x.shape[1]) < length[:, None]
        x = x * present[..., None]
        h, _ = self.gru(x[:, :-1])
        logits = self.out(F.pad(h, (0, 0, 1, 0)))
        nats = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(2)
        return (nats * present).sum(1).mean()

    @staticmethod
    def state(weights: Weights) -> State:
        found = renamed(
            weights,
            (r"x\.dense_0", "out"),
            (r"h\.gru_0\.bias$", "gru.bias_ih_l0"),
            (r"h\.gru_0\.bias_hn", "gru.bias_hh_l0"),
            (r"h\.gru_0\.(\w+)", r"gru.\1_l0"),
        )
        return _whole_bias(found, "gru.bias_hh_l0")


class RnnMade(nn.Module):
    """A GRU over chords, and a MADE of the keys of a chord that also reads the state, over all steps at once."""

    def __init__(self, masks: list[np.ndarray], keys: int = 88, hidden: int = 100, units: int = 200) -> None:
        super().__init__()
        self.gru = nn.GRU(keys, hidden, batch_first=True)
        self.up = MaskedLinear(next(m for m in masks if m.shape == (units, keys)))
        self.down = MaskedLinear(next(m for m in masks if m.shape == (keys, units)))
        self.up_state, self.down_state = nn.Linear(hidden, units), nn.Linear(hidden, keys)

    def loss(self, x: Tensor, length: Tensor) -> Tensor:
        present = torch.arange(x.shape[1]) < length[:, None]
        x = x * present[..., None]
        h, _ = self.gru(x[:, :-1])
        h = F.pad(h, (0, 0, 1, 0))
        logits = self.down(F.relu(self.up(x) + self.up_state(h))) + self.down_state(h)
        nats = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(2)
        return (nats * present).sum(1).mean()

    @staticmethod
    def state(weights: Weights) -> State:
        found = renamed(
            weights,
            (r"x\.net\.dense_0", "up"),
            (r"x\.net\.dense_1", "up_state"),
            (r"x\.net\.dense_2", "down"),
            (r"x\.net\.dense_3", "down_state"),
            (r"h\.gru_0\.bias$", "gru.bias_ih_l0"),
            (r"h\.gru_0\.bias_hn", "gru.bias_hh_l0"),
            (r"h\.gru_0\.(\w+)", r"gru.\1_l0"),
        )
        return _whole_bias(found, "gru.bias_hh_l0")


class Layer(nn.Module):
    """A pre-norm layer of a causal transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in self.qkv(self.norm_1(x)).chunk(3, 2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_2(x))


class Transformer(nn.Module):
    def __init__(self, layers: int, characters: int = 36, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.position = nn.Embedding(128, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, characters)

    def loss(self, text: Tensor) -> Tensor:
        x = F.pad(self.embedding(text[:, :-1]), (0, 0, 1, 0)) + self.position.weight[: text.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return categorical(self.out(self.norm(x)), text)

    @staticmethod
    def state(weights: Weights) -> State:
        layer = r"text\.net\.layer\.(\d+)\."
        return renamed(
            weights,
            (r"text\.net\.embedding_0", "embedding"),
            (r"text\.net\.position_0", "position"),
            (r"text\.net\.layer_norm_0", "norm"),
            (r"text\.net\.dense_0", "out"),
            (layer + r"residual_0\.net\.layer_norm_0", r"layers.\1.norm_1"),
            (layer + r"residual_1\.net\.layer_norm_0", r"layers.\1.norm_2"),
            (layer + r"residual_0\.net\.attention_0\.(\w+)_qkv", r"layers.\1.qkv.\2"),
            (layer + r"residual_0\.net\.attention_0\.(\w+)_out", r"layers.\1.out.\2"),
            (layer + r"residual_1\.net\.dense_0", r"layers.\1.mlp.0"),
            (layer + r"residual_1\.net\.dense_1", r"layers.\1.mlp.2"),
        )
