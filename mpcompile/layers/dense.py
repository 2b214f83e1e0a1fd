"""Dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, DType, Init, Value
from mpcompile.ir.axes import CHANNEL, TwoReadings, default_axes
from mpcompile.layers.axes import described, two_readings, with_batch
from mpcompile.layers.base import ANY, LAST, MAX_MASK, Acting, Acts, Context, Layer, Mask, MaskUse, Takes
from mpcompile.layers.classes import depth, rows
from mpcompile.layers.masks import mask_constant, stacked
from mpcompile.layers.reparametrised import Norm, reparametrised
from mpcompile.layers.starts import DEFAULT, SMALL, Start
from mpcompile.ops import build as F
from mpcompile.ranges import Classes, NamedSizes, Shape, Width


@dataclass(frozen=True)
class Dense(Acting):
    """y = x (W * M)^T + b over the channels: [..., in] -> [..., units].

    An image is not flattened silently: without `flatten` the same map is at every place. A mask [units, in] multiplies
    the weight, so that what it removes is exactly zero (Germain et al. 2015, eq. 9). `norm` is `weight` (a learned length
    and a direction for each unit) or `spectral` (the largest singular value is about 1).
    """

    keyword: ClassVar[str] = "dense"
    acts: ClassVar[Acts] = LAST
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
    takes: ClassVar[Takes] = Takes(kind=DType.INT)
    by_shares: ClassVar[bool] = True
    dim: Width
    classes: Classes | None = None
    init: Start = SMALL

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        classes = depth(ctx, self.keyword, x, self.classes, "embedding(dim, k)")
        axes = ctx.axes_of(x)
        if CHANNEL in axes:
            raise ctx.fail("MP213", f"embedding gives each category an axis `channel`, and {described(ctx, x)} has one",
                           help="call that axis of the variable something else")  # fmt: skip
        shape = (classes, self.dim)
        table = ctx.param("weight", shape, self.init.of(shape))
        return ctx.name_axes(rows(ctx, x, table), (*axes, CHANNEL))


class Flatten(Layer):
    """Merge all axes to channels, in their order: [N, ...] -> [N, D]."""

    keyword: ClassVar[str] = "flatten"
    takes: ClassVar[Takes] = ANY

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return ctx.name_axes(F.flatten(ctx.b, with_batch(ctx, inputs[0])), (CHANNEL,))


@dataclass(frozen=True)
class Reshape(Layer):
    """Read all elements in another shape: `reshape([8, 4, 4])`, or with names, `reshape(time = 8, channel = 16)`.

    Two sizes without names have two readings. [N, ...] -> [N, shape...].
    """

    keyword: ClassVar[str] = "reshape"
    takes: ClassVar[Takes] = ANY
    shape: Shape | None = None
    sizes: NamedSizes | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` unless there is one of both."""
        if (self.shape is None) == (self.sizes is None):
            raise ValueError(
                "reshape needs a list of sizes, or sizes by name: reshape(time = 8, channel = 16)"
            )

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        shape = tuple(size for _, size in self.sizes or ()) if self.shape is None else self.shape
        names: list[str | None] = [name for name, _ in self.sizes or ()] or [None] * len(shape)
        x = with_batch(ctx, inputs[0])
        try:
            axes = default_axes(names, shape)
        except TwoReadings as two:
            raise ctx.fail(
                "MP212", two_readings(two, shape), help=f"name the axes: {_named(two, shape)}"
            ) from two
        return ctx.name_axes(F.reshape(ctx.b, x, (x.shape[0], *shape)), axes)


def _named(two: TwoReadings, sizes: Sequence[int]) -> str:
    axes = two.readings[0] or tuple("..." for _ in sizes)
    return f"reshape({', '.join(f'{n} = {s}' for n, s in zip(axes, sizes, strict=True))})"
