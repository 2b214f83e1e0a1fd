"""Flows in torch."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from by_hand import State, Weights, renamed


class MaskedLinear(nn.Linear):
    """A dense layer whose output i reads the inputs where `mask[i]` is 1."""

    mask: Tensor

    def __init__(self, mask: np.ndarray) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", torch.tensor(mask, dtype=self.weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width, 3, padding=1)
        self.b = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(F.relu(self.a(F.relu(x))))


class ResNet(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, width: int = 32) -> None:
        stem, last = nn.Conv2d(inputs, width, 3, padding=1), nn.Conv2d(width, outputs, 3, padding=1)
        super().__init__(stem, Block(width), Block(width), nn.ReLU(), last)


class Coupling(nn.Module):
    """An affine coupling; the elements where `mask` is 1 pass as they are."""

    mask: Tensor

    def __init__(self, mask: Tensor | None, channels: int) -> None:
        super().__init__()
        self.bound = nn.Parameter(torch.ones(channels, 1, 1))
        self.net = ResNet(channels, 2 * channels)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, C, H, W] -> the same shape, and log-determinants [N]."""
        log_scale, shift = self.net(x * self.mask).chunk(2, 1)
        log_scale = torch.tanh(log_scale) * self.bound * (1 - self.mask)
        return x * torch.exp(log_scale) + shift * (1 - self.mask), log_scale.sum((1, 2, 3))


class ChannelCoupling(Coupling):
    """One half of the channels passes, the other is scaled and shifted."""

    def __init__(self, parity: int) -> None:
        super().__init__(None, 2)
        self.parity = parity

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        halves = list(x.chunk(2, 1))
        log_scale, shift = self.net(halves[self.parity]).chunk(2, 1)
        log_scale = torch.tanh(log_scale) * self.bound
        halves[1 - self.parity] = halves[1 - self.parity] * torch.exp(log_scale) + shift
        return torch.cat(halves, 1), log_scale.sum((1, 2, 3))


class RealNvp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        large, small = self.board(8), self.board(4)
        first = [Coupling(1 - large if i % 2 else large, 1) for i in range(4)]
        last = [Coupling(1 - small if i % 2 else small, 2) for i in range(4)]
        self.couplings = nn.ModuleList([*first, *(ChannelCoupling(i % 2) for i in range(4)), *last])

    @staticmethod
    def board(size: int) -> Tensor:
        rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        return ((rows + columns) % 2 == 0).to(torch.get_default_dtype())

    def loss(self, x: Tensor, noise: Tensor) -> Tensor:
        p = 0.05 + 0.9 * (x + noise) / 17
        log_p, log_q = torch.log(p), torch.log1p(-p)
        h = log_p - log_q
        log_det = (np.log(0.9 / 17) - log_p - log_q).sum((1, 2, 3))
        for coupling in self.couplings[:4]:
            h, more = coupling(h)
            log_det = log_det + more
        h = F.pixel_unshuffle(h, 2)
        for coupling in self.couplings[4:8]:
            h, more = coupling(h)
            log_det = log_det + more
        h, z = h.chunk(2, 1)
        for coupling in self.couplings[8:]:
            h, more = coupling(h)
            log_det = log_det + more
        z = torch.cat([z, h], 1)
        return -((-0.5 * z**2 - 0.5 * np.log(2 * np.pi)).sum((1, 2, 3)) + log_det).mean()

    @staticmethod
    def state(weights: Weights) -> State:
        found = renamed(
            weights,
            (r"x\.coupling\.(\d+)\.net\.resnet_0\.stem", r"couplings.\1.net.0"),
            (r"x\.coupling\.(\d+)\.net\.resnet_0\.block\.0", r"couplings.\1.net.1"),
            (r"x\.coupling\.(\d+)\.net\.resnet_0\.block\.1", r"couplings.\1.net.2"),
            (r"x\.coupling\.(\d+)\.project", r"couplings.\1.net.4"),
            (r"x\.coupling", "couplings"),
        )
        return {n: a.reshape(-1, 1, 1) if n.endswith("bound") else a for n, a in found.items()}


class MafLayer(nn.Module):
    """A masked autoregressive layer, and an activation normalisation."""

    def __init__(self, masks: list[np.ndarray]) -> None:
        super().__init__()
        first, second, last = (MaskedLinear(mask) for mask in masks)
        self.net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
        self.bound = nn.Parameter(torch.ones(2))
        self.log_scale = nn.Parameter(torch.zeros(2))
        self.shift = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.net(x).chunk(2, 1)
        log_scale = torch.tanh(log_scale) * self.bound
        x = x * torch.exp(log_scale) + shift
        return x * torch.exp(self.log_scale) + self.shift, log_scale.sum(1) + self.log_scale.sum()


class Maf(nn.Module):
    def __init__(self, masks: list[np.ndarray]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MafLayer(masks[3 * i : 3 * i + 3]) for i in range(3))

    def loss(self, x: Tensor) -> Tensor:
        log_det = x.new_zeros(len(x))
        for layer in self.layers:
            x, more = layer(x)
            x = x.flip(1)
            log_det = log_det + more
        return -((-0.5 * x**2 - 0.5 * np.log(2 * np.pi)).sum(1) + log_det).mean()

    @staticmethod
    def state(weights: Weights) -> State:
        return renamed(
            weights,
            (r"x\.autoregressive\.(\d+)\.hidden_0", r"layers.\1.net.0"),
            (r"x\.autoregressive\.(\d+)\.hidden_1", r"layers.\1.net.2"),
            (r"x\.autoregressive\.(\d+)\.project", r"layers.\1.net.4"),
            (r"x\.(autoregressive|actnorm)", "layers"),
        )
