"""What the rows of `networks.py` share: training within a time, reading the trained run, figures."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import real_data

from mpcompile.api import load
from mpcompile.backend import Session, SessionOptions, find_backend
from mpcompile.ir import Array, Module
from mpcompile.runner.batches import chunks, complete
from mpcompile.runner.data import Split, load_data
from mpcompile.runner.evaluate import evaluate
from mpcompile.runner.loop import Options, Report, Result, train
from mpcompile.runner.run import Run, open_run

HERE = Path(__file__).parent
SPECS = HERE.parent / "specs"
TIMED_STEPS = 12
#: Part of the time that steps may take; validations and checkpoints have the rest.
STEPS_SHARE = 0.85


def add_variation(parser: argparse.ArgumentParser) -> None:
    """Where and how large: what a row is trained with in place of its own settings."""
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--mixed", action="store_true", help="bfloat16 where it is safe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, help="instead of the row's")
    parser.add_argument("--sizes", type=sizes, default={}, help="width=64,layers=12: instead of the row's")


def sizes(text: str) -> dict[str, str]:
    """`name=value,name=value`."""
    return dict(part.split("=") for part in text.split(","))  # type: ignore[arg-type]  # two pieces, or ValueError


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, and what stands beside it."""

    what: str
    value: float
    error: float | None  # standard error
    beside: str  # published figures, or a baseline computed here

    @classmethod
    def of(cls, what: str, found: dict[str, float], beside: str) -> Figure:
        """From `moments`, or a figure of `evaluate`."""
        return cls(what, found["mean"], found["standard_error"], beside)

    def __str__(self) -> str:
        spread = "" if self.error is None else f" +- {self.error:.2g}"
        value = f"{self.value:.4f}" if abs(self.value) >= 1e-3 or not self.value else f"{self.value:.1e}"
        return f"  {self.what:<46}{value + spread:>20}   {self.beside}"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained run: its module, its run folder, and what training took."""

    module: Module
    run: Run
    step: int
    best_step: int
    seconds: float

    @property
    def steps(self) -> str:
        """How many, and of which the weights are: the best on the validation part, where there is one."""
        best = f", best at {self.best_step}" if 0 < self.best_step < self.step else ""
        return f"{self.step} steps{best}"

    def part(self, split: str = "test") -> Split:
        options = self.run.facts["settings"]
        known = {"vocabulary": self.run.facts["vocabulary"]} if self.run.facts.get("vocabulary") else {}
        return load_data(
            self.module, self.run.facts["data"], options["length"], options["threshold"], **known
        ).split(split)

    def whole(self, split: str = "test") -> dict[str, Array]:
        """All examples of a part, by field."""
        part = self.part(split)
        return part.take(np.arange(len(part)))

    def session(self, module: Module | None = None) -> Session:
        """The best weights, live; `module` may be a part of the network, or the same for another size of its input."""
        weights, _ = self.run.parameters(self.module)
        facts, module = self.run.facts, module or self.module
        own = {name: weights[name] for name in module.parameters}
        return find_backend(facts["backend"]).session(
            module, own, options=SessionOptions(device=facts["device"])
        )

    def outputs(self, program: str, name: str, part: Split, batch: int = 100) -> Array:
        """One output of a program over a split."""
        session, seed = self.session(), int(self.run.facts["seed"])
        return np.concatenate(
            [
                session.run(program, complete(self.module, program, data, (seed, program, number)))[name]
                for number, data in chunks(part, batch)
            ]
        )

    def reconstructed(self, data: dict[str, Array]) -> Array:
        """Means of the decoder at the code of each example."""
        out = self.session().run("reconstruct", complete(self.module, "reconstruct", data, ("reconstruct",)))
        return next(v for v in out.values() if v.shape == data["x"].shape)

    def target(self, name: str, kind: str = "accuracy") -> dict[str, float]:
        """Mean and standard error of the accuracy (or `mean_squared_error`) of a target on the test part."""
        found: dict[str, float] = evaluate(self.run, self.module)["targets"][name][kind]
        return found


@dataclass
class Bench:
    """The options of the command line, and training within `minutes`, the time of the row."""

    options: argparse.Namespace
    minutes: float
    fitted: list[Fitted] = field(default_factory=list)

    def file(self, name: str) -> Path:
        """A file below --data. Raises `real_data.Missing`."""
        if self.options.data is None:
            raise real_data.Missing(f"needs {name} (--data PATH)")
        path: Path = self.options.data / name
        if not path.is_file():
            raise real_data.Missing(f"there is no {path}")
        return path

    def prepared(self, name: str, make: Callable[..., dict[str, Array]], *given: Any) -> Path:
        """A file of this project's form, made from the set's own beside the runs."""
        path: Path = self.options.out / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **make(*given))  # type: ignore[arg-type]  # names are no options of savez
        return path

    def variant(self, spec: Path, name: str, *changes: tuple[str, str]) -> Path:
        """A spec with some of its text replaced, beside the runs."""
        text = spec.read_text(encoding="utf-8")
        for old, new in changes:
            if old not in text:
                raise ValueError(f"{spec.name} does not hold {old!r}")
            text = text.replace(old, new)
        path: Path = self.options.out / f"{name}{spec.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def fit(
        self,
        name: str,
        spec: Path,
        data: Path | str | None,
        overrides: dict[str, str] | None = None,
        share: float = 1.0,
        **changes: Any,
    ) -> Fitted:
        """Train within a share of the row's time; `changes` are settings of the spec's `train` section.

        A few steps are timed, and as many are planned as fit, so that the schedule of the rate ends where training
        does; the spec's own steps, epochs and patience may end it before. Times are the processor's, on another device
        those of the clock.
        """
        o = self.options
        given = {**(overrides or {}), **o.sizes}
        if o.batch:
            changes["batch"] = o.batch
        chosen = Options(
            backend=o.backend,
            data=None if data is None else str(data),
            seed=o.seed,
            device=o.device,
            mixed=o.mixed,
            overrides=given,
        )
        now = time.process_time if o.device == "cpu" else time.monotonic

        def fresh(**settings: Any) -> Module:
            module = load(spec, given)
            module.train = module.train.changed(**{**changes, **settings})
            return module

        clock: list[float] = []

        def watch(report: Report) -> None:
            if report.line["split"] == "train":
                clock.append(now())

        _train(fresh(steps=TIMED_STEPS, valid_every=TIMED_STEPS, log_every=1), o.out / "timed", chosen, watch)
        step = (clock[-1] - clock[0]) / (len(clock) - 1)
        steps = max(TIMED_STEPS, int(STEPS_SHARE * 60 * self.minutes * share / max(step, 1e-6)))
        module = fresh()
        module.train = module.train.changed(steps=min(steps, module.train.steps or steps))
        start = now()
        result = _train(module, o.out / name, chosen)
        spent = now() - start
        fitted = Fitted(module, open_run(o.out / name), result.step, result.best_step, spent)
        self.fitted.append(fitted)
        return fitted


def _train(
    module: Module, out: Path, options: Options, watch: Callable[[Report], None] = lambda report: None
) -> Result:
    result = train(module, out, options, watch=watch)
    if result.reason == "interrupted":
        raise SystemExit(f"stopped at step {result.step} of {out.name}")
    return result
