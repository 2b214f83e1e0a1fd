"""Uses of weights in two programs, aligned, and the layout of each weight that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from mpcompile.foreign.matching.uses import Use
from mpcompile.ir import Array
from mpcompile.ir.layouts import Layout, ranges

#: Axes of a weight up to which permutations are tried.
_AXES = 4


@dataclass
class Match:
    """The weights of ours that weights of theirs are found for.

    rows      the layout of each
    left      names of ours without one, with the reason
    unread    names of theirs that no weight of ours takes
    """

    rows: dict[str, Layout] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def matched(
    ours: Sequence[Use],
    theirs: Sequence[Use],
    shapes: Mapping[str, tuple[int, ...]],
    given: Mapping[str, tuple[int, ...]],
) -> Match:
    """Align two programs by their uses of weights, in order. `shapes` are those of our weights, `given` of theirs."""
    sources: dict[str, tuple[Array, Array]] = {}
    names = list(given)
    for mine, other in _aligned(ours, theirs):
        count = int(np.prod(shapes[mine.path]))
        array, index = sources.setdefault(mine.path, (np.full(count, -1), np.full(count, -1)))
        places = mine.elements.reshape(-1)
        fresh = array[places] < 0
        array[places[fresh]] = names.index(other.path)
        index[places[fresh]] = other.elements.reshape(-1)[fresh]
    result = Match()
    taken: set[str] = set()
    for name, shape in shapes.items():
        found = sources.get(name)
        if found is None or (found[0] < 0).any():
            result.left[name] = _why(name, ours, theirs, found is not None)
            continue
        array, index = (a.reshape(shape) for a in found)
        layout = _layout(shape, array, index, names, given)
        if layout is None:
            result.left[name] = "its elements stand in no order that rows and transposes say"
            continue
        result.rows[name] = layout
        taken.update(layout.names)
    result.unread = [n for n in names if n not in taken]
    return result


def _aligned(ours: Sequence[Use], theirs: Sequence[Use]) -> list[tuple[Use, Use]]:
    """The longest common subsequence of two programs, in which uses of the same kind and size and role are best."""

    def score(x: Use, y: Use) -> int:
        if x.kind != y.kind or x.size != y.size:
            return 0
        return 3 if x.role == y.role else 2

    best = np.zeros((len(ours) + 1, len(theirs) + 1), np.int64)
    for i in range(len(ours) - 1, -1, -1):
        for j in range(len(theirs) - 1, -1, -1):
            both = score(ours[i], theirs[j])
            best[i, j] = max(best[i + 1, j], best[i, j + 1], best[i + 1, j + 1] + both if both else 0)
    found, i, j = [], 0, 0
    while i < len(ours) and j < len(theirs):
        both = score(ours[i], theirs[j])
        if both and best[i, j] == best[i + 1, j + 1] + both:
            found.append((ours[i], theirs[j]))
            i, j = i + 1, j + 1
        elif best[i, j] == best[i + 1, j]:
            i += 1
        else:
            j += 1
    return found


def _layout(
    shape: tuple[int, ...],
    array: Array,
    index: Array,
    names: Sequence[str],
    given: Mapping[str, tuple[int, ...]],
) -> Layout | None:
    """The layout that puts element `index` of weight number `array` at each place; None where no layout does."""
    rows = shape[0] if shape else 1
    owner, place = array.reshape(rows, -1), index.reshape(rows, -1)
    if (owner != owner[:, :1]).any():
        return None
    parts: list[tuple[str, tuple[int, ...], tuple[tuple[int, int], ...]]] = []
    start = 0
    while start < rows:
        stop = start + 1
        while stop < rows and owner[stop, 0] == owner[start, 0]:
            stop += 1
        name = names[int(owner[start, 0])]
        found = _rows(place[start:stop], given[name])
        if found is None:
            return None
        parts.append((name, *found))
        start = stop
    if len({p[1] for p in parts}) > 1:
        return None
    turned = parts[0][1]
    trailing = {tuple(given[n][a] for a in turned[1:]) if turned else given[n][1:] for n, _, _ in parts}
    own = (rows, *next(iter(trailing)))
    take = tuple(p[2] for p in parts) if any(p[2] for p in parts) else ()
    fits = len(trailing) == 1 and own == shape
    return Layout(tuple(p[0] for p in parts), turned, take, () if fits else shape)


def _rows(place: Array, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]] | None:
    """The permutation of axes, and the ranges of rows behind it, that give elements of these numbers."""
    whole = np.arange(int(np.prod(shape))).reshape(shape)
    for turned in permutations(range(len(shape))) if len(shape) <= _AXES else [tuple(range(len(shape)))]:
        table = whole.transpose(turned)
        table = table.reshape(table.shape[0] if shape else 1, -1)
        if table.shape[1] != place.shape[1]:
            if table.size == place.size and np.array_equal(table.reshape(-1), place.reshape(-1)):
                return (() if turned == tuple(range(len(shape))) else turned), ()
            continue
        number = {int(first): n for n, first in enumerate(table[:, 0])}
        rows = [number.get(int(p), -1) for p in place[:, 0]]
        if -1 in rows or not np.array_equal(table[rows], place):
            continue
        every = rows == list(range(table.shape[0]))
        return (() if turned == tuple(range(len(shape))) else turned), () if every else ranges(rows)
    return None


def _why(name: str, ours: Sequence[Use], theirs: Sequence[Use], partly: bool) -> str:
    """The reason why a weight has no counterpart."""
    own = [use for use in ours if use.path == name]
    if not own:
        return "the program does not use it as a matrix, a table or a vector"
    if partly:
        return "only some of its elements have a counterpart"
    use = own[0]
    others = sorted({other.size for other in theirs if other.kind == use.kind})
    if use.size in others:
        return f"each {use.kind} {list(use.size)} of the model stands for another weight, or at another place"
    near = ", ".join(str(list(s)) for s in others[:5])
    return f"the model has no {use.kind} {list(use.size)}" + (f"; it has {near}" if near else "")


__all__ = ["Match", "matched"]
