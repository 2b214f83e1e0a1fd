"""What a data set is: raw columns as they come, and columns adapted to the fields of a module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mpcompile.ir import Array, DType

SPLITS = ("train", "valid", "test")
_DTYPES = {DType.FLOAT: np.float32, DType.INT: np.int64, DType.BOOL: np.bool_}


@dataclass
class Raw:
    """Data before it meets a module: split -> column -> array `[n, ...]`.

    levels      columns of integers 0..levels-1 (grey levels, classes)
    images      columns `[n, channels, height, width]` that may be enlarged by whole factors
    sounds      columns of sound in [-1, 1], which a category or an integer field takes as mu-law codes
    streams     columns that are one long sequence `[T, ...]` to be cut into windows
    pieces      columns whose sequences follow one another `[T, ...]`; the column `length` says where they end
    vocabulary  what the integers of text stand for
    rate        of sounds, in Hz; 0 where it is not known
    """

    splits: dict[str, dict[str, Array]]
    levels: dict[str, int] = field(default_factory=dict)
    images: frozenset[str] = frozenset()
    sounds: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()
    pieces: frozenset[str] = frozenset()
    vocabulary: list[str] | None = None
    fixed: bool = True  # the splits are the set's own; False: one part that is still to be divided
    digest: str = ""  # of a user's file
    rate: int = 0

    @property
    def columns(self) -> list[str]:
        return list(self.splits["train"])

    def counts(self, split: str) -> dict[str, int]:
        """Number of examples of each column."""
        columns = self.splits[split]
        return {k: len(columns["length"] if k in self.pieces else v) for k, v in columns.items()}


@dataclass(frozen=True, slots=True)
class Column:
    """Examples `[n, ...]` in whatever type is smallest; `take` gives the type that programs read."""

    array: Array
    dtype: DType

    def __len__(self) -> int:
        return len(self.array)

    def take(self, rows: Array, shift: int = 0) -> Array:
        return np.ascontiguousarray(self.array[rows], dtype=_DTYPES[self.dtype])


@dataclass(frozen=True, slots=True)
class Windows:
    """A long sequence `[T, ...]` cut into windows of `length`; `ahead` moves a target forward.

    A `shift` in [0, length) moves all cuts, so that over the epochs a model sees every alignment.
    """

    stream: Array
    dtype: DType
    length: int
    ahead: int = 0
    spare: int = 0  # the largest `ahead` of the columns beside this one

    def __len__(self) -> int:
        """Windows that fit at every shift; a stream of less than two windows still gives its first."""
        usable = len(self.stream) - self.spare
        return max((usable - self.length + 1) // self.length, 1 if usable >= self.length else 0)

    def take(self, rows: Array, shift: int = 0) -> Array:
        room = len(self.stream) - self.spare - len(self) * self.length
        start = np.asarray(rows) * self.length + min(shift, max(room, 0)) + self.ahead
        return np.ascontiguousarray(
            self.stream[start[:, None] + np.arange(self.length)], dtype=_DTYPES[self.dtype]
        )


@dataclass(frozen=True, slots=True)
class Pieces:
    """Sequences of unequal length, one after the other; a batch is padded with zeros to its longest.

    Rounded up to a multiple of `STEP`, so that a backend which compiles for every shape meets few. The model's own
    `condition length: integer(1..time)` says what is padding, so that how much of it there is makes no difference.
    """

    STEP: ClassVar[int] = 16
    stream: Array
    dtype: DType
    lengths: Array

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: Array, shift: int = 0) -> Array:
        ends = np.cumsum(self.lengths)
        longest = -(-int(self.lengths[rows].max()) // self.STEP) * self.STEP
        out = np.zeros((len(rows), longest, *self.stream.shape[1:]), _DTYPES[self.dtype])
        for place, row in enumerate(rows):
            size = int(self.lengths[row])
            out[place, :size] = self.stream[ends[row] - size : ends[row]]
        return out


@dataclass(frozen=True, slots=True)
class Split:
    """One part of a data set: field name -> column."""

    columns: Mapping[str, Column | Windows | Pieces]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    @property
    def windowed(self) -> bool:
        return any(isinstance(c, Windows) for c in self.columns.values())

    def take(self, rows: Array, shift: int = 0) -> dict[str, Array]:
        """The examples of these rows, by field."""
        return {name: column.take(rows, shift) for name, column in self.columns.items()}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data that fit a module."""

    name: str
    splits: Mapping[str, Split]
    vocabulary: list[str] | None = None
    digest: str = ""
    statistics: Mapping[str, Any] = field(default_factory=dict)

    def split(self, name: str) -> Split:
        """A part by name; `test` falls back on `valid`, that on `train`. Raises `KeyError`."""
        for candidate in SPLITS[SPLITS.index(name) :: -1] if name in SPLITS else ():
            if len(self.splits.get(candidate, Split({}))):
                return self.splits[candidate]
        raise KeyError(name)

    def named(self, name: str) -> str:
        """The part that `split(name)` really gives."""
        part = self.split(name)
        return next(k for k in SPLITS if self.splits.get(k) is part)


def about_lengths(columns: Mapping[str, Array]) -> str:
    """What a column of lengths would have to add up to, where there is one."""
    length = columns.get("length")
    if length is None or length.ndim != 1 or length.dtype.kind not in "iu" or not len(length):
        return ""
    if length.min() < 1:
        return "every length is at least 1"
    return f"the lengths add up to {length.sum()}: as many rows has a column of sequences"
