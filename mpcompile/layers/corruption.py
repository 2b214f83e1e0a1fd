"""Corruption of an input as declared noise: what a denoising or inpainting autoencoder undoes.

Both layers act in the training loss alone; every other program sees the input as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Value
from mpcompile.ir.axes import CHANNEL
from mpcompile.layers.base import Context, Layer
from mpcompile.ops import build as F
from mpcompile.ranges import Fraction, NonNegative


@dataclass(frozen=True)
class GaussianNoise(Layer):
    """x + scale e, e standard normal, while training (Vincent et al. 2008, section 2.3).

    The shape stays: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "gaussian_noise"
    scale: NonNegative

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if not ctx.training or self.scale == 0:
            return x
        noise = ctx.noise_input("noise_corruption", x.shape, "normal")
        return F.add(b, x, F.mul(b, noise, self.scale))


@dataclass(frozen=True)
class MaskOut(Layer):
    """Zero each position, all its channels, with probability `rate` while training (Vincent et al. 2008).

    Unlike `dropout` it does not scale what is left: a masked input should look like one with a hole.

    The shape stays: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "mask_out"
    rate: Fraction

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if not ctx.training or self.rate == 0:
            return x
        shape = list(x.shape)
        axes = ctx.axes_of(x)
        if (
            CHANNEL in axes and len(axes) > 1
        ):  # a place of an image or a sequence; of a vector each element is one
            shape[ctx.axis(x, CHANNEL)] = 1
        u = ctx.noise_input("noise_corruption", tuple(shape), "uniform")
        return F.mul(b, x, F.to_float(b, F.less(b, u, 1.0 - self.rate)))
