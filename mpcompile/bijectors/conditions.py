"""Conditions: values that a bijector's network sees beside what passes."""

from __future__ import annotations

from mpcompile import ops
from mpcompile.ir import DType, Value
from mpcompile.ir.axes import Axes
from mpcompile.layers.axes import ordered, with_batch
from mpcompile.layers.base import Context
from mpcompile.ops import build as F


def features(ctx: Context, condition: Value) -> Value:
    """Return a condition as numbers [N, C, ...]: a category as one of k, a scalar as one feature.

    Raises MP204 for a category that is no single one, or whose number of classes is not known.
    """
    condition = with_batch(ctx, condition)
    if condition.dtype is DType.INT:
        classes = ctx.classes_of(condition)
        if classes is None or condition.type.rank != 1:
            raise ctx.fail("MP204", f"a condition is a category or real numbers, not {condition.type}")
        return ctx.b.emit(ops.OneHot(classes), condition)
    value = F.to_float(ctx.b, condition)
    return F.reshape(ctx.b, value, (value.shape[0], 1)) if value.type.rank == 1 else value


def join(ctx: Context, x: Value, condition: Value | None, axes: Axes) -> Value:
    """Append the features of a condition to x[N, C, ...] as further channels, the same at every place.

    `axes` are the names of the axes of x. Raises `SpecError` for a condition whose places are not those of x.
    """
    if condition is None:
        return x
    extra, places = features(ctx, condition), x.shape[2:]
    if extra.type.rank > 2 and set(ctx.axes_of(extra)) == set(axes):
        extra = ordered(ctx, extra, axes)
    if extra.type.rank == 2 and places:
        flat = F.reshape(ctx.b, extra, (*extra.shape, *(1,) * len(places)))
        extra = ctx.b.emit(ops.BroadcastTo((*extra.shape, *places)), flat)
    if extra.shape[2:] != places:
        raise ctx.fail(
            "MP207", f"a condition of shape {list(extra.shape[1:])} does not lie beside {list(x.shape[1:])}"
        )
    return F.concat(ctx.b, [x, extra], 1)
