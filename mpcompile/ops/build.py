"""Build nodes: short functions that emit one or a few primitives into the graph of a `Builder`.

Every function takes the builder first and returns the value of the last node it emits. An `Operand` is a value or a
Python number, which becomes a float constant. Shapes are checked by the primitives: each function raises what
`Builder.emit` raises for operands that do not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, DType, Primitive, Shape, Value, product

Operand = Value | float | int


def _value(b: Builder, x: Operand) -> Value:
    return x if isinstance(x, Value) else b.constant(float(x))


def _binary(b: Builder, op: Primitive, x: Operand, y: Operand) -> Value:
    return b.emit(op, _value(b, x), _value(b, y))


def add(b: Builder, x: Operand, y: Operand) -> Value:
    """Emit x + y, broadcast."""
    return _binary(b, ops.Add(), x, y)


def sub(b: Builder, x: Operand, y: Operand) -> Value:
    """Emit x - y, broadcast."""
    return _binary(b, ops.Sub(), x, y)


def mul(b: Builder, x: Operand, y: Operand) -> Value:
    """Emit x * y, broadcast."""
    return _binary(b, ops.Mul(), x, y)


def div(b: Builder, x: Operand, y: Operand) -> Value:
    """Emit x / y, broadcast."""
    return _binary(b, ops.Div(), x, y)


def less(b: Builder, x: Operand, y: Operand) -> Value:
    """Emit x < y, broadcast; the result is of booleans."""
    return _binary(b, ops.Less(), x, y)


def maximum(b: Builder, x: Operand, y: Operand) -> Value:
    """Emit max(x, y), element by element, broadcast."""
    return _binary(b, ops.Maximum(), x, y)


def minimum(b: Builder, x: Operand, y: Operand) -> Value:
    """Emit min(x, y), element by element, broadcast."""
    return _binary(b, ops.Minimum(), x, y)


def neg(b: Builder, x: Value) -> Value:
    """Emit -x."""
    return b.emit(ops.Neg(), x)


def where(b: Builder, condition: Value, x: Operand, y: Operand) -> Value:
    """Emit x where the condition holds and y elsewhere, broadcast."""
    return b.emit(ops.Where(), condition, _value(b, x), _value(b, y))


def cast(b: Builder, x: Value, dtype: DType) -> Value:
    """Convert x to a dtype; return x itself where it has that dtype."""
    return x if x.dtype == dtype else b.emit(ops.Cast(dtype), x)


def to_float(b: Builder, x: Value) -> Value:
    """Convert x to floats; return x itself where it is of floats."""
    return cast(b, x, DType.FLOAT)


def reshape(b: Builder, x: Value, shape: Shape) -> Value:
    """Emit x in another shape with as many elements; return x itself where it has that shape."""
    return x if x.shape == tuple(shape) else b.emit(ops.Reshape(tuple(shape)), x)


def flatten(b: Builder, x: Value) -> Value:
    """Flatten x[N, ...] to [N, D], where D is the number of elements of one example."""
    return reshape(b, x, (x.shape[0], product(x.shape[1:])))


def transpose(b: Builder, x: Value, *permutation: int) -> Value:
    """Permute the axes of x: axis i of the result is axis `permutation[i]` of x."""
    return b.emit(ops.Transpose(permutation), x)


def concat(b: Builder, xs: Sequence[Value], axis: int) -> Value:
    """Concatenate values along an axis; return a single value as it is."""
    return xs[0] if len(xs) == 1 else b.emit(ops.Concat(axis), *xs)


def slice_axis(b: Builder, x: Value, axis: int, start: int, stop: int | None = None, step: int = 1) -> Value:
    """Emit `x[..., start:stop:step, ...]` along one axis; without `stop` up to its end."""
    return b.emit(ops.Slice(axis, start, x.shape[axis] if stop is None else stop, step), x)


def take(b: Builder, x: Value, axis: int, index: Array) -> Value:
    """Emit `x[..., index, ...]` along an axis whose size is a number, for known places that are in range.

    Equally spaced places become a slice, all places in reverse a flip, and all places in order x itself.
    """
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
    """Split x along an axis into equal slices; the caller has checked that `parts` divides its size."""
    size = x.shape[axis] // parts
    assert isinstance(size, int)
    return [slice_axis(b, x, axis, i * size, (i + 1) * size) for i in range(parts)]


def wrapped(b: Builder, angle: Value) -> Value:
    """Emit an angle in [-pi, pi), up to rounding."""
    turns = b.emit(ops.Floor(), mul(b, add(b, angle, pi), 0.5 / pi))
    return sub(b, angle, mul(b, turns, 2 * pi))


def sum_axes(b: Builder, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
    """Sum x over axes; return x itself where there are none."""
    return b.emit(ops.Sum(tuple(axes), keepdims), x) if axes else x


def count(b: Builder, condition: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
    """Count along axes where a condition holds, in whole numbers: half precision has no odd count above 256."""
    return sum_axes(b, cast(b, condition, DType.INT), axes, keepdims)


def event_sum(b: Builder, x: Value) -> Value:
    """Sum x[N, ...] over everything but the batch: [N]."""
    return sum_axes(b, x, range(1, x.type.rank))


def mean_axes(b: Builder, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
    """Average x over axes whose sizes are numbers."""
    count = product([x.shape[a] for a in axes])
    assert isinstance(count, int)
    return mul(b, sum_axes(b, x, axes, keepdims), 1.0 / count)


def batch_mean(b: Builder, x: Value) -> Value:
    """Average x[N] to a scalar. The batch size is symbolic, so the graph counts it."""
    ones = b.emit(ops.BroadcastTo((x.shape[0],)), b.constant(1.0))
    return div(b, sum_axes(b, x, [0]), sum_axes(b, ones, [0]))


def linear(b: Builder, x: Value, weight: Value, bias: Value | None) -> Value:
    """Emit x W^T + b for x[..., in], W[out, in] and b[out]: [..., out]. The rank of x is at least 2."""
    y = b.emit(ops.MatMul(), x, transpose(b, weight, 1, 0))
    return y if bias is None else add(b, y, bias)


def channel_bias(b: Builder, x: Value, bias: Value) -> Value:
    """Add bias[C] to x[N, C, ...], the same at every place."""
    return add(b, x, reshape(b, bias, (bias.shape[0], *(1,) * (x.type.rank - 2))))
