"""Dense layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile.ir import Constant, DType, Init, Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import MAX_MASK, Context, Layer, Mask, MaskUse, fan_in_uniform
from mpcompile.layers.masks import mask_constant


@dataclass(frozen=True)
class Dense(Layer):
    """y = x (W * M)^T + b over the last axis: [..., in] -> [..., units].

    An image [N, C, H, W] is not flattened silently: write `flatten` first. A mask [units, in] multiplies the
    weight, so that what it removes is exactly zero (Germain et al. 2015, eq. 9).
    """

    keyword: ClassVar[str] = "dense"
    units: int
    mask: Mask | None = None
    bias: bool = True
    init: str = "uniform"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        b = ctx.b
        if x.dtype != DType.FLOAT:
            raise ctx.fail(
                "MP204",
                f"dense needs real numbers and got {x.dtype}",
                help="embed categories first: embedding(dim)",
            )
        fan_in = x.shape[-1]
        if x.type.rank < 2 or not isinstance(fan_in, int):
            raise ctx.fail("MP201", f"dense needs a last axis of fixed size, got {x.type}")
        start = {
            "uniform": fan_in_uniform(fan_in),
            "zeros": Init("zeros"),
            "he": Init("normal", (2.0 / max(1, fan_in)) ** 0.5),
            "normal": Init("normal", 0.02),
        }.get(self.init)
        if start is None:
            raise ctx.fail(
                "MP205", f"no initialisation is named '{self.init}'", help="uniform, he, normal or zeros"
            )
        weight = ctx.param("weight", (self.units, fan_in), start)
        produced = None
        if self.mask is not None:
            use = MaskUse("dense", (self.units, fan_in), ctx.degrees_of(x), ctx.order)
            matrix, produced = mask_matrix(ctx, self.mask, use)
            weight = F.mul(b, weight, b.emit(matrix))
        zero_bias = start.kind in ("zeros", "normal")
        bias = ctx.param("bias", (self.units,), Init("zeros") if zero_bias else start) if self.bias else None
        y = F.linear(b, x, weight, bias)
        if produced is not None:
            ctx.degrees[y] = produced
        return y


def mask_matrix(ctx: Context, mask: Mask, use: MaskUse) -> tuple[Constant, np.ndarray | None]:
    """The mask at this use and, for degree masks, the degrees it gives the outputs."""
    if np.prod(use.shape, dtype=float) >= MAX_MASK:
        raise ctx.fail(
            "MP112", f"a mask of {' x '.join(map(str, use.shape))} elements is larger than {MAX_MASK}"
        )
    try:
        constant = mask_constant(mask, use)
        degrees = getattr(mask, "output_degrees", None)
        return constant, degrees(use) if degrees is not None else None
    except ValueError as problem:
        raise ctx.fail("MP206", f"the mask does not fit: {problem}") from problem


@dataclass(frozen=True)
class Embedding(Layer):
    """A learned vector for each category: category [N, ...] -> real [N, ..., dim]."""

    keyword: ClassVar[str] = "embedding"
    dim: int
    classes: int | None = None

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        from mpcompile import ops

        (x,) = inputs
        classes = self.classes or ctx.classes_of(x)
        if x.dtype != DType.INT or classes is None:
            raise ctx.fail(
                "MP204", f"embedding needs categories and got {x.dtype}", help="declare x: category(k)"
            )
        table = ctx.param("weight", (classes, self.dim), Init("normal", 0.02))
        return ctx.b.emit(ops.Gather(0), table, x)


class Flatten(Layer):
    """[N, ...] -> [N, D]."""

    keyword: ClassVar[str] = "flatten"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.flatten(ctx.b, inputs[0])


@dataclass(frozen=True)
class Reshape(Layer):
    """[N, ...] -> [N, shape...]."""

    keyword: ClassVar[str] = "reshape"
    shape: tuple[int, ...]

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.reshape(ctx.b, inputs[0], (inputs[0].shape[0], *self.shape))
