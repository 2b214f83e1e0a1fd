"""Reading and writing a stretch of an axis at a position that is known only when the program runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np

from mpcompile.ir import Abstract, Along, Array, Builder, Domain, DType, Example, Shape, Symbolic, Type, Value
from mpcompile.ops._base import (
    Cotangents,
    expand,
    mask,
    mismatch,
    require,
    require_axis,
    require_dtype,
    require_sizes,
    sample,
    zeros,
)
from mpcompile.ops.traits import Fresh, Verbatim, View, apart


def _stretch(axis: int, start: int, size: int) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(start, start + size))


def _require_fits(part: int | Symbolic, whole: int | Symbolic) -> None:
    """Raise `TypeMismatch` for a stretch that is longer than its axis, where both are known."""
    require_sizes(part)
    if isinstance(part, int) and isinstance(whole, int) and part > whole:
        raise mismatch(f"at most {whole} elements of an axis", part)


@dataclass(frozen=True)
class SliceAt(View, Verbatim):
    """y = data[..., start : start + size, ...] along an axis; `start` is an INT scalar that keeps y inside of data."""

    name: ClassVar[str] = "slice_at"
    axis: int
    size: int

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        data, start = inputs
        require_axis(data, self.axis)
        require_dtype(start, DType.INT)
        require(start.shape == (), "a scalar start", start)
        _require_fits(self.size, data.shape[self.axis])
        return (data.with_shape((*data.shape[: self.axis], self.size, *data.shape[self.axis + 1 :])),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Slice the data at `start`. Raises `ValueError` for a stretch outside of the data."""
        data, start = inputs
        at = int(start)
        if not 0 <= at <= data.shape[self.axis] - self.size:
            raise ValueError(f"slice_at {at} of {data.shape[self.axis]}")
        return (data[_stretch(self.axis, at, self.size)],)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        data, start = inputs
        shape = (*data.shape[: self.axis], self.size, *data.shape[self.axis + 1 :])
        if start.constant is not None:
            part = _stretch(self.axis, int(start.constant), self.size)
            maps = (m if m.shape[self.axis] == 1 else m[part] for m in (data.facts, data.zero, data.neginf))
            return (domain.make(shape, *maps),)
        slack = data.shape[self.axis] - self.size

        def window(m: Array, join: np.ufunc) -> Array:
            """Element j may come from any of j .. j + slack."""
            if m.shape[self.axis] == 1:
                return m
            shifted = (m[_stretch(self.axis, k, self.size)] for k in range(slack + 1))
            return np.asarray(reduce(join, shifted))

        facts = window(data.facts, domain.join)
        if slack:
            facts = domain.union(facts, start.facts.reshape((*(1,) * len(shape), domain.words)))
        return (domain.make(shape, facts, *(window(m, np.logical_and) for m in (data.zero, data.neginf))),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return *apart(shapes[:1], self.axis), {}

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        data, start = inputs
        if ct is None or data.dtype is not DType.FLOAT:
            return None, None
        return b.emit(UpdateAt(self.axis), zeros(b, data.shape), ct, start), None

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(0, 2), (sample(5, 2), np.array(3))),
            Example(cls(1, 1), (sample(2, 4, 3), np.array(0))),
            Example(cls(2, 3), (sample(2, 1, 3), np.array(0))),
            Example(cls(0, 1), (np.array([4, 5, 6]), np.array(2)), False),
        ]


@dataclass(frozen=True)
class UpdateAt(Fresh, Verbatim):
    """y = data with `update` in place of data[..., start : start + size, ...]; `start` is an INT scalar."""

    name: ClassVar[str] = "update_at"
    axis: int

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        data, update, start = inputs
        require_axis(data, self.axis)
        require_dtype(start, DType.INT)
        require(start.shape == (), "a scalar start", start)
        rest = (*data.shape[: self.axis], *data.shape[self.axis + 1 :])
        other = (*update.shape[: self.axis], *update.shape[self.axis + 1 :])
        fits = data.dtype is update.dtype and data.rank == update.rank and rest == other
        require(fits, f"an update that fits {data}", update)
        _require_fits(update.shape[self.axis], data.shape[self.axis])
        return (data,)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Write the update into a copy of the data at `start`. Raises `ValueError` for a stretch outside of the data."""
        data, update, start = inputs
        at, size = int(start), update.shape[self.axis]
        if not 0 <= at <= data.shape[self.axis] - size:
            raise ValueError(f"update_at {at} of {data.shape[self.axis]}")
        out = np.array(data)
        out[_stretch(self.axis, at, size)] = update
        return (out,)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        data, update, start = inputs
        axis, size, shape = self.axis, update.shape[self.axis], data.shape
        pairs = [(data.facts, update.facts), (data.zero, update.zero), (data.neginf, update.neginf)]
        if start.constant is not None or size == shape[axis]:
            at = 0 if start.constant is None else int(start.constant)
            return (domain.make(shape, *(_written(d, u, axis, at, size, shape[axis]) for d, u in pairs)),)
        slack = shape[axis] - size
        everywhere = np.arange(shape[axis])
        kept = np.logical_or(
            everywhere < slack, everywhere >= size
        )  # by some start, element i is not replaced
        kept = kept.reshape([-1 if a == axis else 1 for a in range(len(shape))])

        def placed(m: Array, join: np.ufunc, bottom: int) -> Array:
            """Element i may be any of the update's i - slack .. i."""
            m = expand(m, axis, size)
            canvas: Array | None = None
            for k in range(slack + 1):
                empty = np.full((*m.shape[:axis], shape[axis], *m.shape[axis + 1 :]), bottom, m.dtype)
                empty[_stretch(axis, k, size)] = m
                canvas = empty if canvas is None else join(canvas, empty)
            assert canvas is not None
            return canvas

        known = [np.logical_and(np.logical_or(d, ~kept), placed(u, np.logical_and, 1)) for d, u in pairs[1:]]
        facts = domain.union(
            mask(kept, expand(data.facts, axis, shape[axis])),
            placed(update.facts, domain.join, 0),
            start.facts.reshape((*(1,) * len(shape), domain.words)),
        )
        return (domain.make(shape, facts, *known),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        """Leave out the axis itself, though elements stay in place there: `start` counts them."""
        return *apart(shapes[:2], self.axis), {}

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        data, update, start = inputs
        size = update.shape[self.axis]
        if ct is None or data.dtype is not DType.FLOAT or not isinstance(size, int):
            return None, None, None
        kept = b.emit(UpdateAt(self.axis), ct, zeros(b, update.shape), start)
        return kept, b.emit(SliceAt(self.axis, size), ct, start), None

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(0), (sample(5, 2), sample(2, 2, seed=1), np.array(3))),
            Example(cls(1), (sample(2, 4, 3), sample(2, 1, 3, seed=1), np.array(0))),
            Example(cls(2), (sample(2, 1, 3), sample(2, 1, 3, seed=1), np.array(0))),
            Example(cls(0), (np.array([4, 5, 6]), np.array([1]), np.array(2)), False),
        ]


def _written(data: Array, update: Array, axis: int, at: int, size: int, length: int) -> Array:
    """A map with another one written into it; both may be compressed."""
    shape = np.broadcast_shapes(
        (*data.shape[:axis], 1, *data.shape[axis + 1 :]), (*update.shape[:axis], 1, *update.shape[axis + 1 :])
    )
    lead = (*shape[:axis], length, *shape[axis + 1 :])
    out = np.array(np.broadcast_to(expand(data, axis, length), lead))
    out[_stretch(axis, at, size)] = update
    return out
