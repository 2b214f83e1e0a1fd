"""Kill, fail and crash a training at every change of the file system, resume it, and compare it bit for bit.

    python tests/support/kill_matrix.py                      six specs on three backends, all of one save
    python tests/support/kill_matrix.py --whole --specs made      from the first change to the last
    python tests/support/kill_matrix.py --specs made --backends torch

A training of a spec is recorded once on the real backend: what each step gave, and every state. Then, at every
`open`, `write`, `fsync`, `ftruncate`, `rename`, `mkdir`, `unlink`, `rmdir` and exchange of folders of its last step,
which writes metrics, the best weights and a checkpoint and removes an old one, or with `--whole` of all of it:

kill      a process that replays the recording is sent SIGKILL there; a second one resumes and is killed at the same
          point of its own; the real backend resumes what is left and trains to the end
ENOSPC, EIO  the call fails, and every later write; the training must say so in a finding (MP527) and be resumable
crash     power fails there: names and contents that were not synced are lost, in three ways (see `crashes.Model`)

The last state, the best state and the metrics must be those of the training that was left alone, and no step that a
returned save had stored may be missing. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from crashes import Act, Model, Points, fail_at, kill_at

from mpcompile import backend as door
from mpcompile.api import load
from mpcompile.backend import find_backend
from mpcompile.diagnostics import SpecError
from mpcompile.ir import Module
from mpcompile.runner import checkpoint, setup
from mpcompile.runner.loop import Options, train

SPECS = ("made", "realnvp2d", "vae", "mlp", "lstm_stacked", "maf")
BACKENDS = ("torch", "jax", "onnx")
STEPS, EVERY = 6, 3
State = dict[str, np.ndarray[Any, Any]]


@dataclass
class Recording:
    """What a session gave: after each number of steps its state, and the results of calls in their order."""

    states: list[State] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)
    runs: dict[tuple[int, str, str], dict[str, Any]] = field(default_factory=dict)

    def number(self, state: Mapping[str, Any]) -> int:
        """How many steps a state has behind it. Raises `AssertionError` for one that no step gave, to the bit."""
        for number, known in enumerate(self.states):
            if all((known[k] == v).all() for k, v in state.items()):
                return number
        raise AssertionError("a checkpoint was loaded that is no state of the training")


def _key(inputs: Mapping[str, Any]) -> str:
    parts = (k.encode() + np.ascontiguousarray(v).tobytes() for k, v in sorted(inputs.items()))
    return hashlib.sha256(b"".join(parts)).hexdigest()


class Real:
    """One session of a real backend, reset whenever a training asks for one."""

    def __init__(self, backend: str) -> None:
        self.backend, self.session = find_backend(backend), None
        self.name = backend

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.session is None:
            self.session = self.backend.session(*arguments, **options)
            self.start = {k: np.array(v) for k, v in self.session.state().items()}
        self.session.load_state(self.start)
        return self.session


class Recorded:
    """A session that writes down what the real one gives."""

    def __init__(self, inner: Any, to: Recording, stepped: Callable[[], None]) -> None:
        self.inner, self.to, self.stepped, self.count = inner, to, stepped, 0
        to.states = [self.state()]

    def state(self) -> State:
        return {k: np.array(v) for k, v in self.inner.state().items()}

    def step(self, inputs: Any, rate: float, norm: bool = True) -> dict[str, float]:
        out: dict[str, float] = self.inner.step(inputs, rate)
        self.count += 1
        self.stepped()
        self.to.steps.append(out)
        self.to.states.append(self.state())
        return out

    def run(self, program: str, inputs: Any) -> Any:
        out = self.inner.run(program, inputs)
        self.to.runs[self.count, program, _key(inputs)] = out
        return out

    def load_state(self, state: Any) -> None:
        self.inner.load_state(state)
        if self.count == 0:  # a start that depends on data
            self.to.states = [self.state()]


class Replayed:
    """A session without a framework, which can be forked and killed."""

    def __init__(self, recording: Recording) -> None:
        self.of, self.count = recording, 0

    def state(self) -> State:
        return self.of.states[self.count]

    def load_state(self, state: Any) -> None:
        self.count = self.of.number(state)

    def step(self, inputs: Any, rate: float, norm: bool = True) -> dict[str, float]:
        self.count += 1
        return self.of.steps[self.count - 1]

    def run(self, program: str, inputs: Any) -> Any:
        return self.of.runs[self.count, program, _key(inputs)]


class Sessions:
    """A backend that hands out what `make` gives."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make

    def session(self, *arguments: Any, **options: Any) -> Any:
        return self.make(*arguments, **options)


@dataclass
class Subject:
    """A spec on a backend, its recording and the outcome of the training that was left alone."""

    module: Module
    real: Callable[..., Any]
    name: str
    root: Path
    exchange: bool = True
    recording: Recording = field(default_factory=Recording)
    whole: dict[str, str] = field(default_factory=dict)
    last: int = 0  # the first change after the last step: it logs, validates, saves the best and a checkpoint
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def out(self) -> Path:
        return self.root / "at" / "run"

    def train(self, make: Callable[..., Any], resume: bool, points: Points | None = None) -> None:
        options = Options(
            backend=self.name, seed=1, steps=STEPS, resume=resume, checkpoint_every=EVERY, unproven=False,
            precision="float32",
        )  # fmt: skip
        if points is None:
            train(self.module, self.out, options, backend=Sessions(make))  # type: ignore[arg-type]
            return
        with points.watch(self.exchange):
            train(self.module, self.out, options, backend=Sessions(make))  # type: ignore[arg-type]

    def replay(self, *_: Any, **__: Any) -> Replayed:
        return Replayed(self.recording)

    def points(self, act: Act = lambda number, name: None, **options: Any) -> Points:
        return Points(self.out.parent, act, **options)

    def fresh(self) -> None:
        shutil.rmtree(self.out.parent, ignore_errors=True)
        self.out.parent.mkdir(parents=True)

    def begin(self) -> list[str]:
        """Record; gives the changes that one training makes, in order."""
        self.fresh()
        points = self.points()

        def stepped() -> None:
            self.last = len(points.names)

        def make(*arguments: Any, **options: Any) -> Recorded:
            return Recorded(self.real(*arguments, **options), self.recording, stepped)

        self.train(make, False, points)
        self.whole = outcome(self.out)
        return points.names

    def check(self, what: str, make: Callable[..., Any]) -> None:
        """Resume what is left, and compare."""
        self.train(make, True)
        found = outcome(self.out)
        assert found == self.whole, f"{what}: {found} is not {self.whole}"
        left = [p.name for p in self.out.parent.iterdir() if p != self.out and not _abandoned(p)]
        assert not left, f"{what}: left behind {left}"
        self.counts[what.split()[0]] += 1

    # The kinds of faults ----------------------------------------------------------------------------------

    def kill(self, point: int) -> None:
        """SIGKILL at a point, SIGKILL at the same point of the resumed process, then the real backend to the end."""
        self.fresh()
        assert self.forked(point, False), f"kill {point}: the process lived"
        self.counts["killed again"] += self.forked(point % 17, True)
        self.check(f"kill {point}", self.real)

    def forked(self, point: int, resume: bool) -> bool:
        """Train in a child that kills itself at a point; whether it did. A child that ends before it has none left."""
        child = os.fork()
        if child == 0:
            try:
                self.train(self.replay, resume, self.points(kill_at(point)))
            except BaseException as fault:
                os.write(2, f"child: {type(fault).__name__}: {fault}\n".encode())
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed"
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

    def fail(self, point: int, code: int) -> None:
        """A full or broken disk from a point on, then one that works."""
        self.fresh()
        name = errno.errorcode[code]
        try:
            self.train(self.replay, False, self.points(fail_at(point, code)))
        except SpecError as said:
            assert "MP527" in str(said), f"{name} {point}: {said}"
        else:
            self.counts[f"{name} not needed"] += 1
        self.check(f"{name} {point}", self.replay)

    def forget(self, point: int, mode: str) -> None:
        """Power fails before a point: what was not synced is lost, but no step that a save returned for."""
        self.fresh()
        model, stored = Model(self.out.parent), [-1]

        class Off(BaseException):
            pass

        def act(number: int, name: str) -> None:
            if number >= point:
                raise Off

        points = self.points(act, log=model.log)
        try:
            with _noting(stored):
                self.train(self.replay, False, points)
        except Off:
            pass
        shutil.rmtree(self.out.parent)
        model.crash(self.out.parent, mode, point)
        found = checkpoint.newest(self.out / "checkpoints")
        reached = found.record["step"] if found else -1
        assert reached >= stored[-1], f"crash {point} {mode}: step {stored[-1]} was saved, {reached} is there"
        if stored[-1] < 0 and self.out.exists() and found is None:
            raise AssertionError(f"crash {point} {mode}: a run without a checkpoint")
        self.check(f"crash {point} {mode}", self.replay)


@contextmanager
def _noting(stored: list[int]) -> Iterator[None]:
    """Note the step of every save that returned."""
    real = checkpoint.save_last

    def save(root: Path, step: int, *rest: Any, **options: Any) -> None:
        real(root, step, *rest, **options)
        if root.parent.name == "run":  # the first one is made before the run has its name
            stored.append(step)

    with mock.patch.object(checkpoint, "save_last", save):
        yield


def _abandoned(path: Path) -> bool:
    """A staging folder that was killed before it had its mark: nobody can tell whose it is, and it holds nothing."""
    return path.name.startswith(".mpcompile-") and sum(p.stat().st_size for p in path.rglob("*")) < 64


def outcome(folder: Path) -> dict[str, str]:
    """Fingerprints of what must be the same: the last state, the best one, the metrics without timings."""
    last = sorted((folder / "checkpoints").glob("last-*"))[-1]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds")
    return {
        "last": last.name + hashlib.sha256((last / "state.safetensors").read_bytes()).hexdigest(),
        "best": hashlib.sha256((folder / "best" / "state.safetensors").read_bytes()).hexdigest(),
        "metrics": hashlib.sha256(json.dumps(lines).encode()).hexdigest(),
    }


@contextmanager
def prepared() -> Iterator[None]:
    """Read data and rewrite graphs once, not at every resume."""

    def once(make: Callable[..., Any]) -> Callable[..., Any]:
        known: list[Any] = []

        def made(*arguments: Any) -> Any:
            if not known:
                known.append(make(*arguments))
            return known[0]

        return made

    with (
        mock.patch.object(setup, "load_data", once(setup.load_data)),
        mock.patch.object(door, "optimise", once(door.optimise)),
    ):
        yield


def campaign(
    subject: Subject, stride: int = 1, whole: bool = False, kinds: tuple[str, ...] = ("kill", "fail", "crash")
) -> int:
    """All faults at every `stride`-th point of the last step, or of the `whole` training; gives their number."""
    end = len(subject.begin())
    chosen = range(0 if whole else subject.last, end, stride)
    for point in chosen:
        subject.kill(point)
        for code in (errno.ENOSPC, errno.EIO):
            subject.fail(point, code)
        for mode in ("lost", "names", "some"):
            subject.forget(point, mode)
    return len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--specs", default=",".join(SPECS))
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--stride", type=int, default=1, help="only every so many-th point")
    parser.add_argument(
        "--whole", action="store_true", help="all points of the training, not of its last step"
    )
    parser.add_argument(
        "--no-exchange", action="store_true", help="as on systems that cannot swap two folders"
    )
    memory = (
        "/dev/shm" if os.path.isdir("/dev/shm") else None
    )  # kills and failures know no disk, and it is slow
    parser.add_argument("--where", default=memory, help="folder for the runs")
    options = parser.parse_args()
    specs = Path(__file__).parents[2] / "specs"
    total: Counter[str] = Counter()
    for name in options.specs.split(","):
        module = load(next(p for p in (specs / f"{name}.mp", specs / f"{name}.yaml") if p.exists()))
        for backend in options.backends.split(","):
            start = time.monotonic()
            with tempfile.TemporaryDirectory(dir=options.where) as root, prepared():
                subject = Subject(module, Real(backend), backend, Path(root), not options.no_exchange)
                points = campaign(subject, options.stride, options.whole)
            total += subject.counts
            total["points"] += points
            spent = time.monotonic() - start
            print(
                f"{name:<14}{backend:<7}{points:>4} points  {dict(subject.counts)}  {spent:.0f} s", flush=True
            )
    print(f"all the same: {dict(total)}")


if __name__ == "__main__":
    sys.exit(main())
