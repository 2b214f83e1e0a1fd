"""Products of matrices, and convolutions."""

from __future__ import annotations

from math import prod

import numpy as np

from mpcompile import ops
from mpcompile.ir import DType, Value
from mpcompile.ops import build
from mpcompile_jax.reader.tape import Call, Rule

FLOAT = DType.FLOAT


def _arranged(c: Call, x: Value, order: list[int]) -> Value:
    return x if order == sorted(order) else build.transpose(c.b, x, *order)


def _dot(c: Call) -> Value:
    """x y summed over pairs of axes, side by side over other pairs: a product of matrices between two rearrangements.

    Where the matrices of x have their rows summed and those of y their columns, as in `weights @ values` whose operands
    JAX swaps, it is the transposed product of y and x, and needs fewer rearrangements.
    """
    sums, sides = c["dimension_numbers"]
    ranks = [len(x.shape) for x in c.inputs]
    free = [[a for a in range(r) if a not in (*s, *t)] for r, s, t in zip(ranks, sums, sides, strict=True)]
    turned = bool(free[0] and free[1] and sums[0] and sides[0])
    turned = turned and max(sums[0]) < min(free[0]) and min(sums[1]) > max(free[1])
    i, j = (1, 0) if turned else (0, 1)
    x, y = c.value(i, FLOAT), c.value(j, FLOAT)
    lead = tuple(x.shape[a] for a in sides[i])
    rows, columns = tuple(x.shape[a] for a in free[i]), tuple(y.shape[a] for a in free[j])
    summed = prod(c.inputs[i].shape[a] for a in sums[i])
    x = _arranged(c, x, [*sides[i], *free[i], *sums[i]])
    y = _arranged(c, y, [*sides[j], *sums[j], *free[j]])
    # without axes side by side the rows of x may have any number of axes
    wide_x = (*lead, prod(rows), summed) if lead or not rows else (*rows, summed)
    wide_y = (*lead, summed, prod(columns))
    x, y = (v if v.shape == s else build.reshape(c.b, v, s) for v, s in ((x, wide_x), (y, wide_y)))
    z = c.b.emit(ops.MatMul(), x, y)
    shape = (*lead, *rows, *columns)
    z = z if z.shape == shape else build.reshape(c.b, z, shape)
    if turned:
        n, m, k = len(lead), len(rows), len(columns)
        z = _arranged(c, z, [*range(n), *range(n + m, n + m + k), *range(n, n + m)])
    return c.cast(z, c.kind)


def _convolution(c: Call) -> Value | tuple[Value, ...]:
    """A convolution of any layout: batch and channels go to the front, and back."""
    b, dims = c.b, c["dimension_numbers"]
    axes = len(dims.lhs_spec) - 2
    pads = tuple((int(lo), int(hi)) for lo, hi in c["padding"])
    if not 1 <= axes <= 3 or c["batch_group_count"] != 1 or min(map(min, pads)) < 0:
        return c.observe(None)
    x = _arranged(c, c.value(0, FLOAT), list(dims.lhs_spec))
    w = _arranged(c, c.value(1, FLOAT), list(dims.rhs_spec))
    for axis, apart in enumerate(c["lhs_dilation"]):
        x = _spread(c, x, axis + 2, int(apart))
    op = ops.Conv(tuple(map(int, c["window_strides"])), pads, tuple(map(int, c["rhs_dilation"])),
                  int(c["feature_group_count"]))  # fmt: skip
    return _arranged(c, b.emit(op, x, w), np.argsort(dims.out_spec).tolist())


def _spread(c: Call, x: Value, axis: int, apart: int) -> Value:
    """x with noughts between its elements along an axis."""
    size = x.shape[axis]
    assert isinstance(size, int)
    if apart == 1 or size < 2:
        return x
    matrix = np.zeros((size, (size - 1) * apart + 1))
    matrix[np.arange(size), np.arange(size) * apart] = 1.0
    order = [a for a in range(x.type.rank) if a != axis] + [axis]
    moved = c.b.emit(ops.MatMul(), _arranged(c, x, order), c.b.constant(matrix))
    return _arranged(c, moved, np.argsort(order).tolist())


RULES: dict[str, Rule] = {"dot_general": _dot, "conv_general_dilated": _convolution}
