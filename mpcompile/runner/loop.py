"""The training loop: each step is a pure function of (seed, step) and the state before it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpcompile.backend import Backend, Session, open_session
from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import STATE, Array, Module
from mpcompile.runner import checkpoint, disk, divergence, measure, resume
from mpcompile.runner import run as runs
from mpcompile.runner.batches import Batches, as_precision
from mpcompile.runner.beginning import begin
from mpcompile.runner.data import Dataset, Split, load_data
from mpcompile.runner.metrics import Metrics, Sink, TensorBoard
from mpcompile.runner.progress import Progress
from mpcompile.runner.reading import Reading
from mpcompile.runner.record import FORMAT, settings_of
from mpcompile.runner.run_data import require_own
from mpcompile.runner.settings import describe
from mpcompile.runner.signals import heedless, signals
from mpcompile.runner.support import beyond_reach, whole_numbers

_SECONDS_BETWEEN_CHECKPOINTS = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """The settings that a command line adds to a spec's `train` section.

    None leaves a setting to that, or to the run resumed.
    """

    backend: str | None = None
    data: str | None = None
    seed: int | None = None
    steps: int | None = None
    resume: bool = False
    device: str | None = None
    mixed: bool | None = None
    precision: str | None = None
    tensorboard: bool | None = None
    checkpoint_every: int | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    unproven: bool | None = None
    init: Path | None = None  # a run whose best weights training starts from


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a training: `finished`, `patience`, or `interrupted` (by `signal`)."""

    folder: Path
    step: int
    reason: str
    best: float | None
    best_step: int
    signal: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """One line for whoever watches: what was written to the metrics."""

    line: Mapping[str, Any]
    total: int


def train(
    module: Module,
    out: Path,
    options: Options,
    *,
    backend: Backend | None = None,
    say: Callable[[str], None] = lambda text: None,
    watch: Callable[[Report], None] = lambda report: None,
) -> Result:
    """Train a module and leave everything in the folder `out`.

    `backend` overrides the name in `options` (tests). `say` takes messages, `watch` every metrics line.
    Raises `SpecError` (MP5xx: data, settings, run folder; MP525 where another process trains in it, MP527 where it
    cannot be written, MP530 where the loss is no longer finite) and `BackendMissing`.
    """
    with ExitStack() as held:
        return _Training(module, out, options, backend, heedless(say), heedless(watch), held).go()


class _Training:
    def __init__(
        self,
        module: Module,
        out: Path,
        options: Options,
        backend: Backend | None,
        say: Callable[[str], None],
        watch: Callable[[Report], None],
        held: ExitStack,
    ) -> None:
        self.module, self.say, self.watch, self.held = module, say, watch, held
        if "loss" not in module.programs:
            raise error("MP512", f"model '{module.name}' has no loss to train", Span.none())
        earlier = self._earlier(out) if options.resume else None
        if earlier:
            runs.same_spec(earlier, module, options.overrides)
        self.spec_hash = runs.spec_hash(module, options.overrides)
        self.options = resume.filled(options, earlier)
        self.settings = resume.merged(module, options, earlier)
        name = self.settings.data
        if name is None:
            raise error("MP501", "neither train.data nor --data is given", module.train.place(),
                        help="e.g. --data digits, or a path to .npz, .csv, .txt")  # fmt: skip
        if earlier:
            require_own(earlier, name)
        self.dataset = load_data(module, name, self.settings.length, self.settings.threshold)
        self.precision = str(self.options.precision)
        found = resume.latest(earlier, module) if earlier else None
        self.init = earlier.facts["init"] if earlier else options.init and str(options.init.resolve())
        weights = resume.start(options.init, module, self.settings.seed, say)
        self.session: Session = open_session(
            backend or str(self.options.backend),
            module,
            as_precision(weights, self.precision),
            self.settings.optimizer,
            device=str(self.options.device),
            precision=self.precision,
            mixed=bool(self.options.mixed),
        )
        self.batches = Batches(module, self.dataset.splits["train"], self.settings.batch, self.settings.seed)
        self.plan = resume.Plan.of(self.settings, self.batches.per_epoch)
        # the folder last: what cannot begin leaves an earlier run as it is
        self.progress, kept = self._restore(earlier, found) if earlier else self._create(out)
        with disk.writing(self.run.folder):
            self.metrics = Metrics(self.run.metrics, kept, self._sinks())
        held.callback(self.metrics.close)
        #: Steps whose scalars nobody has read, with their numbers.
        self.unread: list[tuple[int, Mapping[str, float]]] = []
        self.saved_at = time.monotonic()
        self.started = time.monotonic() - self.progress.seconds

    # The folder -------------------------------------------------------------------------------------

    def _earlier(self, out: Path) -> runs.Run | None:
        """The run in `out`, locked; None where there is none yet."""
        with disk.writing(out):
            if disk.kind(out / runs.RUN) == "nothing" and disk.owner(out) != "run":
                return None
        runs.open_run(out)  # nothing is locked, or written, that is not a run
        self._hold(disk.Lock.adopt(out, "run"))
        earlier = runs.open_run(out)
        runs.require_plain(earlier)
        return earlier

    def _hold(self, lock: disk.Lock) -> None:
        self.held.callback(lock.release)
        if not lock.locked:
            self.say("this file system has no locks: see that no other process trains in the same folder")

    def _create(self, out: Path) -> tuple[Progress, int]:
        self._initialize()
        split = self.dataset.splits["train"]
        told = beyond_reach(self.module, split, self.session.state())
        for found in (*told, *whole_numbers(self.module, split)):
            self.say(f"warning[{found.code}]: {found.message}; help: {found.help}")
        self.progress = Progress()
        with disk.writing(out):
            held = disk.kind(out / runs.RUN) != "nothing"
        self.run, lock = runs.create(
            out, self.module, self._facts(), self.options.overrides, self.session.state(), self._record(0)
        )
        self._hold(lock)
        if held:
            self.say(f"{out} held a run; it is now {out}.old (--resume would have continued it)")
        elif self.options.resume:
            self.say(f"no run in {out} yet: one begins")
        return self.progress, 0

    def _facts(self) -> dict[str, Any]:
        data, options = str(self.settings.data), self.options
        return {
            "data": str(Path(data).resolve()) if self.dataset.digest else data,
            "data_digest": self.dataset.digest,
            "vocabulary": self.dataset.vocabulary,
            "classes": dict(self.dataset.classes),
            "statistics": self.dataset.statistics,
            "seed": self.settings.seed,
            "steps": self.settings.steps,
            "settings": describe(self.settings),
            "backend": options.backend,
            "device": options.device,
            "precision": options.precision,
            "mixed": options.mixed,
            "unproven": options.unproven,
            "tensorboard": options.tensorboard,
            "init": self.init,
            "versions": runs.versions(str(options.backend)),
        }

    def _restore(self, earlier: runs.Run, found: checkpoint.Checkpoint | None) -> tuple[Progress, int]:
        """Find where to begin: a sound checkpoint, or the first step; and how many bytes of metrics go with it.

        What changes against the run so far is said and recorded. Nothing is written before all of it is sound.
        """
        self.run, progress, kept = earlier, Progress(), 0
        if found is None:
            self.say("no checkpoint yet: starting from the first step")
            self._initialize()
        else:
            resume.restore(self.session, self.module, found, self.say)
            was = found.record["progress"]
            window = {k: math.nan if v is None else v for k, v in was["window"].items()}
            progress = Progress(**{**was, "window": window})
            kept = resume.metrics_kept(earlier, found.record["metrics_bytes"])
            self.say(f"resumed at step {progress.step}")
            if kept < found.record["metrics_bytes"]:
                self.say(f"{runs.METRICS} is gone: it begins again at step {progress.step}")
        if progress.reason == "finished" and progress.step < self.plan.total:
            progress.reason = ""  # more steps were asked for
        self._tell_changes(earlier, progress.step)
        with disk.writing(earlier.folder):
            checkpoint.discard_after(earlier.checkpoints, progress.step)
            checkpoint.tidy(earlier.checkpoints)
            checkpoint.tidy(earlier.folder)
        return progress, kept

    def _tell_changes(self, earlier: runs.Run, step: int) -> None:
        facts = json.loads(disk.as_json(self._facts()))
        changed = resume.changes(earlier.facts, facts)
        if not changed:
            return
        for name, (before, after) in changed.items():
            self.say(f"changed since this run began: {name}, from {before} to {after}")
        if rate := resume.about_rate(settings_of(earlier.facts), self.settings, self.batches.per_epoch, step):
            self.say(rate)
        history = [*earlier.facts["history"], {"step": step, "changes": changed}]
        now = {**earlier.facts, **facts, "format": FORMAT, "history": history}
        with disk.writing(earlier.folder):
            runs.record_facts(earlier.folder, now)
        self.run = runs.Run(earlier.folder, now)

    def _initialize(self) -> None:
        """Set what the data say before the first step: statistics of the training split, and a data-dependent start."""
        if not self.init:
            begin(self.session, self.batches, self.precision, self.say)

    def _sinks(self) -> tuple[Sink, ...]:
        if not self.options.tensorboard:
            return ()
        if not TensorBoard.available():
            self.say(
                "tensorboard is not installed, no events are written: pip install 'mpcompile[tensorboard]'"
            )
            return ()
        return (TensorBoard(self.run.folder / "tensorboard"),)

    # The loop ---------------------------------------------------------------------------------------

    def go(self) -> Result:
        p = self.progress
        if self._ended():
            self.say(f"this run is complete ({p.reason} at step {p.step})")
            return self._result()
        with signals() as caught:
            stream = self.batches.stream(p.step, self.plan.total)
            try:
                for inputs in stream:
                    self._step(as_precision(inputs, self.precision))
                    if self._ended() or caught:
                        break
            finally:
                stream.close()
            self._read()
            if not self._ended() and p.step >= self.plan.total:
                self._require_finite_end()
                p.reason = "finished"
            if self._ended() or caught:
                self._save()
            if p.best is None and self._ended():  # nothing to validate on: the last weights are the best
                with self._writing():
                    checkpoint.save(self.run.best, self._sound_state(), self._record(self.metrics.sync()))
        return self._result(caught[0] if caught and not self._ended() else 0)

    def _ended(self) -> bool:
        return bool(self.progress.reason)

    def _rate(self, step: int) -> float:
        return self.settings.schedule.rate(self.settings.rate, step, self.plan.total)

    def _step(self, inputs: dict[str, Any]) -> None:
        """Take a step. Its scalars are read when a line is due, or something is kept: nothing waits for a step."""
        p, total = self.progress, self.plan.total
        rate, number = self._rate(p.step), p.step + 1
        logs = number == 1 or number % self.plan.log_every == 0 or number == total
        out = self.session.step(inputs, rate, norm=logs)
        p.step = number
        self.unread.append((number, out))
        if logs:
            self._read()
            self._log(rate, out.get("gradient_norm", math.nan))
        if p.step % self.plan.valid_every == 0 or p.step == total:
            self._read()
            self._validate()
        if self._checkpoint_due():
            self._save()

    def _read(self) -> None:
        """Take in the scalars of the steps since the last time, in order. Raises `SpecError` (MP530) for the first of
        them whose loss is not finite."""
        p = self.progress
        for step, out in self.unread:
            if not math.isfinite(out["loss"]):
                p.step = step
                divergence.drop(self.run.checkpoints, step - 1)  # its weights gave this loss
                raise self._diverged(f"the loss is {out['loss']} at step {step}")
            p.add(out)
        self.unread.clear()

    def _diverged(self, what: str) -> SpecError:
        rate = self._rate(max(self.progress.step - 1, 0))
        return divergence.diverged(self.module, self.dataset, self.settings, self.run, what, rate)

    def _require_finite_end(self) -> None:
        """The last update is followed by no step that would show what it did; without validation a batch shows it."""
        step = self.progress.step
        if step == 0 or self._validation() is not None:
            return
        loss = float(self.session.run("loss", as_precision(self.batches.at(step), self.precision))["loss"])
        if not math.isfinite(loss):
            divergence.drop(self.run.checkpoints, step)
            raise self._diverged(f"the loss is {loss} after the last step, {step}")

    def _sound_state(self) -> dict[str, Array]:
        """The state of the session. Raises `SpecError` (MP530) where a weight is not finite."""
        state = self.session.state()
        bad = runs.not_finite({k: v for k, v in state.items() if k.startswith("parameter/")})
        if bad is not None:
            name = bad.removeprefix("parameter/")
            raise self._diverged(f"weight '{name}' is not finite after step {self.progress.step}")
        return state

    def _log(self, rate: float, norm: float) -> None:
        """A training line: means over the steps since the line before, and the gradient's norm in the last of them."""
        means = {**self.progress.means(), "gradient_norm": norm}
        loss = means.pop("loss")
        extra = {k: v for k, v in means.items() if math.isfinite(v) and not k.startswith(STATE)}
        self._write("train", {"loss": loss, **extra, "learning_rate": rate})

    def _validation(self) -> Split | None:
        split = self.dataset.splits.get("valid")
        return split if split is not None and len(split) else None

    def _validate(self) -> None:
        split = self._validation()
        if split is None:
            return
        p = self.progress
        means = measure.held_out(
            Reading(self.session, self.module, split, self.batches.batch, self.settings.seed, self.precision)
        )
        loss = means.pop("loss")
        if not math.isfinite(loss):
            raise self._diverged(f"the validation loss is {loss} at step {p.step}")
        if p.best is None or loss < p.best:
            state = self._sound_state()
            p.best, p.best_step, p.worse = loss, p.step, 0
            with self._writing():
                checkpoint.save(self.run.best, state, self._record(self.metrics.sync()))
        else:
            p.worse += 1
            if self.settings.patience and p.worse >= self.settings.patience:
                p.reason = "patience"
        extra = {k: v for k, v in means.items() if math.isfinite(v)}
        self._write("valid", {"loss": loss, **extra, "best": p.best})

    def _write(self, split: str, values: Mapping[str, float]) -> None:
        p = self.progress
        p.seconds = time.monotonic() - self.started
        epoch = p.step / self.batches.per_epoch
        line = {"step": p.step, "split": split, **values, "epoch": epoch, "seconds": round(p.seconds, 3)}
        with self._writing():
            self.metrics.write(line)
        self.watch(Report(line, self.plan.total))

    # Checkpoints ------------------------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        every = self.settings.checkpoint_every
        if every is not None:
            return self.progress.step % every == 0
        return time.monotonic() - self.saved_at > _SECONDS_BETWEEN_CHECKPOINTS

    def _record(self, metrics_bytes: int) -> dict[str, Any]:
        p = self.progress
        epoch, cursor = self.batches.position(p.step)
        progress = {name: getattr(p, name) for name in Progress.__dataclass_fields__}
        progress["window"] = {k: v if math.isfinite(v) else None for k, v in p.window.items()}
        return {
            "step": p.step,
            "epoch": epoch,
            "cursor": cursor,
            "seed": self.settings.seed,
            "spec_hash": self.spec_hash,
            "metrics_bytes": metrics_bytes,
            "progress": progress,
        }

    def _save(self) -> None:
        self._read()
        state = self._sound_state()
        self.progress.seconds = time.monotonic() - self.started
        with self._writing():
            record = self._record(self.metrics.sync())
            checkpoint.save_last(self.run.checkpoints, self.progress.step, state, record)
        self.saved_at = time.monotonic()

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

    def _result(self, signal: int = 0) -> Result:
        p = self.progress
        return Result(self.run.folder, p.step, p.reason or "interrupted", p.best, p.best_step, signal)


__all__ = ["Dataset", "Options", "Report", "Result", "train"]
