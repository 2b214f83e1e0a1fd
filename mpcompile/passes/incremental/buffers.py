"""Buffers of values that later iterations read: rings and whole sequences along time, rows of an image.

A store starts as zeros, which is what convolutions read beyond the edges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mpcompile import ops
from mpcompile.ir import Builder, DType, Shape, Symbolic, Type, Value
from mpcompile.ops import build as F

Size = int | Symbolic


def zeros(b: Builder, type: Type) -> Value:
    """Emit a value of zeros of any dtype."""
    zero = b.constant({DType.FLOAT: 0.0, DType.INT: 0, DType.BOOL: False}[type.dtype])
    return b.emit(ops.BroadcastTo(type.shape), zero) if type.shape else zero


def resized(shape: Shape, axis: int, size: Size) -> Shape:
    """Return a shape with another length of one axis."""
    return (*shape[:axis], size, *shape[axis + 1 :])


@dataclass
class Carry:
    """A value that a loop carries: its type, its start (zeros where it is None), what it is now, and its name."""

    type: Type
    start: Value | None = None
    now: Value | None = None
    name: str = "carry"

    @property
    def value(self) -> Value:
        assert self.now is not None
        return self.now


@dataclass
class Ring:
    """The last `length` elements along an axis, element t at t modulo length; all of them where `length` is None.

    `slot(length, lag)` gives the place of the element of `lag` iterations ago.
    """

    carry: Carry
    axis: int
    length: int | None
    slot: Callable[[int | None, int], Value]

    def write(self, b: Builder, step_value: Value) -> None:
        if self.length != 1:
            step_value = b.emit(
                ops.UpdateAt(self.axis), self.carry.value, step_value, self.slot(self.length, 0)
            )
        self.carry.now = step_value

    def read(self, b: Builder, lag: int) -> Value:
        """The element of `lag` >= 0 iterations ago, zero before the first one."""
        if self.length == 1:
            return self.carry.value
        return b.emit(ops.SliceAt(self.axis, 1), self.carry.value, self.slot(self.length, lag))


@dataclass
class Rows:
    """The current row of a value of an image, and the `past` rows before it, with margins of zeros on both sides.

    `current` is carried by the loop over columns where the value is computed by it; `past` by the loop over rows.
    """

    current: Carry
    past: Carry | None
    count: int  # of past rows
    axes: tuple[int, int]  # rows, columns
    margins: tuple[int, int]
    width: int

    def begin(self, b: Builder) -> None:
        self.current.now = zeros(b, self.current.type)

    def end(self, b: Builder) -> None:
        """The current row becomes a past one."""
        if self.past is None:
            return
        row = self.current.value
        if self.count > 1:
            row = F.concat(
                b, [F.slice_axis(b, self.past.value, self.axes[0], 1, self.count), row], self.axes[0]
            )
        self.past.now = row

    def write_row(self, b: Builder, step_value: Value) -> None:
        if any(self.margins):
            before, after = (
                tuple(n if a == self.axes[1] else 0 for a in range(step_value.type.rank))
                for n in self.margins
            )
            step_value = b.emit(ops.Pad(before, after), step_value)
        self.current.now = step_value

    def write_pixel(self, b: Builder, step_value: Value, column: Value) -> None:
        at = F.add(b, column, b.constant(self.margins[0])) if self.margins[0] else column
        self.current.now = b.emit(ops.UpdateAt(self.axes[1]), self.current.value, step_value, at)

    def _parts(self, b: Builder, first: int, last: int) -> list[Value]:
        """Rows first .. last, counted from the current one (0)."""
        parts = []
        if first < 0:
            assert self.past is not None
            start, stop = self.count + first, self.count + min(last, -1) + 1
            whole = start == 0 and stop == self.count
            past = self.past.value
            parts.append(past if whole else F.slice_axis(b, past, self.axes[0], start, stop))
        return [*parts, self.current.value] if last == 0 else parts

    def _joined(self, b: Builder, parts: list[Value]) -> Value:
        return parts[0] if len(parts) == 1 else F.concat(b, parts, self.axes[0])

    def rows(self, b: Builder, first: int, last: int) -> Value:
        """Whole rows first .. last <= 0, without margins."""
        rows = self._joined(b, self._parts(b, first, last))
        left = self.margins[0]
        return F.slice_axis(b, rows, self.axes[1], left, left + self.width) if any(self.margins) else rows

    def window(self, b: Builder, rows: tuple[int, int], columns: tuple[int, int], column: Value) -> Value:
        """Rows and columns first .. last, counted from the current place."""
        offset, size = self.margins[0] + columns[0], columns[1] - columns[0] + 1
        at = F.add(b, column, b.constant(offset)) if offset else column
        parts = [b.emit(ops.SliceAt(self.axes[1], size), part, at) for part in self._parts(b, *rows)]
        return self._joined(b, parts)
