"""`metrics.jsonl`: one JSON object a line, which a resumed run continues as if it had never stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol


class Sink(Protocol):
    def write(self, line: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class Metrics:
    """Appends to `metrics.jsonl`. `size` is what a checkpoint remembers and `start` cuts back to."""

    def __init__(self, path: Path, start: int = 0, sinks: tuple[Sink, ...] = ()) -> None:
        """Keep the first `start` bytes of the file and drop what a killed run wrote after its checkpoint."""
        self.path, self.sinks = path, sinks
        path.touch()
        self._file = path.open("r+b")
        self._file.truncate(min(start, path.stat().st_size))
        self._file.seek(0, os.SEEK_END)

    @property
    def size(self) -> int:
        return self._file.tell()

    def write(self, line: Mapping[str, Any]) -> None:
        """One line; it must hold `step`, `split` and `loss`, all numbers finite."""
        self._file.write((json.dumps(line, allow_nan=False) + "\n").encode())
        self._file.flush()
        for sink in self.sinks:
            sink.write(line)

    def sync(self) -> int:
        """Make all lines durable and give the file's size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self.size

    def close(self) -> None:
        self._file.close()
        for sink in self.sinks:
            sink.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a metrics file; a last line that a kill cut short is left out."""
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
    return [json.loads(line) for line in lines[:-1]]


class TensorBoard:
    """The same numbers as TensorBoard events, written without any framework."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder))

    @staticmethod
    def available() -> bool:
        return find_spec("tensorboard") is not None

    def write(self, line: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=f"{line['split']}/{name}", simple_value=value)
            for name, value in line.items()
            if isinstance(value, float) and name != "seconds"
        ]
        event = Event(
            step=line["step"], wall_time=line.get("time", 0.0) or _now(), summary=Summary(value=values)
        )
        self._writer.add_event(event)

    def close(self) -> None:
        self._writer.close()


def _now() -> float:
    from time import time

    return time()
