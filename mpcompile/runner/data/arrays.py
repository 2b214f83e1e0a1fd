"""Arrays of numbers from .npy and .npz: headers are checked before anything is allocated."""

from __future__ import annotations

import zipfile
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
            members = archive.infolist()
            require(path, sum(m.file_size for m in members), "its content")
            found: dict[str, Array] = {}
            for member in members:
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
                with reading(path, what), archive.open(member) as part:
                    header = _header(path, what, part)
                    _agrees(path, what, header, member.file_size - header.start)
                    found[name] = _filled(path, what, header, part)
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


def _filled(path: Path, what: str, header: _Header, file: IO[bytes]) -> Array:
    """The numbers after a header, read in blocks; at the end of a member its checksum has been compared."""
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


__all__ = ["MAPPED_FROM", "npy", "npz"]
