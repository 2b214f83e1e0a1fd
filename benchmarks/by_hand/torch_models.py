"""The models in torch: modules of torch.nn, each with a `loss` and with `state`, which maps the weights of the spec."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from by_hand import State, Weights, renamed
from by_hand.torch_flows import Maf, MaskedLinear, RealNvp
from by_hand.torch_sequences import CharLstm, Gru, RnnMade, Transformer, Vrnn, WaveNet


def bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    """Negative log-likelihood [N] of bits, summed over all but the first axis."""
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.net(x), y)

    @staticmethod
    def state(weights: Weights) -> State:
        return renamed(weights, (r"y\.dense_0", "net.0"), (r"y\.dense_1", "net.2"))


class Cnn(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((1, width), (width, 2 * width)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            layers += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(8 * width, 10 * width), nn.ReLU(), nn.Linear(10 * width, 10)]
        self.net = nn.Sequential(*layers)

    def loss(self, image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(self.net(image / 16), label)

    @staticmethod
    def state(weights: Weights) -> State:
        places = (
            "stage_0.conv_0",
            "stage_0.conv_1",
            "stage_1.conv_0",
            "stage_1.conv_1",
            "dense_0",
            "dense_1",
        )
        numbers = (0, 2, 5, 7, 11, 13)
        return renamed(weights, *((rf"label\.{a}", f"net.{i}") for a, i in zip(places, numbers, strict=True)))


class Made(nn.Module):
    """Its masks are those of the spec, whose degrees are random."""

    def __init__(self, masks: list[np.ndarray]) -> None:
        super().__init__()
        first, second, last = (MaskedLinear(mask) for mask in masks)
        self.net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)

    def loss(self, x: Tensor) -> Tensor:
        return bernoulli(self.net(x), x).mean()

    @staticmethod
    def state(weights: Weights) -> State:
        return renamed(weights, *((rf"x\.net\.dense_{i}", f"net.{2 * i}") for i in range(3)))


class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16))
        self.decoder = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 64))

    def loss(self, x: Tensor, noise: Tensor) -> Tensor:
        mean, log_scale = self.encoder(x).chunk(2, 1)
        scale = log_scale.exp()
        logits = self.decoder(mean + scale * noise)
        kl = (0.5 * (mean**2 + scale**2 - 1) - log_scale).sum(1)
        return (bernoulli(logits, x) + kl).mean()

    @staticmethod
    def state(weights: Weights) -> State:
        return renamed(weights, (r"(\w+)\.dense_0", r"\1.0"), (r"(\w+)\.dense_1", r"\1.2"))


class GatedLayer(nn.Module):
    """Two stacks of convolutions whose kernels have the rows and columns that they may read."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.vertical = nn.Conv2d(width, 2 * width, (2, 3))
        self.horizontal = nn.Conv2d(width, 2 * width, (1, 2))
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.label_v = nn.Embedding(classes, 2 * width)
        self.label_h = nn.Embedding(classes, 2 * width)

    def forward(self, v: Tensor, h: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        deep = self.vertical(F.pad(v, (1, 1, 1, 0))) + self.label_v(label)[..., None, None]
        wide = self.horizontal(F.pad(h, (1, 0))) + self.across(F.pad(deep, (0, 0, 1, -1)))
        wide = wide + self.label_h(label)[..., None, None]
        return self.gate(deep), h + self.out(self.gate(wide))

    @staticmethod
    def gate(x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.tanh(a) * torch.sigmoid(b)


class GatedPixelCnn(nn.Module):
    def __init__(self, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.vertical = nn.Conv2d(1, width, (2, 3))
        self.horizontal = nn.Conv2d(1, width, (1, 1))
        self.across = nn.Conv2d(width, width, 1)
        self.layers = nn.ModuleList(GatedLayer(width, classes) for _ in range(2))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, 1, 1))

    def loss(self, x: Tensor, label: Tensor) -> Tensor:
        v = self.vertical(F.pad(x, (1, 1, 1, 0)))
        h = self.across(F.pad(v, (0, 0, 1, -1))) + self.horizontal(F.pad(x, (1, -1)))
        for layer in self.layers:
            v, h = layer(v, h, label)
        return bernoulli(self.head(h), x).mean()

    @staticmethod
    def state(weights: Weights) -> State:
        layer = r"x\.net\.gated\.(\d+)\."
        found = renamed(
            weights,
            (r"x\.net\.first_0\.conv_0", "vertical"),
            (r"x\.net\.first_0\.conv_1", "across"),
            (r"x\.net\.first_0\.conv_2", "horizontal"),
            (layer + "conv_0", r"layers.\1.vertical"),
            (layer + "conv_1", r"layers.\1.horizontal"),
            (layer + "conv_2", r"layers.\1.across"),
            (layer + "conv_3", r"layers.\1.out"),
            (layer + "embedding_0", r"layers.\1.label_v"),
            (layer + "embedding_1", r"layers.\1.label_h"),
            (r"x\.net\.head_0\.conv_0", "head.1"),
            (r"x\.net\.head_0\.conv_1", "head.3"),
        )
        for name, kernel in found.items():
            if name.endswith("vertical.weight"):
                found[name] = kernel[:, :, :2]
            elif name.endswith("horizontal.weight"):
                found[name] = kernel[:, :, 1:2, : 2 if name.startswith("layers") else 1]
        return found


MODELS: dict[str, type[nn.Module]] = {
    "mlp": Mlp,
    "cnn": Cnn,
    "made": Made,
    "realnvp": RealNvp,
    "maf": Maf,
    "vae": Vae,
    "vrnn": Vrnn,
    "gated_pixelcnn": GatedPixelCnn,
    "wavenet": WaveNet,
    "char_lstm": CharLstm,
    "gru": Gru,
    "jsb_rnn_made": RnnMade,
}


def build(family: str, masks: list[np.ndarray]) -> nn.Module:
    """Build a model; `masks` are those of the spec's weights, in order."""
    if family.startswith("transformer"):
        return Transformer(int(family.removeprefix("transformer")))
    masked = family in ("made", "maf", "jsb_rnn_made")
    return MODELS[family](masks) if masked else MODELS[family]()
