"""Arrays in files: mapped for their shape and for passes from front to end, read row by row with `preadv` for batches.

Reading one number of a mapped file may bring megabytes in around it, and a file that is cut short under a map ends the
process. A batch is therefore read by the system call, which takes the bytes of its rows and no others.
"""

from __future__ import annotations

import mmap
import os
import weakref
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array

#: Rows of a mapped array that are read before their pages are given back, where there is no `preadv`.
_AT_ONCE = 16


class _Map(mmap.mmap):
    """A read-only map of a whole file that keeps the file open."""

    path: str
    descriptor: int
    address: int


def mapped(
    path: str | os.PathLike[str], file: BinaryIO, dtype: np.dtype[Any], count: int, start: int
) -> Array:
    """Map `count` numbers of a file that begin at byte `start`, as an array `[count]`."""
    held = _Map(file.fileno(), 0, access=mmap.ACCESS_READ)
    held.path, held.descriptor = os.fspath(path), os.dup(file.fileno())
    weakref.finalize(held, os.close, held.descriptor)
    array = np.frombuffer(held, dtype, count, start)
    held.address = _address(array) - start
    return array


@dataclass(frozen=True, slots=True)
class Stored:
    """The place of a mapped array: what another process needs to map it too. `start` is in bytes."""

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int

    @classmethod
    def of(cls, array: Array) -> Stored | Array:
        """The place of a mapped array; an array in memory as it is."""
        held = mapping(array)
        if held is None:
            return array
        start = _address(array) - held.address
        return cls(os.path.realpath(held.path), array.dtype, array.shape, array.strides, start)

    def array(self) -> Array:
        """Map the file. Raises `SpecError` (MP506) where it is gone or shorter."""
        try:
            with open(self.path, "rb") as file:
                whole = mapped(self.path, file, np.dtype(np.uint8), os.fstat(file.fileno()).st_size, 0)
                return np.ndarray(self.shape, self.dtype, whole, self.start, self.strides)
        except (OSError, ValueError, TypeError) as bad:
            raise error("MP506", f"{self.path}: it changed while it was read", Span.none()) from bad


def gathered(array: Array, index: Array) -> Array:
    """Return `array[index]`, for an index of whole numbers that are not negative.

    Raises `IndexError`, and `SpecError` (MP506) for a mapped file that became shorter.
    """
    held = mapping(array)
    if held is None:
        return np.asarray(array[index])
    span = _span(array)
    if not hasattr(os, "preadv") or not array.size or not 0 < span <= array.strides[0]:
        return _by_pages(array, index)
    flat = index.reshape(-1).astype(np.int64)
    if flat.size and (flat.min() < 0 or flat.max() >= len(array)):
        raise IndexError(f"rows {flat.min()} to {flat.max()} of {len(array)}")
    return _by_calls(held, array, flat, span).reshape(*index.shape, *array.shape[1:])


def run_of(array: Array, start: int, size: int) -> Array:
    """Return `array[start : start + size]`, read by one call where the array is mapped."""
    if mapping(array) is None:
        return array[start : start + size]
    return gathered(array, np.arange(start, start + size))


def _by_calls(held: _Map, array: Array, rows: Array, span: int) -> Array:
    """Read the bytes of rows, neighbours in one call, and arrange them as the array does."""
    buffer = np.empty((len(rows), span), np.uint8)
    view, step = buffer.reshape(-1).data, array.strides[0]
    begin = _address(array) - held.address
    joined = np.diff(rows) == 1 if span == step else np.zeros(max(len(rows) - 1, 0), bool)
    starts = np.concatenate([[0], np.flatnonzero(~joined) + 1, [len(rows)]]) if len(rows) else np.array([0])
    for a, b in zip(starts.tolist(), starts[1:].tolist(), strict=False):
        done, size, at = 0, (b - a) * span, begin + int(rows[a]) * step
        while done < size:
            got = os.preadv(held.descriptor, [view[a * span + done : b * span]], at + done)
            if not got:
                raise error("MP506", f"{held.path}: it became shorter while it was read", Span.none(),
                            help="data of a run that trains may not change")  # fmt: skip
            done += got
    shape = (len(rows), *array.shape[1:])
    return np.ndarray(shape, array.dtype, buffer, strides=(span, *array.strides[1:]))


def _by_pages(array: Array, index: Array) -> Array:
    """Read through the map, a few rows at a time."""
    out = np.empty((*index.shape, *array.shape[1:]), array.dtype)
    for start in range(0, len(index), _AT_ONCE):
        out[start : start + _AT_ONCE] = array[index[start : start + _AT_ONCE]]
        released(array)
    return out


def _span(array: Array) -> int:
    """Return the bytes of a row from its first number to its last; 0 where an axis runs backwards."""
    if any(s < 0 for s in array.strides):
        return 0
    inner = zip(array.strides[1:], array.shape[1:], strict=True)
    return sum(s * (n - 1) for s, n in inner) + array.itemsize if prod(array.shape[1:]) else 0


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def released(array: Array) -> None:
    """Give the pages of a mapped array back, so that what was read of it does not stay in memory."""
    held = mapping(array)
    if held is not None and hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)


def mapping(array: Array) -> _Map | None:
    """Return the map of a file that an array is a view of; None for an array in memory."""
    base: Any = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    held = base.obj if isinstance(base, memoryview) else base
    return held if isinstance(held, _Map) else None


__all__ = ["Stored", "gathered", "mapped", "mapping", "released", "run_of"]
