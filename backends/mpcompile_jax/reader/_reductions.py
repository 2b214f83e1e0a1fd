"""Operations that join elements along axes."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from mpcompile import ops
from mpcompile.foreign.formulas import smallest
from mpcompile.ir import DType, Value
from mpcompile.ops import build
from mpcompile_jax.reader.tape import Call, Rule

FLOAT, INT, BOOL = DType.FLOAT, DType.INT, DType.BOOL
#: Windows of more elements than this are bounded from above.
TAPS = 256


def total(c: Call) -> Value:
    """Emit the sum over axes."""
    axes = tuple(c["axes"])
    x = c.value(0, c.kind)
    return build.sum_axes(c.b, x, axes) if axes else x


def largest(c: Call, sign: int) -> Value:
    """Emit the largest element over axes, or with a sign of -1 the smallest."""
    axes = tuple(c["axes"])
    x = c.value(0, INT if c.kind is BOOL else c.kind)
    if axes:
        x = c.b.emit(ops.Max(axes), x) if sign > 0 else smallest(c.b, x, axes, False)
    return c.cast(x, c.kind)


def _argmax(sign: int) -> Rule:
    def rule(c: Call) -> Value:
        x = c.value(0, FLOAT)
        (axis,) = c["axes"]
        return c.b.emit(ops.ArgMax(axis), x if sign > 0 else build.neg(c.b, x))

    return rule


def _some(every: bool) -> Rule:
    def rule(c: Call) -> Value | tuple[Value, ...]:
        axes, x = tuple(c["axes"]), c.value(0)
        if x.dtype is not BOOL:
            return _joined(c)
        if not axes:
            return x
        x = c.b.emit(ops.LogicalNot(), x) if every else x
        found = c.cast(c.b.emit(ops.Max(axes), c.cast(x, INT)), BOOL)
        return c.b.emit(ops.LogicalNot(), found) if every else found

    return rule


def _joined(c: Call) -> tuple[Value, ...]:
    """A reduction without a primitive: each result reads what lies along the axes."""
    axes = tuple(c.params["axes"] if "axes" in c.params else c["dimensions"])
    shape = c.inputs[0].shape
    short = tuple(1 if a in axes else s for a, s in enumerate(shape))
    given = [c.value(i) for i in range(len(c.inputs)) if c.unknown(i)]
    if any(v.shape not in (shape, ()) for v in given):
        return c.observe(None)
    found = c.tape.observe(c.name, given, [r.reshape(short) for r in c.results()], axes)
    return tuple(build.reshape(c.b, v, tuple(o.shape)) for v, o in zip(found, c.outs, strict=True))


def _cumsum(c: Call) -> Value:
    return c.b.emit(ops.CumSum(int(c["axis"]), reverse=bool(c["reverse"])), c.value(0, c.kind))


def _running(c: Call) -> tuple[Value, ...]:
    return c.observe((), int(c["axis"]), bool(c["reverse"]))


def _along(name: str) -> Rule:
    """An operation whose results read everything along its axis, such as sorting."""

    def rule(c: Call) -> tuple[Value, ...]:
        axis = int(c[name]) % len(c.inputs[0].shape)
        return c.observe((axis,))

    return rule


def _window(sign: int) -> Rule:
    """Sums, or the largest and smallest elements, of windows: one strided slice for each place of a window."""

    def rule(c: Call) -> Value | tuple[Value, ...]:
        sizes, strides = tuple(c["window_dimensions"]), tuple(c["window_strides"])
        apart, pads = tuple(c["window_dilation"]), tuple(c["padding"])
        plain = (
            max(c["base_dilation"], default=1) == 1
            and min((p for pair in pads for p in pair), default=0) >= 0
        )
        if prod(sizes) > TAPS or not plain or c.kind is not FLOAT:
            return c.observe(None)
        b, absent = c.b, {0: 0.0, 1: -np.inf, -1: np.inf}[sign]
        before, after = (tuple(p[i] for p in pads) for i in (0, 1))
        x = c.value(0)
        x = b.emit(ops.Pad(before, after, absent), x) if any(before) or any(after) else x
        join = {0: build.add, 1: build.maximum, -1: build.minimum}[sign]
        found: Value | None = None
        for tap in product(*map(range, sizes)):
            part = x
            for axis, (t, d, s, count) in enumerate(zip(tap, apart, strides, c.shape, strict=True)):
                if (sizes[axis], s) != (1, 1):
                    part = build.slice_axis(b, part, axis, t * d, t * d + (count - 1) * s + 1, s)
            found = part if found is None else join(b, found, part)
        assert found is not None
        return found

    return rule


def _matrices(c: Call) -> tuple[Value, ...]:
    """An operation on the matrices of the last two axes, each by itself."""
    shapes = {tuple(x.shape) for x in (*c.inputs, *c.outs) if x.shape}
    same = len({(len(s), *s[:-2]) for s in shapes}) == 1 and min(map(len, shapes)) >= 2
    rank = len(c.shape)
    return c.observe((rank - 2, rank - 1) if same else None)


RULES: dict[str, Rule] = {
    "reduce_min": lambda c: largest(c, -1),
    "argmax": _argmax(1), "argmin": _argmax(-1),
    "reduce_or": _some(False), "reduce_and": _some(True),
    **dict.fromkeys("reduce_prod reduce_xor reduce".split(), _joined),
    "cumsum": _cumsum, **dict.fromkeys("cumprod cummax cummin cumlogsumexp".split(), _running),
    "sort": _along("dimension"), "top_k": _along("axis"), "approx_top_k": _along("reduction_dimension"),
    "reduce_window_sum": _window(0), "reduce_window_max": _window(1), "reduce_window_min": _window(-1),
    **dict.fromkeys("cholesky triangular_solve lu qr eigh eig svd householder_product tridiagonal_solve schur "
                    "lu_pivots_to_permutation".split(), _matrices),
    **dict.fromkeys("reduce_window select_and_scatter_add select_and_gather_add pure_callback custom_linear_solve "
                    "ragged_dot ragged_dot_general".split(), lambda c: c.observe(None)),
}  # fmt: skip
