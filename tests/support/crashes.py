"""Stop, fail or forget at every change of the file system: hooks on the functions of `os` that storage goes through.

`Points` counts the changes below a folder and does something at one of them. `Model` keeps what a disk would hold: what
was synced is there after a crash, what was not may be.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from mpcompile.runner import disk

#: What happens at a point: given its number and its name; may raise, or never come back.
Act = Callable[[int, str], None]


@dataclass
class Points:
    """Numbers every change below `root`; `act` is called before each, `log` is told of each after it happened."""

    root: Path
    act: Act = lambda number, name: None
    log: Callable[[str, tuple[Any, ...], Any], None] = lambda name, arguments, result: None
    names: list[str] = field(default_factory=list)
    handles: dict[int, str] = field(default_factory=dict)

    def _at(self, name: str) -> None:
        self.names.append(name)
        self.act(len(self.names) - 1, name)

    def _inside(self, path: Any) -> bool:
        full = os.path.abspath(os.fspath(path))
        return full == str(self.root) or full.startswith(f"{self.root}/")

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            first = arguments[0]
            path = self.handles.get(first) if isinstance(first, int) else first
            if path is None or not self._inside(path):
                if name == "open":
                    self.handles.pop(found := real(*arguments, **options), None)
                    return found
                return real(*arguments, **options)
            if name != "open" or arguments[1] & os.O_CREAT:
                self._at(name)
            made = name == "open" and not os.path.lexists(path)
            result = real(*arguments, **options)
            if name == "open":
                self.handles[result] = os.path.abspath(os.fspath(path))
                self.log("create" if made else "open", (self.handles[result],), result)
            else:
                self.log(name, (path if isinstance(first, int) else first, *arguments[1:]), result)
            return result

        return call

    @contextmanager
    def watch(self, exchange: bool = True) -> Iterator[Points]:
        """Hook everything; without `exchange` as on a system that cannot swap two folders."""
        real_swap = disk.exchange

        def swap(one: Path, two: Path) -> bool:
            if not exchange:
                return False
            self._at("exchange")
            done = real_swap(one, two)
            if done:
                self.log("exchange", (one, two), None)
            return done

        with mock.patch.object(disk, "exchange", swap):
            patches = [
                mock.patch.object(os, name, self._wrap(name, getattr(os, name))) for name in disk.CALLS
            ]
            for p in patches:
                p.start()
            try:
                yield self
            finally:
                for p in reversed(patches):
                    p.stop()


def kill_at(point: int) -> Act:
    """SIGKILL to this process at a point."""

    def act(number: int, name: str) -> None:
        if number == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def fail_at(point: int, code: int) -> Act:
    """An `OSError` at a point, and at every later write: a full disk stays full until somebody makes room."""

    def act(number: int, name: str) -> None:
        if number == point or (number > point and name in ("write", "open", "mkdir")):
            raise OSError(code, os.strerror(code))

    return act


# A disk that forgets ----------------------------------------------------------------------------------


@dataclass(eq=False)
class _File:
    durable: bytes = b""
    live: bytearray = field(default_factory=bytearray)


@dataclass(eq=False)
class _Folder:
    durable: dict[str, Any] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    pending: list[dict[str, Any]] = field(default_factory=list)  # what each change made of `live`

    def change(self) -> None:
        self.pending.append(dict(self.live))


class Model:
    """What a disk holds of the folder `root`: names and contents that were synced, and those that were not yet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = _Folder()

    def _split(self, path: Any) -> tuple[_Folder, str]:
        *parents, name = Path(os.path.abspath(os.fspath(path))).relative_to(self.root).parts
        folder = self.top
        for part in parents:
            folder = folder.live[part]
        return folder, name

    def _node(self, path: Any) -> Any:
        if os.path.abspath(os.fspath(path)) == str(self.root):
            return self.top
        folder, name = self._split(path)
        return folder.live[name]

    def log(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Follow one change. Handles are named by their path, which a rename does not move before they are closed."""
        path = arguments[0]
        match name:
            case "create" | "mkdir":
                folder, own = self._split(path)
                folder.live[own] = _File() if name == "create" else _Folder()
                folder.change()
            case "write":
                node = self._node(path)
                node.live += bytes(arguments[1])[:result]
            case "ftruncate":
                del self._node(path).live[arguments[1] :]
            case "fsync":
                node = self._node(path)
                if isinstance(node, _File):
                    node.durable = bytes(node.live)
                else:
                    node.durable, node.pending = dict(node.live), []
            case "unlink" | "rmdir":
                folder, own = self._split(path)
                del folder.live[own]
                folder.change()
            case "rename":
                folder, own = self._split(path)
                other, theirs = self._split(arguments[1])
                assert folder is other, "a name moves within its folder"
                folder.live[theirs] = folder.live.pop(own)
                folder.change()
            case "exchange":
                folder, own = self._split(path)
                _, theirs = self._split(arguments[1])
                folder.live[own], folder.live[theirs] = folder.live[theirs], folder.live[own]
                folder.change()

    def crash(self, where: Path, mode: str, seed: int) -> None:
        """Write what a crash now may leave into `where`.

        `lost`: nothing that was not synced. `names`: all names, but of contents only what was synced.
        `some`: of each folder some first changes, of each file some first part of what was not synced.
        """
        r = random.Random(seed)
        self._write(self.top, where, mode, r)

    def _write(self, folder: _Folder, where: Path, mode: str, r: random.Random) -> None:
        where.mkdir(parents=True, exist_ok=True)
        states = [folder.durable, *folder.pending]
        names = {"lost": states[0], "names": states[-1], "some": r.choice(states)}[mode]
        for name, node in names.items():
            if isinstance(node, _Folder):
                self._write(node, where / name, mode, r)
                continue
            content = node.durable
            if mode == "some" and bytes(node.live) != content:
                kept = len(content) if bytes(node.live).startswith(content) else 0
                content = bytes(node.live)[: r.randint(kept, len(node.live))]
            (where / name).write_bytes(content)
