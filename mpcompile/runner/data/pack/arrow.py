"""Parquet, Arrow and Feather files, and folders that Hugging Face datasets saved, by pyarrow, a few rows at a time.

A folder of `datasets` is Arrow files and two files of JSON; nothing is asked of a hub. Of its features the names of
classes and pictures are known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.opening import Unreadable, opened, reading
from mpcompile.runner.data.pack.collect import Block, Coded, Sequences
from mpcompile.runner.data.pack.sources import Blocks, Wishes, chosen_of, of_letters
from mpcompile.runner.data.pack.store import Facts, unread
from mpcompile.runner.data.pictures import Fit, decoded

SUFFIXES = (".parquet", ".arrow", ".feather", ".ipc")
_ROWS, _JSON = 4096, 2**24
_SPLITS = {
    "train": "train",
    "validation": "valid",
    "valid": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}
#: Files of one split.
_MOST_FILES = 2**16


def of_file(path: Path, wishes: Wishes, facts: Facts) -> Blocks:
    """Yield the rows of a file of columns."""
    yield from _of({"train": [path]}, wishes, facts)


def of_saved(path: Path, wishes: Wishes, facts: Facts) -> Blocks:
    """Yield the rows of a folder that `save_to_disk` of `datasets` wrote, of one split or of several."""
    if (path / "dataset_dict.json").is_file():
        names = _json(path / "dataset_dict.json").get("splits")
        if not isinstance(names, list) or not all(isinstance(n, str) and n in _SPLITS for n in names):
            known = ", ".join(_SPLITS)
            raise Unreadable(
                f"{path}: its splits are {str(names)[:80]}; {known} are known", "give the folder of one"
            )
        found = {_SPLITS[name]: _files(path / name) for name in names}
        if "train" not in found or len(found) < len(names):
            raise Unreadable(f"{path}: it needs a split train, and one of each kind at most")
        facts.fixed = True
        yield from _of({s: found[s] for s in ("train", "valid", "test") if s in found}, wishes, facts)
        return
    yield from _of({"train": _files(path)}, wishes, facts)


def is_saved(path: Path) -> bool:
    """Return whether `datasets` saved a folder."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _files(path: Path) -> list[Path]:
    """The Arrow files of a saved split, in order; names that leave the folder are refused."""
    listed = _json(path / "state.json").get("_data_files")
    names = [d.get("filename") for d in listed if isinstance(d, dict)] if isinstance(listed, list) else []
    if (
        not names
        or len(names) > _MOST_FILES
        or not all(isinstance(n, str) and Path(n).name == n for n in names)
    ):
        raise Unreadable(f"{path}: its state.json names no files of data beside it")
    return [path / str(n) for n in names]


def _json(path: Path) -> Mapping[str, Any]:
    with opened(path) as file, reading(path):
        found = json.loads(file.read(_JSON))
        if not isinstance(found, dict):
            raise Unreadable(f"{path}: it is no JSON object")
        return found


def _of(files: Mapping[str, Sequence[Path]], wishes: Wishes, facts: Facts) -> Blocks:
    arrow = _library(next(iter(files.values()))[0])
    first = next(iter(files.values()))[0]
    if wishes.column is not None:
        if len(files) > 1:
            raise Unreadable(f"{first.parent}: a text is one stream", "give the folder of one split")
        yield from of_letters(first, wishes, facts, lambda: _text(arrow, files["train"], str(wishes.column)))
        return
    facts.classes |= {k: v for k, v in _classes(arrow, first).items() if k in (wishes.columns or [k])}
    for split, paths in files.items():
        for path in paths:
            for batch in _batches(arrow, path):
                yield split, _block(arrow, path, batch, wishes, facts)


def _text(arrow: ModuleType, paths: Sequence[Path], column: str) -> Iterator[str]:
    """The rows of a column of text, each ended by a line break."""
    for path in paths:
        for batch in _batches(arrow, path):
            if column not in batch.schema.names:
                raise Unreadable(
                    f"{path}: it has no column '{column}'", f"its columns are {batch.schema.names}"
                )
            rows = batch.column(column).to_pylist()
            if not all(isinstance(row, str) for row in rows):
                raise Unreadable(f"{path}: '{column}' holds other things than text")
            yield "".join(f"{row}\n" for row in rows)


def _library(path: Path) -> ModuleType:
    try:
        import pyarrow
    except ImportError:
        raise Unreadable(f"{path}: it takes the library pyarrow: pip install 'mpcompile[data]'") from None
    found: ModuleType = pyarrow
    return found


@contextmanager
def _opened(arrow: ModuleType, path: Path) -> Iterator[Any]:
    """The reader of a file: of Parquet, or of an Arrow file or stream."""
    with opened(path, bounded=False) as file, reading(path):
        if path.suffix.lower() == ".parquet":
            from pyarrow import parquet

            yield parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
            return
        held = arrow.PythonFile(file, mode="r")
        start = file.read(6)
        file.seek(0)
        yield arrow.ipc.open_file(held) if start == b"ARROW1" else arrow.ipc.open_stream(held)


def _batches(arrow: ModuleType, path: Path) -> Iterator[Any]:
    """Batches of at most `_ROWS` rows, whose buffers have been checked."""
    with _opened(arrow, path) as reader:
        if path.suffix.lower() == ".parquet":
            found = reader.iter_batches(batch_size=_ROWS)
        elif hasattr(reader, "num_record_batches"):
            found = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            found = iter(reader)
        for batch in found:
            batch.validate(full=True)
            for first in range(0, batch.num_rows, _ROWS):
                yield batch.slice(first, _ROWS)


def _classes(arrow: ModuleType, path: Path) -> dict[str, list[str]]:
    """The names of classes that `datasets` left in the schema."""
    with _opened(arrow, path) as reader:
        schema = getattr(reader, "schema_arrow", None) or reader.schema
        stated = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")[:_JSON])
        features = stated.get("info", {}).get("features", {})
        named = {k: v.get("names") for k, v in features.items() if v.get("_type") == "ClassLabel"}
        return {str(k): [str(n) for n in v] for k, v in named.items() if v}


def _block(arrow: ModuleType, path: Path, batch: Any, wishes: Wishes, facts: Facts) -> Block:
    scalars: dict[str, Array | Coded] = {}
    arrays: dict[str, Array | Sequences] = {}
    for name in chosen_of(path, wishes, batch.schema.names):
        column, types = batch.column(name), arrow.types
        kind = column.type
        if not _readable(types, kind):
            if not wishes.partial:
                taken = ", ".join(n for n in wishes.columns or batch.schema.names if n != name)
                raise Unreadable(f"{path}: {unread(name, kind)}", f"--columns {taken} leaves it out")
            scalars[name], facts.unread[name] = np.full(len(column), np.nan), str(kind)
        elif types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind):
            scalars[name] = _coded(arrow, column)
        elif name in facts.classes and types.is_integer(kind):
            scalars[name] = Coded(
                np.nan_to_num(_numbers(arrow, column), nan=-1).astype(np.int64), facts.classes[name]
            )
        elif types.is_struct(kind):
            arrays[name] = _pictures(path, name, column.field("bytes"), wishes.fit)
            facts.images, facts.levels = sorted({*facts.images, name}), {**facts.levels, name: 256}
        elif _is_list(types, kind):
            arrays[name] = _lists(arrow, path, name, column)
        else:
            scalars[name] = _numbers(arrow, column)
    return Block(scalars, arrays)


def _readable(types: ModuleType, kind: Any) -> bool:
    """Whether columns of a type are read: numbers, words, pictures, and lists of numbers."""
    if types.is_struct(kind):
        return "bytes" in [kind.field(i).name for i in range(kind.num_fields)]
    words = types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind)
    if words or types.is_decimal(kind):
        return True
    while _is_list(types, kind):
        kind = kind.value_type
    return bool(types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind))


def _is_list(types: ModuleType, kind: Any) -> bool:
    return bool(types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind))


def _numbers(arrow: ModuleType, column: Any) -> Array:
    """Numbers `[m]`; a missing one is NaN."""
    if arrow.types.is_decimal(column.type):
        column = column.cast(arrow.float64())
    if column.null_count and arrow.types.is_boolean(column.type):
        column = column.cast(arrow.int8())
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _coded(arrow: ModuleType, column: Any) -> Coded:
    if not arrow.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = np.nan_to_num(_numbers(arrow, column.indices), nan=-1).astype(np.int64)
    return Coded(codes, [str(word) for word in column.dictionary.to_pylist()])


def _pictures(path: Path, name: str, column: Any, fit: Fit | None) -> Array:
    """Pictures of one size `[m, channels, height, width]`, from the bytes of their files."""
    found = []
    for data in column.to_pylist():
        if data is None:
            raise Unreadable(f"{path}: a picture of '{name}' is missing, or beside the file")
        found.append(decoded(Path(f"{path}: a picture of '{name}'"), BytesIO(data), len(data), 1, fit))
        if found[-1].shape != found[0].shape:
            raise Unreadable(
                f"{path}: pictures of '{name}' differ in size", "--resize and --crop make them of one size"
            )
    return np.stack(found)


def _lists(arrow: ModuleType, path: Path, name: str, column: Any) -> Array | Sequences:
    """Lists of a fixed size as arrays; of any size as sequences, whose steps may be lists of one size."""
    if column.null_count:
        raise Unreadable(f"{path}: a row of '{name}' is missing")
    if arrow.types.is_fixed_size_list(column.type):
        inner = column.flatten()
        values = _inner(arrow, path, name, inner)
        return values.reshape(len(column), column.type.list_size, *values.shape[1:])
    values = _inner(arrow, path, name, column.flatten())
    lengths = np.diff(np.asarray(column.offsets)).astype(np.int64)
    if lengths.size and lengths.min() < 1:
        raise Unreadable(f"{path}: a sequence of '{name}' is empty", "leave such rows out")
    return Sequences(values, lengths)


def _inner(arrow: ModuleType, path: Path, name: str, values: Any) -> Array:
    """The entries of lists: numbers, or lists that have one size."""
    if _is_list(arrow.types, values.type):
        found = _lists(arrow, path, name, values)
        if isinstance(found, Sequences):
            if len(set(found.lengths.tolist())) > 1:
                raise Unreadable(f"{path}: the steps of '{name}' differ in size")
            found = found.values.reshape(len(values), -1, *found.values.shape[1:])
        return found
    return _numbers(arrow, values)


__all__ = ["SUFFIXES", "is_saved", "of_file", "of_saved"]
