"""Trackers have the lines of `metrics.jsonl`, cost no step its time, and end no training."""

from __future__ import annotations

import csv
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mpcompile.runner import trackers
from mpcompile.runner.loop import Options, train
from mpcompile.runner.metrics import read_metrics
from mpcompile.runner.options import TRACKED

OPTIONS = Options(backend="fake", steps=30)


def tracked(path: Path) -> list[dict[str, float | str]]:
    """The lines of `metrics.csv`."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        return [{k: v if k == "split" else float(v) for k, v in row.items() if v} for row in rows]


def test_csv_has_every_line_also_after_a_resume(fake: ModuleType, tmp_path: Path) -> None:
    options = replace(OPTIONS, trackers=["csv"])
    train(fake.module(), tmp_path / "run", options, backend=fake.FakeBackend())
    for steps in (30, 40):
        resumed = Options(resume=True, steps=steps)
        train(fake.module(), tmp_path / "run", resumed, backend=fake.FakeBackend())
        lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
        assert tracked(tmp_path / "run" / "metrics.csv") == lines and lines[-1]["step"] == steps
    train(
        fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend()
    )  # steps aside, as training's own
    assert (tmp_path / "run.old" / "metrics.csv").exists() and not (tmp_path / "run" / "metrics.csv").exists()


def test_tensorboard_events(fake: ModuleType, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(
        fake.module(),
        tmp_path / "run",
        replace(OPTIONS, trackers=["tensorboard"]),
        backend=fake.FakeBackend(),
    )
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    lines = [m for m in read_metrics(tmp_path / "run" / "metrics.jsonl") if m["split"] == "valid"]
    found = [(e.step, e.value) for e in events.Scalars("valid/loss")]
    assert found == [(m["step"], pytest.approx(m["loss"])) for m in lines] and found


class Wandb:
    """What a training calls of `wandb`."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.ended = 0
        self.Settings = SimpleNamespace

    def init(self, **how: Any) -> Any:
        self.begun.append(how)
        log = lambda numbers, step: self.logged.append((step, numbers))  # noqa: E731
        return SimpleNamespace(log=log, finish=self._finish)

    def _finish(self) -> None:
        self.ended += 1


def test_wandb_is_offline_and_goes_on_in_the_same_run(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)  # type: ignore[arg-type]
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    for options in (replace(OPTIONS, trackers=["wandb"]), Options(resume=True, steps=35)):
        train(fake.module(), tmp_path / "run", options, backend=fake.FakeBackend())
    first, second = wandb.begun
    assert first["mode"] == "offline" and first["id"] == second["id"] and wandb.ended == 2
    assert first["config"]["optimizer.kind"] == "sgd" and first["config"]["batch"] == 32
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [step for step, _ in wandb.logged] == [line["step"] for line in lines]
    assert wandb.logged[0][1]["train/loss"] == lines[0]["loss"]


def test_a_tracker_ends_no_training_and_holds_up_no_step(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bad:
        packages = ()

        def __init__(self, run: Any, before: Any) -> None:
            raise RuntimeError("no route\nto host")

    class Slow(Bad):
        def __init__(self, run: Any, before: Any) -> None:
            self.seen: list[Any] = []
            seen.append(self)

        def write(self, line: Any) -> None:
            time.sleep(0.02)
            self.seen.append(line)

        def close(self) -> None:
            self.seen.append("closed")

    seen: list[Slow] = []
    said: list[str] = []
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", Bad)
    monkeypatch.setitem(trackers.TRACKERS, "wandb", Slow)
    options = replace(OPTIONS, trackers=["mlflow", "wandb"])
    times: list[float] = []
    train(fake.module(), tmp_path / "run", options, backend=fake.FakeBackend(), say=said.append,
          watch=lambda report: times.append(time.monotonic()))  # fmt: skip
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert "tracker mlflow stopped: no route" in said and seen[0].seen == [*lines, "closed"]
    assert times[-1] - times[0] < 0.02 * len(lines)
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    monkeypatch.setattr(Bad, "packages", ("mlflow",))
    train(fake.module(), tmp_path / "other", replace(OPTIONS, trackers=["mlflow"]), backend=fake.FakeBackend(),
          say=said.append)  # fmt: skip
    assert said[-1].startswith("mlflow is not installed") and "mpcompile[mlflow]" in said[-1]
    assert tuple(trackers.TRACKERS) == TRACKED
