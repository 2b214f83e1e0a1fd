"""Columns of a source as they are read: in memory for small data, or in files, one flat .npy a column."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.dataset import Known, Raw, Survey
from mpcompile.runner.data.delimited import grouped
from mpcompile.runner.data.mapped import mapping
from mpcompile.runner.data.opening import Unreadable, require

#: Bytes of the header of a column: .npy of version 1.0, padded, so that the number of rows can be written last.
HEADER = 256
#: The column that holds all single numbers and words of a table, a row a row.
TABLE = "table"
_BLOCK = 2**22


@dataclass
class Facts:
    """The names, splits and classes of columns; the words mean what they mean in `Raw`.

    rows    split -> column -> number of rows, in the order in which they follow one another
    header  names of the columns of the table
    unread  column -> its type, which is not read: it matters where a variable takes the column
    """

    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    header: list[str] = field(default_factory=list)
    fixed: bool = False
    levels: dict[str, int] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    sounds: list[str] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)
    vocabulary: list[str] | None = None
    classes: dict[str, list[str]] = field(default_factory=dict)
    rate: int = 0
    unread: dict[str, str] = field(default_factory=dict)


def unread(name: str, kind: object) -> str:
    """Return what is wrong with a column of a type that is not read."""
    return f"column '{name}' holds {kind}; numbers, words, pictures and lists of numbers are read"


@dataclass(frozen=True, slots=True)
class Store:
    """Columns `[n, ...]` of all splits, one behind the other, and the facts about them."""

    facts: Facts
    columns: Mapping[str, Array]

    def raw(self, path: Path, known: Known) -> Raw:
        """Return the columns as data that have not met a module.

        Raises `Unreadable`.
        """
        facts, headed = self.facts, {}
        at = grouped(path, facts.header, known)
        faults: dict[str, Exception] = {}
        splits: dict[str, dict[str, Array]] = {}
        before = dict.fromkeys(self.columns, 0)
        for split, rows in facts.rows.items():
            splits[split] = {}
            for name, count in rows.items():
                part = self.columns[name][before[name] : before[name] + count]
                before[name] += count
                if name != TABLE:
                    splits[split][name] = part
                    continue
                for column, chosen in at.items():
                    splits[split][column] = _chosen(path, part, chosen)
                    headed[column] = [facts.header[i] for i in chosen]
        classes = {k: v for k, v in facts.classes.items() if k not in facts.header}
        for column, chosen in at.items():
            if lost := next((n for n in (facts.header[i] for i in chosen) if n in facts.unread), None):
                names = ",".join(n for n in facts.header if n not in facts.unread)
                faults[column] = Unreadable(f"{path}: {unread(lost, facts.unread[lost])}",
                                            f"mpcompile data pack {path} --columns {names} leaves it out")  # fmt: skip
                continue
            wordy = [facts.header[i] for i in chosen if facts.header[i] in facts.classes]
            if wordy and len(chosen) > 1:
                faults[column] = Unreadable(
                    f"{path}: several columns make {column}, and '{wordy[0]}' holds words",
                    "name the columns after the variables of the model",
                )
            elif wordy:
                classes[column] = facts.classes[wordy[0]]
        return Raw(
            splits, dict(facts.levels), frozenset(facts.images), frozenset(facts.sounds), frozenset(facts.streams),
            vocabulary=facts.vocabulary, classes=classes, headed=headed, faults=faults, fixed=facts.fixed,
            rate=facts.rate,
        )  # fmt: skip


def _chosen(path: Path, table: Array, chosen: list[int]) -> Array:
    """Some columns of a table: a view where they are evenly apart."""
    step = chosen[1] - chosen[0] if len(chosen) > 1 else 1
    if all(b - a == step for a, b in pairwise(chosen)):
        return table[:, chosen[0] : chosen[-1] + 1 : step]
    if mapping(table) is not None:
        try:
            require(
                path, len(table) * len(chosen) * table.itemsize, "x, of columns that are not evenly apart,"
            )
        except Unreadable as bad:
            raise Unreadable(
                str(bad), "mpcompile data pack SOURCE --columns NAMES puts them side by side"
            ) from bad
    return table[:, chosen]


class Sink(Protocol):
    """Takes blocks of a column, and gives the whole of it."""

    def append(self, block: Array) -> None: ...

    def finish(self, change: Callable[[Array], Array] | None) -> Array: ...


class Memory:
    """A column in memory, within the limit."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name, self.size = path, name, 0
        self.blocks: list[Array] = []

    def append(self, block: Array) -> None:
        self.size += block.nbytes
        try:
            require(self.path, self.size, f"column '{self.name}'")
        except Unreadable as bad:
            help = f"mpcompile data pack {self.path} -o FOLDER makes a pack, which is read as it is needed"
            raise Unreadable(str(bad), help) from bad
        self.blocks.append(np.array(block))

    def finish(self, change: Callable[[Array], Array] | None) -> Array:
        whole = np.concatenate(self.blocks)
        return whole if change is None else change(whole)


class File:
    """A column in a .npy, written block by block; its statistics and the digest of its numbers are taken on the way."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self.file = open(path, "xb+")  # noqa: SIM115
        self.file.write(bytes(HEADER))
        self.dtype: np.dtype[Any] | None = None
        self.shape: tuple[int, ...] = ()
        self.survey, self.digest = Survey(), hashlib.sha256()

    def append(self, block: Array) -> None:
        if self.dtype is None:
            self.dtype, self.shape = block.dtype, block.shape[1:]
        block = np.ascontiguousarray(block)
        self.file.write(block.data if block.size else b"")
        self._count(block)
        self.rows += len(block)

    def _count(self, block: Array) -> None:
        if block.size:
            self.digest.update(block.data)
            self.survey.add(block)

    def finish(self, change: Callable[[Array], Array] | None) -> Array:
        """Write the header and close the file; `change` is made of all rows first, block by block."""
        dtype = np.dtype(np.float64) if self.dtype is None else self.dtype
        if change is not None:
            self.survey, self.digest = Survey(), hashlib.sha256()
            for start, block in self._written(dtype):
                changed = np.ascontiguousarray(change(block))
                self.file.seek(start)
                self.file.write(changed.data)
                self._count(changed)
        self.file.seek(0)
        self.file.write(header(dtype, (self.rows, *self.shape)))
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        return np.empty(0, dtype)

    def _written(self, dtype: np.dtype[Any]) -> Iterator[tuple[int, Array]]:
        width = prod(self.shape) * dtype.itemsize
        step = max(1, _BLOCK // max(width, 1))
        for first in range(0, self.rows, step):
            count = min(step, self.rows - first)
            self.file.seek(HEADER + first * width)
            block = np.frombuffer(self.file.read(count * width), dtype).reshape(count, *self.shape)
            yield HEADER + first * width, block


def header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the header of a .npy of version 1.0 in `HEADER` bytes."""
    text = (
        f"{{'descr': {np.lib.format.dtype_to_descr(dtype)!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    )
    return (
        b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.encode().ljust(HEADER - 11) + b"\n"
    )


__all__ = ["HEADER", "TABLE", "Facts", "File", "Memory", "Sink", "Store", "header", "unread"]
