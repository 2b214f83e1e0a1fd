"""The training loop: each step is a pure function of (seed, step) and the state before it."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mpcompile.backend import Backend, Session, find_backend
from mpcompile.diagnostics import Span, error
from mpcompile.ir import STATE, Array, Module
from mpcompile.passes.pipeline import optimise
from mpcompile.runner import checkpoint, measure
from mpcompile.runner import run as runs
from mpcompile.runner.batches import Batches, as_precision, complete
from mpcompile.runner.data import Dataset, load_data
from mpcompile.runner.initial import initial
from mpcompile.runner.metrics import Metrics, Sink, TensorBoard
from mpcompile.runner.reading import Reading
from mpcompile.runner.settings import Settings, describe, place, settings

_SECONDS_BETWEEN_CHECKPOINTS = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line adds to a spec's `train` section; None leaves it to that, or to the run resumed."""

    backend: str = "torch"
    data: str | None = None
    seed: int | None = None
    steps: int | None = None
    resume: bool = False
    device: str = "cpu"
    mixed: bool = False
    precision: str = "float32"
    tensorboard: bool = False
    checkpoint_every: int | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    unproven: bool = False
    init: Path | None = None  # a run whose best weights training starts from


@dataclass(frozen=True, slots=True)
class Result:
    """How training ended: `finished`, `patience`, or `interrupted` (by `signal`)."""

    folder: Path
    step: int
    reason: str
    best: float | None
    best_step: int
    signal: int = 0


@dataclass
class Progress:
    """All that a resume needs beside the session's state; plain data in the checkpoint's manifest."""

    step: int = 0
    best: float | None = None
    best_step: int = 0
    worse: int = 0  # validations since the best
    window: dict[str, float] = field(default_factory=dict)  # sums since the last training line
    window_count: int = 0
    seconds: float = 0.0
    reason: str = ""


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
    Raises `SpecError` (MP5xx: data, settings, run folder; MP530 where the loss is no longer finite) and
    `BackendMissing`.
    """
    return _Training(module, out, options, backend or find_backend(options.backend), say, watch).go()


class _Training:
    def __init__(
        self,
        module: Module,
        out: Path,
        options: Options,
        backend: Backend,
        say: Callable[[str], None],
        watch: Callable[[Report], None],
    ) -> None:
        self.module, self.options, self.say, self.watch = module, options, say, watch
        if "loss" not in module.programs:
            raise error("MP512", f"model '{module.name}' has no loss to train", Span.none())
        earlier = runs.open_run(out) if options.resume and (out / runs.RUN).exists() else None
        if earlier:
            runs.same_spec(earlier, module, options.overrides)
        self.settings = _merged(module, options, earlier)
        name = self.settings.data
        if name is None:
            raise error("MP501", "neither train.data nor --data is given", place(module),
                        help="e.g. --data digits, or a path to .npz, .csv, .txt")  # fmt: skip
        self.dataset = load_data(module, name, self.settings.length, self.settings.threshold)
        self.precision = options.precision
        found = checkpoint.newest(earlier.checkpoints) if earlier else None
        self.init = earlier.facts.get("init") if earlier else options.init and str(options.init.resolve())
        start = Path(self.init) if self.init and found is None else None
        weights = _of_run(start, module) if start else initial(module, self.settings.seed)
        self.session: Session = backend.session(
            optimise(module).module,
            as_precision(weights, self.precision),
            self.settings.optimizer,
            device=options.device,
            precision=self.precision,
            mixed=options.mixed,
        )
        # the folder last: what cannot begin leaves an earlier run where it is
        self.run = self._continue(earlier) if earlier else self._create(out, name)
        self.batches = Batches(module, self.dataset.splits["train"], self.settings.batch, self.settings.seed)
        self.plan = _Plan.of(self.settings, self.batches.per_epoch)
        self.progress, kept = self._restore(found)
        self.metrics = Metrics(self.run.metrics, kept, self._sinks())
        self.saved_at = time.monotonic()
        self.saved_step = self.progress.step
        self.started = time.monotonic() - self.progress.seconds

    # The folder -------------------------------------------------------------------------------------

    def _create(self, out: Path, data: str) -> runs.Run:
        if out.exists() and (out / runs.RUN).exists():
            self.say(f"{out} held a run; it is now {out}.old (--resume would continue it)")
        return runs.create(out, self.module, self._facts(data), self.options.overrides)

    def _continue(self, earlier: runs.Run) -> runs.Run:
        known = earlier.facts.get("data_digest", "")
        if known and self.dataset.digest != known:
            raise error(
                "MP523", f"data '{self.dataset.name}' changed since {earlier.folder} began", Span.none()
            )
        return runs.record(earlier.folder, {**earlier.facts, **self._facts(self.dataset.name)})

    def _facts(self, data: str) -> dict[str, Any]:
        path = Path(data)
        return {
            "data": str(path.resolve()) if self.dataset.digest else data,
            "data_digest": self.dataset.digest,
            "vocabulary": self.dataset.vocabulary,
            "statistics": self.dataset.statistics,
            "seed": self.settings.seed,
            "steps": self.settings.steps,
            "settings": describe(self.settings),
            "backend": self.options.backend,
            "device": self.options.device,
            "precision": self.options.precision,
            "mixed": self.options.mixed,
            "unproven": self.options.unproven,
            "init": self.init,
            "versions": runs.versions(self.options.backend),
        }

    def _restore(self, found: checkpoint.Checkpoint | None) -> tuple[Progress, int]:
        """Where to begin: the newest sound checkpoint, and how many bytes of metrics go with it."""
        if found is None:
            if self.options.resume:
                self.say("no checkpoint yet: starting from the first step")
            self._initialize()
            return Progress(), 0
        self.session.load_state(found.state)
        checkpoint.discard_after(self.run.checkpoints, int(found.record["step"]))
        progress = Progress(**found.record["progress"])
        if progress.reason == "finished" and progress.step < self.plan.total:
            progress.reason = ""  # more steps were asked for
        self.say(f"resumed at step {progress.step}")
        return progress, int(found.record["metrics_bytes"])

    def _initialize(self) -> None:
        """Data-dependent start: a program `initialize` gives `state/<parameter>` from the first batch."""
        if "initialize" not in self.module.programs or self.init:
            return
        first = complete(self.module, "initialize", self.batches.at(0), (self.settings.seed, "initialize"))
        out = self.session.run("initialize", as_precision(first, self.precision))
        state = self.session.state()
        for name, output in self.module.updates("initialize").items():
            key, value = f"parameter/{name}", out[output]
            state[key] = np.asarray(value, dtype=state[key].dtype).reshape(state[key].shape)
        self.session.load_state(state)

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
        try:
            with _signals() as caught:
                stream = self.batches.stream(p.step, self.plan.total)
                try:
                    for inputs in stream:
                        self._step(as_precision(inputs, self.precision))
                        if self._ended() or caught:
                            break
                finally:
                    stream.close()
                if not self._ended() and p.step >= self.plan.total:
                    p.reason = "finished"
                if self._ended() or caught:
                    self._save()
                if p.best is None and self._ended():  # nothing to validate on: the last weights are the best
                    checkpoint.save(self.run.best, self.session.state(), self._record())
            return self._result(caught[0] if caught and not self._ended() else 0)
        finally:
            self.metrics.close()

    def _ended(self) -> bool:
        return bool(self.progress.reason)

    def _step(self, inputs: dict[str, Any]) -> None:
        p, total = self.progress, self.plan.total
        rate = self.settings.schedule.rate(self.settings.rate, p.step, total)
        out = self.session.step(inputs, rate)
        p.step += 1
        if not math.isfinite(out["loss"]):
            raise error(
                "MP530",
                f"training diverged: the loss is {out['loss']} at step {p.step}",
                place(self.module, "optimizer"),
                help="lower the rate, or clip the gradient (train.clip); the last checkpoint is kept",
            )
        for name, value in out.items():
            p.window[name] = p.window.get(name, 0.0) + float(value)
        p.window_count += 1
        if p.step == 1 or p.step % self.plan.log_every == 0 or p.step == total:
            self._log(rate)
        if p.step % self.plan.valid_every == 0 or p.step == total:
            self._validate()
        if self._checkpoint_due():
            self._save()

    def _log(self, rate: float) -> None:
        """A training line: means over the steps since the line before."""
        p = self.progress
        means = {name: value / p.window_count for name, value in p.window.items()}
        loss = means.pop("loss")
        p.window, p.window_count = {}, 0
        extra = {k: v for k, v in means.items() if math.isfinite(v) and not k.startswith(STATE)}
        self._write("train", {"loss": loss, **extra, "learning_rate": rate})

    def _validate(self) -> None:
        split = self.dataset.splits.get("valid")
        if split is None or not len(split):
            return
        p = self.progress
        means = measure.held_out(
            Reading(self.session, self.module, split, self.batches.batch, self.settings.seed, self.precision)
        )
        loss = means.pop("loss")
        if not math.isfinite(loss):
            raise error("MP530", f"training diverged: the validation loss is {loss} at step {p.step}",
                        place(self.module, "optimizer"), help="lower the rate")  # fmt: skip
        if p.best is None or loss < p.best:
            p.best, p.best_step, p.worse = loss, p.step, 0
            checkpoint.save(self.run.best, self.session.state(), self._record())
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
        self.metrics.write(line)
        self.watch(Report(line, self.plan.total))

    # Checkpoints ------------------------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        every = self.options.checkpoint_every or self.settings.checkpoint_every
        if every is not None:
            return self.progress.step % every == 0
        return time.monotonic() - self.saved_at > _SECONDS_BETWEEN_CHECKPOINTS

    def _record(self) -> dict[str, Any]:
        p = self.progress
        epoch, cursor = self.batches.position(p.step)
        return {
            "step": p.step,
            "epoch": epoch,
            "cursor": cursor,
            "seed": self.settings.seed,
            "spec_hash": self.run.facts["spec_hash"],
            "metrics_bytes": self.metrics.sync(),
            "progress": {name: getattr(p, name) for name in Progress.__dataclass_fields__},
        }

    def _save(self) -> None:
        self.progress.seconds = time.monotonic() - self.started
        checkpoint.save_last(self.run.checkpoints, self.progress.step, self.session.state(), self._record())
        self.saved_at = time.monotonic()

    def _result(self, signal: int = 0) -> Result:
        p = self.progress
        return Result(self.run.folder, p.step, p.reason or "interrupted", p.best, p.best_step, signal)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How many steps, and which of them log and validate."""

    total: int
    log_every: int
    valid_every: int

    @classmethod
    def of(cls, values: Settings, per_epoch: int) -> _Plan:
        limits = [values.steps] if values.steps is not None else []
        limits += [values.epochs * per_epoch] if values.epochs is not None else []
        total = min(limits, default=2000)
        log_every = values.log_every or max(1, min(100, total // 200))
        usual = max(per_epoch, min(50, math.ceil(total / 100)))
        valid_every = values.valid_every or max(1, min(usual, math.ceil(total / 5)))
        return cls(total, log_every, valid_every)


def _merged(module: Module, options: Options, earlier: runs.Run | None) -> Settings:
    """The spec's settings under the command line's; a resumed run fills in what it was started with."""
    stated = {"seed": options.seed, "steps": options.steps, "checkpoint_every": options.checkpoint_every}
    module.train.changed(**stated)  # the command line has the ranges of the spec
    values = settings(module)
    before = earlier.facts if earlier else {}
    data = options.data or before.get("data") or values.data
    seed = options.seed if options.seed is not None else int(before.get("seed", values.seed))
    if earlier and seed != before["seed"]:
        raise error(
            "MP521", f"{earlier.folder} was started with seed {before['seed']}, not {seed}", Span.none()
        )
    steps = options.steps if options.steps is not None else before.get("steps", values.steps)
    epochs = None if options.steps is not None else values.epochs
    if epochs is not None and earlier and before.get("settings", {}).get("epochs") is None:
        epochs = None  # --steps had replaced them
    return replace(values, data=data, seed=seed, steps=steps, epochs=epochs)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, so that a step is finished and saved; a second one acts at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        caught.append(number)
        for s, handler in before.items():
            signal.signal(s, handler)

    for s in before:
        signal.signal(s, note)
    try:
        yield caught
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def _of_run(folder: Path, module: Module) -> dict[str, Array]:
    """The best weights of a run, whose model has the parameters of this one. Raises `SpecError` (MP520 to MP522)."""
    weights, _ = runs.open_run(folder).parameters()
    theirs = {name: array.shape for name, array in weights.items()}
    ours = {name: p.shape for name, p in module.parameters.items()}
    if theirs != ours:
        name = next(n for n in [*ours, *theirs] if ours.get(n) != theirs.get(n))
        raise error(
            "MP521",
            f"{folder} has other parameters: '{name}' is {theirs.get(name, 'not there')}, "
            f"here {ours.get(name, 'not there')}",
            Span.none(),
        )
    return weights


__all__ = ["Dataset", "Options", "Report", "Result", "train"]
