"""Trackers: where the lines of metrics go beside `metrics.jsonl`, by one table."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import time
from typing import Any, ClassVar, Protocol

from mpcompile.runner import disk
from mpcompile.runner.metrics import read_metrics
from mpcompile.runner.run import Run

Line = Mapping[str, Any]


class Tracker(Protocol):
    """A receiver of lines of metrics, in the thread of `Beside`. It is opened with the run and the lines it has already.

    packages  that it imports, the first the one that an extra of its name installs; empty for none
    """

    packages: ClassVar[tuple[str, ...]]

    def __init__(self, run: Run, before: Sequence[Line]) -> None: ...

    def write(self, line: Line) -> None: ...

    def close(self) -> None: ...


def scalars(line: Line) -> dict[str, float]:
    """Return the numbers of a line as `train/loss`: all but where and when it is of."""
    return {
        f"{line['split']}/{name}": float(value)
        for name, value in line.items()
        if isinstance(value, float) and name != "seconds"
    }


class Csv:
    """`metrics.csv` in the run: a row a line, a column a number. A resumed run writes it again from `metrics.jsonl`."""

    packages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, run: Run, before: Sequence[Line]) -> None:
        self.path = run.folder / "metrics.csv"
        self.lines: list[Line] = []
        self.heads: list[str] = []
        self._write_all(before)

    def write(self, line: Line) -> None:
        if any(name not in self.heads for name in line):
            self._write_all([*self.lines, line])
            return
        self.lines.append(line)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            self._writer(file).writerow(line)

    def _write_all(self, lines: Sequence[Line]) -> None:
        """Write a new file: at the start, and where a line has a number that no line had."""
        self.lines = list(lines)
        self.heads = list(dict.fromkeys(name for line in lines for name in line))
        text = io.StringIO(newline="")
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(lines)
        disk.replace(self.path, text.getvalue().encode())

    def _writer(self, file: Any) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self.heads, lineterminator="\n")

    def close(self) -> None:
        pass


class TensorBoard:
    """TensorBoard events in the run, written without any framework."""

    packages: ClassVar[tuple[str, ...]] = ("tensorboard",)

    def __init__(self, run: Run, before: Sequence[Line]) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(run.folder / "tensorboard"))

    def write(self, line: Line) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(line).items()]
        self._writer.add_event(Event(step=line["step"], wall_time=time(), summary=Summary(value=values)))

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """Weights & Biases: offline, in `./wandb`, unless WANDB_MODE says otherwise; `wandb sync` sends it."""

    packages: ClassVar[tuple[str, ...]] = ("wandb",)

    def __init__(self, run: Run, before: Sequence[Line]) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")  # which the library holds to its own words
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "mpcompile"),
            name=run.folder.name,
            id=identity(run),
            resume="allow",
            mode=mode,
            config=facts_of(run),
            settings=wandb.Settings(silent=True),
        )

    def write(self, line: Line) -> None:
        self._run.log(scalars(line), step=line["step"])

    def close(self) -> None:
        self._run.finish()


class Mlflow:
    """MLflow: where MLFLOW_TRACKING_URI says, else in `./mlruns`. A resumed run goes on in its own."""

    packages: ClassVar[tuple[str, ...]] = ("mlflow",)

    def __init__(self, run: Run, before: Sequence[Line]) -> None:
        from mlflow.tracking import MlflowClient

        where = os.environ.get("MLFLOW_TRACKING_URI") or Path("mlruns").resolve().as_uri()
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._client = MlflowClient(tracking_uri=where)
        name = str(run.facts["model"])
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        same = self._client.search_runs([experiment], f"tags.mpcompile = '{identity(run)}'", max_results=1)
        if same:
            self._id = same[0].info.run_id
            return
        tags = {"mpcompile": identity(run), "folder": str(run.folder)}
        self._id = self._client.create_run(experiment, run_name=run.folder.name, tags=tags).info.run_id
        for key, value in facts_of(run).items():
            self._client.log_param(self._id, key, value)

    def write(self, line: Line) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time())
        numbers = [Metric(key, value, now, line["step"]) for key, value in scalars(line).items()]
        self._client.log_batch(self._id, metrics=numbers)

    def close(self) -> None:
        self._client.set_terminated(self._id)


def facts_of(run: Run) -> dict[str, Any]:
    """Return the settings of a run by one name each, such as `optimizer.kind`."""
    named = ("model", "backend", "device", "precision", "mixed", "seed", "data", "spec_hash")
    found = {name: run.facts[name] for name in named}
    for name, value in run.facts["settings"].items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        found |= {f"{name}.{k}".rstrip("."): v for k, v in inner if v is not None}
    return found


def identity(run: Run) -> str:
    """Return a name that a run keeps when it is resumed."""
    text = f"{run.folder.resolve()} {run.facts['spec_hash']} {run.facts['seed']}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


TRACKERS: dict[str, type[Tracker]] = {
    "csv": Csv, "tensorboard": TensorBoard, "wandb": Wandb, "mlflow": Mlflow,
}  # fmt: skip


class Beside:
    """A tracker in a thread of its own, so that no step waits for it; its first fault is said and ends it alone."""

    def __init__(
        self, name: str, make: Callable[[], Tracker], say: Callable[[str], None], wait: float = 30.0
    ) -> None:
        self.name, self.say, self.wait = name, say, wait
        self._lines: SimpleQueue[Line | None] = SimpleQueue()
        self._thread = Thread(target=self._work, args=(make,), name=f"tracker {name}", daemon=True)
        self._thread.start()

    def _work(self, make: Callable[[], Tracker]) -> None:
        try:
            tracker = make()
            while (line := self._lines.get()) is not None:
                tracker.write(line)
            tracker.close()
        except Exception as fault:  # of any library: training goes on without it
            self.say(f"tracker {self.name} stopped: {str(fault).partition(chr(10))[0]}")

    def write(self, line: Line) -> None:
        self._lines.put(line)

    def close(self) -> None:
        """Let it write what it has, for so many seconds at most."""
        self._lines.put(None)
        self._thread.join(self.wait)
        if self._thread.is_alive():
            self.say(f"tracker {self.name} is still writing after {self.wait:g} seconds: the rest is lost")


def opened(names: Sequence[str], run: Run, say: Callable[[str], None]) -> tuple[Beside, ...]:
    """Start the trackers of these names on a run. A package that is not installed is said, and training goes on."""
    made: list[Beside] = []
    for name in names:
        kind = TRACKERS[name]
        lacking = next((p for p in kind.packages if find_spec(p) is None), None)
        if lacking is not None:
            say(f"{lacking} is not installed, nothing is tracked there: pip install 'mpcompile[{name}]'")
            continue
        before = read_metrics(run.metrics)
        made.append(Beside(name, lambda kind=kind, before=before: kind(run, before), say))  # type: ignore[misc]
    return tuple(made)


__all__ = ["TRACKERS", "Beside", "Tracker", "opened", "scalars"]
