"""Files and folders of our own: written whole and durably, never through a link, and marked as ours.

A folder that this project makes holds the file `.mpcompile`: what the folder is (`run`, `build`, `pack`), and the lock of
the process that writes in it. A folder without that mark is never removed or replaced. Every change of a file system goes
through the functions of `os` named in `CALLS`, so that a test can stop or fail at each of them.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from mpcompile.diagnostics import Span, SpecError, error

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # no such module on Windows: runs go unlocked there
    fcntl = None

MARKER = ".mpcompile"
CALLS = ("open", "write", "fsync", "ftruncate", "rename", "mkdir", "unlink", "rmdir")
_CHUNK = 4 << 20
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


# What can go wrong ------------------------------------------------------------------------------------


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` into a finding about `path`. Raises `SpecError` (MP527)."""
    try:
        yield
    except OSError as fault:
        raise cannot_write(path, fault) from fault


def cannot_write(path: Path, fault: OSError, help: str = "") -> SpecError:
    """Return the finding (MP527) with the system's reason, ready to raise."""
    why = (os.strerror(fault.errno) if fault.errno else str(fault)).lower()
    named = fault.filename
    at = named if isinstance(named, str) and os.path.isabs(named) else path
    return error("MP527", f"cannot write {at}: {why}", Span.none(), help=help)


def refused(message: str, help: str) -> SpecError:
    """Return the finding (MP524) that a folder is not ours to replace or to write in, ready to raise."""
    return error("MP524", message, Span.none(), help=help)


# Files ------------------------------------------------------------------------------------------------


#: What a file is to hold: its bytes, or pieces of them in order.
Payload = bytes | Sequence[bytes | memoryview]


def pieces(payload: Payload) -> Sequence[bytes | memoryview]:
    """Return a payload as pieces in order."""
    return [payload] if isinstance(payload, bytes) else payload


def digest(payload: Payload) -> str:
    """Return the SHA-256 of a payload in hexadecimal."""
    made = hashlib.sha256()
    for piece in pieces(payload):
        made.update(piece)
    return made.hexdigest()


def _put(handle: int, payload: Payload) -> None:
    for piece in pieces(payload):
        view = memoryview(piece)
        while view:
            view = view[os.write(handle, view[:_CHUNK]) :]


def write(path: Path, payload: Payload) -> None:
    """Make a new file and sync it. Raises `FileExistsError` where something has that name, a link included."""
    handle = os.open(path, _NEW, 0o666)
    try:
        _put(handle, payload)
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(path: Path, payload: Payload, meanwhile: str = "") -> None:
    """Replace a file atomically and durably; a link is replaced, not followed.

    It is written under the name `meanwhile`, by default with `.tmp` behind its own, which must not be another's.
    """
    aside = path.with_name(meanwhile or path.name + ".tmp")
    with suppress(FileNotFoundError):
        os.unlink(aside)
    write(aside, payload)
    os.rename(aside, path)
    sync(path.parent)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file at: it takes the name of `path` once all of it is written.

    A fault leaves what was there before; a file that is replaced keeps its mode. What is no regular file (a pipe, a
    device, a link) is written to as it is. Raises `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before = kind(path)
    if before not in ("file", "nothing"):
        yield path
        return
    if before == "file" and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield aside
        if before == "file":
            os.chmod(aside, stat.S_IMODE(os.lstat(path).st_mode))
        sync(aside)
        os.replace(aside, path)
    except OSError as fault:
        if fault.filename in (None, aside, str(aside)):
            fault.filename = str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def as_json(value: Any) -> bytes:
    """Encode a value as indented JSON with a final line break. Raises `ValueError` for NaN and infinities."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def sync(path: Path) -> None:
    """Make a file, or the entries of a folder, durable."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress_unsupported():
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def suppress_unsupported() -> Iterator[None]:
    """Ignore the error of a file system that cannot sync."""
    try:
        yield
    except OSError as fault:
        if fault.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def read(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; no link is followed, no pipe waited for.

    Raises `ValueError` with what is wrong in one clause, without the path.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as fault:
        raise ValueError("is a link" if fault.errno == errno.ELOOP else _unread(fault)) from fault
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is not a file")
        if found.st_size > limit:
            raise ValueError(f"has {found.st_size:,} bytes, more than the {limit:,} it can need")
        with os.fdopen(os.dup(handle), "rb") as file:
            return file.read(found.st_size)
    except OSError as fault:
        raise ValueError(_unread(fault)) from fault
    finally:
        os.close(handle)


def _unread(fault: OSError) -> str:
    return f"cannot be read: {os.strerror(fault.errno or 0).lower()}"


# Folders ----------------------------------------------------------------------------------------------


def kind(path: Path) -> str:
    """Return what a path names without following it: `nothing`, `file`, `folder`, `link`, `other`. Raises `OSError`."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    kinds = ((stat.S_ISLNK, "link"), (stat.S_ISDIR, "folder"), (stat.S_ISREG, "file"))
    return next((name for test, name in kinds if test(mode)), "other")


def owner(folder: Path) -> str:
    """Return what the mark of a folder says it is: `run`, `build`, `pack`, or nothing."""
    try:
        if kind(folder) != "folder" or os.lstat(folder / MARKER).st_nlink != 1:
            return ""
        found = json.loads(read(folder / MARKER, 4096))
    except (OSError, ValueError, RecursionError):
        return ""
    says = found.get("mpcompile") if isinstance(found, dict) else None
    return says if says in ("run", "build", "pack") else ""


def entries(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield everything below a folder: its path from there, and its `kind`; folders before what is in them."""
    for name in sorted(os.listdir(folder)):
        found = kind(folder / name)
        yield name, found
        if found == "folder":
            for inner, what in entries(folder / name):
                yield f"{name}/{inner}", what


def remove(folder: Path) -> None:
    """Remove a folder of ours, its mark last, so that it stays recognised until it is gone."""
    if kind(folder) != "folder":
        return
    for name in sorted(os.listdir(folder), key=lambda n: (n == MARKER, n)):
        if kind(folder / name) == "folder":
            remove(folder / name)
        else:
            os.unlink(folder / name)
    os.rmdir(folder)


def target(path: Path) -> Path:
    """Return the absolute path of a folder that is to be made or replaced.

    Raises `SpecError`: MP524 where a link, a file, or a folder that the process is in has that name.
    """
    full = Path(os.path.abspath(path))
    with writing(path):
        found = kind(full)
        here = Path(os.getcwd())
    if found == "link":
        raise refused(f"{path} is a link", f"name the folder it leads to: {os.path.realpath(full)}")
    if found in ("file", "other"):
        raise refused(f"{path} is a file, not a folder", "name another folder")
    if full == here or full in here.parents:
        what = "is" if full == here else "holds"
        raise refused(f"{path} {what} the folder you are in", f"name a folder within it: {path / 'new'}")
    return full


@contextmanager
def staged(full: Path, what: str) -> Iterator[tuple[Path, Lock]]:
    """Make a marked, locked folder beside `full`, to be filled and renamed to it; it is removed where that fails.

    A process that was killed meanwhile leaves its folder; the next one to stage there removes it.
    """
    make(full.parent)
    for name in sorted(os.listdir(full.parent)):
        if name.startswith(f"{MARKER}-") and owner(full.parent / name):
            with suppress(SpecError), Lock.of(full.parent / name):
                remove(full.parent / name)
    aside = full.with_name(f"{MARKER}-{secrets.token_hex(4)}")
    os.mkdir(aside)
    lock = None
    try:
        lock = Lock(aside, os.O_CREAT | os.O_EXCL)
        _put(lock.handle, json.dumps({"mpcompile": what, "format": 1}).encode() + b"\n")
        os.fsync(lock.handle)
        yield aside, lock
    except BaseException:
        if lock is not None:
            lock.release()
        with suppress(OSError):
            remove(aside)
        raise


def make(folder: Path) -> None:
    """Make a folder and those above it, durably, where they are missing."""
    if not folder.is_dir():
        make(folder.parent)
        with suppress(FileExistsError):
            os.mkdir(folder)
        sync(folder.parent)


def publish(aside: Path, full: Path) -> None:
    """Give a staged folder its name, which nothing or an empty folder may have. Raises `SpecError` (MP525)."""
    sync(aside)
    try:
        os.rename(aside, full)
    except OSError as fault:
        if fault.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise in_use(full) from fault
        raise
    sync(full.parent)


def exchange(one: Path, two: Path) -> bool:
    """Give two folders each other's name at once; False where the system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    done: int = call(-100, os.fsencode(one), -100, os.fsencode(two), 2)  # AT_FDCWD, RENAME_EXCHANGE
    return done == 0


# Locks ------------------------------------------------------------------------------------------------


def in_use(folder: Path) -> SpecError:
    """Return the finding (MP525) that another process writes in a folder, ready to raise."""
    return error("MP525", f"another process writes in {folder}", Span.none(),
                 help="wait until it has ended, or name another folder")  # fmt: skip


class Lock:
    """The lock of a folder of ours: on its mark, freed by the system when the process ends, however it ends."""

    def __init__(self, folder: Path, flags: int) -> None:
        """Open the mark and lock it. Raises `OSError`, and `SpecError` (MP525) where it is locked."""
        path = folder / MARKER
        self.locked = fcntl is not None
        self.handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o666)
        try:
            self._take(folder)
        except BaseException:
            os.close(self.handle)
            raise

    def _take(self, folder: Path) -> None:
        try:
            if fcntl is not None:
                fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            if fault.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise in_use(folder) from fault
            if fault.errno not in _NO_LOCKS:
                raise
            self.locked = False  # a file system without locks; the caller says so
        here, there = os.fstat(self.handle), os.lstat(folder / MARKER)
        if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):  # the folder was renamed meanwhile
            raise in_use(folder)

    @classmethod
    def of(cls, folder: Path) -> Lock:
        """The lock of a folder that has a mark. Raises `SpecError` (MP525, MP527)."""
        with writing(folder):
            return cls(folder, 0)

    @classmethod
    def adopt(cls, folder: Path, what: str) -> Lock:
        """The lock of a folder that is known to be ours; a release before marks left it without one."""
        with writing(folder):
            if kind(folder / MARKER) != "nothing":
                return cls(folder, 0)
            with suppress(FileExistsError):
                write(folder / MARKER, json.dumps({"mpcompile": what, "format": 1}).encode() + b"\n")
                sync(folder)
            return cls(folder, 0)

    def release(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def foreign(folder: Path, ours: Callable[[str], bool]) -> str | None:
    """Return the first entry of a folder that `ours` does not know, or that is a link, a device or has a second name."""
    for name, what in entries(folder):
        if what not in ("file", "folder") or not ours(name):
            return name
        if what == "file" and os.lstat(folder / name).st_nlink != 1:
            return name
    return None
