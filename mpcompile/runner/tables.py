"""Tables of predictions, written a batch at a time: .csv, .npz and .parquet."""

from __future__ import annotations

import csv
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner import disk


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, of one or more cells a row.

    shape  of the elements of an example, those behind the end of a shorter one too
    whole  elements are whole numbers, `nothing` where there is none; else they are real, NaN where there is none
    words  of an element's whole number `low`, `low + 1`, ...; or empty
    parts  names of the last axis, whose elements are one thing's probabilities; or empty
    head   the heading of its cells, where that is not the name
    """

    name: str
    shape: tuple[int, ...] = ()
    whole: bool = False
    words: Sequence[str] = ()
    low: int = 0
    parts: Sequence[str] = ()
    head: str = ""

    @property
    def nothing(self) -> int:
        """A whole number that is none of the column's."""
        return min(self.low, 0) - 1

    @property
    def heads(self) -> list[str]:
        """The heading of each cell of a row: `y`, `y_3`, and of classes `y.cat` and `y_3.cat`."""
        places = prod(self.shape[:-1] if self.parts else self.shape)
        head = self.head or self.name
        names = [head] if places == 1 else [f"{head}_{i}" for i in range(places)]
        return [f"{n}.{p}" for n, p in product(names, self.parts)] if self.parts else names

    def padded(self, values: Array) -> Array:
        """Return `values` [n, ...] with as many places as the longest example has."""
        wide = [(0, 0), *((0, s - v) for s, v in zip(self.shape, values.shape[1:], strict=True))]
        if self.whole:
            return np.pad(values.astype(np.int64), wide, constant_values=self.nothing)
        return np.pad(values.astype(np.float32), wide, constant_values=np.nan)

    def cells(self, values: Array) -> Iterator[list[Any]]:
        """Yield the cells of all rows for each place of a row: words or numbers; None where there is none."""
        named = dict(enumerate(self.words, self.low))
        for place in values.reshape(len(values), -1).T:
            if self.whole:
                yield [None if v == self.nothing else named.get(v, v) for v in place.tolist()]
            else:
                yield [None if t == "nan" else t for t in place.astype(str).tolist()]


class Writer(Protocol):
    """A table that takes batches: `add` each column's values [n, ...] by name."""

    def add(self, batch: Mapping[str, Array]) -> None: ...

    def close(self) -> None: ...


class Csv:
    """A row of text for each example, under a header."""

    def __init__(self, path: Path, columns: Sequence[Column], rows: int) -> None:
        self.columns = columns
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([head for c in columns for head in c.heads])

    def add(self, batch: Mapping[str, Array]) -> None:
        cells = [cell for c in self.columns for cell in c.cells(c.padded(batch[c.name]))]
        self._writer.writerows(zip(*cells, strict=True))

    def close(self) -> None:
        self._file.close()


class Npz:
    """An array [n, ...] of each column; the words of its classes are `<name>_classes`."""

    def __init__(self, path: Path, columns: Sequence[Column], rows: int) -> None:
        self.path, self.columns = path, columns
        self._folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        self._files = {c.name: (self._folder / f"{i}.npy").open("wb") for i, c in enumerate(columns)}
        for c in columns:
            kind = np.lib.format.dtype_to_descr(np.dtype(np.int64 if c.whole else np.float32))
            header = {"descr": kind, "fortran_order": False, "shape": (rows, *c.shape)}
            np.lib.format.write_array_header_1_0(self._files[c.name], header)

    def add(self, batch: Mapping[str, Array]) -> None:
        for c in self.columns:
            self._files[c.name].write(np.ascontiguousarray(c.padded(batch[c.name])).data)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        with zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as made:
            for c in self.columns:
                made.write(self._files[c.name].name, f"{c.name}.npy")
            for c in self.columns:
                if c.words:
                    with made.open(f"{c.name}_classes.npy", "w") as words:
                        np.lib.format.write_array(words, np.array(list(c.words)), allow_pickle=False)
        self.drop()

    def drop(self) -> None:
        """Remove what is not in the file yet."""
        shutil.rmtree(self._folder, ignore_errors=True)


class Parquet:
    """A column of each cell, and a row group of each batch."""

    def __init__(self, path: Path, columns: Sequence[Column], rows: int) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.columns = columns
        kinds = [pa.string() if c.words else pa.int64() if c.whole else pa.float32() for c in columns]
        fields = [(h, kind) for c, kind in zip(columns, kinds, strict=True) for h in c.heads]
        self._schema = pa.schema(fields)
        self._writer = parquet.ParquetWriter(str(path), self._schema)

    def add(self, batch: Mapping[str, Array]) -> None:
        import pyarrow as pa

        arrays = []
        for c in self.columns:
            values = c.padded(batch[c.name])
            if c.whole:
                words = bool(c.words)
                for cell in c.cells(values):
                    arrays.append([None if v is None else str(v) for v in cell] if words else cell)
            else:
                arrays += list(values.reshape(len(values), -1).T)
        made = [pa.array(a, f.type, from_pandas=True) for a, f in zip(arrays, self._schema, strict=True)]
        self._writer.write_table(pa.table(made, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


#: What writes a file, by its ending.
WRITERS: dict[str, Callable[[Path, Sequence[Column], int], Writer]] = {
    ".csv": Csv, ".npz": Npz, ".parquet": Parquet,
}  # fmt: skip


def missing(ending: str) -> str:
    """Return the package that a kind of file needs and that is not installed; empty where there is none."""
    return "pyarrow" if ending == ".parquet" and find_spec("pyarrow") is None else ""


def arrays(columns: Sequence[Column], batches: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Join batches to one array [n, ...] for each column, and `<name>_classes` for its words, as `Npz` writes them."""
    found = {c.name: np.concatenate([c.padded(b[c.name]) for b in batches]) for c in columns}
    return found | {f"{c.name}_classes": np.array(list(c.words)) for c in columns if c.words}


@contextmanager
def table(path: Path, columns: Sequence[Column], rows: int) -> Iterator[Writer]:
    """Open a table of `rows` rows. The file is there once all of it is written; a fault leaves what was there before.

    Raises `OSError`.
    """
    with disk.whole(path) as aside:
        writer = WRITERS[path.suffix.lower()](aside, columns, rows)
        try:
            yield writer
            writer.close()
        finally:
            if isinstance(writer, Npz):
                writer.drop()


__all__ = ["WRITERS", "Column", "Csv", "Npz", "Parquet", "Writer", "arrays", "missing", "table"]
