"""Reshaping maps of facts and stencils: which axes are split and merged, and what that does to places in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mpcompile.ir import (
    Abstract,
    Array,
    Primitive,
    Shape,
    Symbolic,
    product,
)
from mpcompile.ir.stencils import Axis, Lattice, Stencil, extent, finer, uniform
from mpcompile.ops._base import (
    expand,
    expand_all,
)
from mpcompile.ops._stencil import (
    forget,
    joined,
    no_rule,
    release,
)


def _blocks(old: Sequence[int], new: Sequence[int]) -> list[tuple[range, range]]:
    """Smallest runs of axes of both shapes that hold the same number of elements."""
    blocks, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        start_i, start_j, p, q = i, j, 1, 1
        while True:
            if p <= q and i < len(old) and (p < q or i == start_i):
                p *= old[i]
                i += 1
            elif j < len(new) and (q < p or j == start_j):
                q *= new[j]
                j += 1
            if p == q and (i > start_i or j > start_j):
                break
            if i == len(old) and j == len(new):
                break
        blocks.append((range(start_i, i), range(start_j, j)))
    return blocks


def compressed(array: Array, old: Sequence[int], new: Sequence[int]) -> Array:
    """Reshape a map that broadcasts to `old`, undoing the compression only where it must be."""
    rest = array.shape[len(old) :]
    if all(s == 1 for s in array.shape[: len(old)]):
        return array.reshape((1,) * len(new) + rest)
    if 0 in old:
        return expand_all(array, old).reshape((*new, *rest))
    return _regroup(array, old, new, _blocks(old, new))


def _regroup(
    array: Array, old: Sequence[int], new: Sequence[int], blocks: Sequence[tuple[range, range]]
) -> Array:
    """Reshape a map of a cell block by block; where it is compressed it stays so."""
    shape: list[int] = []
    for before, after in blocks:
        if all(array.shape[i] == 1 for i in before):
            shape += [1] * len(after)
            continue
        for i in before:
            array = expand(array, i, old[i])
        shape += [new[j] for j in after]
    return array.reshape((*shape, *array.shape[len(old) :]))


def reshape(op: Primitive, lattice: Lattice, x: Stencil, shape: Shape) -> Stencil:
    """Reshape a stencil: a spatial axis may be split in two or absorb the axis after it, which changes its period.

    In any other mixture (flattening an image) elements have places no more; then they read everything that any of
    them reads anything of, which is conservative.

    Raises `NoRule` where a symbolic shape does not divide.
    """
    type = x.type.with_shape(shape)
    try:
        blocks = _symbolic_blocks(x.shape, shape)
    except ValueError:
        raise no_rule(op, "a shape that does not divide") from None
    for old, new in blocks:
        x = _alike(lattice, x, shape, old, new)
    parts = [_reshape_block(x, shape, old, new) for old, new in blocks]
    if any(p is None for p in parts):
        x = forget(lattice, x)
        parts = [_reshape_block(x, shape, old, new) for old, new in blocks]
    for i, axis in enumerate(x.axes):
        if axis is not None and x.shape[i] == 1 and axis not in [a for p in parts if p for a in p[0]]:
            x = release(op, lattice, x, i)
    axes: list[Axis | None] = []
    regions, lengths = list(x.regions), list[int]()
    for (old, _), part in zip(blocks, parts, strict=True):
        if part is None:
            raise no_rule(op, "a symbolic axis is merged")
        new_axes, cells, own = part
        for i in old:
            axis = x.axes[i]
            if axis is not None and own is not None:
                regions = [replace(r, cell=finer(lattice, r.cell, i, axis, own)[0]) for r in regions]
            elif (
                axis is None
                and not isinstance(x.shape[i], int)
                and not all(uniform(r.cell, i) for r in regions)
            ):
                raise no_rule(op, "a symbolic axis that is not uniform")
        axes += new_axes
        lengths += cells
    domain, size = lattice.domain, tuple(lengths)
    made = []
    for r in regions:
        c = r.cell
        if c.constant is not None and c.constant.size == int(np.prod(size)):
            made.append(replace(r, cell=domain.constant(c.constant.reshape(size))))
            continue
        maps = (_regroup(m, c.shape, size, blocks) for m in (c.facts, c.zero, c.neginf))
        made.append(replace(r, cell=domain.make(size, *maps)))
    known = x.known if [a for a in axes if a] == [a for a in x.axes if a] else None
    return replace(x, type=type, axes=tuple(axes), regions=tuple(made), known=known)


def _alike(lattice: Lattice, x: Stencil, shape: Shape, old: range, new: range) -> Stencil:
    """x with its elements in one block joined, where a symbolic axis that is not spatial is split or merged."""
    if any(x.axes[i] is not None and x.shape[i] != 1 for i in old):
        return x
    before, after = [x.shape[i] for i in old if x.shape[i] != 1], [shape[j] for j in new if shape[j] != 1]
    if before == after or all(isinstance(s, int) for s in (*before, *after)):
        return x

    def flat(cell: Abstract) -> Abstract:
        cell = replace(cell, constant=None)
        for i in old:
            cell = joined(lattice, cell, i)
        return cell

    sharp = all(uniform(r.cell, i) for r in x.regions for i in old)
    return replace(x, regions=x.each(flat), known=None, exact=x.exact and sharp)


def _symbolic_blocks(old: Shape, new: Shape) -> list[tuple[range, range]]:
    """`_blocks` of shapes with symbols. Raises `ValueError` where it takes a symbol's number to tell."""
    blocks, i, j = list[tuple[range, range]](), 0, 0
    while i < len(old) or j < len(new):
        start_i, start_j = i, j
        p = q = product(())
        while True:
            started = i > start_i or i == len(old)
            more_old = i < len(old) and (not started or j == len(new) or _grows(p, q))
            if more_old and (not started or j > start_j or j == len(new)):
                p, i = p * old[i], i + 1
            elif j < len(new):
                q, j = q * new[j], j + 1
            if p == q and (j > start_j or j == len(new)) and (i > start_i or i == len(old)):
                break
            if i == len(old) and j == len(new):
                raise ValueError("shapes of different sizes")
        blocks.append((range(start_i, i), range(start_j, j)))
    return blocks


def _grows(p: int | Symbolic, q: int | Symbolic) -> bool:
    """Whether the first product is the one to extend: the smaller of numbers, the divisor of symbols."""
    if isinstance(p, int) and isinstance(q, int):
        return p < q
    if not isinstance(q, Symbolic):
        return False
    try:
        return p != q and bool(q // p)
    except ValueError:
        return False


def _reshape_block(
    x: Stencil, shape: Shape, old: range, new: range
) -> tuple[list[Axis | None], list[int], int | None] | None:
    """Axes, cell lengths, and the period needed beforehand, of one block; None where places would be lost."""
    spatial = [i for i in old if x.axes[i] is not None and x.shape[i] != 1]
    if not spatial:
        return [None for _ in new], [extent(shape[j]) for j in new], None
    wide = [i for i in old if x.shape[i] != 1]
    if spatial != wide[:1]:
        return None
    axis, inner = x.axes[spatial[0]], 1
    assert axis is not None
    for i in wide[1:]:
        size = x.shape[i]
        if not isinstance(size, int):
            return None
        inner *= size
    targets = [j for j in new if shape[j] != 1]
    split = 1
    for j in targets[1:]:
        size = shape[j]
        if not isinstance(size, int):
            return None
        split *= size
    if inner == split == 1:
        place, own = Axis(axis.source, axis.own, axis.step, axis.slot), axis.own
    else:
        if x.band == axis.source:
            return None
        own = axis.own
        while own * inner % split:
            own += axis.own
        place = Axis(axis.source, own * inner // split, axis.step * own // axis.own, axis.slot)
    axes = [place if j == targets[0] else None for j in new]
    return axes, [place.own if j == targets[0] else extent(shape[j]) for j in new], own
