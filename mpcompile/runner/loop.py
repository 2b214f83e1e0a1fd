"""The training loop: each step is a pure function of (seed, step) and the state before it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpcompile.backend import Backend
from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.group import processes
from mpcompile.ir import STATE, Array, Module
from mpcompile.runner import divergence, measure
from mpcompile.runner import run as runs
from mpcompile.runner.averages import averages
from mpcompile.runner.batches import as_precision
from mpcompile.runner.data import Dataset
from mpcompile.runner.folder import Folder, hold_earlier
from mpcompile.runner.options import Options
from mpcompile.runner.reading import Reading
from mpcompile.runner.setup import prepare
from mpcompile.runner.signals import heedless, signals

_SECONDS_BETWEEN_CHECKPOINTS = 30.0
_SKIPS_SAID = 3
_SKIPS_IN_SUCCESSION = 100


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
    if processes()[0]:  # the first process speaks for all
        say, watch = lambda text: None, lambda report: None
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
        self.say, self.watch = say, watch
        if "loss" not in module.programs:
            raise error("MP512", f"model '{module.name}' has no loss to train", Span.none())
        first = processes()[0] == 0
        earlier = hold_earlier(out, held, say, first) if options.resume else None
        self.setup = prepare(module, options, earlier, backend, say)
        self.folder = Folder(self.setup, out, held, say)
        self.progress = self.folder.progress
        #: Steps whose scalars nobody has read, with their numbers.
        self.unread: list[tuple[int, Mapping[str, float]]] = []
        self.saved_at = time.monotonic()
        self.started = time.monotonic() - self.progress.seconds

    def go(self) -> Result:
        p = self.progress
        if self._ended():
            self.say(f"this run is complete ({p.reason} at step {p.step})")
            return self._result()
        signal = 0
        with signals() as caught:
            stream = self.setup.batches.stream(p.step, self.setup.plan.total)
            try:
                for inputs in stream:
                    self._step(as_precision(inputs, self.setup.precision))
                    signal, save = self._agreed(caught)
                    if save:
                        self._save()
                    if self._ended() or signal:
                        break
            finally:
                stream.close()
            self._read()
            if not self._ended() and p.step >= self.setup.plan.total:
                self._require_finite_end()
                p.reason = "finished"
            if self._ended() or signal:
                self._save()
            if p.skipped:
                self.say(f"{p.skipped} of {p.step} steps changed nothing")
            if p.best is None and self._ended():  # nothing to validate on: the last weights are the best
                self.folder.save_best(self._sound_state())
            self.folder.settle()
            if (before := self.folder.run.facts.get("diverged")) and p.step >= before["step"]:
                self.folder.record_divergence(None)
        return self._result(signal if not self._ended() else 0)

    def _ended(self) -> bool:
        return bool(self.progress.reason)

    def _step(self, inputs: dict[str, Any]) -> None:
        """Take a step. Its scalars are read when a line is due, or something is kept: nothing waits for a step."""
        p, total = self.progress, self.setup.plan.total
        rate, number = self.setup.rate(p.step), p.step + 1
        logs = number == 1 or number % self.setup.plan.log_every == 0 or number == total
        out = self.setup.session.step(inputs, rate, norm=logs)
        p.step = number
        self.unread.append((number, out))
        if logs:
            self._read()
            if p.window_count:
                self._log(rate, out.get("gradient_norm", math.nan))
        if p.step % self.setup.plan.valid_every == 0 or p.step == total:
            self._read()
            self._validate()

    def _agreed(self, caught: Sequence[int]) -> tuple[int, bool]:
        """Return the signal that some process caught, and whether the first one wants a checkpoint: to all alike."""
        signal, save = caught[0] if caught else 0, self._checkpoint_due()
        if self.setup.group.size == 1:
            return signal, save
        rows = self.setup.session.exchange([signal, save])
        return int(max(row[0] for row in rows)), bool(rows[0][1])

    def _read(self) -> None:
        """Take in the scalars of the steps since the last time, in order. Raises `SpecError` (MP530) for the first of
        them whose loss is not finite."""
        p = self.progress
        for step, out in self.unread:
            if out.get("skipped"):
                self._skipped(step, out)
                continue
            if not math.isfinite(out["loss"]):
                p.step = step
                self.folder.drop(step - 1)  # its weights gave this loss
                raise self._diverged(f"the loss is {out['loss']} at step {step}")
            p.add(out)
        self.unread.clear()

    def _skipped(self, step: int, out: Mapping[str, float]) -> None:
        """Count a step that changed nothing, and say why. Raises `SpecError` (MP530) where no step changes anything."""
        p, limit = self.progress, self.setup.settings.optimizer.skip
        p.add(out)
        if p.skipped <= _SKIPS_SAID:
            more = "; further ones are counted in the metrics" if p.skipped == _SKIPS_SAID else ""
            norm = out["gradient_norm"]
            self.say(f"step {step} changed nothing: loss {out['loss']:.4g}, norm of the gradient {norm:.4g}, "
                     f"limit {limit:.4g}{more}")  # fmt: skip
        if p.skipped_since == _SKIPS_IN_SUCCESSION:
            raise self._diverged(
                f"{_SKIPS_IN_SUCCESSION} steps in succession were skipped, up to step {step}"
            )

    def _diverged(self, what: str) -> SpecError:
        self.folder.settle()
        self.folder.record_divergence({"step": self.progress.step, "what": what})
        rate = self.setup.rate(max(self.progress.step - 1, 0))
        setup = self.setup
        return divergence.diverged(setup.module, setup.dataset, setup.settings, self.folder.run, what, rate)

    def _require_finite_end(self) -> None:
        """The last update is followed by no step that would show what it did; without validation a batch shows it."""
        step = self.progress.step
        if step == 0 or self.setup.validation is not None:
            return
        batch = as_precision(self.setup.batches.at(step), self.setup.precision)
        loss = float(self.setup.session.run("loss", batch)["loss"])
        if not math.isfinite(loss):
            self.folder.drop(step)
            raise self._diverged(f"the loss is {loss} after the last step, {step}")

    def _sound_state(self) -> dict[str, Array]:
        """The state of the session. Raises `SpecError` (MP530) where a weight is not finite."""
        state = self.setup.session.state()
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

    def _validate(self) -> None:
        setup, p = self.setup, self.progress
        if setup.validation is None:
            return
        reading = Reading(
            setup.session,
            setup.module,
            setup.validation,
            setup.batches.batch,
            setup.settings.seed,
            setup.precision,
        )
        with averages(setup.session, setup.settings.optimizer.ema):
            means = measure.held_out(reading)
        if setup.group.size > 1:  # one process decides what is best
            means = dict(zip(means, setup.session.exchange(list(means.values()))[0], strict=True))
        loss = means.pop("loss")
        if not math.isfinite(loss):
            raise self._diverged(f"the validation loss is {loss} at step {p.step}")
        if p.best is None or loss < p.best:
            state = self._sound_state()
            p.best, p.best_step, p.worse = loss, p.step, 0
            self.folder.save_best(state)
        else:
            p.worse += 1
            if setup.settings.patience and p.worse >= setup.settings.patience:
                p.reason = "patience"
        extra = {k: v for k, v in means.items() if math.isfinite(v)}
        self._write("valid", {"loss": loss, **extra, "best": p.best})

    def _write(self, split: str, values: Mapping[str, float]) -> None:
        p = self.progress
        p.seconds = time.monotonic() - self.started
        epoch = p.step / self.setup.batches.per_epoch
        line = {"step": p.step, "split": split, **values, "epoch": epoch, "seconds": round(p.seconds, 3)}
        self.folder.write(line)
        self.watch(Report(line, self.setup.plan.total))

    # Checkpoints ------------------------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        every = self.setup.settings.checkpoint_every
        if every is not None:
            return self.progress.step % every == 0
        return time.monotonic() - self.saved_at > _SECONDS_BETWEEN_CHECKPOINTS

    def _save(self) -> None:
        self._read()
        state = self._sound_state()
        self.progress.seconds = time.monotonic() - self.started
        self.folder.save_last(state)
        self.saved_at = time.monotonic()

    def _result(self, signal: int = 0) -> Result:
        p = self.progress
        return Result(self.folder.run.folder, p.step, p.reason or "interrupted", p.best, p.best_step, signal)


__all__ = ["Dataset", "Options", "Report", "Result", "train"]
