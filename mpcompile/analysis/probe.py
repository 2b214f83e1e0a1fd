"""One place of an output and the places of the source that its offset set names, at some sizes: what a run can check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpcompile.analysis import dependence
from mpcompile.analysis.bits import BitMatrix
from mpcompile.analysis.dependence import TooLarge
from mpcompile.analysis.stencils import OffsetSets
from mpcompile.ir import Array, Graph, NoRule, Value
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import Stencil


@dataclass(frozen=True)
class Probe:
    """A place of an output, away from the borders where there is room.

    rows     numbers of the output's elements at the place
    places   [n, spatial axes] places of the source in the offset set of its phase
    named    bool along the spatial axes of the source: the places in the offset set, though its ends may cut them off
    base     where the place's period starts along each spatial axis of the source
    numbers  the numbers of the source's elements, in its shape without the batch
    axes     the spatial axes of the source, the batch counted
    """

    rows: Array
    places: Array
    named: Array
    base: tuple[int, ...]
    numbers: Array
    axes: tuple[int, ...]

    def group(self, chosen: Array) -> Array:
        """The numbers of all elements of the source at some places."""
        along = np.moveaxis(self.numbers, [a - 1 for a in self.axes], range(len(self.axes)))
        return np.asarray(along[tuple(chosen.T)].reshape(-1))


def probe(
    graph: Graph, source: str, value: Value, sets: OffsetSets, phase: tuple[int, ...], offsets: Offsets,
    env: Mapping[str, int],
) -> Probe | None:  # fmt: skip
    """Choose the place of a phase whose offsets fit best within the source; None where the output has no such place.

    Where a set has no ends, the ends of the source tell nothing: a shift may leave the place in the middle without all
    that the set names, so the last and the first one are tried too.
    """
    found = _at(graph, source, value, sets, phase, offsets, env, 0)
    for choice in (1, 2):
        if found is None or len(found.places):
            break
        found = _at(graph, source, value, sets, phase, offsets, env, choice)
    return found


def _at(
    graph: Graph, source: str, value: Value, sets: OffsetSets, phase: tuple[int, ...], offsets: Offsets,
    env: Mapping[str, int], choice: int,
) -> Probe | None:  # fmt: skip
    """The place; `choice` is that among the ones which fit equally well."""
    stencil = sets.of(value)
    out, src = value.type.concrete(env), graph.inputs[source].type.concrete(env)
    index: list[int | slice] = [slice(None)] * (len(out) - 1)
    low, size = [], []
    for k, a in enumerate(sets.axes):
        length, base = src[a], 0
        found = _axis(stencil, k)
        if found is not None:
            at, own, step = found
            periods = (out[at] - phase[k] - 1) // own
            if out[at] <= phase[k] or at == 0:
                return None
            base = step * _period(periods, step, length, *offsets.bounds(k), choice)
            index[at - 1] = base // step * own + phase[k]
        low.append(-base)
        size.append(length)
    rows = np.arange(int(np.prod(out[1:]))).reshape(out[1:])[tuple(index)].reshape(-1)
    numbers = np.arange(int(np.prod(src[1:]))).reshape(src[1:])
    named = offsets.window(low, size)
    window = named & _within(graph, source, value, env, rows, numbers, sets.axes)
    return Probe(rows, np.argwhere(window), named, tuple(-n for n in low), numbers, sets.axes)


def _within(
    graph: Graph, source: str, value: Value, env: Mapping[str, int], rows: Array, numbers: Array, axes: Sequence[int]
) -> Array:  # fmt: skip
    """Bool along the spatial axes: the places that some row reads at these sizes, where the ends may cut paths."""
    output = next(name for name, v in graph.outputs.items() if v == value)
    try:
        words = dependence.sets(graph, source, output, env).value.words[rows]
    except (NoRule, TooLarge):
        return np.ones((), bool)
    seen = BitMatrix(np.bitwise_or.reduce(words, 0)[None], numbers.size).unpack()[0].reshape(numbers.shape)
    return np.asarray(seen.any(tuple(i for i in range(seen.ndim) if i + 1 not in axes)))


def _axis(stencil: Stencil, source: int) -> tuple[int, int, int] | None:
    """The first axis of a value that runs along one of the source, with its period."""
    return next(
        ((i, a.own, a.step) for i, a in enumerate(stencil.axes) if a is not None and a.source == source), None
    )


def _period(last: int, step: int, length: int, low: int | None, high: int | None, choice: int) -> int:
    """Choose a period: any without bounds, the last one without a bound below, else the first with room below."""
    if low is None and high is None:
        return (last // 2, last, 0)[choice]
    if low is None:
        return last if high is None else max(0, min(last, (length - 1 - max(high, 0)) // step))
    return min(last, -(-max(0, -low) // step))
