"""Tables of numbers, and of words that name classes, from .csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.dataset import Known, Raw
from mpcompile.runner.data.opening import Unreadable, opened, reading, require

_TARGETS = ("y", "label", "target")
_MISSING = ("?", "-", "na", "n/a", "null")
_SEPARATORS, _SEPARATED = ";\t|", "the cells of a row are separated by commas, and a decimal point is `.`"
_HOLES = "declare the variable with `?`, as in `input age: real?`, or leave such rows out"
#: Rows that are turned into numbers at once; longest line, in characters; most columns.
_ROWS, _LINE, _COLUMNS = 4096, 2**24, 2**20


@dataclass
class Reading:
    """Columns of a file as they are known while its rows are read.

    holed   columns in which a value may be missing, with the words that are classes there, whatever they say
    wordy   columns that may hold words; those of which a cell was read are in `words`, or hold numbers
    words   of a column of words the number of each word, in the order in which they come
    rows    of a column of words the row in which each word is first
    texts   columns whose cells are text, whatever they say; an empty one is missing
    spare   columns that may turn out to be read by no variable, with the first cell of each that is no number
    """

    path: Path
    header: list[str] | None
    holed: Mapping[int, Collection[str]]
    wordy: set[int]
    words: dict[int, dict[str, int]] = field(default_factory=dict)
    rows: dict[int, dict[str, int]] = field(default_factory=dict)
    texts: Collection[int] = ()
    spare: dict[int, Unreadable | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.words |= {i: {} for i in self.texts}
        self.rows |= {i: {} for i in self.texts}

    def missing(self, i: int, cell: str) -> bool:
        """Whether a cell says that a value is missing which may be."""
        marks = ("", "nan", *_MISSING)
        return i in self.holed and cell.strip().lower() in marks and cell.strip() not in self.holed[i]

    def decide(self, block: list[tuple[int, list[str]]]) -> None:
        """Find which columns hold words, by their first cell that is there."""
        for i in sorted(self.wordy):
            first = next((row[i] for _, row in block if not self.missing(i, row[i])), None)
            if first is not None:
                self.wordy.discard(i)
                if _number(first) is None and first.strip():
                    self.words[i], self.rows[i] = {}, {}


def table(path: Path, known: Known) -> Raw:
    """Read the columns of a .csv.

    A column whose header is a variable's name is itself; `y`, `label` and `target` are y, the rest x. Values of those
    in `optional` may be missing: an empty cell, `?`, `NA` and the like are NaN, unless they are words of its classes.
    Columns apart from the variables are text, cell by cell.

    The first row is a header where no cell of it is a number or a missing value. Words are read in columns that are not
    part of x, as classes in the order of the alphabet, where all cells of the column are words. Raises `Unreadable`,
    which names row and column.
    """
    with opened(path) as file, reading(path):
        rows = _rows(path, file)
        first = next(rows, None)
        if first is None:
            raise Unreadable(f"{path}: it is empty")
        header = _header(path, *first)
        places = grouped(path, header or [""] * len(first[1]), known)
        may = known.optional
        rest = [w for name, words in may.items() if name not in places for w in words]  # of x and y
        some = any(name not in places for name in may)
        holed = {
            i: may.get(name, rest)
            for name, at in places.items()
            for i in at
            if name in may or (some and name not in known.names and name not in known.beside)
        }
        texts = {places[name][0] for name in known.apart if name in places}
        wordy = {i for name, at in places.items() if name != "x" for i in at} - texts
        spare: dict[int, Unreadable | None] = dict.fromkeys(places.get("x", ()) if header else ())
        reading_ = Reading(path, header, holed, wordy, texts=texts, spare=spare)
        return _read(reading_, rows if header else _after([first], rows), len(first[1]), places)


def _after(
    first: list[tuple[int, list[str]]], rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    yield from first
    yield from rows


def _rows(path: Path, file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with its number (from 1)."""
    text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")

    def lines() -> Iterator[str]:
        while line := text.readline(_LINE):
            if len(line) == _LINE:
                raise Unreadable(f"{path}: row {reader.line_num + 1} has more than {_LINE} characters")
            if not line.isascii() and any("\udc80" <= c <= "\udcff" for c in line):
                raise Unreadable(f"{path}: row {reader.line_num + 1} is not UTF-8", "save it as UTF-8")
            yield line

    reader = csv.reader(lines(), strict=True)
    number = 0
    while True:
        number += 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as bad:
            long = "field limit" in str(bad)
            why = (
                f"has a cell of more than {csv.field_size_limit()} characters"
                if long
                else "has a stray quote"
            )
            raise Unreadable(f"{path}: row {number} {why}") from bad
        if row:
            yield number, row


def _header(path: Path, number: int, row: list[str]) -> list[str] | None:
    """The names of the columns, or None where the first row is data."""
    cells = [c.strip() for c in row]
    if len(cells) > _COLUMNS:
        raise Unreadable(f"{path}: it has {len(cells)} columns; at most {_COLUMNS} are read")
    if not any(_is_name(c) for c in cells) or any(
        _number(c) is not None or c.lower() in _MISSING for c in cells
    ):
        return None
    if "" in cells:
        raise Unreadable(
            f"{path}: row {number}, column {cells.index('') + 1}: the header has no name for it",
            "an index that a program wrote is no data: leave it out, e.g. to_csv(index=False)",
        )
    return cells


def grouped(path: Path, header: list[str], known: Known) -> dict[str, list[int]]:
    """Return which columns of a table make each column of the data. Raises `Unreadable` where two have one name."""
    places: dict[str, list[int]] = {}
    for i, name in enumerate(header):
        own = name in known.names and name not in ("x", "y")
        if own or name in known.beside:
            if name in places:
                raise Unreadable(f"{path}: two columns are headed '{name}'")
            places[name] = [i]
        if not own and name not in known.apart:
            places.setdefault("y" if name.lower() in _TARGETS else "x", []).append(i)
    return {k: places[k] for k in sorted(places, key=lambda k: k != "x")}


def parts(path: Path) -> Iterator[tuple[list[str], Array, Mapping[int, Mapping[str, int]]]]:
    """Yield a .csv of any size some rows at a time: the header, rows `[m, columns]` and the words of columns so far.

    In every column values may be missing (NaN), and words are numbered as they come. Raises `Unreadable`.
    """
    with opened(path, bounded=False) as file, reading(path):
        rows = _rows(path, file)
        first = next(rows, None)
        if first is None:
            raise Unreadable(f"{path}: it is empty")
        header, width = _header(path, *first), len(first[1])
        every = range(width)
        reading_ = Reading(path, header, dict.fromkeys(every, ()), set(every))
        names = header or [f"x{i}" for i in every]
        for block in _blocks(reading_, rows if header else _after([first], rows), width):
            yield names, block, reading_.words


def _blocks(reading_: Reading, rows: Iterator[tuple[int, list[str]]], width: int) -> Iterator[Array]:
    """Yield rows as numbers `[m, width]`; words are numbered as they come, and missing values are NaN."""
    path, header = reading_.path, reading_.header
    while block := list(islice(rows, _ROWS)):
        for number, row in block:
            if len(row) != width:
                raise Unreadable(
                    f"{path}: row {number} has {_values(len(row))}, the first row has {_values(width)}",
                    _SEPARATED if any(mark in "".join(row) for mark in _SEPARATORS) else "",
                )
            if header and width > 1 and [cell.strip() for cell in row] == header:
                raise Unreadable(f"{path}: row {number} repeats the header", "leave it out")
        reading_.decide(block)
        yield _numbers(reading_, block)


def _read(
    reading_: Reading, rows: Iterator[tuple[int, list[str]]], width: int, places: dict[str, list[int]]
) -> Raw:
    """Read all rows as numbers, block by block."""
    path, header = reading_.path, reading_.header
    blocks: list[Array] = []
    size = 0
    for block in _blocks(reading_, rows, width):
        size += block.nbytes
        require(path, size)
        blocks.append(block)
    if not blocks:
        raise Unreadable(f"{path}: there is a header but no row")
    values = np.concatenate(blocks)
    classes, lines = {}, {}
    for i, codes in reading_.words.items():
        order = sorted(codes, key=_ordered) if i in reading_.texts else sorted(codes)
        rank = np.empty(len(order))
        rank[[codes[w] for w in order]] = np.arange(len(order))
        there = ~np.isnan(values[:, i])
        values[there, i] = rank[values[there, i].astype(np.int64)]
        name = next(n for n, at in places.items() if i in at)
        if len(places[name]) > 1:
            raise Unreadable(f"{path}: several columns make {name}, and column {i + 1} holds words",
                             "name the columns after the variables of the model")  # fmt: skip
        classes[name], lines[name] = order, reading_.rows[i]
    headed = {k: [header[i] for i in at] for k, at in places.items()} if header else {}
    columns = {"train": {k: values[:, at] for k, at in places.items()}}
    fault = next((found for found in reading_.spare.values() if found is not None), None)
    faults: dict[str, Exception] = {} if fault is None else {"x": fault}
    return Raw(columns, fixed=False, classes=classes, lines=lines, headed=headed, faults=faults)


def _ordered(text: str) -> tuple[bool, float, str]:
    """The key that sorts texts: numbers by their size, before words."""
    number = _number(text)
    return (True, 0.0, text) if number is None or not isfinite(number) else (False, number, text)


def _numbers(reading_: Reading, block: list[tuple[int, list[str]]]) -> Array:
    """A block of rows `[n, columns]`; words are numbered as they come, and missing values are NaN."""
    columns = list(zip(*(row for _, row in block), strict=True))
    out = np.empty((len(block), len(columns)))
    for i, column in enumerate(columns):
        if i in reading_.holed:
            column = tuple("nan" if reading_.missing(i, c) else c for c in column)
        try:
            if i in reading_.texts:
                out[:, i] = [_text(c, reading_.words[i]) for c in column]
                continue
            if i in reading_.words:
                out[:, i] = [
                    np.nan
                    if i in reading_.holed and c == "nan"
                    else _code(c, reading_.words[i], reading_.holed.get(i, ()))
                    for c in column
                ]
                for (number, _), c in zip(block, column, strict=True):
                    reading_.rows[i].setdefault(c.strip(), number)
            elif "_" in "".join(column):  # 1_000 is a number of Python alone
                raise ValueError
            else:
                out[:, i] = np.array(column, float)
        except ValueError:
            pass
        else:
            there = np.array([c != "nan" for c in column]) if i in reading_.holed else slice(None)
            if np.isfinite(out[there, i]).all():
                continue
        fault = _bad_cell(reading_, block, i)
        if i not in reading_.spare:
            raise fault
        reading_.spare[i] = reading_.spare[i] or fault
        out[:, i] = np.nan
    return out


def _text(cell: str, codes: dict[str, int]) -> float:
    """The number of a text, NaN for an empty one. Raises `ValueError` for control characters."""
    cell = cell.strip()
    if not cell.isprintable():
        raise ValueError
    return codes.setdefault(cell, len(codes)) if cell else np.nan


def _code(cell: str, codes: dict[str, int], known: Collection[str]) -> int:
    """The number of a word. Raises `ValueError` for what is none, unless it is known as one."""
    cell = cell.strip()
    marks = cell.lower() in _MISSING and cell not in known
    if not cell or not cell.isprintable() or marks or _number(cell) is not None:
        raise ValueError
    return codes.setdefault(cell, len(codes))


def _bad_cell(reading_: Reading, block: list[tuple[int, list[str]]], column: int) -> Unreadable:
    """The first cell of a column that is not of its kind."""
    header, word = reading_.header, column in reading_.words
    number, cell = next(
        (n, row[column].strip())
        for n, row in block
        if not reading_.missing(column, row[column])
        and not (
            row[column].strip().isprintable()
            if column in reading_.texts
            else _fits(row[column], word, reading_.holed.get(column, ()))
        )
    )
    where = f"{reading_.path}: row {number}, column {column + 1}" + (f" ({header[column]})" if header else "")
    if not cell:
        return Unreadable(f"{where}: the cell is empty", _HOLES)
    held = repr(cell[:30])
    if cell.lower() in (*_MISSING, "nan"):
        return Unreadable(f"{where} holds {held}, a missing value", _HOLES)
    if column in reading_.texts:
        return Unreadable(f"{where} holds {held}, which has control characters")
    if word:
        return Unreadable(f"{where} holds {held}, the rows before it hold words")
    help = ""
    if _is_name(cell) and _number(cell) is None and not cell[0].isdigit():
        help = "words are classes in a column that is headed y, label, target or like a variable of the model"
    if any(mark in cell for mark in _SEPARATORS):
        help = _SEPARATED
    return Unreadable(f"{where} holds {held}, which is not a finite number", help)


def _fits(cell: str, word: bool, known: Collection[str]) -> bool:
    if word:
        try:
            _code(cell, {}, known)
        except ValueError:
            return False
        return True
    return (found := _number(cell)) is not None and isfinite(found)


def _number(cell: str) -> float | None:
    try:
        return float(cell) if "_" not in cell else None
    except ValueError:
        return None


def _values(count: int) -> str:
    return f"{count} value{'' if count == 1 else 's'}"


def _is_name(cell: str) -> bool:
    return any(c.isalpha() for c in cell) and cell.isprintable()


__all__ = ["grouped", "parts", "table"]
