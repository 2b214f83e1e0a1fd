"""A small decoder as its users write it, and what goes wrong in one: `Decoder(fault)`."""

from __future__ import annotations

import torch
from torch import nn

#: Fault: the text of the line that the culprit of a refutation must be near.
FAULTS = {
    "off by one": "MASK",
    "missing": "WEIGHTS",
    "small number": "WEIGHTS",
    "behind the softmax": "WEIGHTS",
    "scaled scores": "WEIGHTS",
    "wrong axis": "WEIGHTS",
    "wrong length": "WEIGHTS",
    "roll": "ROLL",
    "norm over time": "NORM",
    "both directions": "BOTH",
    "pooling": "POOL",
    "written in place": "WRITE",
}


class Attention(nn.Module):
    def __init__(self, width: int, fault: str) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.fault = fault

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, fault = x.shape[1], self.fault
        q, k, v = self.qkv(x).chunk(3, -1)
        scores = q @ k.transpose(-2, -1) / 4
        ahead = torch.triu(torch.ones(n, n, dtype=torch.bool), 2 if fault == "off by one" else 1)  # MASK
        if fault == "scaled scores":
            scores = scores * (~ahead)
        elif fault == "small number":
            scores = scores.masked_fill(ahead, -5.0)
        elif fault == "wrong length":
            scores[..., : n - 2] = scores[..., : n - 2].masked_fill(ahead[:, : n - 2], float("-inf"))
        elif fault not in ("missing", "behind the softmax"):
            scores = scores.masked_fill(ahead.T if fault == "wrong axis" else ahead, float("-inf"))
        weights = scores.softmax(-1)  # WEIGHTS
        if fault == "behind the softmax":
            weights = weights * (~ahead)
        return self.out(weights @ v)


class Decoder(nn.Module):
    def __init__(self, fault: str = "", width: int = 16, layers: int = 2, classes: int = 23) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, width)
        self.places = nn.Embedding(64, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.layers = nn.ModuleList(Attention(width, fault) for _ in range(layers))
        self.rnn = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(width, classes)
        self.fault = fault

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.embed(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))
        if self.fault == "roll":
            x = x + torch.roll(x, -1, 1)  # ROLL
        if self.fault == "norm over time":
            x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)  # NORM
        if self.fault == "both directions":
            x = self.rnn(x)[0]  # BOTH
        if self.fault == "pooling":
            x = x + x.amax(1, keepdim=True)  # POOL
        if self.fault == "written in place":
            view = x[:, :-1]
            view += x[:, 1:].clone()  # WRITE
        return {"logits": self.head(x)}


def ids(length: int = 7, batch: int = 1) -> torch.Tensor:
    return torch.randint(0, 23, (batch, length), generator=torch.Generator().manual_seed(0))


def sound() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return Decoder(), {"input_ids": ids()}


def leaking() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return Decoder("off by one"), {"input_ids": ids()}


class Lengthy(Decoder):
    """A decoder whose attention changes with the length: `change(scores, n)` before the softmax."""

    def __init__(self, change: str) -> None:
        super().__init__("", 8, 1)
        self.change = change

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        n = input_ids.shape[1]
        x = self.embed(input_ids) + self.places(torch.arange(n))
        ahead = torch.ones(n, n, dtype=torch.bool).triu(1)
        if self.change == "window":
            ahead = ahead | torch.ones(n, n, dtype=torch.bool).tril(-4)
        if self.change == "no mask from 16" and n >= 16:
            ahead = torch.zeros(n, n, dtype=torch.bool)  # NO MASK
        if self.change == "no mask at 29" and n == 29:
            ahead = torch.zeros(n, n, dtype=torch.bool)
        if self.change == "window from 20" and n >= 20:
            ahead = ahead | torch.ones(n, n, dtype=torch.bool).tril(-16)
        if self.change == "scaled from 20" and n >= 20:
            x = x * 2  # SCALED
        if self.change == "chunks":
            at = torch.arange(n) // 4
            ahead = ahead | (at[:, None] != at[None, :])
        if self.change == "prefix":
            ahead = ahead & (torch.arange(n) >= 3)  # the first three places are read by all
        scores = (x @ x.mT).masked_fill(ahead, float("-inf"))
        x = scores.softmax(-1) @ x
        if self.change == "routed":
            most, at = x.topk(2, -1)
            x = x * most.sum(-1, keepdim=True) + at.sum(-1, keepdim=True)
        return {"logits": self.head(x)}


def at_length(length: int = 7) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    return Decoder(layers=1), {"input_ids": ids(length)}


def leaking_from_16(length: int) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    return Lengthy("no mask from 16"), {"input_ids": ids(length)}
