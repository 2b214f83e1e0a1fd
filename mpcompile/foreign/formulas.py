"""Operations that frameworks have as one and primitives spell out: what readers share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mpcompile import ops
from mpcompile.ir import Builder, DType, Value
from mpcompile.ops import build


def gelu(b: Builder, x: Value, tanh: bool) -> Value:
    """Emit x Phi(x), or its approximation by `tanh` (Hendrycks and Gimpel 2016)."""
    if tanh:
        cubic = build.add(b, x, build.mul(b, 0.044715, build.mul(b, x, build.mul(b, x, x))))
        inner = b.emit(ops.Tanh(), build.mul(b, math.sqrt(2 / math.pi), cubic))
    else:
        inner = b.emit(ops.Erf(), build.mul(b, x, math.sqrt(0.5)))
    return build.mul(b, build.mul(b, 0.5, x), build.add(b, 1.0, inner))


def leaky_relu(b: Builder, x: Value, slope: float) -> Value:
    """Emit x where it is positive, and slope x elsewhere."""
    return build.where(b, build.less(b, 0.0, x), x, build.mul(b, x, slope))


def elu(b: Builder, x: Value, alpha: float, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    """Emit scale x where x is positive, and scale alpha (exp(input_scale x) - 1) elsewhere (Clevert et al. 2016)."""
    rest = build.sub(b, b.emit(ops.Exp(), build.mul(b, build.minimum(b, x, 0.0), input_scale)), 1.0)
    return build.where(b, build.less(b, 0.0, x), build.mul(b, x, scale), build.mul(b, rest, alpha * scale))


def ceil(b: Builder, x: Value) -> Value:
    """Emit the smallest whole number that is not below x."""
    return build.neg(b, b.emit(ops.Floor(), build.neg(b, x)))


def power(b: Builder, x: Value, exponent: float) -> Value | None:
    """Emit x^p for p = 1/2, 3/2 and whole p up to 8, and for their negatives of floats; None for other exponents."""
    size = abs(exponent)
    if exponent < 0 and x.dtype is not DType.FLOAT:
        return None
    if size in (0.5, 1.5) and x.dtype is DType.FLOAT:
        y = b.emit(ops.Sqrt(), x)
        y = build.mul(b, y, x) if size == 1.5 else y
    elif size == int(size) and 1 <= size <= 8:
        y = x
        for _ in range(int(size) - 1):
            y = build.mul(b, y, x)
    else:
        return None
    return y if exponent > 0 else build.div(b, 1.0, y)


def smallest(b: Builder, x: Value, axes: Sequence[int], keep: bool) -> Value:
    """Emit the smallest element over axes."""
    return build.neg(b, b.emit(ops.Max(tuple(axes), keep), build.neg(b, x)))


def matmul(b: Builder, x: Value, y: Value) -> Value:
    """Emit a product of matrices, or of vectors, which have no axis of length one in the result (`numpy.matmul`)."""
    left, right = x.type.rank == 1, y.type.rank == 1
    x = build.reshape(b, x, (1, *x.shape)) if left else x
    y = build.reshape(b, y, (*y.shape, 1)) if right else y
    z = b.emit(ops.MatMul(), x, y)
    gone = ({z.type.rank - 2} if left else set()) | ({z.type.rank - 1} if right else set())
    return build.reshape(b, z, tuple(s for i, s in enumerate(z.shape) if i not in gone)) if gone else z


def standardised(
    b: Builder, x: Value, axes: Sequence[int], eps: float, center: bool = True
) -> tuple[Value, Value, Value]:
    """Emit (x - mean) / sqrt(mean square + eps) over axes, the mean, and 1 / sqrt(...).

    Without `center` no mean is taken off.
    """
    mean = build.mean_axes(b, x, tuple(axes), True)
    apart = build.sub(b, x, mean) if center else x
    square = build.mean_axes(b, build.mul(b, apart, apart), tuple(axes), True)
    scale = build.div(b, 1.0, b.emit(ops.Sqrt(), build.add(b, square, eps)))
    return build.mul(b, apart, scale), mean, scale


def per_channel(b: Builder, x: Value, weight: Value | None, bias: Value | None) -> Value:
    """Emit x weight + bias for x[N, C, ...], weight[C] and bias[C]."""
    wide = (1, x.shape[1], *(1,) * (x.type.rank - 2))
    if weight is not None:
        x = build.mul(b, x, build.reshape(b, weight, wide))
    return x if bias is None else build.add(b, x, build.reshape(b, bias, wide))
