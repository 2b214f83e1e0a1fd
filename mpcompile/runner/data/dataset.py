"""Data sets: raw columns as they come, and columns adapted to the fields of a module."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from math import inf, isfinite, prod
from typing import Any, ClassVar

import numpy as np

from mpcompile.ir import Array, DType
from mpcompile.runner.data.mapped import Stored, gathered, mapping, released, run_of

SPLITS = ("train", "valid", "test")
_DTYPES = {DType.FLOAT: np.float32, DType.INT: np.int64, DType.BOOL: np.bool_}
#: Numbers that are looked at, or turned into another type, at once.
_BLOCK, _PART = 2**20, 2**16
#: Bytes of a mapped file that are in memory at once: a table has few numbers of a column in many pages.
_WINDOW = 2**25


@dataclass(frozen=True, slots=True)
class Known:
    """The facts about a model that a reader of data may need.

    vocabulary  the letters of a text, of a run trained before
    names       the variables, which columns of a table may be headed by
    optional    the variables whose values may be missing, with the words of their classes
    beside      columns of a table that no variable takes, and that are kept apart all the same
    shared      these columns are part of x, too
    """

    vocabulary: list[str] | None = None
    names: Collection[str] = ()
    optional: Mapping[str, Collection[str]] = field(default_factory=dict)
    beside: Collection[str] = ()
    shared: bool = False

    @property
    def apart(self) -> Collection[str]:
        """The columns that are no part of x though no variable is named so."""
        return () if self.shared else self.beside


@dataclass
class Raw:
    """Data before it meets a module: split -> column -> array `[n, ...]`.

    levels      columns of integers 0..levels-1 (grey levels, classes)
    images      columns `[n, channels, height, width]` that may be enlarged by whole factors
    sounds      columns of sound in [-1, 1], which a category or an integer field takes as mu-law codes
    streams     columns that are one long sequence `[T, ...]` to be cut into windows
    pieces      columns whose sequences follow one another `[T, ...]`; the column `length` says where they end
    rows        split -> the examples that are its own; without an entry all are
    vocabulary  what the integers of text stand for
    classes     column -> the words that its integers stand for
    lines       column -> the row of a table in which each of its words is first
    headed      column -> the names that head its columns in a table
    faults      column -> why it cannot be read; it matters where a variable takes the column
    rate        of sounds, in Hz; 0 where it is not known
    """

    splits: dict[str, dict[str, Array]]
    levels: dict[str, int] = field(default_factory=dict)
    images: frozenset[str] = frozenset()
    sounds: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()
    pieces: frozenset[str] = frozenset()
    rows: dict[str, Array] = field(default_factory=dict)
    vocabulary: list[str] | None = None
    classes: dict[str, list[str]] = field(default_factory=dict)
    lines: dict[str, dict[str, int]] = field(default_factory=dict)
    headed: dict[str, list[str]] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)
    fixed: bool = True  # the splits are the set's own; False: one part that is still to be divided
    digest: str = ""  # of a user's file
    rate: int = 0

    @property
    def columns(self) -> list[str]:
        return list(self.splits["train"])

    def counts(self, split: str) -> dict[str, int]:
        """Number of examples of each column."""
        columns = self.splits[split]
        if split in self.rows:
            return {k: len(self.rows[split]) for k in columns}
        return {k: len(columns["length"] if k in self.pieces else v) for k, v in columns.items()}


@dataclass
class Survey:
    """The range, mean and spread of some numbers, and whether they are whole; gathered in blocks.

    `bad` of the `size` numbers are not finite; the others are what the rest is about. `square` is the sum of the squared
    distances from the mean (Chan, Golub and LeVeque 1983, eq. 1.5).
    """

    size: int = 0
    bad: int = 0
    low: float = inf
    high: float = -inf
    mean: float = 0.0
    square: float = 0.0
    whole: bool = True

    def add(self, block: Array) -> None:
        """Count a block of numbers in, a part at a time that stays in the processor's cache."""
        flat = block.reshape(-1)
        for start in range(0, flat.size, _PART):
            self._add(flat[start : start + _PART])

    def _add(self, part: Array) -> None:
        before, self.size = self.count, self.size + part.size
        low, high = part.min().item(), part.max().item()
        if not isfinite(low) or not isfinite(high):  # both are NaN where one number is
            finite = part[np.isfinite(part)]
            self.bad += int(part.size - finite.size)
            if not finite.size:
                return
            part, low, high = finite, finite.min().item(), finite.max().item()
        if self.whole and part.dtype.kind == "f":
            self.whole = bool((part == np.rint(part)).all())
        self.low, self.high = min(self.low, low), max(self.high, high)
        centred = part.astype(np.float64)
        n, mean = centred.size, float(centred.mean())
        centred -= mean
        step = mean - self.mean
        np.square(centred, out=centred)  # no product of BLAS, whose threads cost more than so few numbers
        self.square += float(centred.sum()) + step * step * before * n / (before + n)
        self.mean += step * n / (before + n)

    @property
    def count(self) -> int:
        """The number of finite numbers: 0 for a column of missing values alone."""
        return self.size - self.bad

    @property
    def deviation(self) -> float:
        return float(np.sqrt(self.square / max(self.count, 1)))


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows of an array as runs of neighbours: run i begins at `starts[i]` and has `sizes[i]` rows."""

    starts: Array
    sizes: Array

    def sorted(self) -> Runs:
        order = np.argsort(self.starts, kind="stable")
        return Runs(self.starts[order], self.sizes[order])

    def parts(self, step: int) -> Iterator[Array]:
        """Yield the numbers of the rows, those of about `step` rows, and of one run at least, at once."""
        ends = np.cumsum(self.sizes)
        first = 0
        while first < len(ends):
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + step, "right")))
            sizes = self.sizes[first:last]
            shift = self.starts[first:last] - (ends[first:last] - sizes - before)
            yield np.repeat(shift, sizes) + np.arange(int(ends[last - 1]) - before)
            first = last


def surveyed(array: Array, rows: Array | Runs | None = None, threshold: float | None = None) -> Survey:
    """Survey an array `[n, ...]`, or some rows of it, reading it once from front to end.

    `threshold`: of its numbers as 1 above it and 0 elsewhere.
    """
    found = Survey()
    with np.errstate(over="ignore", invalid="ignore"):
        for _, block in blocks(array, rows):
            if threshold is not None and not np.isfinite(block).all():
                found.add(block)
            else:
                found.add(block if threshold is None else (block > threshold).astype(np.uint8))
    return found


def blocks(array: Array, rows: Array | Runs | None = None) -> Iterator[tuple[int, Array]]:
    """Yield an array, or some rows of it in the order of the file, about `_BLOCK` numbers at a time.

    Each block comes with the place of its first row. Of a mapped file a block lies within `_WINDOW` bytes.
    """
    step, place = max(1, _BLOCK // max(prod(array.shape[1:]), 1)), 0
    within = len(array) + 1
    if mapping(array) is not None:
        within = max(1, _WINDOW // max(abs(array.strides[0]), 1))
    if rows is None:
        for start in range(0, len(array), min(step, within)):
            yield start, array[start : start + min(step, within)]
            released(array)
        return
    for part in rows.sorted().parts(step) if isinstance(rows, Runs) else _parts(np.sort(rows), step):
        for index in np.split(part, np.flatnonzero(np.diff(part // within)) + 1):
            yield place, array[index]
            released(array)
            place += len(index)


def _parts(rows: Array, step: int) -> Iterator[Array]:
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


@dataclass(frozen=True, slots=True)
class Column:
    """Examples `[n, ...]` in the type that they have in the file; `take` gives the type that programs read.

    array      numbers `[m, ...]`, perhaps mapped from a file
    rows       which of the m are examples, in their order; None: all
    shape      of an example
    threshold  numbers above it are 1, others 0; None leaves them
    """

    array: Array
    dtype: DType
    shape: tuple[int, ...]
    survey: Survey
    rows: Array | None = None
    threshold: float | None = None

    def __len__(self) -> int:
        return len(self.array if self.rows is None else self.rows)

    def take(self, rows: Array, shift: int = 0, part: slice = slice(None)) -> Array:
        rows = rows[part]
        found = gathered(self.array, rows if self.rows is None else self.rows[rows])
        return _typed(found, self.threshold, self.dtype).reshape(len(found), *self.shape)


def _typed(found: Array, threshold: float | None, dtype: DType) -> Array:
    """Numbers in the type that programs read, next to each other in memory."""
    return np.ascontiguousarray(found if threshold is None else found > threshold, dtype=_DTYPES[dtype])


@dataclass(frozen=True, slots=True)
class Windows:
    """A long sequence `[T, ...]` cut into windows of `length`; `ahead` moves a target forward.

    A `shift` in [0, length) moves all cuts, so that over the epochs a model sees every alignment.
    """

    stream: Array
    dtype: DType
    length: int
    shape: tuple[int, ...]  # of an element
    survey: Survey
    threshold: float | None = None
    ahead: int = 0
    spare: int = 0  # the largest `ahead` of the columns beside this one

    def __len__(self) -> int:
        """Windows that fit at every shift; a stream of less than two windows still gives its first."""
        usable = len(self.stream) - self.spare
        return max((usable - self.length + 1) // self.length, 1 if usable >= self.length else 0)

    def take(self, rows: Array, shift: int = 0, part: slice = slice(None)) -> Array:
        room = len(self.stream) - self.spare - len(self) * self.length
        start = np.asarray(rows[part], np.int64) * self.length + min(shift, max(room, 0)) + self.ahead
        found = gathered(self.stream, start[:, None] + np.arange(self.length))
        return _typed(found, self.threshold, self.dtype).reshape(len(found), self.length, *self.shape)


@dataclass(frozen=True, slots=True)
class Pieces:
    """Sequences of unequal length, one after the other; a batch is padded with zeros to its longest.

    Rounded up to a multiple of `STEP` steps, so that a backend which compiles for every shape meets few. The model's own
    `condition length: integer(1..time)` says what is padding, so that how much of it there is makes no difference.
    `times` rows are one step, where a model reads several at once: `[2 * frames, ...]`.
    """

    STEP: ClassVar[int] = 16
    stream: Array
    dtype: DType
    starts: Array  # of every sequence of the stream
    lengths: Array
    survey: Survey
    rows: Array | None = None  # which of the sequences are examples, in their order; None: all
    threshold: float | None = None
    times: int = 1

    def __len__(self) -> int:
        return len(self.lengths if self.rows is None else self.rows)

    def own(self, rows: Array | slice = slice(None)) -> Array:
        """Return the lengths of these examples."""
        return self.lengths[rows] if self.rows is None else self.lengths[self.rows[rows]]

    def padded(self, rows: Array | slice = slice(None)) -> int:
        """Return the steps of a batch of these sequences."""
        step = self.STEP * self.times
        return -(-int(self.own(rows).max(initial=0)) // step) * step

    def take(self, rows: Array, shift: int = 0, part: slice = slice(None)) -> Array:
        steps = self.padded(rows)
        rows = rows[part]
        out = np.zeros((len(rows), steps, *self.stream.shape[1:]), _DTYPES[self.dtype])
        own = rows if self.rows is None else self.rows[rows]
        for place, (start, size) in enumerate(zip(self.starts[own], self.lengths[own], strict=True)):
            found = run_of(self.stream, int(start), int(size))
            out[place, :size] = found if self.threshold is None else found > self.threshold
        return out


def shape_of(column: Column | Windows | Pieces) -> tuple[int, ...]:
    """Return the shape of an example, of the longest where they differ, as batches are padded."""
    if isinstance(column, Column):
        return column.shape
    if isinstance(column, Windows):
        return column.length, *column.shape
    return column.padded(), *column.stream.shape[1:]


@dataclass(frozen=True, slots=True)
class Split:
    """One part of a data set: field name -> column."""

    columns: Mapping[str, Column | Windows | Pieces]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    @property
    def windowed(self) -> bool:
        return any(isinstance(c, Windows) for c in self.columns.values())

    def take(self, rows: Array, shift: int = 0, part: slice = slice(None)) -> dict[str, Array]:
        """The examples of these rows, by field; `part`: those at these places of `rows`, padded as all of them are."""
        return {name: column.take(rows, shift, part) for name, column in self.columns.items()}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data that fit a module. `classes` has the words that the numbers of a field stand for."""

    name: str
    splits: Mapping[str, Split]
    vocabulary: list[str] | None = None
    classes: Mapping[str, list[str]] = field(default_factory=dict)
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
    """Return what a column of lengths would have to add up to, where there is one."""
    length = columns.get("length")
    if length is None or length.ndim != 1 or length.dtype.kind not in "iu" or not len(length):
        return ""
    if length.min() < 1:
        return "every length is at least 1"
    return f"the lengths add up to {sum(length.tolist())}: as many rows has a column of sequences"


def stored(split: Split) -> Split:
    """Return a split that travels to another process: mapped arrays as places in their files. `restored` undoes it."""
    return _changed(split, lambda value: Stored.of(value) if isinstance(value, np.ndarray) else value)


def restored(split: Split) -> Split:
    """Return a split with its mapped arrays. Raises `SpecError` (MP506) where a file is gone."""
    return _changed(split, lambda value: value.array() if isinstance(value, Stored) else value)


def _changed(split: Split, change: Callable[[Any], Any]) -> Split:
    columns = {
        name: replace(column, **{f.name: change(getattr(column, f.name)) for f in fields(column)})
        for name, column in split.columns.items()
    }
    return Split(columns)
