"""Colours of the elements of a source, such that no output element reads two elements of one colour.

So one set of colours, or one run in which all elements of a colour are redrawn, says which element an output reads:
the only one of this colour in its window (Curtis, Powell and Reid 1974, On the estimation of sparse Jacobian matrices).
A network over an image whose window is bounded needs as many colours as a window has elements, whatever the image's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_

import numpy as np

from mpcompile.analysis.bits import BitMatrix
from mpcompile.analysis.bounds import AtMost
from mpcompile.analysis.dependence import sets
from mpcompile.analysis.receptive import unions
from mpcompile.analysis.stencils import aligned_with, axes_of, offset_sets, places, spatial_axes
from mpcompile.ir import Array, Graph, NoRule

#: Sources of fewer elements have a colour for each element.
FEW = 1 << 9


@dataclass(frozen=True)
class Colouring:
    """The colours of a source's elements, for output elements that are laid out like them.

    shape    the source's shape, the batch left out
    windows  axis of `shape` -> (low, period): the output element at place p reads places p + low to p + low + period - 1
             at most along this axis; along the others it may read all
    """

    shape: tuple[int, ...]
    windows: Mapping[int, tuple[int, int]]

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape))

    @cached_property
    def palette(self) -> tuple[int, ...]:
        """The number of colours along each axis."""
        return tuple(self.windows[a][1] if a in self.windows else n for a, n in enumerate(self.shape))

    @property
    def exact(self) -> bool:
        """Whether each element has a colour of its own."""
        return not self.windows

    @property
    def count(self) -> int:
        """The number of colours."""
        return int(np.prod(self.palette))

    @cached_property
    def colours(self) -> Array:
        """The colour of each element, int64 [elements]."""
        at = [np.arange(n) % c for n, c in zip(self.shape, self.palette, strict=True)]
        return np.ravel_multi_index(np.meshgrid(*at, indexing="ij"), self.palette).reshape(-1)

    @cached_property
    def groups(self) -> list[Array] | None:
        """The elements of each colour; None where each element has a colour of its own."""
        if self.exact:
            return None
        order = np.argsort(self.colours, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.colours, minlength=self.count))[:-1])

    def elements(self, start: int, stop: int) -> Array:
        """The element of each colour in the windows of output elements `start` to `stop` - 1; -1 where there is none.

        int64 [stop - start, colours], or [1, colours] where all output elements have one window.
        """
        if self.exact:
            return np.arange(self.size)[None]
        rows = np.unravel_index(np.arange(start, stop), self.shape)
        index = np.zeros((stop - start, *(1,) * len(self.shape)), np.int64)
        outside = np.zeros(index.shape, bool)
        for axis, (n, c) in enumerate(zip(self.shape, self.palette, strict=True)):
            along = np.arange(c)[None]
            if axis in self.windows:
                low = rows[axis][:, None] + self.windows[axis][0]
                along = low + (along - low) % c
            along = along.reshape(-1, *(c if a == axis else 1 for a in range(len(self.shape))))
            outside = outside | (along < 0) | (along >= n)
            index = index * n + along
        return np.where(outside, -1, index).reshape(stop - start, -1)


def sets_of(
    graph: Graph, source: str, env: Mapping[str, int], axis: int | None, by: Colouring
) -> AtMost[BitMatrix]:
    """Return an upper bound of what all outputs at a place read, [output elements, colours]. Raises `TooLarge`."""
    found = [
        sets(graph, source, name, env, axis, None if by.exact else by.colours).value for name in graph.outputs
    ]
    return AtMost(reduce(or_, found))


def colouring(graph: Graph, source: str, env: Mapping[str, int], axis: int | None) -> Colouring:
    """Choose colours for outputs that have the source's places, beside their axis `axis` of parameters.

    Every element has a colour of its own where offset sets do not bound what all outputs read around their places.
    """
    shape = graph.inputs[source].type.concrete(env)[1:]
    own = Colouring(shape, {})
    if own.size < FEW or not spatial_axes(graph.inputs[source].type, axes_of(graph, source)):
        return own
    offsets = offset_sets(graph, source)
    hulls: list[set[tuple[int | None, int | None]]] = [set() for _ in offsets.axes]
    for value in graph.outputs.values():
        try:
            stencil = offsets.of(value)
        except NoRule:
            return own
        if not any(r.cell.facts.any() for r in stencil.regions):
            continue
        if len(stencil.regions) > 1 or not aligned_with(stencil, places(offsets.axes, axis)):
            return own
        for phase, s in unions(stencil, len(offsets.axes)).items():
            for k, hull in enumerate(hulls):
                low, high = s.bounds(k)
                hull.add((None if low is None else low - phase[k], None if high is None else high - phase[k]))
    return Colouring(
        shape, {a - 1: w for a, h in zip(offsets.axes, hulls, strict=True) if (w := _window(h, shape[a - 1]))}
    )


def _window(hull: set[tuple[int | None, int | None]], length: int) -> tuple[int, int] | None:
    """Return where a window with some hulls begins, and its length; None where it is no shorter than the axis."""
    lows, highs = [low for low, _ in hull], [high for _, high in hull]
    if None in lows or None in highs or not hull:
        return None
    low = min(n for n in lows if n is not None)
    period = max(n for n in highs if n is not None) - low + 1
    return (low, period) if period < length else None
