"""Weights that are given by direction and length, or divided by their largest singular value."""

from __future__ import annotations

from math import prod
from typing import Annotated

from mpcompile import ops
from mpcompile.ir import Init, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F
from mpcompile.ranges import Choice

Norm = Annotated[str, Choice(("none", "weight", "spectral"))]

#: Added to a sum of squares before its root, so that a row that a mask removes has a gradient.
TINY_SQUARE = 1e-12


def reparametrised(ctx: Context, weight: Value, norm: Norm, start: Init) -> Value:
    """Return a weight [out, ...] as it is used, in its shape; elements that are zero stay zero.

    `weight`    gain[out] w / |w|, the length taken over each output (Salimans and Kingma 2016, eq. 2); gains start at the
                length that is expected of `start`
    `spectral`  w / sigma(w) of w as a matrix [out, rest], sigma by a step of power iteration from the vector `weight_v`,
                which moves on in training (Miyato et al. 2018, algorithm 1); no gradient through its vectors

    Raises MP205 for a weight that starts at zero, which has no direction.
    """
    if norm == "none":
        return weight
    if start.kind == "zeros":
        raise ctx.fail("MP205", "a weight of zeros has no direction: leave out `norm` or `init = zeros`")
    return _directed(ctx, weight, start) if norm == "weight" else _spectral(ctx, weight)


def _directed(ctx: Context, weight: Value, start: Init) -> Value:
    b, (out, *rest) = ctx.b, weight.shape
    assert isinstance(out, int)
    size = prod(n for n in rest if isinstance(n, int))
    deviation = start.scale / 3**0.5 if start.kind == "uniform" else start.scale
    gain = ctx.param("gain", (out,), Init("constant", deviation * size**0.5))
    square = F.sum_axes(b, F.mul(b, weight, weight), range(1, weight.type.rank), keepdims=True)
    length = b.emit(ops.Sqrt(), F.add(b, square, TINY_SQUARE))
    return F.mul(b, weight, F.div(b, F.reshape(b, gain, (out, *(1,) * len(rest))), length))


def _spectral(ctx: Context, weight: Value) -> Value:
    b, (out, *rest) = ctx.b, weight.shape
    assert isinstance(out, int)
    size = prod(n for n in rest if isinstance(n, int))
    state = ctx.param("weight_v", (size,), Init("normal"), trainable=False)
    matrix = F.reshape(b, weight, (out, size))
    fixed = b.emit(ops.StopGradient(), matrix)
    before = ctx.latest(state) if ctx.training else state
    u = _unit(ctx, b.emit(ops.MatMul(), fixed, F.reshape(b, before, (size, 1))))
    v = _unit(ctx, b.emit(ops.MatMul(), F.transpose(b, fixed, 1, 0), u))
    if ctx.training:
        ctx.update(state, F.reshape(b, v, (size,)))
    image = b.emit(ops.MatMul(), matrix, v)
    sigma = F.sum_axes(b, F.mul(b, u, image), range(2))
    return F.div(b, weight, sigma)


def _unit(ctx: Context, column: Value) -> Value:
    """A column [n, 1] of length 1."""
    b = ctx.b
    square = F.sum_axes(b, F.mul(b, column, column), range(2))
    return F.div(b, column, F.maximum(b, b.emit(ops.Sqrt(), square), TINY_SQUARE))
