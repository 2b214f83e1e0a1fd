"""Arithmetic on values: one short function per primitive, with Python numbers accepted where values are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, DType, Primitive, Shape, Symbolic, Value, product

Operand = Value | float | int


def _value(b: Builder, x: Operand) -> Value:
    return x if isinstance(x, Value) else b.constant(float(x))


def _binary(b: Builder, op: Primitive, x: Operand, y: Operand) -> Value:
    return b.emit(op, _value(b, x), _value(b, y))


def add(b: Builder, x: Operand, y: Operand) -> Value:
    return _binary(b, ops.Add(), x, y)


def sub(b: Builder, x: Operand, y: Operand) -> Value:
    return _binary(b, ops.Sub(), x, y)


def mul(b: Builder, x: Operand, y: Operand) -> Value:
    return _binary(b, ops.Mul(), x, y)


def div(b: Builder, x: Operand, y: Operand) -> Value:
    return _binary(b, ops.Div(), x, y)


def less(b: Builder, x: Operand, y: Operand) -> Value:
    return _binary(b, ops.Less(), x, y)


def maximum(b: Builder, x: Operand, y: Operand) -> Value:
    return _binary(b, ops.Maximum(), x, y)


def minimum(b: Builder, x: Operand, y: Operand) -> Value:
    return _binary(b, ops.Minimum(), x, y)


def neg(b: Builder, x: Value) -> Value:
    return b.emit(ops.Neg(), x)


def where(b: Builder, condition: Value, x: Operand, y: Operand) -> Value:
    return b.emit(ops.Where(), condition, _value(b, x), _value(b, y))


def cast(b: Builder, x: Value, dtype: DType) -> Value:
    return x if x.dtype == dtype else b.emit(ops.Cast(dtype), x)


def to_float(b: Builder, x: Value) -> Value:
    return cast(b, x, DType.FLOAT)


def reshape(b: Builder, x: Value, shape: Shape) -> Value:
    return x if x.shape == tuple(shape) else b.emit(ops.Reshape(tuple(shape)), x)


def flatten(b: Builder, x: Value) -> Value:
    """[N, ...] -> [N, D]."""
    return reshape(b, x, (x.shape[0], product(x.shape[1:])))


def transpose(b: Builder, x: Value, *permutation: int) -> Value:
    return b.emit(ops.Transpose(permutation), x)


def concat(b: Builder, xs: Sequence[Value], axis: int) -> Value:
    return xs[0] if len(xs) == 1 else b.emit(ops.Concat(axis), *xs)


def slice_axis(b: Builder, x: Value, axis: int, start: int, stop: int | None = None, step: int = 1) -> Value:
    """`x[..., start:stop:step, ...]` along one axis."""
    return b.emit(ops.Slice(axis, start, x.shape[axis] if stop is None else stop, step), x)


def take(b: Builder, x: Value, axis: int, index: Array) -> Value:
    """`x[..., index, ...]` along an axis whose size is a number: places that are known, each in range."""
    size, count = x.shape[axis], len(index)
    assert isinstance(size, int)
    first, step = (int(index[0]) if count else 0), (int(index[1] - index[0]) if count > 1 else 1)
    if np.array_equal(index, first + step * np.arange(count)):
        if count == size and step == 1:
            return x
        if count == size and step == -1:
            return b.emit(ops.Flip(axis), x)
        if count and step >= 1:
            return slice_axis(b, x, axis, first, int(index[-1]) + 1, step)
    return b.emit(ops.Gather(axis), x, b.constant(index))


def split(b: Builder, x: Value, axis: int, parts: int) -> list[Value]:
    """Equal slices along an axis; the caller has checked that its size divides."""
    size = x.shape[axis] // parts
    assert isinstance(size, int)
    return [slice_axis(b, x, axis, i * size, (i + 1) * size) for i in range(parts)]


def sum_axes(b: Builder, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
    return b.emit(ops.Sum(tuple(axes), keepdims), x) if axes else x


def event_sum(b: Builder, x: Value) -> Value:
    """Sum over everything but the batch: [N, ...] -> [N]."""
    return sum_axes(b, x, range(1, x.type.rank))


def mean_axes(b: Builder, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
    """Mean over axes whose sizes are numbers."""
    count = product([x.shape[a] for a in axes])
    assert isinstance(count, int)
    return mul(b, sum_axes(b, x, axes, keepdims), 1.0 / count)


def batch_mean(b: Builder, x: Value) -> Value:
    """[N] -> scalar. The batch size is symbolic, so it is counted in the graph."""
    ones = b.emit(ops.BroadcastTo((x.shape[0],)), b.constant(1.0))
    return div(b, sum_axes(b, x, [0]), sum_axes(b, ones, [0]))


def steps(b: Builder, length: int | Symbolic) -> Value:
    """0, 1, ..., length - 1 as floats."""
    return to_float(b, b.emit(ops.Iota((length,), 0)))


def linear(b: Builder, x: Value, weight: Value, bias: Value | None) -> Value:
    """x W^T + b with W[out, in], over the last axis of x[..., in]; needs rank >= 2."""
    y = b.emit(ops.MatMul(), x, transpose(b, weight, 1, 0))
    return y if bias is None else add(b, y, bias)


def channel_bias(b: Builder, x: Value, bias: Value) -> Value:
    """Add bias[C] to x[N, C, ...]."""
    return add(b, x, reshape(b, bias, (bias.shape[0], *(1,) * (x.type.rank - 2))))
