"""Checkpoints and metrics are written beside the training, in order; faults are raised; a signal waits for them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mpcompile.diagnostics import SpecError
from mpcompile.runner import checkpoint, folder
from mpcompile.runner.loop import Options, train
from mpcompile.runner.metrics import read_metrics
from mpcompile.runner.writer import Writer

OPTIONS = Options(backend="fake", steps=40, checkpoint_every=10)


def test_jobs_are_done_in_order_up_to_a_fault() -> None:
    done: list[int] = []

    def job(number: int) -> None:
        time.sleep(0.001)
        if number == 7:
            raise OSError(number)
        done.append(number)

    writer = Writer()
    for number in range(5):
        writer.put(lambda number=number: job(number), large=number == 2)  # type: ignore[misc]
    writer.settle()
    assert done == list(range(5))
    for number in (5, 6, 7):
        writer.put(lambda number=number: job(number))  # type: ignore[misc]
    with pytest.raises(OSError, match="7"):
        writer.settle()
    with pytest.raises(OSError, match="7"):
        writer.put(lambda: job(8))
    writer.close()
    assert done == list(range(7))


def test_no_step_waits_for_a_disk(fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training writes nothing itself, and ends when all is written."""
    threads: list[str] = []
    real = checkpoint.save

    def slow(*arguments: Any) -> None:
        threads.append(threading.current_thread().name)
        time.sleep(0.02)
        real(*arguments)

    train(fake.module(), tmp_path / "plain", OPTIONS, backend=fake.FakeBackend())
    monkeypatch.setattr(checkpoint, "save", slow)
    options = replace(OPTIONS, checkpoint_every=39)
    train(fake.module(), tmp_path / "run", options, backend=fake.FakeBackend())
    assert len(threads) > 3 and set(threads[1:]) == {"writer"}  # the first one makes the folder
    for name in ("last-000000040/state.safetensors", "last-000000040/manifest.json"):
        files = [tmp_path / run / "checkpoints" / name for run in ("plain", "run")]
        if name.endswith("tensors"):
            assert files[0].read_bytes() == files[1].read_bytes()
        assert files[1].exists()


def test_a_fault_of_the_disk_ends_the_training(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoint.save_last

    def full(root: Path, step: int, *rest: Any) -> None:
        if step == 20:
            raise OSError(28, "No space left on device")
        real(root, step, *rest)

    monkeypatch.setattr(checkpoint, "save_last", full)
    backend = fake.FakeBackend()
    with pytest.raises(SpecError, match=r"MP527.*\n*") as fault:
        train(fake.module(), tmp_path / "run", OPTIONS, backend=backend)
    assert "step 10 is saved" in str(fault.value.diagnostics[0].help)
    monkeypatch.setattr(checkpoint, "save_last", real)
    train(fake.module(), tmp_path / "run", replace(OPTIONS, resume=True), backend=fake.FakeBackend())
    train(fake.module(), tmp_path / "plain", OPTIONS, backend=fake.FakeBackend())
    for part in ("best", "checkpoints/last-000000040"):
        states = [(tmp_path / run / part / "state.safetensors").read_bytes() for run in ("run", "plain")]
        assert states[0] == states[1]


def test_the_best_is_written_seldom_and_before_what_names_it(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, int]] = []
    real = checkpoint.save

    def noted(root: Path, state: Any, record: Any) -> None:
        written.append((root.name, record["step"]))
        real(root, state, record)

    monkeypatch.setattr(checkpoint, "save", noted)
    monkeypatch.setattr(folder, "_SECONDS_BETWEEN_BEST", 1e9)
    module = fake.module(valid_every=2)
    train(module, tmp_path / "run", replace(OPTIONS, checkpoint_every=20), backend=fake.FakeBackend())
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    steps = [m["step"] for m in lines if m["split"] == "valid" and m["loss"] == m["best"]]
    before = {at: max((s for s in steps if s <= at), default=0) for at in (20, 40)}
    assert list(dict.fromkeys(written[1:])) == [("best", steps[0]), ("best", before[20]), ("last-000000020", 20),
                           ("best", before[40]), ("last-000000040", 40)]  # fmt: skip
    assert len(steps) > 4 and checkpoint.best(tmp_path / "run" / "best").record["step"] == steps[-1]  # type: ignore[union-attr]
