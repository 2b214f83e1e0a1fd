"""Products: matrices, convolutions, pooling, attention, and maps that are linear along axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from mpcompile import ops
from mpcompile.foreign.formulas import matmul
from mpcompile.ir import DType, Value, numbers
from mpcompile.ops import build
from mpcompile_torch.reader._normal import softmax
from mpcompile_torch.reader.tape import Call, array

FLOAT = DType.FLOAT


def _matmul(c: Call) -> Value:
    return matmul(c.b, *(c.cast(c.tape[x], FLOAT) for x in c.args[:2]))


def _added(first: str, second: str) -> Callable[[Call], Value]:
    """beta * self + alpha * (first @ second)."""

    def rule(c: Call) -> Value:
        z = matmul(c.b, c.value(first, FLOAT), c.value(second, FLOAT))
        alpha, beta = c.given.get("alpha", 1), c.given.get("beta", 1)
        z = z if alpha in (1, None) else build.mul(c.b, z, float(alpha))
        if beta == 0:
            return z
        x = c.value("self", FLOAT)
        return build.add(c.b, z, x if beta in (1, None) else build.mul(c.b, x, float(beta)))

    return rule


def _linear(c: Call) -> Value:
    z = matmul(c.b, c.value("input", FLOAT), build.transpose(c.b, c.value("weight", FLOAT), 1, 0))
    return z if c.given.get("bias") is None else build.add(c.b, z, c.value("bias", FLOAT))


def _convolution(c: Call) -> Value | tuple[Value, ...]:
    b, x, w = c.b, c.value("input", FLOAT), c.value("weight", FLOAT)
    axes = w.type.rank - 2
    stride, dilation = (_spread(c[n], axes) for n in ("stride", "dilation"))
    pads = tuple((int(p), int(p)) for p in _spread(c["padding"], axes))
    single = x.type.rank == axes + 1
    x = build.reshape(b, x, (1, *x.shape)) if single else x
    op: ops.Conv | ops.ConvTranspose = ops.Conv(stride, pads, dilation, int(c["groups"]))
    if c["transposed"]:
        op = ops.ConvTranspose(stride, pads, dilation, int(c["groups"]), _spread(c["output_padding"], axes))
    y = b.emit(op, x, w)
    if c["bias"] is not None:
        y = build.channel_bias(b, y, c.value("bias", FLOAT))
    return build.reshape(b, y, c.shape) if single else y


def _spread(values: Sequence[int] | int, axes: int) -> tuple[int, ...]:
    values = [values] if isinstance(values, int) else list(values)
    return tuple(int(v) for v in (values * axes if len(values) == 1 else values))


def _pool(make: Callable[..., ops.AvgPool | ops.MaxPool]) -> Callable[[Call], Value | tuple[Value, ...]]:
    def rule(c: Call) -> Value | tuple[Value, ...]:
        axes = len(c["kernel_size"]) if not isinstance(c["kernel_size"], int) else c["self"].ndim - 2
        kernel = _spread(c["kernel_size"], axes)
        stride = _spread(c["stride"], axes) if c["stride"] else kernel
        pads = tuple((p, p) for p in _spread(c["padding"], axes))
        dilated = max(_spread(c.given.get("dilation") or 1, axes)) > 1
        if c["ceil_mode"] or c.given.get("divisor_override") or dilated:
            return c.observe(None)
        x = c.value("self", FLOAT)
        single = x.type.rank == axes + 1
        x = build.reshape(c.b, x, (1, *x.shape)) if single else x
        if make is ops.AvgPool:
            op: ops.AvgPool | ops.MaxPool = ops.AvgPool(kernel, stride, pads, bool(c["count_include_pad"]))
        else:
            op = ops.MaxPool(kernel, stride, pads)
        y = c.b.emit_all(op, x)
        return tuple(build.reshape(c.b, v, c.shape) for v in y) if single else y

    return rule


def _adaptive(c: Call) -> Value | tuple[Value, ...]:
    """Adaptive means: each result element is a mean of neighbours, along each axis by itself."""
    return _separable(c, len(c["output_size"]))


def _separable(c: Call, axes: int) -> Value:
    """A map that is linear along each of the last axes by itself: its matrices are what it makes of ones and noughts."""
    x, source = c.value("self", FLOAT), c["self"]
    rank = source.ndim
    for axis in range(rank - axes, rank):
        matrix = _matrix(c, axis)
        order = [a for a in range(rank) if a != axis] + [axis]
        moved = build.transpose(c.b, x, *order) if order != list(range(rank)) else x
        moved = c.b.emit(ops.MatMul(), moved, c.b.constant(matrix))
        x = build.transpose(c.b, moved, *np.argsort(order).tolist()) if order != list(range(rank)) else moved
    return x


def _matrix(c: Call, axis: int) -> np.ndarray:
    """[in, out] of a separable map along one axis: what it makes of every unit vector, elsewhere constant."""
    source, size = c["self"], c["self"].shape[axis]
    rows = []
    for each in range(size):  # the other axes have ones, of which their matrices make ones
        unit = torch.zeros(source.shape, dtype=source.dtype)
        unit.select(axis, each).fill_(1.0)
        found = c.function(unit, *c.args[1:], **c.kwargs)
        rows.append(array(found)[tuple(slice(None) if a == axis else 0 for a in range(found.ndim))])
    return np.stack(rows)


def _upsample(c: Call) -> Value:
    return _separable(c, c["self"].ndim - 2)


def _attention(c: Call) -> tuple[Value, ...]:
    """softmax(q kᵀ scale + mask) v, which a kernel computes at once."""
    b = c.b
    q, k, v = (c.value(n, FLOAT) for n in ("query", "key", "value"))
    scale = c.given.get("scale") or 1 / math.sqrt(c["query"].shape[-1])
    order = [*range(k.type.rank - 2), k.type.rank - 1, k.type.rank - 2]
    scores = build.mul(b, b.emit(ops.MatMul(), q, build.transpose(b, k, *order)), float(scale))
    if c.given.get("is_causal"):
        rows, columns = numbers(scores.shape[-2:])
        seen = np.tril(np.ones((rows, columns), bool))
        scores = build.where(b, b.constant(seen), scores, b.constant(-np.inf))
    if c.given.get("attn_mask") is not None:
        mask = c.value("attn_mask")
        if mask.dtype is DType.BOOL:
            scores = build.where(b, mask, scores, b.constant(-np.inf))
        else:
            scores = build.add(b, scores, mask)
    return (b.emit(ops.MatMul(), softmax(c, scores, scores.type.rank - 1), v),)


def _trilinear(c: Call) -> Value:
    """The sum of a product of three, each with axes of length one where it lacks them."""
    parts = []
    for name, places in (("i1", "expand1"), ("i2", "expand2"), ("i3", "expand3")):
        value = c.value(name, FLOAT)
        shape = list(value.shape)
        for at in sorted(c[places]):
            shape.insert(at, 1)
        parts.append(build.reshape(c.b, value, tuple(shape)))
    whole = build.mul(c.b, build.mul(c.b, parts[0], parts[2]), parts[1])
    return build.sum_axes(c.b, whole, tuple(c["sumdim"]))


RULES: dict[str, Callable[[Call], Value | tuple[Value, ...]]] = {
    **dict.fromkeys("mm bmm mv dot matmul vdot".split(), _matmul),
    "addmm": _added("mat1", "mat2"), "addmv": _added("mat", "vec"), "baddbmm": _added("batch1", "batch2"),
    "_addmm_activation": lambda c: c.observe(None),
    "linear": _linear, "_trilinear": _trilinear,
    "convolution": _convolution, "_convolution": _convolution, "convolution_overrideable": _convolution,
    **dict.fromkeys("avg_pool1d avg_pool2d avg_pool3d".split(), _pool(ops.AvgPool)),
    **dict.fromkeys([f"max_pool{n}d_with_indices" for n in (1, 2, 3)], _pool(ops.MaxPool)),
    **dict.fromkeys("_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d".split(), _adaptive),
    **dict.fromkeys("upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d".split(), _upsample),
    **dict.fromkeys(
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention "
        "_scaled_dot_product_flash_attention".split(), _attention),
}  # fmt: skip
