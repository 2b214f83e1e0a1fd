"""A constant at several lengths -> what it is at every length, or that it may be anything there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpcompile import ops
from mpcompile.foreign.lengths.relative import Number, Relative
from mpcompile.foreign.lengths.sizes import LENGTH, at
from mpcompile.ir import Array, Builder, Constant, DType, Parameter, Shape, Type, Value
from mpcompile.ops import build


@dataclass(frozen=True)
class Alike:
    """An array that is the same at all lengths, repeated along axes of symbolic size: `array` has one element there."""

    array: Array
    type: Type

    def emit(self, b: Builder, name: str) -> Value:
        found = b.emit(Constant.of(self.array))
        return (
            found if self.array.shape == self.type.shape else b.emit(ops.BroadcastTo(self.type.shape), found)
        )

    def agrees(self, array: Array) -> bool:
        return bool(_same(np.broadcast_to(self.array, array.shape), array))


@dataclass(frozen=True)
class Line:
    """y[.., i, ..] = step * i + start along one axis of symbolic size: positions."""

    axis: int
    step: int
    start: int
    type: Type

    def emit(self, b: Builder, name: str) -> Value:
        found = b.emit(ops.Iota(self.type.shape, self.axis))
        found = found if self.step == 1 else build.mul(b, found, b.constant(self.step))
        return found if self.start == 0 else build.add(b, found, b.constant(self.start))

    def agrees(self, array: Array) -> bool:
        line = self.step * np.arange(array.shape[self.axis]) + self.start
        wide = line.reshape([-1 if a == self.axis else 1 for a in range(array.ndim)])
        return bool((array == wide).all())


@dataclass(frozen=True)
class Mask:
    """A function of the difference of two places, where that is known (`Relative`)."""

    op: Relative

    @property
    def type(self) -> Type:
        return self.op.infer()[0]

    def emit(self, b: Builder, name: str) -> Value:
        return b.emit(self.op)

    def agrees(self, array: Array) -> bool:
        return self.op.bind({"length": array.shape[self.op.row]}).agrees(array)


@dataclass(frozen=True)
class Anything:
    """Numbers of which nothing is known but their type: an upper bound for any constant."""

    type: Type

    def emit(self, b: Builder, name: str) -> Value:
        return b.emit(Parameter(name, self.type))

    def agrees(self, array: Array) -> bool:
        return True


Known = Alike | Line | Mask | Anything


def classify(arrays: Sequence[Array], lengths: Sequence[int], type: Type) -> Known:
    """Return what is known of a constant of a symbolic type at every length, from what it is at some.

    It holds at these lengths. Whether it holds at others is found out there (`agrees`).
    """
    along = [a for a, size in enumerate(type.shape) if not isinstance(size, int)]
    heads = [x[tuple(slice(0, 1) if a in along else slice(None) for a in range(x.ndim))] for x in arrays]
    alike = Alike(heads[0], type)
    if all(map(alike.agrees, arrays)):
        return alike
    found: Known | None = None
    if type.dtype is DType.INT and len(along) == 1:
        found = _line(arrays[0], along[0], type)
    elif type.dtype is not DType.INT and len(along) == 2 and all(type.shape[a] == LENGTH for a in along):
        found = _relative(arrays, along, type)
    return found if found is not None and all(map(found.agrees, arrays)) else Anything(type)


def _line(array: Array, axis: int, type: Type) -> Line:
    first = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)[:2, 0]
    return Line(axis, int(first[1] - first[0]), int(first[0]), type)


def _relative(arrays: Sequence[Array], along: Sequence[int], type: Type) -> Mask | None:
    """The differences of places at which every element has one value at all lengths; others are not known.

    Of finite numbers that are not zero only their being finite matters, which is known of nothing else either.
    """
    row, column = along
    seen: dict[int, set[Number]] = {}
    for array in arrays:
        square = np.moveaxis(array, (row, column), (0, 1)).reshape(*(array.shape[a] for a in along), -1)
        length = square.shape[0]
        for apart in range(1 - length, length):
            seen.setdefault(apart, set()).update(np.diagonal(square, apart).reshape(-1).tolist())
    values = [_value(seen[apart], type.dtype) for apart in sorted(seen)]
    for end, beside in ((0, 1), (-1, -2)):  # seen at one pair of places: no more than what comes before it
        values[end] = values[end] if values[end] == values[beside] else None
    if all(v is None for v in values):
        return None
    return Mask(Relative(type.dtype, type.shape, row, column, min(seen), tuple(values)).trimmed())


def _value(seen: set[Number], dtype: DType) -> Number:
    if len(seen) > 1:
        return None
    (value,) = seen
    return value if dtype is DType.BOOL or value in (0.0, 1.0, -np.inf) else None


def _same(x: Array, y: Array) -> bool:
    return np.array_equal(x, y, equal_nan=x.dtype.kind == "f")


def shapes(shape: Shape, length: int) -> tuple[int, ...]:
    """Return a shape at a length."""
    return tuple(at(size, length) for size in shape)
