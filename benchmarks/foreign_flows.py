"""Flows of zuko, nflows and normflows, and convolutional networks: the structure of their Jacobians, against autograd.

    python benchmarks/foreign_flows.py
    python benchmarks/foreign_flows.py zuko.MAF

A line a model: nodes, seconds to record, difference of the recording from the model, kind of the Jacobian (of a network
the offsets that it reads), and how many pairs of elements autograd's Jacobian joins and the proof does not (missed), and
the other way round (surplus). The Jacobian is the union over five points; weights are redrawn at a larger scale,
since many flows start as the identity. The libraries are no dependencies.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from mpcompile.analysis.dependence import sets
from mpcompile.foreign import ForeignClaim, Unrecordable, answer
from mpcompile.foreign.running import difference
from mpcompile_torch.reader import TorchModel

#: Features of a flow.
WIDTH = 5


class Of(nn.Module):
    """A module whose call is a function of it."""

    def __init__(self, part: nn.Module, call: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.part, self.call = part, call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(self.part, x)


def zukos() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    import zuko

    flows = {
        "MAF": {"transforms": 1}, "MAF of 3": {"transforms": 3}, "NSF": {"transforms": 1}, "NICE": {"transforms": 1},
        "NAF": {"transforms": 1}, "UNAF": {"transforms": 1}, "SOSPF": {"transforms": 1}, "BPF": {"transforms": 1},
        "GF": {"transforms": 1}, "NCSF": {"transforms": 1}, "CNF": {},
    }  # fmt: skip
    for name, options in flows.items():
        kind = getattr(zuko.flows, name.split()[0])
        yield f"zuko.{name}", lambda kind=kind, o=options: Of(kind(WIDTH, **o), lambda m, x: m().transform(x))
    order = torch.tensor([2, 0, 1, 4, 3])
    yield (
        "zuko.MAF ordered",
        lambda: Of(zuko.flows.MaskedAutoregressiveTransform(WIDTH, order=order), lambda m, x: m()(x)),
    )
    lower = torch.ones(WIDTH, WIDTH).tril().bool()
    yield "zuko.MaskedMLP", lambda: zuko.nn.MaskedMLP(lower, [16])
    yield (
        "zuko.MonotonicMLP",
        lambda: Of(zuko.nn.MonotonicMLP(1, 1, [8]), lambda m, x: m(x[..., None])[..., 0]),
    )


def nflowss() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    from nflows import transforms as t
    from nflows.nn.nets import ResidualNet

    def net(inputs: int, outputs: int) -> nn.Module:
        return ResidualNet(inputs, outputs, 8)

    half = torch.tensor([1, 0, 1, 0, 1])
    made: dict[str, Callable[[], nn.Module]] = {
        "MaskedAffineAutoregressive": lambda: t.MaskedAffineAutoregressiveTransform(WIDTH, 16),
        "MaskedPiecewiseRationalQuadratic": lambda: t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            WIDTH, 16, tails="linear", tail_bound=3.0),
        "AffineCoupling": lambda: t.AffineCouplingTransform(half, net),
        "PiecewiseRationalQuadraticCoupling": lambda: t.PiecewiseRationalQuadraticCouplingTransform(
            half, net, tails="linear", tail_bound=3.0),
        "ActNorm": lambda: t.ActNorm(WIDTH),
        "LULinear": lambda: t.LULinear(WIDTH), "QRLinear": lambda: t.QRLinear(WIDTH, 2),
        "SVDLinear": lambda: t.SVDLinear(WIDTH, 2), "Reverse": lambda: t.ReversePermutation(WIDTH),
    }  # fmt: skip
    for name, make in made.items():
        yield f"nflows.{name}", lambda make=make: Of(make(), lambda m, x: m(x)[0])


def normflowss() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    import normflows as nf

    half = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    made: dict[str, Callable[[], nn.Module]] = {
        "MaskedAffineAutoregressive": lambda: nf.flows.MaskedAffineAutoregressive(WIDTH, 16),
        "AutoregressiveRationalQuadraticSpline": lambda: nf.flows.AutoregressiveRationalQuadraticSpline(WIDTH, 1, 16),
        "CoupledRationalQuadraticSpline": lambda: nf.flows.CoupledRationalQuadraticSpline(WIDTH, 1, 16),
        "MaskedAffineFlow": lambda: nf.flows.MaskedAffineFlow(
            half, nf.nets.MLP([WIDTH, 8, WIDTH]), nf.nets.MLP([WIDTH, 8, WIDTH])),
        "AffineConstFlow": lambda: nf.flows.AffineConstFlow((WIDTH,)), "Planar": lambda: nf.flows.Planar((WIDTH,)),
        "Radial": lambda: nf.flows.Radial((WIDTH,)), "LULinearPermute": lambda: nf.flows.LULinearPermute(WIDTH),
        "Residual": lambda: nf.flows.Residual(nf.nets.LipschitzMLP([WIDTH, 8, WIDTH]), reduce_memory=False),
    }  # fmt: skip
    for name, make in made.items():
        yield f"normflows.{name}", lambda make=make: Of(make(), lambda m, x: m(x)[0])


class Block(nn.Module):
    """A residual block of a ResNet (He et al. 2016)."""

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__()
        self.one, self.two = (
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
        )
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.down = nn.Conv2d(width, width, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.two(torch.relu(self.bn1(self.one(x)))))
        return torch.relu(y + self.down(x))


class Inverted(nn.Module):
    """An inverted residual of MobileNet v2 with squeeze and excitation (Sandler et al. 2018; Hu et al. 2018)."""

    def __init__(self, width: int, squeeze: bool) -> None:
        super().__init__()
        wide = 2 * width
        self.body = nn.Sequential(nn.Conv2d(width, wide, 1), nn.BatchNorm2d(wide), nn.ReLU6(),
                                  nn.Conv2d(wide, wide, 3, 1, 1, groups=wide), nn.Hardswish())  # fmt: skip
        self.gate = (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, wide, 1), nn.Hardsigmoid())
            if squeeze
            else None
        )
        self.out = nn.Conv2d(wide, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return x + self.out(y if self.gate is None else y * self.gate(y))


def networks() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    conv = nn.Conv2d
    yield "ResNet blocks", lambda: nn.Sequential(conv(1, 3, 3, 1, 1), Block(3), Block(3))
    yield "ResNet, stride 2", lambda: nn.Sequential(conv(1, 3, 3, 1, 1), nn.MaxPool2d(3, 2, 1), Block(3, 2))
    yield "MobileNet block", lambda: nn.Sequential(conv(1, 3, 1), Inverted(3, squeeze=False))
    yield "with squeeze", lambda: nn.Sequential(conv(1, 3, 1), Inverted(3, squeeze=True))
    yield (
        "VGG",
        lambda: nn.Sequential(
            conv(1, 3, 3, 1, 1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            conv(3, 3, 3, 1, 1),
            nn.Flatten(),
            nn.Linear(48, 4),
        ),
    )
    yield (
        "dilated",
        lambda: nn.Sequential(conv(1, 2, 3, 1, 1), conv(2, 2, 3, 1, 2, dilation=2), nn.GroupNorm(1, 2)),
    )
    yield (
        "transposed",
        lambda: nn.Sequential(conv(1, 2, 4, 2, 1), nn.GELU(), nn.ConvTranspose2d(2, 1, 4, 2, 1)),
    )
    yield (
        "upsampled",
        lambda: nn.Sequential(nn.AvgPool2d(2), conv(1, 2, 1), nn.Upsample(scale_factor=2, mode="bilinear")),
    )


def redrawn(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator))
    return module.eval()


def jacobian(module: nn.Module, x: torch.Tensor) -> np.ndarray:
    """Return which elements autograd joins at any of five points: bool [output elements, input elements]."""
    found = np.zeros(())
    for step in range(5):
        point = (
            x.double() + step * torch.randn(x.shape, generator=torch.Generator().manual_seed(step)).double()
        )
        matrix = torch.autograd.functional.jacobian(module, point)
        size = matrix.reshape(-1, x.numel()).abs().numpy()
        found = np.maximum(found, np.nan_to_num(size))
    joined: np.ndarray = found > 1e-12
    return joined


def line(name: str, make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    x = 0.5 * torch.randn(shape, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(0)
    try:
        module = redrawn(make())
        call = {"x": x} if isinstance(module, Of) else {"input": x}
        model = TorchModel(module, call)
        start = time.perf_counter()
        recording = model.record()
        seconds = time.perf_counter() - start
    except Unrecordable as reason:
        print(f"{name:48} not read: {reason.what[:90]}", flush=True)
        return
    except (
        RuntimeError,
        TypeError,
        ValueError,
    ) as reason:  # of the library, in a release with other arguments
        print(f"{name:48} not made: {type(reason).__name__}: {str(reason)[:80]}", flush=True)
        return
    (source,) = call
    found = sets(recording.graph, source, "output", {}).value.unpack()
    wide = TorchModel(module, call)._double(0)
    seen = jacobian(wide, x)
    kind = "jacobian" if len(shape) == 2 else "receptive_field"
    order = "" if len(shape) == 2 else ", order = axis 3"
    try:
        how = answer(recording, ForeignClaim.parse(f"{kind}({source} -> output{order})"), model).reason.split(
            ", by"
        )[0]
    except ValueError:  # lengths differ
        how = "no common axis"
    pairs = f"missed {int((seen & ~found).sum())}, surplus {int((found & ~seen).sum())} of {int(found.sum())}"
    count, apart = len(recording.graph.nodes()), difference(recording)
    print(f"{name:48} {count:5} {seconds:6.2f} s {apart:8.0e}  {how:32} {pairs}", flush=True)


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for zoo, shape in (
        (zukos, (1, WIDTH)),
        (nflowss, (1, WIDTH)),
        (normflowss, (1, WIDTH)),
        (networks, (1, 1, 8, 8)),
    ):
        try:
            for name, make in zoo():
                if len(sys.argv) < 2 or name in sys.argv[1:]:
                    line(name, make, shape)
        except ImportError as missing:
            print(f"{zoo.__name__}: {missing}")


if __name__ == "__main__":
    main()
