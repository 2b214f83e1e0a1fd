"""`manifest.json` of a pack: a file that nobody vouches for, and its columns compared with what it says of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mpcompile.runner import disk
from mpcompile.runner.data.arrays import npy
from mpcompile.runner.data.opening import Unreadable, opened, reading
from mpcompile.runner.data.pack.store import HEADER, TABLE, Facts, File, Store
from mpcompile.runner.record import Digest, Name, Natural, checked

MANIFEST = "manifest.json"
LARGEST = 2**26
_BLOCK = 2**22


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Column(_Strict):
    """A column: its file, what its numbers are, and what the file was when it was written.

    `digest` is that of the numbers, SHA-256; `missing` counts NaN and infinities, which the statistics leave out.
    """

    file: Annotated[str, Field(pattern=r"^[0-9]{1,4}\.npy$")]
    dtype: Annotated[str, Field(pattern="^[<>|][buif][0-9]{1,2}$")]
    shape: list[Natural]
    size: Natural
    mtime_ns: int
    digest: Digest
    low: float | None
    high: float | None
    mean: float | None
    deviation: float | None
    missing: Natural


class _Facts(_Strict):
    rows: dict[Literal["train", "valid", "test"], dict[Name, Natural]]
    header: list[Name]
    fixed: bool
    levels: dict[Name, Natural]
    images: list[Name]
    sounds: list[Name]
    streams: list[Name]
    vocabulary: list[str] | None
    classes: dict[Name, list[Name]]
    rate: Natural
    unread: dict[Name, Name] = {}


class Manifest(_Strict):
    """`manifest.json`."""

    pack: Literal[1]
    source: Name
    facts: _Facts
    columns: dict[Name, _Column]


def described(source: Path, facts: Facts, files: Mapping[str, File]) -> dict[str, Any]:
    """Return the manifest of columns that have been written."""
    return {
        "pack": 1,
        "source": source.name,
        "facts": {name: getattr(facts, name) for name in Facts.__dataclass_fields__},
        "columns": {name: _column(file) for name, file in files.items()},
    }


def _column(file: File) -> dict[str, Any]:
    found, at = file.survey, os.stat(file.path)
    any_ = found.size > found.bad
    numbers = {k: float(getattr(found, k)) if any_ else None for k in ("low", "high", "mean", "deviation")}
    dtype = np.dtype(np.float64) if file.dtype is None else file.dtype
    return {
        "file": file.path.name, "dtype": dtype.str, "shape": [file.rows, *file.shape], "size": at.st_size,
        "mtime_ns": at.st_mtime_ns, "digest": file.digest.hexdigest(), **numbers, "missing": found.bad,
    }  # fmt: skip


def is_pack(path: Path) -> bool:
    """Return whether a folder has the manifest of a pack."""
    try:
        return b'"pack"' in disk.read(path / MANIFEST, LARGEST)[:64]
    except ValueError:
        return False


def digest_of(path: Path) -> str:
    """Return the digest of a pack, that of its manifest, after its columns were found to be those that it tells of.

    A column whose size and time of change are the manifest's is not read again. Raises `Unreadable`.
    """
    payload, manifest = _read(path)
    for name, column in manifest.columns.items():
        file = path / column.file
        with opened(file, bounded=False) as held, reading(file):
            found = os.fstat(held.fileno())
            if found.st_size == column.size and found.st_mtime_ns == column.mtime_ns:
                continue
            held.seek(HEADER)
            if (
                found.st_size != column.size
                or hashlib.file_digest(held, "sha256").hexdigest() != column.digest
            ):
                raise Unreadable(f"{path}: column '{name}' is not as it was packed", "pack the source again")
    return hashlib.sha256(payload).hexdigest()


def load(path: Path) -> Store:
    """Open a pack, its large columns mapped. Raises `Unreadable` where manifest and columns do not fit together."""
    manifest = _read(path)[1]
    facts, columns = Facts(**manifest.facts.model_dump()), {}
    for name, column in manifest.columns.items():
        array = npy(path / column.file)
        if array.dtype.str != column.dtype or list(array.shape) != column.shape:
            found, said = f"{array.dtype.str} {list(array.shape)}", f"{column.dtype} {column.shape}"
            raise Unreadable(f"{path}: column '{name}' is {found}, the manifest says {said}")
        columns[name] = array
    for name in {n for rows in facts.rows.values() for n in rows}:
        count = sum(rows.get(name, 0) for rows in facts.rows.values())
        if name not in columns or len(columns[name]) != count or not columns[name].ndim:
            raise Unreadable(
                f"{path}: the manifest counts {count} rows of '{name}', which its column has not"
            )
    if TABLE in columns and (columns[TABLE].ndim != 2 or columns[TABLE].shape[1] != len(facts.header)):
        raise Unreadable(f"{path}: its table has other columns than the manifest names")
    if "train" not in facts.rows or any(
        rows.keys() != facts.rows["train"].keys() for rows in facts.rows.values()
    ):
        raise Unreadable(f"{path}: its splits have different columns, or there is none to train on")
    return Store(facts, columns)


def _read(path: Path) -> tuple[bytes, Manifest]:
    try:
        payload = disk.read(path / MANIFEST, LARGEST)
        return payload, Manifest(**checked(payload, Manifest))
    except ValueError as bad:
        raise Unreadable(f"{path}/{MANIFEST}: it {bad}") from bad


__all__ = ["MANIFEST", "described", "digest_of", "is_pack", "load"]
