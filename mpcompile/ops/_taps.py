"""Facts of convolutions, tap by tap: output position p reads input position p * stride + tap * dilation - padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mpcompile.ir import Array, Domain
from mpcompile.ops._base import (
    expand,
)
from mpcompile.ops._windows import Windows, boxes

#: "Is not known to be zero", as a domain, so that one tap loop serves facts and zeros.
LIVE = Domain(np.logical_or, np.dtype(np.bool_), 1)


def matrix_of(kernel: Array, tap: Sequence[int]) -> Array:
    """Return the [O, I] matrix of one tap, with any words; compressed axes have one tap for all."""
    chosen: Any = (slice(None), slice(None))
    chosen += tuple(t if kernel.shape[2 + a] > 1 else 0 for a, t in enumerate(tap))
    return np.asarray(kernel[chosen])


def tap_index(tap: Sequence[int]) -> Any:
    """Return the index of one tap of a kernel."""
    return (slice(None), slice(None), *tap)


def split_groups(array: Array, groups: int, axis: int) -> Array:
    """Split a channel axis into (groups, channels of one); a compressed axis stays compressed."""
    size = array.shape[axis]
    pair = (1, 1) if size == 1 else (groups, size // groups)
    return array.reshape((*array.shape[:axis], *pair, *array.shape[axis + 1 :]))


def merge_groups(array: Array, groups: int, each: int, axis: int) -> Array:
    """Undo `split_groups` for (groups, each)."""
    if array.shape[axis] == array.shape[axis + 1] == 1:
        return array.reshape((*array.shape[:axis], 1, *array.shape[axis + 2 :]))
    array = expand(expand(array, axis, groups), axis + 1, each)
    return array.reshape((*array.shape[:axis], groups * each, *array.shape[axis + 2 :]))


def _classes(live: Array, axis: int) -> tuple[Array, Array] | None:
    """Representatives and class of each row (axis 0) or column (axis 1) of a mask, when there are few."""
    lines = np.ascontiguousarray(np.packbits(np.moveaxis(live, axis, 0), axis=1))
    keys = lines.view([("", lines.dtype)] * lines.shape[1])[:, 0]
    _, first, of = np.unique(keys, return_index=True, return_inverse=True)
    return (first, of.reshape(-1)) if len(first) * 2 <= len(keys) else None


def contract_by_class(domain: Domain, facts: Array, live: Array) -> Array:
    """Compute `domain.contract` for one mask [k, j]: equal rows, and equal columns, are merged first."""
    if live.ndim != 2 or live.shape[0] == 1 or live.all() or facts.shape[-2] == 1 or not facts.any():
        return domain.contract(facts, live)
    by_row, by_column = _classes(live, 0), _classes(live, 1)
    if by_row is not None:
        first, of = by_row
        groups = [domain.join.reduce(facts[..., of == c, :], axis=-2) for c in range(len(first))]
        facts, live = np.stack(groups, -2), live[first]
    if by_column is None:
        return domain.contract(facts, live)
    first, of = by_column
    out = domain.contract(facts, live[:, first])
    return out if out.shape[-2] == 1 else out.take(of, -2)


def inside(win: Windows, live: Array) -> tuple[Windows, Array]:
    """Cut the outer taps of a kernel that meet padding alone, and return the windows and the kernel without them."""
    kernel, padding, chosen = list(win.kernel), list(win.padding), [slice(None), slice(None)]
    for a, (k, (lo, hi), d, t, n) in enumerate(
        zip(win.kernel, win.padding, win.dilation, win.stride, win.count, strict=True)
    ):
        end = lo + win.spatial[a]
        meets = [i for i in range(k) if i * d < end and i * d + (n - 1) * t >= lo]
        first = min(meets[0] if meets else 0, lo // d)
        behind = min(k - 1 - meets[-1] if meets else 0, hi // d)
        kernel[a], padding[a] = k - first - behind, (lo - first * d, hi - behind * d)
        chosen.append(slice(first, k - behind) if live.shape[2 + a] > 1 else slice(None))
    inner = Windows(win.spatial, tuple(kernel), win.stride, tuple(padding), win.dilation)
    return inner, live[tuple(chosen)]


def forward(domain: Domain, win: Windows, groups: int, x: Array, live: Array, out: int) -> Array:
    """Compute the facts of a convolution from facts x[n, c, *s, w], where the kernel live[o, i, *k] may be nonzero."""
    axes = len(win.kernel)
    win, live = inside(win, live)
    if not x.any():
        return np.zeros((*(1,) * (axes + 2), domain.words), domain.dtype)
    x = win.pad(win.spread(x, 2), 2)
    if x.shape[1] > 1 and all(live.shape[i] == 1 for i in (0, 1)) and groups == 1:
        x = domain.join.reduce(x, axis=1, keepdims=True)  # every tap reads all channels or none
    x, win = win.join(domain.join, x, [a for a in range(axes) if live.shape[2 + a] == 1])
    total: Array | None = None
    for part, mask in _parts(domain, win, groups, x, live):
        kernel = np.swapaxes(split_groups(mask, groups, 0), -1, -2)  # [g, i, o]
        part = contract_by_class(domain, part, kernel[0]) if groups == 1 else domain.contract(part, kernel)
        total = part if total is None else domain.join(total, part)
    if total is None:
        return np.zeros((*(1,) * (axes + 2), domain.words), domain.dtype)
    return merge_groups(np.moveaxis(total, (axes + 1, axes + 2), (1, 2)), groups, out // groups, 1)


def _parts(domain: Domain, win: Windows, groups: int, x: Array, live: Array) -> Iterator[tuple[Array, Array]]:
    """Yield the padded facts, [n, *p, g, i, w], that boxes of taps, or single taps, read, with their matrix [O, I]."""
    axes = len(win.kernel)

    def grouped(m: Array) -> Array:
        return np.moveaxis(split_groups(m, groups, 1), (1, 2), (axes + 1, axes + 2))

    found = boxes(live, range(2, live.ndim))
    if found is not None:
        for box, one in found:
            yield grouped(win.join_box(domain.join, x, box)), matrix_of(one, (0,) * axes)
        return
    x = grouped(x)
    for tap, index in win.taps():
        mask = matrix_of(live, tap)
        if mask.any():
            yield win.read(x, index, 1), mask


def backward(domain: Domain, win: Windows, groups: int, x: Array, live: Array, out: int) -> Array:
    """Compute the facts of the adjoint: x[n, c, *windows, w] through live[c, o, *k] onto the spatial axes of `win`."""
    axes = len(win.kernel)
    win, live = inside(win, live)
    if not x.any():
        return np.zeros((*(1,) * (axes + 2), domain.words), domain.dtype)
    for axis, size in enumerate(win.count):
        x = expand(x, 2 + axis, size)
    x = np.moveaxis(split_groups(x, groups, 1), (1, 2), (axes + 1, axes + 2))  # [n, *p, g, i, w]
    parts = []
    for tap, index in win.taps():
        mask = matrix_of(live, tap)
        if mask.any():
            kernel = split_groups(mask, groups, 0)  # [g, i, o]
            grouped = contract_by_class(domain, x, kernel[0]) if groups == 1 else domain.contract(x, kernel)
            parts.append((index, grouped))
    if not parts:
        return np.zeros((*(1,) * (axes + 2), domain.words), domain.dtype)
    channels = np.broadcast_shapes(*(p.shape[axes + 1 :] for _, p in parts))
    canvas = np.zeros((parts[0][1].shape[0], *win.canvas(), *channels), domain.dtype)
    for index, part in parts:
        view = canvas[(slice(None), *index)]
        domain.join(view, part, out=view)
    canvas = np.moveaxis(win.crop(canvas, 1), (axes + 1, axes + 2), (1, 2))
    return merge_groups(canvas, groups, out // groups, 1)


def kernel_facts(domain: Domain, win: Windows, groups: int, w: Array, live: Array) -> Array:
    """Compute the facts that a kernel w[o, i, *k, w] brings to a convolution, where x is live[n, c, *s]."""
    axes = len(win.kernel)
    win, w = inside(win, w)
    live = win.pad(win.spread(live, 2), 2)
    live = np.moveaxis(split_groups(live, groups, 1), (1, 2), (0, 1))  # [g, i, n, *s]
    total: Array | None = None
    for tap, index in win.taps():
        facts = matrix_of(w, tap)
        if not facts.any():
            continue
        facts = split_groups(facts, groups, 0)  # [g, o, i, w]
        read = win.read(live, index, 3)
        part = domain.contract(facts, read.reshape((*read.shape[:2], -1))[:, None])  # [g, o, n * p, w]
        part = expand(part, 2, int(np.prod(read.shape[2:]))).reshape((*part.shape[:2], *read.shape[2:], -1))
        total = part if total is None else domain.join(total, part)
    if total is None:
        return np.zeros((*(1,) * (axes + 2), domain.words), domain.dtype)
    return np.moveaxis(total, (0, 1), (1, 2))  # [n, g, o, *p, w]


def kernel_facts_backward(domain: Domain, win: Windows, groups: int, w: Array, live: Array) -> Array:
    """Compute the facts that a kernel w[c, o, *k, w] brings to the adjoint, where x is live[n, c, *windows]."""
    axes = len(win.kernel)
    win, w = inside(win, w)
    for axis, size in enumerate(win.count):
        live = expand(live, 2 + axis, size)
    live = np.moveaxis(split_groups(live, groups, 1), (1, 2), (0, 1))  # [g, i, n, *p]
    parts = []
    for tap, index in win.taps():
        facts = matrix_of(w, tap)
        if facts.any():
            facts = np.swapaxes(split_groups(facts, groups, 0), 1, 2)  # [g, o, i, w]
            part = domain.contract(facts, live.reshape((*live.shape[:2], -1))[:, None])
            part = expand(part, 2, int(np.prod(live.shape[2:]))).reshape(
                (*part.shape[:2], *live.shape[2:], -1)
            )
            parts.append((index, part))
    if not parts:
        return np.zeros((*(1,) * (axes + 3), domain.words), domain.dtype)
    lead = np.broadcast_shapes(*(p.shape[:3] for _, p in parts))
    canvas = np.zeros((*lead, *win.canvas(), domain.words), domain.dtype)
    for index, part in parts:
        view = canvas[(slice(None),) * 3 + index]
        domain.join(view, part, out=view)
    return np.moveaxis(win.crop(canvas, 3), (0, 1), (1, 2))  # [n, g, o, *s, w]


def grouped_matmul(w: Array, x: Array) -> Array:
    """Multiply w[g, o, i] by x[n, g, i, p]; depthwise kernels need no matrix product."""
    if w.shape[1] == w.shape[2] == 1:
        return np.asarray(w * x)
    return np.asarray(np.matmul(np.ascontiguousarray(w), x))  # strides as of a tap would miss BLAS
