"""The one door for a user's files: regular files of bounded size, and one line for every error of a reader.

Every reader opens a file with `opened`, calls `require` before it allocates, and does its work within `reading`, which
turns whatever a library raises into `Unreadable`.
"""

from __future__ import annotations

import errno
import hashlib
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from mpcompile.runner.limits import gibibytes

#: The environment variable that raises the limit, and the limit without it: what data may take in memory, in GiB.
LIMIT, GIB = "MPCOMPILE_DATA_GIB", 2.0

_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip

#: What the errors of readers mean; the first type that fits. Their own text is never shown.
_MEANING: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (zipfile.BadZipFile, "is damaged: its zip archive does not hold together"),
    ((zlib.error, lzma.LZMAError, EOFError, struct.error), "is damaged or cut off"),
    (MemoryError, "does not fit in memory"),
    (UnicodeError, "is not UTF-8"),
)


class Unreadable(ValueError):
    """A file that cannot be data: one line that names it, and how to mend it."""

    def __init__(self, message: str, help: str = "") -> None:
        super().__init__(message)
        self.help = help


def limit() -> int:
    """Return the bytes that data may take in memory. Raises `Unreadable` where the variable holds no positive number."""
    try:
        return gibibytes(LIMIT, GIB)
    except ValueError as wrong:
        raise Unreadable(str(wrong)) from None


def require(path: Path, size: int, what: str = "it") -> None:
    """Check that `size` bytes in memory are within the limit. Raises `Unreadable`."""
    if size > (most := limit()):
        raise Unreadable(
            f"{path}: {what} takes {_shown(size)} in memory, the limit is {_shown(most)}",
            f"{LIMIT}={-(-size // 2**30)} in the environment allows it; a .npy is mapped and has no limit",
        )


def _shown(size: int) -> str:
    return f"{size / 2**30:.3g} GiB" if size >= 2**28 else f"{size / 2**20:.3g} MiB"


@contextmanager
def reading(path: Path, what: str = "it") -> Iterator[None]:
    """Turn every error of a reader into `Unreadable`; `what` is the part of the file that is read.

    Readers raise an open set of types, so all are caught: none of them may reach a user as a traceback.
    """
    try:
        yield
    except Unreadable:
        raise
    except Exception as bad:
        raise Unreadable(f"{path}: {what} {_meaning(bad)}") from bad


def _meaning(bad: Exception) -> str:
    for types, text in _MEANING:
        if isinstance(bad, types):
            return text
    # EINVAL: the file names a place before its start.
    if isinstance(bad, OSError) and bad.errno not in (None, errno.EINVAL):
        return f"cannot be read: {os.strerror(bad.errno).lower()}"
    return "is damaged or of another format"


@contextmanager
def opened(path: Path, bounded: bool = True) -> Iterator[BufferedReader]:
    """Open a regular file for reading; `bounded` refuses a file that is larger than the limit.

    Never blocks and never opens a pipe, a device or a socket. Raises `Unreadable`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with reading(path):
        _regular(path, os.stat(path).st_mode)  # before it is opened: opening a device may already act
        file = open(os.open(path, flags), "rb")  # noqa: SIM115
    with file:
        found = os.fstat(file.fileno())
        _regular(path, found.st_mode)
        if bounded:
            require(path, found.st_size)
        yield file


def _regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        raise Unreadable(f"{path}: it is {kind}, not a file")


def is_there(path: Path) -> bool:
    """Return whether something is at a path; a path that cannot be looked at counts, so that opening it says why."""
    try:
        os.stat(path)
    except ValueError:
        return False
    except OSError as bad:
        return bad.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
    return True


def digest(path: Path) -> bytes:
    """Compute the SHA-256 of a file, in bounded memory. Raises `Unreadable`."""
    with opened(path, bounded=False) as file, reading(path):
        return hashlib.file_digest(file, "sha256").digest()


def whole(path: Path) -> bytes:
    """Read all bytes of a file within the limit. Raises `Unreadable`."""
    with opened(path) as file, reading(path):
        return file.read()


__all__ = [
    "GIB",
    "LIMIT",
    "Unreadable",
    "digest",
    "is_there",
    "limit",
    "opened",
    "reading",
    "require",
    "whole",
]
