"""Blocks of a source, put into columns: single numbers and words into one table, arrays and sequences into their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.opening import Unreadable
from mpcompile.runner.data.pack.store import TABLE, Facts, Sink, Store

#: Different words that a column may hold: more are text.
_MOST_WORDS = 2**16
#: Whole numbers beyond it are not all there in a float64.
_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class Coded:
    """Words as codes `[m]` into `words`; -1 where one is missing."""

    codes: Array
    words: list[str]


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences of unequal length, one after the other `[t, ...]`, and their lengths `[m]`."""

    values: Array
    lengths: Array


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a source: `scalars`, a number or a word a row, and `arrays` `[m, ...]` or sequences."""

    scalars: Mapping[str, Array | Coded] = field(default_factory=dict)
    arrays: Mapping[str, Array | Sequences] = field(default_factory=dict)


class Collector:
    """Takes the blocks of a source, split by split, into sinks."""

    def __init__(self, path: Path, facts: Facts, sink: Callable[[str], Sink]) -> None:
        self.path, self.facts, self.sink = path, facts, sink
        self.sinks: dict[str, Sink] = {}
        self.kinds: dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]] = {}
        self.words: dict[str, dict[str, int]] = {}

    def add(self, split: str, block: Block) -> None:
        """Put a block behind those before it. Raises `Unreadable` where it is of another kind."""
        rows = self.facts.rows.setdefault(split, {})
        if block.scalars:
            self._put(rows, TABLE, self._table(block.scalars))
        for name, value in block.arrays.items():
            if name == "length" and isinstance(value, Sequences):
                raise Unreadable(f"{self.path}: sequences cannot be named 'length'", "name them differently")
            if name == TABLE:
                raise Unreadable(
                    f"{self.path}: a column of arrays cannot be named '{TABLE}'", "name it differently"
                )
            if isinstance(value, Sequences):
                self._put(rows, name, value.values)
                self._lengths(rows, block, name, value.lengths)
            else:
                self._put(rows, name, value)

    def _lengths(self, rows: dict[str, int], block: Block, name: str, lengths: Array) -> None:
        """Put the lengths of sequences down, once for all columns that have them."""
        others = {k: v.lengths for k, v in block.arrays.items() if isinstance(v, Sequences)}
        first = next(iter(others))
        if name == first:
            self._put(rows, "length", lengths)
        elif not np.array_equal(others[first], lengths):
            raise Unreadable(
                f"{self.path}: the sequences of '{first}' and '{name}' differ in their lengths",
                "pack them apart, or leave one out: --columns",
            )

    def _put(self, rows: dict[str, int], name: str, value: Array) -> None:
        if name not in self.sinks:
            self.sinks[name], self.kinds[name] = self.sink(name), (value.dtype, value.shape[1:])
        dtype, shape = self.kinds[name]
        if value.shape[1:] != shape:
            found = f"{list(value.shape[1:])}, the first has {list(shape)}"
            help = "pictures: --resize and --crop make them of one size"
            raise Unreadable(f"{self.path}: a row of '{name}' has shape {found}", help)
        if value.dtype != dtype:
            with np.errstate(invalid="ignore"):
                cast = value.astype(dtype)
            if not np.array_equal(cast, value, equal_nan=value.dtype.kind == "f"):
                raise Unreadable(f"{self.path}: '{name}' begins as {dtype} and goes on as {value.dtype}")
            value = cast
        self.sinks[name].append(value)
        rows[name] = rows.get(name, 0) + len(value)

    def _table(self, scalars: Mapping[str, Array | Coded]) -> Array:
        """Single numbers and words as rows `[m, columns]`; a missing one is NaN."""
        if not self.facts.header:
            self.facts.header = list(scalars)
        if self.facts.header != list(scalars):
            raise Unreadable(f"{self.path}: its parts have columns of different names")
        known = self.kinds.get(TABLE)
        dtype = known[0] if known else self._narrowest(scalars)
        count = len(next(v.codes if isinstance(v, Coded) else v for v in scalars.values()))
        out = np.empty((count, len(scalars)), dtype)
        for i, (name, value) in enumerate(scalars.items()):
            column = self._codes(name, value) if isinstance(value, Coded) else value
            if column.dtype.kind in "iu" and column.size and max(column.max(), -int(column.min())) > _EXACT:
                raise Unreadable(
                    f"{self.path}: '{name}' holds whole numbers beyond 2^53", "leave it out: --columns"
                )
            out[:, i] = column
        return out

    @staticmethod
    def _narrowest(scalars: Mapping[str, Array | Coded]) -> np.dtype[np.generic]:
        small = (np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.float16, np.float32)
        single = all(isinstance(v, Coded) or v.dtype in small for v in scalars.values())
        return np.dtype(np.float32 if single else np.float64)

    def _codes(self, name: str, value: Coded) -> Array:
        """The number of each word, in the order in which they come, or of the classes that are given."""
        if name in self.facts.classes:
            codes = {w: i for i, w in enumerate(self.facts.classes[name])}
            if missing := [w for w in value.words if w not in codes]:
                raise Unreadable(f"{self.path}: '{name}' holds {missing[0]!r}, which is none of its classes")
        else:
            codes = self.words.setdefault(name, {})
        if odd := [w for w in value.words if not w.strip() or not w.isprintable()]:
            raise Unreadable(
                f"{self.path}: '{name}' holds {odd[0][:30]!r}, which is no word", "a missing one is null"
            )
        number = np.array([*(codes.setdefault(w, len(codes)) for w in value.words), np.nan])
        if len(codes) > _MOST_WORDS:
            raise Unreadable(
                f"{self.path}: '{name}' holds more than {_MOST_WORDS} different words",
                f"--text of column '{name}', or leave it out: --columns",
            )
        return np.asarray(number[value.codes])

    def finish(self) -> Store:
        """Number the words in the order of the alphabet, and give the columns."""
        if not self.sinks:
            raise Unreadable(f"{self.path}: it has no row")
        if "length" in self.sinks and "length" in self.facts.header:
            raise Unreadable(
                f"{self.path}: 'length' is a column beside sequences, which have their own", "--columns"
            )
        columns = {k: s.finish(self._ranks() if k == TABLE else None) for k, s in self.sinks.items()}
        self.facts.classes |= {name: sorted(codes) for name, codes in self.words.items()}
        return Store(self.facts, columns)

    def _ranks(self) -> Callable[[Array], Array] | None:
        """The change of a table that numbers words in the order of the alphabet; None where they are."""
        ranks = {}
        for name, codes in self.words.items():
            if list(codes) != sorted(codes):
                place = {w: i for i, w in enumerate(sorted(codes))}
                ranks[self.facts.header.index(name)] = np.array([*(place[w] for w in codes), np.nan])
        if not ranks:
            return None

        def change(block: Array) -> Array:
            out = block.copy()
            for i, rank in ranks.items():
                out[:, i] = rank[np.where(np.isnan(block[:, i]), -1, block[:, i]).astype(np.int64)]
            return out

        return change


__all__ = ["Block", "Coded", "Collector", "Sequences"]
