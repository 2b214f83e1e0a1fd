"""Dense layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, DType, Init, Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import MAX_MASK, Context, Layer, Mask, MaskUse, fan_in_uniform
from mpcompile.layers.masks import mask_constant, stacked


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
            matrix, produced = mask_value(ctx, self.mask, use)
            weight = F.mul(b, weight, matrix)
        zero_bias = start.kind in ("zeros", "normal")
        bias = ctx.param("bias", (self.units,), Init("zeros") if zero_bias else start) if self.bias else None
        y = F.linear(b, x, weight, bias)
        if produced is not None:
            ctx.degrees[y] = produced
        return y


def mask_value(ctx: Context, mask: Mask, use: MaskUse) -> tuple[Value, Array | None]:
    """The mask at this use and, for degree masks, the degrees it gives the outputs.

    Where there are several orders or sets of masks, the mask is the member's row of a constant.
    """
    uses = [use] if ctx.member is None else _uses(ctx, use)
    if np.prod(use.shape, dtype=float) * len(uses) >= MAX_MASK:
        raise ctx.fail(
            "MP112",
            f"a mask of {' x '.join(map(str, use.shape))} elements is larger than {MAX_MASK // len(uses)}",
        )
    output_degrees = getattr(mask, "output_degrees", None)
    try:
        masks = [mask_constant(mask, u) for u in uses]
        degrees = [output_degrees(u) for u in uses] if output_degrees is not None else None
    except ValueError as problem:
        raise ctx.fail("MP206", f"the mask does not fit: {problem}") from problem
    if ctx.member is None:
        return ctx.b.emit(masks[0]), None if degrees is None else degrees[0]
    if all(m == masks[0] for m in masks):
        value = ctx.b.emit(masks[0])
    else:
        value = ctx.b.emit(ops.Gather(0), ctx.b.emit(stacked(tuple(masks))), ctx.member)
    return value, None if degrees is None else np.stack(degrees)


def _uses(ctx: Context, use: MaskUse) -> list[MaskUse]:
    """The use of a mask in each of several orders."""
    assert ctx.order is not None
    return [
        replace(use, inputs=None if use.inputs is None else use.inputs[k], order=order, turn=k % ctx.turns)
        for k, order in enumerate(ctx.order)
    ]


@dataclass(frozen=True)
class Embedding(Layer):
    """A learned vector for each category: category [N, ...] -> real [N, ..., dim]."""

    keyword: ClassVar[str] = "embedding"
    dim: int
    classes: int | None = None

    def forward(self, ctx: Context, *inputs: Value) -> Value:
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
