"""Gather and scatter: known places by what they move, places that are computed by a bound along their axis."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import GatherScatterMode

from mpcompile import ops
from mpcompile.ir import DType, Value
from mpcompile.ops import build
from mpcompile_jax.reader._places import within
from mpcompile_jax.reader.tape import Call, Rule

FLOAT, INT = DType.FLOAT, DType.INT
#: Elements that are added up at one place by one scatter.
MOST = 16


def _gather(c: Call) -> Value | tuple[Value, ...]:
    """Slices at places: where these count along one axis a gather; place by place beside other axes one along it.

    A place along an axis that a slice covers counts for nothing: there is room for the slice at nought alone.
    """
    dims, sizes, given = c["dimension_numbers"], tuple(map(int, c["slice_sizes"])), c.inputs[0].shape
    free = [j for j, a in enumerate(dims.start_index_map) if sizes[a] < given[a]] or [0]
    axis = int(dims.start_index_map[free[0]]) if dims.start_index_map else 0
    whole = all(s == g or a == axis for a, (s, g) in enumerate(zip(sizes, given, strict=True)))
    rows = (
        len(free) == 1
        and set(dims.collapsed_slice_dims) <= {axis}
        and not dims.operand_batching_dims
        and whole
    )
    if not c.unknown(1):
        one = len(dims.start_index_map) == 1 and sizes[axis] == 1
        return _rows(c, axis) if rows and one and _inside(c, given[axis]) else _known_gather(c)
    index = _column(c, free[0])
    if rows and sizes[axis] == 1:
        return _offsets(c, c.b.emit(ops.Gather(axis), c.value(0), index), axis)
    if rows and not index.shape:
        start = within(c, index, given[axis] - sizes[axis])
        return c.b.emit(ops.SliceAt(axis, sizes[axis]), c.value(0), start)
    beside = tuple(a for a in range(len(given)) if a != axis)
    same = tuple(dims.operand_batching_dims) == beside and tuple(dims.start_indices_batching_dims) == beside
    if (
        same
        and not dims.offset_dims
        and dims.collapsed_slice_dims == (axis,)
        and index.type.rank == len(given)
    ):
        return c.b.emit(ops.TakeAlong(axis), c.value(0), index)
    return c.observe(None)


def _column(c: Call, j: int) -> Value:
    """The places along one axis: a column of the indices, which have theirs in the last axis."""
    index = c.value(1, INT)
    index = build.slice_axis(c.b, index, index.type.rank - 1, j, j + 1)
    return build.reshape(c.b, index, index.shape[:-1])


def _inside(c: Call, size: int) -> bool:
    index = c.array(1)
    return bool(((index >= 0) & (index < size)).all())


def _rows(c: Call, axis: int) -> Value:
    """Rows along an axis at known places."""
    index = c.array(1)[..., 0].astype(np.int64)
    x = c.value(0)
    found = (
        build.take(c.b, x, axis, index)
        if index.ndim == 1
        else c.b.emit(ops.Gather(axis), x, c.b.constant(index))
    )
    return _offsets(c, found, axis)


def _offsets(c: Call, x: Value, axis: int) -> Value:
    """Put the axes of places, which are where the gathered axis was, where the result has them."""
    dims = c["dimension_numbers"]
    offsets = [a for i, a in enumerate(dims.offset_dims) if i != axis or axis in dims.collapsed_slice_dims]
    places = [a for a in range(len(c.shape)) if a not in dims.offset_dims]
    order = np.argsort([*offsets[:axis], *places, *offsets[axis:]]).tolist()
    x = x if order == sorted(order) else build.transpose(c.b, x, *order)
    return x if x.shape == c.shape else build.reshape(c.b, x, c.shape)


def _known_gather(c: Call) -> Value | tuple[Value, ...]:
    filled: float = 0.0
    params: dict[str, Any] = {}
    if c["mode"] == GatherScatterMode.FILL_OR_DROP:
        given = c["fill_value"]
        filled = float(given) if given is not None else np.nan if c.kind is FLOAT else 0.0
        params = {"fill_value": 0}
    return c.moved([0], filled, **params)


def _scatter(c: Call) -> Value | tuple[Value, ...]:
    """x with slices put in: at known places element by element, at one that is computed as a stretch."""
    dims = c["dimension_numbers"]
    if not c.unknown(1):
        index, mode = c.inputs[1].known, c["mode"]
        c = replace(c, bind=lambda x, _, u: [jax.lax.scatter(x, index, u, dims, mode=mode)])
        return c.moved([0, 2])
    given = c.inputs[0].shape
    if (
        len(dims.scatter_dims_to_operand_dims) == 1
        and len(c.inputs[1].shape) == 1
        and not dims.operand_batching_dims
    ):
        (axis,) = dims.scatter_dims_to_operand_dims
        update = c.value(2, c.kind)
        if dims.inserted_window_dims == (axis,):
            update = build.reshape(c.b, update, (*given[:axis], 1, *given[axis + 1 :]))
        size = update.shape[axis]
        assert isinstance(size, int)
        start = within(c, build.reshape(c.b, c.value(1, INT), ()), given[axis] - size)
        return c.b.emit(ops.UpdateAt(axis), c.value(0), update, start)
    return c.observe(None)


def _scatter_add(c: Call) -> Value | tuple[Value, ...]:
    """x with updates added at known places: as many sums as there are updates of one place."""
    if c.unknown(1) or c.kind is not FLOAT:
        return c.observe(None)
    b, x = c.b, c.value(0)
    shape, count = c.inputs[0].shape, prod(c.inputs[2].shape)
    index, dims, mode = c.inputs[1].known, c["dimension_numbers"], c["mode"]

    def put(updates: Any) -> Any:
        return jax.lax.scatter_add(jnp.zeros(shape, jnp.float32), index, updates, dims, mode=mode)

    # the gradient of a sum of updates with respect to each of them is where it went
    _, back = jax.vjp(put, jnp.zeros(c.inputs[2].shape, jnp.float32))
    (target,) = back(jnp.arange(1, prod(shape) + 1, dtype=jnp.float32).reshape(shape))
    places = np.asarray(target).astype(np.int64).reshape(-1)
    rows: list[np.ndarray] = []
    used: dict[int, int] = {}
    for update, at in enumerate(places.tolist()):
        if not at:
            continue  # outside of x
        row = used[at] = used.get(at, -1) + 1
        if row == MOST:
            return c.observe(None)
        if row == len(rows):
            rows.append(np.zeros(prod(shape), np.int64))
        rows[row][at - 1] = update + 1
    updates = c.value(2, FLOAT)
    assert count < 1 << 24
    for row_places in rows:
        x = build.add(b, x, c.tape.move([b.constant(0.0), updates], row_places.reshape(shape)))
    return x


RULES: dict[str, Rule] = {
    "gather": _gather, "scatter": _scatter, "scatter-add": _scatter_add, "scatter_add": _scatter_add,
    **dict.fromkeys(
        "scatter-mul scatter-min scatter-max scatter_mul scatter_min scatter_max scatter-sub scatter_sub".split(),
        lambda c: c.observe(None)),
}  # fmt: skip
