"""Windows along spatial axes: read side by side, joined, or spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from mpcompile.ir import Abstract, Array, Primitive
from mpcompile.ir.stencils import (
    Lattice,
    Stencil,
    reaxis,
    sample,
    whole,
)
from mpcompile.ops._stencil import _with, joined, no_rule, read_at, unmerged

Padding = tuple[tuple[int, int], ...]


def read_windows(
    op: Primitive,
    lattice: Lattice,
    x: Stencil,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> tuple[Stencil, tuple[tuple[int, ...], Padding, tuple[int, ...]]]:
    """Return x[n, c, *s] as windows side by side, and the stride, padding and dilation that read one after another.

    So an ordinary rule, run on the cell, gives one period of the result, whose axes are already set.
    """
    fields = []
    for a, (k, s, pad, d) in enumerate(zip(kernel, stride, padding, dilation, strict=True)):
        if x.axes[2 + a] is None and isinstance(x.shape[2 + a], int):
            fields.append((s, pad, d))
            continue
        if x.axes[2 + a] is None:  # two windows over elements that are alike
            x = replace(x, regions=x.each(partial(_alike, axis=2 + a, length=2 * k)), known=None)
            fields.append((k, (0, 0), 1))
            continue
        x, _ = read_at(op, lattice, x, 2 + a, _tap_of(k, s, pad[0], d), s, k)
        fields.append((k, (0, 0), 1))
    strides, pads, dilations = zip(*fields, strict=True)
    return x, (strides, pads, dilations)


def _alike(cell: Abstract, axis: int, length: int) -> Abstract:
    return reaxis(replace(cell, constant=None), axis, length)


def join_windows(
    op: Primitive,
    lattice: Lattice,
    x: Stencil,
    i: int,
    kernel: int,
    stride: int,
    low: int,
    dilation: int,
) -> Stencil:
    """Join each element of x along a spatial axis without phases with all others of its window: all taps at once.

    Raises `NoRule` where x has a band along the axis.
    """
    axis = unmerged(op, x, i)
    assert axis.own == 1
    if x.band == axis.source:
        raise no_rule(op, "a shift of a band")

    def joined(c: Abstract) -> Abstract:
        facts = lattice.windows(c.facts, axis, -low * axis.step, dilation * axis.step, kernel)
        return replace(c, facts=facts, constant=None)

    return _with(x, i, replace(axis, step=axis.step * stride), joined)


def _tap_of(kernel: int, stride: int, low: int, dilation: int) -> Callable[[int], int]:
    """Position of element n of windows that lie side by side."""

    def position(n: int) -> int:
        return n // kernel * stride + n % kernel * dilation - low

    return position


def spread_windows(
    op: Primitive,
    lattice: Lattice,
    x: Stencil,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    extra: Sequence[int],
    flow: Callable[[Abstract, Padding, tuple[int, ...]], Abstract],
) -> Stencil:
    """Apply the adjoint of windows: y[p * stride + tap * dilation - padding] reads x[p].

    `flow` is the ordinary rule for given padding and output padding; it runs on as many positions of x as one period
    of the result reads, and the period is cut out of what it gives.
    """
    pads, extras, cuts, folded = list(padding), list(extra), dict[int, slice](), list[int]()
    axes = list(x.axes)
    for a, (k, s, (low, _), d) in enumerate(zip(kernel, stride, padding, dilation, strict=True)):
        axis = x.axes[2 + a]
        if axis is None and isinstance(x.shape[2 + a], int):
            continue
        if axis is None:  # what any result reads of elements that are alike
            x = replace(x, regions=x.each(partial(_alike, axis=2 + a, length=1)), known=None, exact=False)
            pads[a], extras[a] = (0, 0), 0
            folded.append(2 + a)
            continue
        unmerged(op, x, 2 + a)
        length = axis.own * s
        first, last = (low - d * (k - 1)) // s, (length - 1 + low) // s + 1
        pick = partial(sample, lattice, axis=2 + a, of=axis, positions=list(range(first, last + 1)))
        x = _with(x, 2 + a, axis, pick)
        pads[a], extras[a] = (0, 0), 0
        cuts[2 + a] = slice(low - first * s, low - first * s + length)
        axes[2 + a] = replace(axis, own=length)
    cell = flow(x.cell, tuple(pads), tuple(extras))

    def crop(m: Array) -> Array:
        for i, cut in cuts.items():
            m = m if m.shape[i] == 1 else m[(*(slice(None),) * i, cut)]
        return m

    shape = tuple(cuts[i].stop - cuts[i].start if i in cuts else n for i, n in enumerate(cell.shape))
    cell = lattice.domain.make(shape, *(crop(m) for m in (cell.facts, cell.zero, cell.neginf)))
    for i in folded:
        cell = reaxis(joined(lattice, cell, i), i, 2)
    return replace(x, axes=tuple(axes), regions=whole(cell), known=None)
