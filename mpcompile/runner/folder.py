"""The run folder of one training: opened or created, resumed from, and written to."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner import checkpoint, disk, divergence, resume, trackers
from mpcompile.runner import run as runs
from mpcompile.runner.beginning import begin, set_parameters
from mpcompile.runner.metrics import Metrics
from mpcompile.runner.progress import Progress
from mpcompile.runner.record import FORMAT, settings_of
from mpcompile.runner.setup import Setup
from mpcompile.runner.support import beyond_reach, whole_numbers
from mpcompile.runner.writer import Writer

_SECONDS_BETWEEN_BEST = 5.0


def hold_earlier(
    out: Path, held: ExitStack, say: Callable[[str], None], writes: bool = True
) -> runs.Run | None:
    """Return the run in `out`, locked until `held` is closed; None where there is none yet.

    A process that does not write reads it without the lock. Raises `SpecError` (MP520, MP524, MP525).
    """
    with disk.writing(out):
        if disk.kind(out / runs.RUN) == "nothing" and disk.owner(out) != "run":
            return None
    earlier = runs.open_run(out)  # nothing is locked, or written, that is not a run
    if not writes:
        return earlier
    _hold(disk.Lock.adopt(out, "run"), held, say)
    earlier = runs.open_run(out)
    runs.require_plain(earlier)
    return earlier


def _hold(lock: disk.Lock, held: ExitStack, say: Callable[[str], None]) -> None:
    held.callback(lock.release)
    if not lock.locked:
        say("this file system has no locks: see that no other process trains in the same folder")


def copied(state: Mapping[str, Array]) -> dict[str, Array]:
    """Copy a state, whose arrays a session may change in its next step."""
    return {name: np.array(array) for name, array in state.items()}


class Folder:
    """The folder that a training writes to. It is made, or resumed from, last: what cannot begin leaves it as it is.

    Of several processes the first one writes; the others have the same progress.

    run       the run in it
    progress  where the training is; its record in every checkpoint
    """

    def __init__(self, setup: Setup, out: Path, held: ExitStack, say: Callable[[str], None]) -> None:
        self.setup, self.held, self.say = setup, held, say
        self.writes = setup.group.first
        self.progress, kept = self._create(out) if setup.earlier is None else self._restore(setup.earlier)
        if not self.writes:
            return
        with disk.writing(self.run.folder):
            self.metrics = Metrics(self.run.metrics, kept)
        self.metrics.sinks = trackers.opened(setup.options.trackers or [], self.run, say)
        held.callback(self.metrics.close)
        self.writer = Writer()
        held.callback(self.writer.close)
        #: The best state that is not written yet, with its record, and when one was written last.
        self.best: tuple[dict[str, Array], dict[str, Any]] | None = None
        self.best_at = -math.inf

    def _create(self, out: Path) -> tuple[Progress, int]:
        setup = self.setup
        self._initialize()
        split = setup.dataset.splits["train"]
        told = beyond_reach(setup.module, split, setup.session.state())
        for found in (*told, *whole_numbers(setup.module, split)):
            self.say(f"warning[{found.code}]: {found.message}; help: {found.help}")
        self.progress, state = Progress(), setup.session.state()
        if not self.writes:
            self.run = runs.Run(out, setup.facts())
            return self.progress, 0
        with disk.writing(out):
            held = disk.kind(out / runs.RUN) != "nothing"
        self.run, lock = runs.create(
            out, setup.module, setup.facts(), setup.options.overrides, state, self.record(0)
        )
        _hold(lock, self.held, self.say)
        if held:
            self.say(f"{out} held a run; it is now {out}.old (--resume would have continued it)")
        elif setup.options.resume:
            self.say(f"no run in {out} yet: one begins")
        return self.progress, 0

    def _restore(self, earlier: runs.Run) -> tuple[Progress, int]:
        """Find where to begin: a sound checkpoint, or the first step; and how many bytes of metrics go with it.

        What changes against the run so far is said and recorded. Nothing is written before all of it is sound.
        """
        setup, found = self.setup, self.setup.found
        self.run, progress, kept = earlier, Progress(), 0
        if found is None:
            self.say("no checkpoint yet: starting from the first step")
            self._initialize()
        else:
            resume.restore(setup.session, setup.module, found, self.say)
            was = found.record["progress"]
            window = {k: math.nan if v is None else v for k, v in was["window"].items()}
            progress = Progress(**{**was, "window": window})
            resume.require_ahead(setup.options.steps, progress.step)
            kept = resume.metrics_kept(earlier, found.record["metrics_bytes"])
            self.say(f"resumed at step {progress.step}")
            if line := divergence.told(earlier):
                self.say(line)
            if kept < found.record["metrics_bytes"]:
                self.say(f"{runs.METRICS} is gone: it begins again at step {progress.step}")
        if progress.reason == "finished" and progress.step < setup.plan.total:
            progress.reason = ""  # more steps were asked for
        if not self.writes:
            return progress, 0
        self._tell_changes(earlier, progress.step)
        with disk.writing(earlier.folder):
            checkpoint.discard_after(earlier.checkpoints, progress.step)
            checkpoint.tidy(earlier.checkpoints)
            checkpoint.tidy(earlier.folder)
        return progress, kept

    def _tell_changes(self, earlier: runs.Run, step: int) -> None:
        setup = self.setup
        facts = json.loads(disk.as_json(setup.facts()))
        changed = resume.changes(earlier.facts, facts)
        if not changed:
            return
        for name, (before, after) in changed.items():
            self.say(f"changed since this run began: {name}, from {before} to {after}")
        before = settings_of(earlier.facts)
        if rate := resume.about_rate(before, setup.settings, setup.batches.per_epoch, step):
            self.say(rate)
        history = [*earlier.facts["history"], {"step": step, "changes": changed}]
        now = {**earlier.facts, **facts, "format": FORMAT, "history": history}
        with disk.writing(earlier.folder):
            runs.record_facts(earlier.folder, now)
        self.run = runs.Run(earlier.folder, now)

    def _initialize(self) -> None:
        """Set what the data say before the first step: statistics of the training split, and a data-dependent start.

        Weights that were loaded stay.
        """
        setup = self.setup
        if setup.init and setup.loaded.keys() >= setup.module.parameters.keys():
            return
        begin(setup.session, setup.batches, setup.precision, self.say)
        if setup.loaded:
            set_parameters(setup.session, setup.loaded)

    # Writing ----------------------------------------------------------------------------------------

    def record(self, metrics_bytes: int) -> dict[str, Any]:
        """Return the record of a checkpoint beside a metrics file of this size."""
        p, setup = self.progress, self.setup
        epoch, cursor = setup.batches.position(p.step)
        progress = {name: getattr(p, name) for name in Progress.__dataclass_fields__}
        progress["window"] = {k: v if math.isfinite(v) else None for k, v in p.window.items()}
        return {
            "step": p.step,
            "epoch": epoch,
            "cursor": cursor,
            "seed": setup.settings.seed,
            "spec_hash": setup.spec_hash,
            "metrics_bytes": metrics_bytes,
            "progress": progress,
        }

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line of metrics, beside the training. Raises `SpecError` (MP527), as the methods below do."""
        if not self.writes:
            return
        payload = self.metrics.encoded(line)
        with self._writing():
            self.writer.put(lambda: self.metrics.append(payload))

    def save_best(self, state: Mapping[str, Array]) -> None:
        """Keep a state as the best one: at once, or where one was written some seconds ago with the next save."""
        if not self.writes:
            return
        self.best = copied(state), self.record(self.metrics.size)
        if time.monotonic() - self.best_at > _SECONDS_BETWEEN_BEST:
            self._write_best()

    def _write_best(self) -> None:
        if self.best is None:
            return
        (kept, record), self.best, self.best_at = self.best, None, time.monotonic()
        self._save(lambda: checkpoint.save(self.run.best, kept, record))

    def save_last(self, state: Mapping[str, Array]) -> None:
        """Keep a state as the newest one, beside the training; a better state that is not written yet before it."""
        if not self.writes:
            return
        self._write_best()
        kept, record, step = copied(state), self.record(self.metrics.size), self.progress.step
        self._save(lambda: checkpoint.save_last(self.run.checkpoints, step, kept, record))

    def _save(self, job: Callable[[], None]) -> None:
        """Do a save behind all lines so far, which are durable before it."""

        def durable() -> None:
            self.metrics.sync()
            job()

        with self._writing():
            self.writer.put(durable, large=True)

    def settle(self) -> None:
        """Wait until all that was kept is on the disk."""
        if not self.writes:
            return
        self._write_best()
        with self._writing():
            self.writer.settle()

    def drop(self, step: int) -> None:
        """Remove the checkpoint of a step whose loss turned out not to be finite."""
        self.settle()
        if self.writes:
            divergence.drop(self.run.checkpoints, step)

    def record_divergence(self, found: Mapping[str, Any] | None) -> None:
        """Record in `run.json` that the training diverged, or, with None, that it passed the step where it did."""
        if not self.writes or found == self.run.facts.get("diverged"):
            return
        self.run = runs.Run(self.run.folder, {**self.run.facts, "diverged": found})
        with self._writing():
            runs.record_facts(self.run.folder, self.run.facts)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns a full disk, and whatever else stops a write, into a finding (MP527); what was saved stays."""
        try:
            yield
        except OSError as fault:
            kept = next(iter(checkpoint.steps(self.run.checkpoints)), 0)
            raise disk.cannot_write(
                self.run.folder, fault, f"step {kept} is saved; --resume goes on from it when this is mended"
            ) from fault


__all__ = ["Folder", "hold_earlier"]
