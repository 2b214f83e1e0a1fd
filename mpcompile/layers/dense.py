"""Dense layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, DType, Init, Value
from mpcompile.layers.base import ANY, MAX_MASK, Context, Layer, Mask, MaskUse, Takes
from mpcompile.layers.masks import mask_constant, stacked
from mpcompile.layers.reparametrised import Norm, reparametrised
from mpcompile.layers.starts import DEFAULT, SMALL, Start
from mpcompile.ops import build as F
from mpcompile.ranges import Classes, Shape, Width


@dataclass(frozen=True)
class Dense(Layer):
    """y = x (W * M)^T + b over the last axis: [..., in] -> [..., units].

    An image [N, C, H, W] is not flattened silently: write `flatten` first. A mask [units, in] multiplies the
    weight, so that what it removes is exactly zero (Germain et al. 2015, eq. 9). `norm` is `weight` (a learned length
    and a direction for each unit) or `spectral` (the largest singular value is about 1).
    """

    keyword: ClassVar[str] = "dense"
    takes: ClassVar[Takes] = Takes("real numbers in a last axis of fixed size", 1, fixed=(-1,))
    units: Width
    mask: Mask | None = None
    bias: bool = True
    init: Start = DEFAULT
    norm: Norm = "none"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        b = ctx.b
        fan_in = x.shape[-1]
        assert isinstance(fan_in, int)
        start = self.init.of((self.units, fan_in))
        weight = ctx.param("weight", (self.units, fan_in), start)
        produced = None
        if self.mask is not None:
            use = MaskUse("dense", (self.units, fan_in), ctx.degrees_of(x), ctx.order)
            matrix, produced = mask_value(ctx, self.mask, use)
            weight = F.mul(b, weight, matrix)
        weight = reparametrised(ctx, weight, self.norm, start)
        bias = ctx.param("bias", (self.units,), bias_start(self.init, start)) if self.bias else None
        y = F.linear(b, x, weight, bias)
        if produced is not None:
            ctx.degrees[y] = produced
        return y


def bias_start(start: Start, weight: Init) -> Init:
    """Return how a bias starts beside a weight: like it under the default start, else at zero."""
    return weight if start == DEFAULT else Init("zeros")


def mask_value(ctx: Context, mask: Mask, use: MaskUse) -> tuple[Value, Array | None]:
    """Emit the mask at this use; return it with the degrees of the outputs, if it is a mask of degrees.

    Where there are several orders or sets of masks, the mask is the member's row of a constant.

    Raises `SpecError`: MP112 for a mask that is too large, or the fault of a mask that does not fit.
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
        replace(
            use, inputs=None if use.inputs is None else use.inputs[k], order=order, mask_set=k % ctx.mask_sets
        )
        for k, order in enumerate(ctx.order)
    ]


@dataclass(frozen=True)
class Embedding(Layer):
    """A learned vector for each category: category [N, ...] -> real [N, ..., dim]; the weight is [classes, dim]."""

    keyword: ClassVar[str] = "embedding"
    takes: ClassVar[Takes] = Takes("categories", kind=DType.INT)
    dim: Width
    classes: Classes | None = None
    init: Start = SMALL

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        known = ctx.classes_of(x)
        classes = self.classes or known
        if classes is None:
            raise ctx.fail(
                "MP204", "embedding does not know how many categories there are", help="embedding(dim, k)"
            )
        if known is not None and classes < known:
            raise ctx.fail("MP205", f"embedding has {classes} rows for {known} categories")
        shape = (classes, self.dim)
        table = ctx.param("weight", shape, self.init.of(shape))
        if x in ctx.relaxed:  # the mean of the rows by their shares
            shares, axis = ctx.relaxed[x]
            last = (*(i for i in range(shares.type.rank) if i != axis), axis)
            return ctx.b.emit(ops.MatMul(), F.transpose(ctx.b, shares, *last), table)
        return ctx.b.emit(ops.Gather(0), table, x)


class Flatten(Layer):
    """[N, ...] -> [N, D]."""

    keyword: ClassVar[str] = "flatten"
    takes: ClassVar[Takes] = ANY

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.flatten(ctx.b, inputs[0])


@dataclass(frozen=True)
class Reshape(Layer):
    """[N, ...] -> [N, shape...]."""

    keyword: ClassVar[str] = "reshape"
    takes: ClassVar[Takes] = ANY
    shape: Shape

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.reshape(ctx.b, inputs[0], (inputs[0].shape[0], *self.shape))
