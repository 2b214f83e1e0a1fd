"""Operations that move elements: views, cuts, joins, and indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mpcompile import ops
from mpcompile.ir import DType, Value
from mpcompile.ops import build
from mpcompile_torch.reader.tape import Call, array, tensors_in

INT = DType.INT


def _reshape(c: Call) -> Value | tuple[Value, ...]:
    if c["dtype"] is not None:  # the bits of elements as others
        return c.observe(()) if c["self"].element_size() == c.out.element_size() else c.observe(None)
    return build.reshape(c.b, c.value("self"), c.shape)


def _permute(c: Call) -> Value:
    rank = c["self"].ndim
    return _transposed(c, [int(a) % rank for a in c["dims"]])


def _transpose(c: Call) -> Value:
    rank = max(c["self"].ndim, 1)
    i, j = int(c["dim0"]) % rank, int(c["dim1"]) % rank
    order = list(range(c["self"].ndim))
    if order:
        order[i], order[j] = order[j], order[i]
    return _transposed(c, order)


def _t(c: Call) -> Value:
    return _transposed(c, list(range(c["self"].ndim))[::-1])


def _transposed(c: Call, order: list[int]) -> Value:
    x = c.value("self")
    order = order + list(range(len(order), x.type.rank))  # of complex numbers their parts stay behind
    return x if order == sorted(order) else build.transpose(c.b, x, *order)


def _expand(c: Call) -> Value:
    x = c.value("self")
    if x.type.rank < len(c.shape):
        x = build.reshape(c.b, x, (*(1,) * (len(c.shape) - x.type.rank), *x.shape))
    return x if x.shape == c.shape else c.b.emit(ops.BroadcastTo(c.shape), x)


def _slice(c: Call) -> Value:
    axis, size = c.axis(), int(c["self"].shape[c.axis()])
    start, stop, step = slice(c["start"], c["end"], c["step"]).indices(size)
    return build.slice_axis(c.b, c.value("self"), axis, start, max(start, stop), step)


def _select(c: Call) -> Value:
    axis = c.axis()
    at = int(c["index"]) % int(c["self"].shape[axis])
    return build.reshape(c.b, build.slice_axis(c.b, c.value("self"), axis, at, at + 1), c.shape)


def _parts(c: Call) -> tuple[Value, ...]:
    """Pieces along an axis, of the sizes of the results."""
    axis, x, at, found = c.axis(), c.value("self"), 0, []
    for piece in c.results:
        found.append(build.slice_axis(c.b, x, axis, at, at + piece.shape[axis]))
        at += piece.shape[axis]
    return tuple(found)


def _unbind(c: Call) -> tuple[Value, ...]:
    axis, x = c.axis(), c.value("self")
    rest = tuple(c.results[0].shape) + ((2,) if c.results[0].is_complex() else ())
    return tuple(
        build.reshape(c.b, build.slice_axis(c.b, x, axis, i, i + 1), rest) for i in range(len(c.results))
    )


def _cat(c: Call) -> Value:
    axis = int(c["dim"]) % c.out.ndim
    given = [x for x in c["tensors"] if x.ndim == c.out.ndim]  # an empty vector joins anything
    return build.concat(c.b, [c.cast(c.tape[x], c.kind) for x in given], axis)


def _stack(c: Call) -> Value:
    axis = int(c["dim"]) % c.out.ndim
    wide = (*c.shape[:axis], 1, *c.shape[axis + 1 :])
    return build.concat(
        c.b, [build.reshape(c.b, c.cast(c.tape[x], c.kind), wide) for x in c["tensors"]], axis
    )


def _flip(c: Call) -> Value:
    x = c.value("self")
    for axis in c["dims"]:
        x = c.b.emit(ops.Flip(int(axis) % c["self"].ndim), x)
    return x


def _pad(c: Call) -> Value | tuple[Value, ...]:
    pads, rank = list(c["pad"]), c["self"].ndim
    if any(p < 0 for p in pads) or c.kind is not DType.FLOAT:
        numbers = torch.arange(1, c["self"].numel() + 1, dtype=torch.float64).reshape(c["self"].shape)
        filled = c.cast(c.b.constant(c["value"] or 0), c.kind)
        return c.tape.move([filled, c.value("self")], array(c.function(numbers, pads)).astype(np.int64))
    before, after = [0] * rank, [0] * rank
    for i in range(len(pads) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = pads[2 * i : 2 * i + 2]
    return c.b.emit(ops.Pad(tuple(before), tuple(after), float(c["value"] or 0.0)), c.value("self"))


def _upsampled(c: Call) -> Value | tuple[Value, ...]:
    """Repeat each element along spatial axes, where their sizes are multiplied; else its known places."""
    x, made = c.value("self"), c.shape
    given = tuple(c["self"].shape)
    if any(n % m for m, n in zip(given, made, strict=True)):
        return _moved(c)
    apart = [size for m in given[2:] for size in (m, 1)]
    wide = [size for m, n in zip(given[2:], made[2:], strict=True) for size in (m, n // m)]
    x = build.reshape(c.b, x, (*given[:2], *apart))
    return build.reshape(c.b, c.b.emit(ops.BroadcastTo((*given[:2], *wide)), x), made)


def _moved(c: Call) -> Value | tuple[Value, ...]:
    """An operation that takes each element from a known place, which it shows when it runs on numbers of places.

    Operands that are indices or truth values must be known; where they are not, anything may be read.
    """
    data = [x for x in tensors_in(c.args) if x.dtype is c.out.dtype]
    others = [x for x in c.tensors() if not any(x is d for d in data)]
    if any(map(c.tape.unknown, others)):
        return c.observe(None)
    numbered: list[tuple[torch.Tensor, torch.Tensor]] = []
    at = 1  # nought is what the operation puts in by itself
    for x in data:
        numbered.append((x, torch.arange(at, at + x.numel(), dtype=torch.float64).reshape(x.shape)))
        at += x.numel()

    def places(tree: Any) -> Any:
        for x, of in numbered:
            if tree is x:
                return of
        if isinstance(tree, list | tuple):
            return type(tree)(places(t) for t in tree)
        return tree

    found = c.function(*places(c.args), **{k: places(v) for k, v in c.kwargs.items() if k != "dtype"})
    values = [c.b.constant(np.zeros((), array(c.out).dtype)), *(c.tape[x] for x, _ in numbered)]
    moved = [c.tape.move(values, array(f).astype(np.int64)) for f in tensors_in(found)]
    return tuple(moved)


def _kept(c: Call) -> Value:
    """The elements that tril or triu keeps."""
    mask = c.function(torch.ones(c["self"].shape, dtype=torch.float64), c["diagonal"])
    x = c.value("self")
    none = c.cast(c.b.constant(0), c.kind)
    return build.where(c.b, c.b.constant(array(mask).astype(bool)), x, none)


# Indices ----------------------------------------------------------------------------------------------


def _running(c: Call) -> tuple[Value, ...]:
    """An operation whose results read what comes before them along its axis, such as a running product."""
    axis = int(c["dim"]) % max(c["self"].ndim, 1)
    return c.observe((), axis) if c["self"].ndim else c.observe(None)


def _repeat(c: Call) -> Value:
    """x as many times along each axis as is asked for."""
    times = [int(t) for t in c["repeats"]]
    x = c.value("self")
    extra = len(times) - c["self"].ndim
    shape = (*(1,) * extra, *x.shape)
    more = times + [1] * (len(shape) - len(times))  # of complex numbers their parts stay
    pairs = [n for t, s in zip(more, shape, strict=True) for n in ((t, s) if t != 1 else (s,))]
    ones = [n for t, s in zip(more, shape, strict=True) for n in ((1, s) if t != 1 else (s,))]
    wide = build.reshape(c.b, x, tuple(ones))
    wide = wide if ones == pairs else c.b.emit(ops.BroadcastTo(tuple(pairs)), wide)
    return build.reshape(c.b, wide, c.shape)


def _roll(c: Call) -> Value | tuple[Value, ...]:
    """The end of an axis before its beginning."""
    axes, shifts = list(c["dims"]), list(c["shifts"])
    if not axes or c["self"].numel() == 0:
        return _moved(c)
    x = c.value("self")
    for axis, by in zip(axes, shifts, strict=True):
        axis, size = int(axis) % c["self"].ndim, int(c["self"].shape[axis])
        if (at := -int(by) % size) != 0:
            x = build.concat(
                c.b, [build.slice_axis(c.b, x, axis, at, size), build.slice_axis(c.b, x, axis, 0, at)], axis
            )
    return x


def _index_select(c: Call) -> Value:
    return c.b.emit(ops.Gather(c.axis()), c.value("self"), _whole(c, c["index"]))


def _whole(c: Call, x: torch.Tensor) -> Value:
    """Indices as whole numbers."""
    return c.cast(c.tape[x], INT)


def _embedding(c: Call) -> Value:
    return c.b.emit(ops.Gather(0), c.value("weight"), _whole(c, c["indices"]))


def _gather(c: Call) -> Value:
    """Elements along an axis, by indices of the shape of the result."""
    axis, index = c.axis(), c["index"]
    return c.b.emit(ops.TakeAlong(axis), _cut(c, c.value("self"), index, axis), _whole(c, index))


def _cut(c: Call, x: Value, index: torch.Tensor, axis: int) -> Value:
    """The part of x over the places of an index that is smaller in the other axes."""
    for a in range(index.ndim):
        if a != axis and x.shape[a] != index.shape[a]:
            x = build.slice_axis(c.b, x, a, 0, index.shape[a])
    return x


def _index(c: Call) -> Value | tuple[Value, ...]:
    """x[i, j, :]: known indices by their places; one unknown index along one axis as a gather."""
    indices = list(c["indices"])
    unknown = [i for i, x in enumerate(indices) if x is not None and c.tape.unknown(x)]
    if not unknown:
        return _moved_by_index(c)
    given = [i for i, x in enumerate(indices) if x is not None]
    if len(given) == 1 and indices[given[0]].dtype is not torch.bool:
        return c.b.emit(ops.Gather(given[0]), c.value("self"), _whole(c, indices[given[0]]))
    return c.observe(None)


def _moved_by_index(c: Call) -> Value:
    x = c["self"]
    axes = [i for i, at in enumerate(c["indices"]) if at is not None]
    if len(axes) == 1 and c["indices"][axes[0]].dtype is not torch.bool:
        at = c["indices"][axes[0]]
        known = array(at).astype(np.int64)
        size = x.shape[axes[0]]
        return c.b.emit(
            ops.Gather(axes[0]), c.value("self"), c.b.constant(np.where(known < 0, known + size, known))
        )
    numbers = torch.arange(x.numel(), dtype=torch.int64).reshape(x.shape)
    return c.tape.move([c.value("self")], array(c.function(numbers, list(c["indices"]))))


def _index_put(c: Call) -> Value | tuple[Value, ...]:
    """x with values put in at known places; added where they accumulate."""
    x, values = c["self"], c["values"]
    if any(i is not None and c.tape.unknown(i) for i in c["indices"]) or c["accumulate"]:
        return c.observe(None)
    size = x.numel()
    numbers = torch.arange(size, dtype=torch.int64).reshape(x.shape)
    more = torch.arange(size, size + values.numel(), dtype=torch.int64).reshape(values.shape)
    found = torch.ops.aten.index_put(numbers, list(c["indices"]), more)
    both = [c.cast(c.tape[v], c.kind) for v in (x, values)]
    return c.tape.move(both, array(found))


def _slice_scatter(c: Call) -> Value:
    """x with a slice along an axis replaced: what is before it, the source, what is behind it."""
    axis, size = c.axis(), int(c["self"].shape[c.axis()])
    start, stop, step = slice(c["start"], c["end"], c["step"]).indices(size)
    if step != 1:
        return _scatter_part(c)
    return _joined(c, axis, start, max(start, stop), c.cast(c.tape[c["src"]], c.kind))


def _select_scatter(c: Call) -> Value:
    """x with one place along an axis replaced."""
    axis = c.axis()
    at = int(c["index"]) % int(c["self"].shape[axis])
    source = c.cast(c.tape[c["src"]], c.kind)
    wide = (*source.shape[:axis], 1, *source.shape[axis:])
    return _joined(c, axis, at, at + 1, build.reshape(c.b, source, wide))


def _joined(c: Call, axis: int, start: int, stop: int, source: Value) -> Value:
    """x with another value in the place of start:stop."""
    size = int(c["self"].shape[axis])
    if (start, stop) == (0, size):
        return source
    x = c.value("self", c.kind)
    kept = [
        build.slice_axis(c.b, x, axis, lo, hi) if lo < hi else None for lo, hi in ((0, start), (stop, size))
    ]
    return build.concat(c.b, [v for v in (kept[0], source, kept[1]) if v is not None], axis)


def _scatter_part(c: Call) -> Value:
    """diagonal_scatter and its like: x with a part replaced."""
    x, source = c["self"], c["src"]
    numbers = torch.arange(x.numel(), dtype=torch.int64).reshape(x.shape)
    more = torch.arange(x.numel(), x.numel() + source.numel(), dtype=torch.int64).reshape(source.shape)
    found = c.function(numbers, more, *c.args[2:], **c.kwargs)
    return c.tape.move([c.cast(c.tape[v], c.kind) for v in (x, source)], array(found))


def _scatter(c: Call) -> Value | tuple[Value, ...]:
    """x with elements of a source, or a number, at indices along an axis."""
    axis, index = c.axis(), c["index"]
    source = c.given.get("src", c.given.get("value"))
    if c["reduce"] is not None:
        return c.observe((axis,) if _beside(c, axis) else None)
    if not c.tape.unknown(index) and isinstance(source, torch.Tensor) and source.ndim:
        x = c["self"]
        numbers = torch.arange(x.numel(), dtype=torch.int64).reshape(x.shape)
        more = torch.arange(x.numel(), x.numel() + source.numel(), dtype=torch.int64).reshape(source.shape)
        found = torch.scatter(numbers, axis, index, more)
        return c.tape.move([c.cast(c.tape[v], c.kind) for v in (x, source)], array(found))
    return c.observe((axis,) if _beside(c, axis) else None)


def _beside(c: Call, axis: int) -> bool:
    """Whether all operands with axes have the sizes of the result, but for those along one axis."""
    shapes = [list(x.shape) for x in (c.out, *c.tensors()) if x.ndim]
    return len({(len(s), *s[:axis], *s[axis + 1 :]) for s in shapes}) == 1


def _along_axis(c: Call) -> tuple[Value, ...]:
    """An operation whose results read everything along its axis, such as sorting."""
    given = c.given.get("dim")
    axis = int(given if given is not None else -1) % max(c["self"].ndim, 1)
    whole = c.name in ("median", "nanmedian") and given is None
    return c.observe((axis,) if _beside(c, axis) and not whole else None)


def _triangular_solve(c: Call) -> tuple[Value, ...]:
    """X of A X = B: a row reads those rows of both that come before it, or behind it where A is upper triangular."""
    rank = c.out.ndim
    if not c["left"] or c["self"].ndim != rank or c["B"].ndim != rank:
        return c.observe(None)
    return c.observe((rank - 1,), rank - 2, bool(c["upper"]))


def _sought(name: str) -> Callable[[Call], tuple[Value, ...]]:
    """Each number by itself, among numbers that are known (`bucketize`); else anything."""

    def rule(c: Call) -> tuple[Value, ...]:
        among = c[name]
        return c.observe(None if isinstance(among, torch.Tensor) and c.tape.unknown(among) else ())

    return rule


def _anything(c: Call) -> tuple[Value, ...]:
    return c.observe(None)


RULES: dict[str, Callable[[Call], Value | tuple[Value, ...]]] = {
    **dict.fromkeys(
        "view _unsafe_view reshape unsqueeze squeeze _reshape_alias view_copy unsqueeze_copy squeeze_copy flatten "
        "unflatten".split(), _reshape),
    **dict.fromkeys(["permute", "permute_copy"], _permute),
    **dict.fromkeys(["transpose", "transpose_copy"], _transpose),
    **dict.fromkeys(["t", "t_copy"], _t),
    **dict.fromkeys(["expand", "expand_copy"], _expand),
    **dict.fromkeys(["slice", "slice_copy"], _slice),
    **dict.fromkeys(["select", "select_copy"], _select),
    **dict.fromkeys("split split_with_sizes split_copy split_with_sizes_copy chunk tensor_split".split(), _parts),
    **dict.fromkeys(["unbind", "unbind_copy"], _unbind),
    "cat": _cat, "concat": _cat, "stack": _stack, "flip": _flip,
    "constant_pad_nd": _pad,
    **dict.fromkeys(
        "unfold unfold_copy as_strided as_strided_copy diagonal diagonal_copy repeat_interleave "
        "pixel_shuffle pixel_unshuffle im2col reflection_pad1d "
        "reflection_pad2d replication_pad1d replication_pad2d channel_shuffle rot90 narrow_copy "
        "diag_embed".split(), _moved),
    **dict.fromkeys("upsample_nearest1d upsample_nearest2d upsample_nearest3d".split(), _upsampled),
    "tril": _kept, "triu": _kept,
    "index_select": _index_select, "embedding": _embedding, "gather": _gather, "take_along_dim": _gather,
    "index": _index, "_unsafe_index": _index, "index_put": _index_put, "_unsafe_index_put": _index_put,
    "slice_scatter": _slice_scatter, "select_scatter": _select_scatter,
    **dict.fromkeys("diagonal_scatter as_strided_scatter".split(), _scatter_part),
    "scatter": _scatter, "linalg_solve_triangular": _triangular_solve,
    **dict.fromkeys(
        "multinomial sort topk argsort kthvalue median nanmedian mode".split(), _along_axis),
    **dict.fromkeys("cumprod logcumsumexp cummax cummin".split(), _running),
    "repeat": _repeat, "roll": _roll,
    "bucketize": _sought("boundaries"), "searchsorted": _sought("sorted_sequence"), "isin": _sought("test_elements"),
    **dict.fromkeys(
        "scatter_add scatter_reduce index_add index_copy index_fill masked_scatter nonzero masked_select "
        "_unique2 unique_consecutive unique_dim bincount histc _grouped_mm "
        "_scaled_grouped_mm _fft_r2c _fft_c2r _fft_c2c linalg_inv_ex _linalg_slogdet "
        "_linalg_solve_ex triangular_solve linalg_cholesky_ex _linalg_det linalg_qr "
        "linalg_householder_product grid_sampler_2d segment_reduce".split(), _anything),
}  # fmt: skip
