"""Softmax and layers that normalise."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import torch

from mpcompile import ops
from mpcompile.foreign.formulas import per_channel, standardised
from mpcompile.ir import DType, Value, numbers
from mpcompile.ops import build
from mpcompile_torch.reader.tape import Call

FLOAT = DType.FLOAT


def softmax(c: Call, scores: Value, axis: int) -> Value:
    """Emit a softmax in which finite masks remove what they remove."""
    return c.b.emit(ops.Softmax(axis), c.tape.seen(scores, axis))


def _softmax(c: Call) -> Value:
    return softmax(c, c.value("self", FLOAT), c.axis())


def _log_softmax(c: Call) -> Value:
    axis, x = c.axis(), c.value("self", FLOAT)
    seen = c.tape.seen(x, axis)
    if seen is x:
        return c.b.emit(ops.LogSoftmax(axis), x)
    # the logarithm itself is finite where a finite mask is
    return build.sub(c.b, x, c.b.emit(ops.LogSumExp((axis,), True), seen))


def _safe_softmax(c: Call) -> Value:
    """softmax with rows of zeros where everything is minus infinity."""
    b, axis = c.b, c.axis()
    x = c.tape.seen(c.value("self", FLOAT), axis)  # a masked score does not tell whether a row has others
    none = b.emit(ops.Equal(), b.emit(ops.Max((axis,), True), x), b.constant(-np.inf))
    return build.where(b, none, b.constant(0.0), b.emit(ops.Softmax(axis), x))


def _given(c: Call, name: str) -> Value | None:
    return None if c[name] is None else c.value(name, FLOAT)


def _affine(c: Call, y: Value) -> Value:
    weight, bias = _given(c, "weight"), _given(c, "bias")
    y = y if weight is None else build.mul(c.b, y, weight)
    return y if bias is None else build.add(c.b, y, bias)


def _layer_norm(c: Call) -> tuple[Value, ...]:
    x = c.value("input", FLOAT)
    axes = range(x.type.rank - len(c["normalized_shape"]), x.type.rank)
    y, mean, scale = standardised(c.b, x, axes, float(c["eps"]))
    return _affine(c, y), mean, scale


def _rms_norm(c: Call) -> tuple[Value, ...]:
    x = c.value("input", FLOAT)
    axes = range(x.type.rank - len(c["normalized_shape"]), x.type.rank)
    eps = torch.finfo(c["input"].dtype).eps if c["eps"] is None else float(c["eps"])
    y, _, scale = standardised(c.b, x, axes, eps, center=False)
    return _affine(c, y), scale


def _group_norm(c: Call) -> tuple[Value, ...]:
    b, x = c.b, c.value("input", FLOAT)
    shape, groups = numbers(x.shape), int(c["group"])
    split = build.reshape(b, x, (shape[0], groups, prod(shape[1:]) // groups))
    y, *rest = standardised(b, split, (2,), float(c["eps"]))
    y = per_channel(b, build.reshape(b, y, shape), _given(c, "weight"), _given(c, "bias"))
    return y, *(build.reshape(b, v, (shape[0], groups)) for v in rest)


def _batch_norm(c: Call) -> Value:
    """Normalise by running statistics; in training by those of the batch, which every example reads."""
    b, x, eps = c.b, c.value("input", FLOAT), float(c["eps"])
    if c["training"]:
        y, *_ = standardised(b, x, (0, *range(2, x.type.rank)), eps)
    else:
        wide = (1, x.shape[1], *(1,) * (x.type.rank - 2))
        mean, variance = (build.reshape(b, c.value(n), wide) for n in ("running_mean", "running_var"))
        y = build.div(b, build.sub(b, x, mean), b.emit(ops.Sqrt(), build.add(b, variance, eps)))
    return per_channel(b, y, _given(c, "weight"), _given(c, "bias"))


RULES: dict[str, Callable[[Call], Value | tuple[Value, ...]]] = {
    "_softmax": _softmax, "softmax": _softmax, "_safe_softmax": _safe_softmax, "_log_softmax": _log_softmax,
    "native_layer_norm": _layer_norm, "_fused_rms_norm": _rms_norm, "native_group_norm": _group_norm,
    **dict.fromkeys(
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "_native_batch_norm_legit_functional _batch_norm_with_update".split(), _batch_norm),
}  # fmt: skip
