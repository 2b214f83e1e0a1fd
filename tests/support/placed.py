"""What offset sets say at a finite size, against the exact sets of inputs there."""

from __future__ import annotations

import numpy as np

from mpcompile.analysis.dependence import environment_for, support
from mpcompile.analysis.stencils import OffsetSets
from mpcompile.ir import Graph
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import Stencil


def placed(s: Offsets, base: list[int], size: list[int]) -> np.ndarray:
    """The bits of a set that was put down at a place, over a source of some size."""
    index = [
        np.clip(np.arange(n) - b - o, 0, m - 1)
        for n, b, o, m in zip(size, base, s.origin, s.bits.shape, strict=True)
    ]
    return s.bits[np.ix_(*index)]


def predicted(
    stencil: Stencil, source: tuple[int, ...], axes: tuple[int, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """Bool [output elements, source elements]: the sets put down at every place, cut off at the borders.

    An axis of another symbol has fewer elements in a cell, each of which stands for several that are alike.
    """
    facts = np.broadcast_to(stencil.cell.facts, (*stencil.cell.shape, 1))
    size = [source[i] for i in axes]
    out = np.zeros((int(np.prod(shape)), int(np.prod(source))), bool)
    wide = [source[i] if i in axes else 1 for i in range(len(source))]
    for n, index in enumerate(np.ndindex(*shape)):
        base, at = [0] * len(axes), []
        for i, axis in zip(index, stencil.axes, strict=True):
            at.append(i * stencil.cell.shape[len(at)] // shape[len(at)] if axis is None else i % axis.own)
            if axis is not None:
                base[axis.source] = i // axis.own * axis.step
        reads = facts[(*(0 if s == 1 else a for a, s in zip(at, facts.shape, strict=False)), 0)]
        for _, s in reads.sets if reads else ():
            out[n] |= np.broadcast_to(placed(s, base, size).reshape(wide), source).reshape(-1)
    return out


def over_channels(bits: np.ndarray, source: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """Sets of places rather than of elements, as offset sets without kinds are."""
    cube = bits.reshape(len(bits), *source)
    rest = tuple(i + 1 for i in range(len(source)) if i not in axes)
    return np.broadcast_to(cube.any(rest, keepdims=True), cube.shape).reshape(len(bits), -1)


def middle(shape: tuple[int, ...], stencil: Stencil) -> np.ndarray:
    """Which output elements lie in the middle third along every spatial axis."""
    inside = np.ones(shape, bool)
    for i, axis in enumerate(stencil.axes):
        if axis is not None:
            n = shape[i]
            line = (np.arange(n) >= n // 3) & (np.arange(n) < n - n // 3)
            inside &= line.reshape([-1 if j == i else 1 for j in range(len(shape))])
    return inside.reshape(-1)


def hold(graph: Graph, source: str, sets: OffsetSets, length: int = 8) -> None:
    """Every output: never less than the exact sets, and equal in the middle where it is said to be exact."""
    env = environment_for(graph, length)
    shape_in = graph.inputs[source].type.concrete(env)
    for name, value in graph.outputs.items():
        stencil = sets.of(value)
        shape = value.type.concrete(env)
        true = over_channels(support(graph, source, name, env).value, shape_in, sets.axes)
        said = predicted(stencil, shape_in, sets.axes, shape)
        assert not (true & ~said).any(), f"{name} reads more than its offset sets say"
        if stencil.exact:
            rows = middle(shape, stencil)
            columns = np.ones(shape_in, bool)
            for i in sets.axes:  # a half-line goes on to the border, where padding cuts it
                edge = min(shape_in[i] // 6, 12)
                columns[(slice(None),) * i + (slice(0, edge),)] = False
                columns[(slice(None),) * i + (slice(shape_in[i] - edge, None),)] = False
            assert rows.any() and columns.any()
            inside = np.ix_(rows, columns.reshape(-1))
            assert np.array_equal(true[inside], said[inside]), name
