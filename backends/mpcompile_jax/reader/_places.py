"""Operations that move elements: shapes, cuts, joins, and stretches."""

from __future__ import annotations

from mpcompile import ops
from mpcompile.ir import DType, Symbolic, Value
from mpcompile.ops import build
from mpcompile_jax.reader.tape import Call, Rule

FLOAT, INT = DType.FLOAT, DType.INT


def _reshape(c: Call) -> Value:
    x = c.value(0)
    return x if x.shape == c.shape else build.reshape(c.b, x, c.shape)


def _broadcast(c: Call) -> Value:
    x, dims = c.value(0), tuple(c["broadcast_dimensions"])
    wide: list[int | Symbolic] = [1] * len(c.shape)
    for axis, size in zip(dims, x.shape, strict=True):
        wide[axis] = size
    x = x if x.shape == tuple(wide) else build.reshape(c.b, x, tuple(wide))
    return x if x.shape == c.shape else c.b.emit(ops.BroadcastTo(c.shape), x)


def _transpose(c: Call) -> Value:
    order = [int(a) for a in c["permutation"]]
    return c.value(0) if order == sorted(order) else build.transpose(c.b, c.value(0), *order)


def _reverse(c: Call) -> Value:
    x = c.value(0)
    for axis in c["dimensions"]:
        x = c.b.emit(ops.Flip(int(axis)), x)
    return x


def _slice(c: Call) -> Value:
    x = c.value(0)
    steps = c["strides"] or (1,) * len(c.shape)
    for axis, (start, stop, step) in enumerate(
        zip(c["start_indices"], c["limit_indices"], steps, strict=True)
    ):
        if (start, stop, step) != (0, x.shape[axis], 1):
            x = build.slice_axis(c.b, x, axis, start, stop, step)
    return x


def _split(c: Call) -> tuple[Value, ...]:
    axis, at, found = int(c["axis"]), 0, []
    for size in map(int, c["sizes"]):
        found.append(build.slice_axis(c.b, c.value(0), axis, at, at + size))
        at += size
    return tuple(found)


def _concatenate(c: Call) -> Value:
    return build.concat(c.b, [c.value(i) for i in range(len(c.inputs))], int(c["dimension"]))


def _stack(c: Call) -> Value:
    axis = int(c["axis"])
    wide = (*c.shape[:axis], 1, *c.shape[axis + 1 :])
    return build.concat(c.b, [build.reshape(c.b, c.value(i), wide) for i in range(len(c.inputs))], axis)


def _tile(c: Call) -> Value:
    x = c.value(0)
    for axis, times in enumerate(map(int, c["reps"])):
        x = build.concat(c.b, [x] * times, axis)
    return x


def _pad(c: Call) -> Value | tuple[Value, ...]:
    """Elements around, between, or fewer of them: the padding may be anything."""
    pads = [tuple(map(int, p)) for p in c["padding_config"]]
    if (
        c.kind is FLOAT
        and not c.unknown(1)
        and all(lo >= 0 and hi >= 0 and not between for lo, hi, between in pads)
    ):
        before, after = (tuple(p[i] for p in pads) for i in (0, 1))
        return c.b.emit(ops.Pad(before, after, float(c.array(1))), c.value(0))
    return c.moved([0, 1])


# Stretches at computed places -------------------------------------------------------------------------


def within(c: Call, start: Value, room: int) -> Value:
    """Emit the start of a stretch, which JAX keeps within its axis."""
    b = c.b
    return build.minimum(b, build.maximum(b, start, b.constant(0)), b.constant(room))


def _dynamic_slice(c: Call) -> Value:
    x, sizes = c.value(0), tuple(map(int, c["slice_sizes"]))
    for axis, size in enumerate(sizes):
        room = c.inputs[0].shape[axis] - size
        if not room:
            continue
        if c.unknown(1 + axis):
            x = c.b.emit(ops.SliceAt(axis, size), x, within(c, c.value(1 + axis, INT), room))
        else:
            at = min(max(int(c.array(1 + axis)), 0), room)
            x = build.slice_axis(c.b, x, axis, at, at + size)
    return x


def _dynamic_update(c: Call) -> Value | tuple[Value, ...]:
    given, part = c.inputs[0].shape, c.inputs[1].shape
    axes = [a for a in range(len(given)) if given[a] != part[a]]
    starts = range(2, 2 + len(given))
    if not any(c.unknown(i) for i in starts):
        return c.moved([0, 1])
    if len(axes) > 1:
        return c.observe(None)
    if not axes:
        return c.value(1, c.kind)
    (axis,) = axes
    return c.b.emit(
        ops.UpdateAt(axis),
        c.value(0),
        c.value(1, c.kind),
        within(c, c.value(2 + axis, INT), given[axis] - part[axis]),
    )


RULES: dict[str, Rule] = {
    "reshape": _reshape, "squeeze": _reshape, "expand_dims": _reshape, "broadcast_in_dim": _broadcast,
    "transpose": _transpose, "rev": _reverse, "slice": _slice, "split": _split,
    "concatenate": _concatenate, "tile": _tile, "stack": _stack, "pad": _pad,
    "dynamic_slice": _dynamic_slice, "dynamic_update_slice": _dynamic_update,
}  # fmt: skip
