"""Reshaping maps of facts and stencils: which axes are split and merged, and what that does to places in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpcompile.ir import (
    Abstract,
    Array,
    Primitive,
    Shape,
    Symbolic,
    product,
)
from mpcompile.ir.stencils import Axis, Lattice, Stencil, extent, finer, reaxis, uniform
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


@dataclass(frozen=True)
class _Block:
    """One run of axes in its new shape: the new axes, their lengths in a cell, and how the maps of a cell are laid out.

    period  that the spatial axis needs beforehand; None where none of the axes is spatial
    around  old axes before the spatial one, that are merged with it or with one another
    laid    lengths of the new axes in maps: those before the place have one element for all that are alike
    """

    axes: list[Axis | None]
    lengths: list[int]
    period: int | None = None
    around: tuple[int, ...] = ()
    laid: list[int] | None = None


def reshape(op: Primitive, lattice: Lattice, x: Stencil, shape: Shape) -> Stencil:
    """Reshape a stencil: a spatial axis may be split in two, and may absorb those beside it.

    Axes after it change its period: [time, 2] -> [2 * time]. Axes before it, such as the batch, are counted in
    `Axis.outer`, and are split off again: [N, time] -> [N * time] -> [N, time]. In any other mixture (flattening an
    image) elements have places no more; then they read everything that any of them reads anything of: a bound.

    Raises `NoRule` where a symbolic shape does not divide.
    """
    type = x.type.with_shape(shape)
    try:
        blocks = _symbolic_blocks(x.shape, shape)
    except ValueError:
        raise no_rule(op, "a shape that does not divide") from None
    for old, new in blocks:
        x = _alike(lattice, x, shape, old, new)
    found = [_reshape_block(x, shape, old, new) for old, new in blocks]
    if any(p is None for p in found):
        x = forget(lattice, x)
        found = [_reshape_block(x, shape, old, new) for old, new in blocks]
    parts = [p for p in found if p is not None]
    if len(parts) < len(found):
        raise no_rule(op, "a symbolic axis is merged")
    for i, axis in enumerate(x.axes):
        if axis is not None and x.shape[i] == 1 and axis not in [a for p in parts for a in p.axes]:
            x = release(op, lattice, x, i)
    for part in parts:
        x = _one_of_each(lattice, x, part.around)
    regions = list(x.regions)
    for (old, _), part in zip(blocks, parts, strict=True):
        for i in old:
            axis = x.axes[i]
            if axis is not None and part.period is not None:
                regions = [replace(r, cell=finer(lattice, r.cell, i, axis, part.period)[0]) for r in regions]
            elif (
                axis is None
                and not isinstance(x.shape[i], int)
                and not all(uniform(r.cell, i) for r in regions)
            ):
                raise no_rule(op, "a symbolic axis that is not uniform")
    axes = tuple(a for p in parts for a in p.axes)
    size = tuple(n for p in parts for n in p.lengths)
    laid = tuple(n for p in parts for n in p.laid or p.lengths)
    domain, made = lattice.domain, []
    for r in regions:
        c = r.cell
        if c.constant is not None and c.constant.size == int(np.prod(size)):
            made.append(replace(r, cell=domain.constant(c.constant.reshape(size))))
            continue
        maps = (_regroup(m, c.shape, laid, blocks) for m in (c.facts, c.zero, c.neginf))
        made.append(replace(r, cell=domain.make(size, *maps)))
    known = x.known if [a for a in axes if a] == [a for a in x.axes if a] else None
    return replace(x, type=type, axes=axes, regions=tuple(made), known=known)


def _one_of_each(lattice: Lattice, x: Stencil, around: Sequence[int]) -> Stencil:
    """x with one element in place of all along some axes, which are about to be merged with a spatial one."""
    if not around:
        return x

    def one(cell: Abstract) -> Abstract:
        cell = replace(cell, constant=None)
        for i in around:
            cell = reaxis(joined(lattice, cell, i), i, 1)
        return cell

    sharp = all(uniform(r.cell, i) for r in x.regions for i in around)
    return replace(x, regions=x.each(one), known=None, exact=x.exact and sharp)


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


def _reshape_block(x: Stencil, shape: Shape, old: range, new: range) -> _Block | None:
    """Return one block in its new shape; None where places would be lost."""
    wide = [i for i in old if x.shape[i] != 1]
    spatial = [i for i in wide if x.axes[i] is not None]
    if not spatial:
        return _Block([None for _ in new], [extent(shape[j]) for j in new])
    axis, at = x.axes[spatial[0]], wide.index(spatial[0])
    assert axis is not None
    inner, targets = product(x.shape[i] for i in wide[at + 1 :]), [j for j in new if shape[j] != 1]
    place = _place(shape, targets, product((*(x.shape[i] for i in wide[:at]), axis.outer)))
    if len(spatial) > 1 or place is None or not isinstance(inner, int):
        return None
    to, outer = place
    split = product(shape[j] for j in targets if j > to)
    if not isinstance(split, int):
        return None
    own = axis.own
    if inner != 1 or split != 1:
        if x.band == axis.source:
            return None
        while own * inner % split:
            own += axis.own
    moved = Axis(axis.source, own * inner // split, axis.step * own // axis.own, axis.slot, outer)
    if not (_whole_periods(axis, x.shape[spatial[0]], own) and _whole_periods(moved, shape[to], moved.own)):
        return None
    lengths = [moved.own if j == to else extent(shape[j]) for j in new]
    laid = [1 if j < to else n for j, n in zip(new, lengths, strict=True)]
    return _Block([moved if j == to else None for j in new], lengths, own, tuple(wide[:at]), laid)


def _place(shape: Shape, targets: Sequence[int], outer: int | Symbolic) -> tuple[int, int | Symbolic] | None:
    """The last of the new axes before which stand no more elements than `outer`, and how many of these it takes in.

    None where no number of them is left over.
    """
    found: tuple[int, int | Symbolic] | None = None
    before = product(())
    for j in targets:
        left = _quotient(outer, before)
        if left is None:
            break
        found = j, left
        before = before * shape[j]
    return found


def _whole_periods(axis: Axis, size: int | Symbolic, period: int) -> bool:
    """Whether an axis with others merged begins a period for each of their elements."""
    each = _quotient(size, axis.outer)
    return axis.outer == 1 or (each is not None and _quotient(each, period) is not None)


def _quotient(a: int | Symbolic, b: int | Symbolic) -> int | Symbolic | None:
    """a / b; None where it is not known to be a whole number."""
    if isinstance(a, int):
        return a // b if isinstance(b, int) and a % b == 0 else None
    try:
        return a // b
    except ValueError:
        return None
