"""Arrays of numbers from .npy and .npz: headers are checked before anything is allocated."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.mapped import mapped
from mpcompile.runner.data.opening import Unreadable, opened, reading, require

#: A .npy file of at least so many bytes is mapped; smaller ones are read.
MAPPED_FROM = 2**26
_HEADER, _DIRECTORY, _BLOCK = 2**16, 2**23, 2**22
_NUMBERS = "buif"
_NAMES = {
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "train": "train",
    "valid": "valid",
    "test": "test",
}


@dataclass(frozen=True, slots=True)
class _Header:
    """The header of a .npy, and the offset of its numbers in bytes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def size(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def shaped(self, flat: Array) -> Array:
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def npy(path: Path) -> Array:
    """Read the array of a .npy file, mapped where it is large. Raises `Unreadable`."""
    with opened(path, bounded=False) as file, reading(path):
        header = _header(path, "it", file)
        file.seek(0, 2)
        _agrees(path, "it", header, file.tell() - header.start)
        if header.size >= MAPPED_FROM:
            return header.shaped(mapped(path, file, header.dtype, prod(header.shape), header.start))
        file.seek(header.start)
        return _filled(path, "it", header, file)


def npz(path: Path) -> dict[str, Array]:
    """Read the arrays of a .npz file by name. Raises `Unreadable`."""
    with opened(path) as file, reading(path):
        _directory(path, file)
        with zipfile.ZipFile(file) as archive:
            require(path, sum(m.file_size for m in archive.infolist()), "its content")
            found: dict[str, Array] = {}
            for name, member in _members(path, archive).items():
                what = f"array '{name}'"
                with reading(path, what), archive.open(member) as part:
                    header = _header(path, what, part)
                    _agrees(path, what, header, member.file_size - header.start)
                    found[name] = _filled(path, what, header, part)
    return found


def npz_names(path: Path) -> list[str]:
    """Return the names of the arrays of a .npz file of any size. Raises `Unreadable`."""
    with opened(path, bounded=False) as file, reading(path):
        _directory(path, file)
        with zipfile.ZipFile(file) as archive:
            return list(_members(path, archive))


def npz_blocks(path: Path, name: str) -> Iterator[Array]:
    """Yield the rows of an array of a .npz file a block at a time. Raises `Unreadable`."""
    what = f"array '{name}'"
    with opened(path, bounded=False) as file, reading(path, what), zipfile.ZipFile(file) as archive:
        member = archive.getinfo(f"{name}.npy")
        with archive.open(member) as part:
            header = _header(path, what, part)
            _agrees(path, what, header, member.file_size - header.start)
            if header.fortran and len(header.shape) > 1:
                yield _filled(path, what, header, part)
                return
            width = prod(header.shape[1:])
            step = max(1, _BLOCK // max(width * header.dtype.itemsize, 1))
            for first in range(0, header.shape[0], step):
                count = min(step, header.shape[0] - first)
                block = _Header(header.dtype, (count, *header.shape[1:]), False, 0)
                yield _filled(path, what, block, part, first + count == header.shape[0])


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an archive, by name. Raises `Unreadable` for a member that is none, or cannot be read."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        what = f"array '{name}'"
        if name == member.filename:
            raise Unreadable(f"{path}: '{name}' in it is no array (.npy)")
        if name in found:
            raise Unreadable(f"{path}: {what} is in it twice")
        if member.flag_bits & 1:
            raise Unreadable(f"{path}: {what} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            method = f"by method {member.compress_type}"
            raise Unreadable(f"{path}: {what} is compressed {method}; deflate is read")
        found[name] = member
    return found


def _header(path: Path, what: str, file: IO[bytes]) -> _Header:
    """The header at the start of a .npy. Raises `Unreadable` for all that is no array of numbers."""
    start = file.read(8)
    if len(start) < 8 or start[:6] != b"\x93NUMPY":
        raise Unreadable(f"{path}: {what} does not begin like a .npy")
    if (version := (start[6], start[7])) not in ((1, 0), (2, 0)):
        raise Unreadable(
            f"{path}: {what} is a .npy of version {version[0]}.{version[1]}; 1.0 and 2.0 are read"
        )
    width = 2 if version == (1, 0) else 4
    length = file.read(width)
    size = int.from_bytes(length, "little")
    text = file.read(size) if size <= _HEADER else b""
    if len(text) < max(size, 1):
        raise Unreadable(f"{path}: {what} has a damaged header")
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    with reading(path, "its header" if what == "it" else f"the header of {what}"):
        shape, fortran, dtype = read(BytesIO(length + text), _HEADER)
    if dtype.hasobject:
        raise Unreadable(f"{path}: {what} holds pickled objects, which are never loaded")
    if dtype.kind not in _NUMBERS or dtype.subdtype is not None:
        kind = "records" if dtype.names else str(dtype)
        raise Unreadable(f"{path}: {what} holds {kind[:40]}, not numbers")
    if any(n < 0 for n in shape):
        raise Unreadable(f"{path}: {what} has a negative size in its shape")
    if not shape:
        raise Unreadable(f"{path}: {what} is a single number")
    return _Header(dtype, tuple(int(n) for n in shape), bool(fortran), 8 + width + size)


def _agrees(path: Path, what: str, header: _Header, there: int) -> None:
    if header.size != there:
        shape = ", ".join(str(n) for n in header.shape[:8])
        raise Unreadable(
            f"{path}: {what} says it has {header.size} bytes of shape [{shape[:80]}], and has {there}"
        )


def _filled(path: Path, what: str, header: _Header, file: IO[bytes], last: bool = True) -> Array:
    """The numbers that follow, read in blocks; at the end of a member its checksum has been compared."""
    require(path, header.size, what)
    flat = np.empty(prod(header.shape), header.dtype)
    room = flat.view(np.uint8)
    done = 0
    while done < len(room):
        part = file.read(min(_BLOCK, len(room) - done))
        if not part:
            raise Unreadable(f"{path}: {what} is cut off")
        room[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    if last:
        file.read(1)
    return header.shaped(flat)


def _directory(path: Path, file: IO[bytes]) -> None:
    """Raises `Unreadable` for an archive with a directory that no .npz has: zipfile would read all of it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 2**16 - 22))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise Unreadable(f"{path}: it is no .npz: the end of a zip archive is missing")
    if (length := int.from_bytes(tail[at + 12 : at + 16], "little")) > _DIRECTORY:
        raise Unreadable(f"{path}: its directory has {length} bytes; at most {_DIRECTORY} are read")
    file.seek(0)


def unpacked(path: Path, key: str, bits: Array, shape: Array) -> Array:
    """Unpack rows of bits that were packed into bytes; the last size of `shape` says how many a row has."""
    width = int(shape[-1]) if shape.ndim == 1 and len(shape) and shape.dtype.kind in "iu" else -1
    if bits.ndim != 2 or not 0 <= 8 * bits.shape[1] - width < 8:
        shown = ", ".join(str(n) for n in bits.shape[:8])
        raise Unreadable(f"{path}: '{key}_shape' is no shape of the packed bits '{key}' [{shown}]")
    require(path, len(bits) * width, f"array '{key}'")
    return np.unpackbits(bits, axis=1, count=width)


def split_name(key: str) -> tuple[str, str]:
    """Return column and split of a key: `x_train` is (x, train), `train` is (x, train), `x` is (x, all)."""
    if key in _NAMES:
        return "x", _NAMES[key]
    head, _, tail = key.rpartition("_")
    if head and tail in _NAMES:
        return head, _NAMES[tail]
    first, _, rest = key.partition("_")
    if rest and first in _NAMES:
        return rest, _NAMES[first]
    return key, "all"


__all__ = ["MAPPED_FROM", "npy", "npz", "npz_blocks", "npz_names", "split_name", "unpacked"]
