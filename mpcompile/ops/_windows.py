"""Windows over spatial axes: where they lie, what each tap reads, and the attributes of strided primitives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from itertools import product as cartesian

import numpy as np

from mpcompile.budget import tick
from mpcompile.ir import Array, DType, Symbolic, Type
from mpcompile.ops._base import (
    expand,
    floor_div,
    require,
    require_dtype,
)
from mpcompile.ops.traits import Product

Padding = tuple[tuple[int, int], ...]
Index = tuple[slice, ...]


def window_count(
    size: int | Symbolic, kernel: int, stride: int, padding: tuple[int, int], dilation: int = 1
) -> int | Symbolic:
    """Count the windows that fit along an axis. Raises `TypeMismatch` where none does."""
    span = size + sum(padding) - dilation * (kernel - 1) - 1
    require(not isinstance(span, int) or span >= 0, f"at least {dilation * (kernel - 1) + 1} positions", size)
    return floor_div(span, stride) + 1


#: Along each spatial axis of a kernel the first tap of a box, and how many there are.
Box = tuple[tuple[int, int], ...]


def boxes(live: Array, axes: Sequence[int]) -> list[tuple[Box, Array]] | None:
    """Split a kernel live[o, i, *k] into boxes of equal taps along some axes; return each with its taps' value.

    Boxes without a live tap are left out; a compressed axis is one tap. None where there are more than half as many as
    taps: then they save nothing. A causal mask has as many as axes, of any size.
    """
    most = int(np.prod([live.shape[a] for a in axes])) // 2

    def split(part: Array, axes: Sequence[int]) -> Iterator[tuple[Box, Array]]:
        if not axes:
            yield (), part
            return
        axis, *rest = axes
        lines = np.moveaxis(part, axis, 0)
        change = (lines[1:] != lines[:-1]).any(tuple(range(1, part.ndim)))
        edges = [0, *(np.flatnonzero(change) + 1).tolist(), len(lines)]
        for start, stop in pairwise(edges):
            tick()
            one = part.take([start], axis)
            if one.any():
                for box, inner in split(one, rest):
                    yield ((start, stop - start), *box), inner

    found = list(islice(split(live, axes), most + 1))
    return found if len(found) <= most else None


@dataclass(frozen=True, slots=True)
class Windows:
    """The positions of windows over spatial axes, in numbers."""

    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding
    dilation: tuple[int, ...]

    @property
    def count(self) -> tuple[int, ...]:
        return tuple(
            (s + lo + hi - d * (k - 1) - 1) // t + 1
            for s, k, t, (lo, hi), d in zip(
                self.spatial, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )

    def taps(self) -> Iterator[tuple[tuple[int, ...], Index]]:
        """Every tap, with what it reads of the padded input, window by window."""
        for tap in cartesian(*(range(k) for k in self.kernel)):
            tick()
            yield (
                tap,
                tuple(
                    slice(i * d, i * d + (n - 1) * t + 1, t)
                    for i, d, n, t in zip(tap, self.dilation, self.count, self.stride, strict=True)
                ),
            )

    def pad(self, array: Array, first: int, value: float | bool = 0) -> Array:
        """Pad the spatial axes, which start at `first`."""
        if not any(map(any, self.padding)):
            return array
        rest = array.ndim - first - len(self.padding)
        return np.pad(array, [(0, 0)] * first + list(self.padding) + [(0, 0)] * rest, constant_values=value)

    def spread(self, array: Array, first: int) -> Array:
        """Undo the compression of those spatial axes on which positions differ: the padded ones."""
        for i, (size, pad) in enumerate(zip(self.spatial, self.padding, strict=True)):
            if any(pad):
                array = expand(array, first + i, size)
        return array

    def read(self, array: Array, index: Index, first: int) -> Array:
        """Return the elements that one tap reads of a padded map; compressed axes stay compressed."""
        chosen = [s if array.shape[first + i] > 1 else slice(None) for i, s in enumerate(index)]
        return array[(*(slice(None),) * first, *chosen)]

    def read_full(self, array: Array, index: Index) -> Array:
        """Return the elements that one tap reads of padded values [n, c, *s]."""
        return array[(slice(None), slice(None), *index)]

    def join(self, join: np.ufunc, padded: Array, alike: Sequence[int]) -> tuple[Array, Windows]:
        """A map of padded values [n, c, *s, ...] with whole windows joined along axes all of whose taps are `alike`.

        Gives them and the windows that are left, over what is padded already.
        """
        spatial, kernel, stride, dilation = map(
            list, (self.canvas(), self.kernel, self.stride, self.dilation)
        )
        for a in alike:
            padded = _joined(join, padded, 2 + a, kernel[a], stride[a], dilation[a], self.count[a])
            spatial[a], kernel[a], stride[a], dilation[a] = self.count[a], 1, 1, 1
        none = ((0, 0),) * len(kernel)
        return padded, Windows(tuple(spatial), tuple(kernel), tuple(stride), none, tuple(dilation))

    def join_box(self, join: np.ufunc, padded: Array, box: Box) -> Array:
        """Join, window by window, the padded values [n, c, *s, ...] that the taps of one box read."""
        for a, (start, length) in enumerate(box):
            t, d, n, axis = self.stride[a], self.dilation[a], self.count[a], 2 + a
            if padded.shape[axis] > 1:
                stop = (start + length - 1) * d + (n - 1) * t + 1
                padded = padded[(*(slice(None),) * axis, slice(start * d, stop))]
            padded = _joined(join, padded, axis, length, t, d, n)
        return padded

    def crop(self, array: Array, first: int) -> Array:
        """The adjoint of `pad`."""
        inner = [slice(lo, lo + s) for (lo, _), s in zip(self.padding, self.spatial, strict=True)]
        return array[(*(slice(None),) * first, *inner)]

    def canvas(self) -> tuple[int, ...]:
        """Lengths of the padded input."""
        return tuple(s + lo + hi for s, (lo, hi) in zip(self.spatial, self.padding, strict=True))


def _joined(
    join: np.ufunc, x: Array, axis: int, kernel: int, stride: int, dilation: int, count: int
) -> Array:
    """Join of each window along one axis: tap by tap where windows are few, else of widths that double.

    A sum, which must take each element once, goes tap by tap.
    """
    before = (slice(None),) * axis
    if x.shape[axis] == 1:  # all along it alike
        return x * kernel if join is np.add else x
    if join is np.add or kernel * count <= kernel.bit_length() * x.shape[axis]:
        slices = [slice(i * dilation, i * dilation + (count - 1) * stride + 1, stride) for i in range(kernel)]
        total: Array = x[(*before, slices[0])]
        for s in slices[1:]:
            tick()
            total = join(total, x[(*before, s)])
        return total
    width = 1
    while width < kernel:
        tick()
        step = min(width, kernel - width)
        by = step * dilation
        x = join(x[(*before, slice(None, -by))], x[(*before, slice(by, None))])
        width += step
    return x[(*before, slice(0, (count - 1) * stride + 1, stride))]


@dataclass(frozen=True)
class Strided(Product):
    """Base of the three convolutions: windows with stride, padding, dilation and groups."""

    stride: tuple[int, ...]
    padding: Padding
    dilation: tuple[int, ...]
    groups: int = 1

    def _check(self, x: Type, w: Type, channels: int | Symbolic) -> int:
        """Check both operands and give the number of spatial axes."""
        n = x.rank - 2
        for t in (x, w):
            require_dtype(t, DType.FLOAT)
        require(1 <= n <= 3, "one to three spatial axes after batch and channels", x)
        require(w.rank == x.rank, f"a kernel of rank {x.rank}", w)
        self._check_fields(n)
        require(
            isinstance(channels, int) and channels % self.groups == 0,
            f"a number of channels that {self.groups} groups divide",
            channels,
        )
        return n

    def _check_fields(self, n: int) -> None:
        for field, value in (("stride", self.stride), ("padding", self.padding), ("dilation", self.dilation)):
            require(len(value) == n, f"{field} for {n} spatial axes", value)
        require(
            min((*self.stride, *self.dilation, self.groups)) >= 1,
            "stride, dilation and groups of at least 1",
            self,
        )
        require(all(lo >= 0 and hi >= 0 for lo, hi in self.padding), "padding of at least 0", self.padding)

    def _windows(self, spatial: Sequence[int], kernel: Sequence[int]) -> Windows:
        return Windows(tuple(spatial), tuple(kernel), self.stride, self.padding, self.dilation)
