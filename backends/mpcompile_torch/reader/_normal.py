"""Softmax and layers that normalise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mpcompile import ops
from mpcompile.foreign.masks import masked
from mpcompile.foreign.recording import Margin
from mpcompile.ir import DType, Value, numbers
from mpcompile.ops import build
from mpcompile_torch.reader.tape import Call

FLOAT = DType.FLOAT


def softmax(c: Call, scores: Value, axis: int) -> Value:
    """Emit a softmax in which finite masks remove what they remove."""
    return c.b.emit(ops.Softmax(axis), seen(c, scores, axis))


def seen(c: Call, scores: Value, axis: int) -> Value:
    """Return scores with minus infinity where a finite mask removes them; what that assumes is noted."""
    left, number, added = masked(c.b, scores, axis)
    if number is not None:
        c.tape.margins.append(Margin(number, added, c.b.span))
    return left


def _softmax(c: Call) -> Value:
    return softmax(c, c.value("self", FLOAT), c.axis())


def _log_softmax(c: Call) -> Value:
    axis = c.axis()
    return c.b.emit(ops.LogSoftmax(axis), seen(c, c.value("self", FLOAT), axis))


def _safe_softmax(c: Call) -> Value:
    """softmax with rows of zeros where everything is minus infinity."""
    b, axis, x = c.b, c.axis(), c.value("self", FLOAT)
    none = b.emit(ops.Equal(), b.emit(ops.Max((axis,), True), x), b.constant(-np.inf))
    return build.where(b, none, b.constant(0.0), softmax(c, x, axis))


def _layer_norm(c: Call) -> tuple[Value, ...]:
    rank = c["input"].ndim
    axes = range(rank - len(c["normalized_shape"]), rank)
    x = c.value("input", FLOAT)
    y, mean, scale = _standardised(c, x, axes, float(c["eps"]))
    return _affine(c, y, c["weight"], c["bias"]), mean, scale


def _standardised(c: Call, x: Value, axes: Sequence[int], eps: float) -> tuple[Value, Value, Value]:
    """(x - mean) / sqrt(variance + eps) over axes; the mean and 1 / sqrt(...)."""
    b = c.b
    mean = build.mean_axes(b, x, tuple(axes), True)
    apart = build.sub(b, x, mean)
    variance = build.mean_axes(b, build.mul(b, apart, apart), tuple(axes), True)
    scale = build.div(b, 1.0, b.emit(ops.Sqrt(), build.add(b, variance, eps)))
    return build.mul(b, apart, scale), mean, scale


def _affine(c: Call, y: Value, weight: object, bias: object) -> Value:
    if weight is not None:
        y = build.mul(c.b, y, c.tape[weight])  # type: ignore[index]
    return y if bias is None else build.add(c.b, y, c.tape[bias])  # type: ignore[index]


def _rms_norm(c: Call) -> tuple[Value, ...]:
    b, x = c.b, c.value("input", FLOAT)
    axes = tuple(range(x.type.rank - len(c["normalized_shape"]), x.type.rank))
    eps = c["eps"] if c["eps"] is not None else float(np.finfo(np.float32).eps)
    square = build.mean_axes(b, build.mul(b, x, x), axes, True)
    scale = build.div(b, 1.0, b.emit(ops.Sqrt(), build.add(b, square, float(eps))))
    return _affine(c, build.mul(b, x, scale), c["weight"], None), scale


def _group_norm(c: Call) -> tuple[Value, ...]:
    b, x = c.b, c.value("input", FLOAT)
    shape, groups = numbers(x.shape), int(c["group"])
    split = build.reshape(b, x, (shape[0], groups, int(np.prod(shape[1:])) // groups))
    y, mean, scale = _standardised(c, split, (2,), float(c["eps"]))
    y = build.reshape(b, y, shape)
    wide = (1, shape[1], *(1,) * (len(shape) - 2))
    for name, op in (("weight", build.mul), ("bias", build.add)):
        if c[name] is not None:
            y = op(b, y, build.reshape(b, c.value(name), wide))
    return y, build.reshape(b, mean, (shape[0], groups)), build.reshape(b, scale, (shape[0], groups))


def _batch_norm(c: Call) -> tuple[Value, ...]:
    """Normalise by running statistics; in training by those of the batch, which every example reads."""
    b, x = c.b, c.value("input", FLOAT)
    rank = x.type.rank
    wide = (1, x.shape[1], *(1,) * (rank - 2))
    eps = float(c["eps"])
    if c.given.get("training"):
        y, *_ = _standardised(c, x, (0, *range(2, rank)), eps)
    else:
        mean, variance = (build.reshape(b, c.value(n), wide) for n in ("running_mean", "running_var"))
        y = build.div(b, build.sub(b, x, mean), b.emit(ops.Sqrt(), build.add(b, variance, eps)))
    for name, op in (("weight", build.mul), ("bias", build.add)):
        if c[name] is not None:
            y = op(b, y, build.reshape(b, c.value(name), wide))
    return (y,)


RULES: dict[str, Callable[[Call], Value | tuple[Value, ...]]] = {
    "_softmax": _softmax, "softmax": _softmax, "_safe_softmax": _safe_softmax, "_log_softmax": _log_softmax,
    "native_layer_norm": _layer_norm, "_fused_rms_norm": _rms_norm, "native_group_norm": _group_norm,
    **dict.fromkeys(
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "_native_batch_norm_legit_functional _batch_norm_with_update".split(), _batch_norm),
}  # fmt: skip
