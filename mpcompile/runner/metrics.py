"""`metrics.jsonl`: one JSON object a line, which a resumed run continues as if it had never stopped."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mpcompile.diagnostics import Span, error
from mpcompile.runner.record import parsed


class Sink(Protocol):
    """A receiver of lines of metrics."""

    def write(self, line: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class Metrics:
    """Appends to `metrics.jsonl`. `size` is that of all lines `encoded` so far: what a checkpoint remembers."""

    def __init__(self, path: Path, start: int = 0) -> None:
        """Keep the first `start` bytes of the file and drop what a killed run wrote after its checkpoint.

        Raises `OSError`; a link is not followed.
        """
        self.path = path
        self.sinks: Sequence[Sink] = ()
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        there = os.fstat(self._handle).st_size
        self.size = min(start, there)
        if there > self.size:
            os.ftruncate(self._handle, self.size)
        os.lseek(self._handle, self.size, os.SEEK_SET)

    def encoded(self, line: Mapping[str, Any]) -> bytes:
        """Count a line in, tell it to the sinks, and return it as `append` takes it.

        It must hold `step`, `split` and `loss`, all numbers finite.
        """
        payload = (json.dumps(line, allow_nan=False) + "\n").encode()
        self.size += len(payload)
        for sink in self.sinks:
            sink.write(line)
        return payload

    def append(self, payload: bytes) -> None:
        """Write a line. Raises `OSError`."""
        while payload:
            payload = payload[os.write(self._handle, payload) :]

    def sync(self) -> None:
        """Make all lines durable. Raises `OSError`."""
        os.fsync(self._handle)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        for sink in self.sinks:
            sink.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read all complete lines of a metrics file; a last line that a kill cut short is left out.

    Without a file there are none. Raises `SpecError` (MP520) for lines that training did not write.
    """
    return list(_lines(path, None)) if os.path.lexists(path) else []


def check_metrics(path: Path, size: int) -> None:
    """Check that the first `size` bytes are lines that training wrote. Raises `SpecError` (MP520)."""
    for _ in _lines(path, size):
        pass


def _lines(path: Path, size: int | None) -> Iterator[dict[str, Any]]:
    """Yield the lines of the first `size` bytes; without it all that are complete. No link is followed."""
    try:
        with open(path, "rb", opener=_plain) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("it is not a file")
            left, number = size, 0
            while left is None or left > 0:
                number += 1
                line = file.readline(_LONGEST if left is None else min(left, _LONGEST))
                if left is None and len(line) < _LONGEST and not line.endswith(b"\n"):
                    return
                if left is not None and size is not None:
                    left -= len(line)
                    if not line:
                        raise ValueError(
                            f"it ends after {size - left:,} of the {size:,} bytes that its checkpoint names"
                        )
                yield _parsed(line, number)
    except (OSError, ValueError) as bad:
        why = (bad.strerror or "it cannot be read").lower() if isinstance(bad, OSError) else str(bad)
        raise error("MP520", f"{path}: {why}", Span.none(),
                    help="move the file away to go on without its lines") from bad  # fmt: skip


def _parsed(line: bytes, number: int) -> dict[str, Any]:
    """Return what a line holds. Raises `ValueError` for a line that training did not write."""
    try:
        found = parsed(line)
    except ValueError:
        found = None
    if not (line.endswith(b"\n") and isinstance(found, dict) and found.keys() >= _FIRST):
        raise ValueError(f"line {number} is not one that training wrote")
    numbers = [value for name, value in found.items() if name != "split"]
    if not isinstance(found["split"], str) or not all(type(n) in (int, float) for n in numbers):
        raise ValueError(f"line {number} is not one that training wrote")
    return found


_LONGEST = 1 << 20  # bytes of a line
_FIRST = {"step", "split", "loss"}


def _plain(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
