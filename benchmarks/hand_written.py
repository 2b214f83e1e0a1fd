"""What a training step costs beside models that are written by hand (`by_hand/`), in torch and in jax.

    python benchmarks/hand_written.py
    python benchmarks/hand_written.py --families vrnn transformer2 --frameworks torch

The models have the architecture, sizes, batch, optimiser and clipping of a spec in `specs/`. They take its weights, moved
a little so that no zero hides a part; before anything is timed, losses and gradients must agree to 1e-12 in double
precision, relative to the largest, and losses to 1e-5 in single precision. `hand` is that model in the loop that everyone
writes: torch's fused Adam, or one compiled function of `jax.value_and_grad` and Adam whose arguments are donated.
`emitted` is the model that we emit in the same loop, `session` what `mpcompile train` runs between two lines of its log.
In jax `emitted` is left out unless `--models` names it, for it compiles as long. Each framework has a process of its own
with one thread of one core, in which rounds alternate between models; the loss is read every tenth step. Columns:
milliseconds of processor time a step, the ratio to `hand` in the same round (median), and its quartiles.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
from by_hand import SPECS
from by_hand.loops import Loop
from step_time import BATCHES, parse, processor, run  # which leaves one core to this process

from mpcompile.api import load
from mpcompile.backend import DOUBLE, Session, open_session
from mpcompile.ir import Array, Module
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs
from mpcompile.runner.initial import initial
from mpcompile.runner.pages import keep_pages
from mpcompile.runner.settings import Settings, settings

SPEC_FOLDER = Path(__file__).parents[1] / "specs"
FRAMEWORKS = ("torch", "jax")
MODELS = ("emitted", "session")
#: How far losses and gradients may be apart, relative to the largest.
APART64, APART32 = 1e-12, 1e-5
#: Seconds of one round of one learner.
ROUND = 0.12

Inputs = dict[str, Array]


class Family:
    """A spec, its weights and batches, and the models beside it."""

    def __init__(self, name: str) -> None:
        self.name = name
        path, changes = parse(SPECS[name])
        train: dict[str, Any] = {k: int(changes.pop(k)) for k in ("batch", "length") if k in changes}
        module = load(SPEC_FOLDER / path, changes)
        module.train = module.train.changed(**train)
        self.module: Module = optimise(module).module
        self.stated: Settings = settings(self.module)
        rng = np.random.default_rng(0)
        self.weights = {n: a + 0.01 * rng.standard_normal(a.shape) for n, a in initial(self.module).items()}
        self.masks = []
        for n, parameter in self.module.parameters.items():
            if parameter.support is not None:
                self.weights[n] *= parameter.support.stored
            if self.weights[n].ndim == 2:
                live = np.ones_like(self.weights[n])
                self.masks.append(live if parameter.support is None else live * parameter.support.stored)
        self.batches = [
            example_inputs(self.module, "loss", self.stated.batch, self.stated.length, seed)
            for seed in range(BATCHES)
        ]

    def inputs(self, precision: str) -> list[Inputs]:
        return [
            {k: np.asarray(v, precision if v.dtype.kind == "f" else v.dtype) for k, v in batch.items()}
            for batch in self.batches
        ]

    def check(self, framework: str) -> float:
        """Compare losses and gradients in float64; return the largest difference. Raises `SystemExit`."""
        batch = self.inputs("float64")[0]
        session = open_session(framework, self.module, self.weights, options=DOUBLE)
        outputs, gradients = session.gradients(batch)
        loss = float(outputs["loss"] if "loss" in outputs else next(iter(outputs.values())))
        hand = Loop.of(framework, "hand", self, "float64")
        own_loss, own = hand.gradients(batch)
        want, live = hand.state(gradients), hand.state({n: np.ones_like(a) for n, a in gradients.items()})
        scale = max(float(np.abs(a).max()) for a in want.values())
        gaps = [abs(own_loss - loss) / max(1.0, abs(loss))]
        gaps += [float(np.abs((own[n] - want[n]) * live[n]).max()) / scale for n in want]
        apart = float(np.max(gaps))  # NaN is no agreement
        if set(own) != set(want) or not apart <= APART64:
            raise SystemExit(f"{self.name} in {framework} is another function: {apart:.1e} apart")
        return apart

    def learners(self, framework: str, names: list[str]) -> dict[str, Any]:
        """Open the models with the same weights. Raises `SystemExit` where their first losses differ."""
        found = {
            name: Quiet(open_session(framework, self.module, self.weights, self.stated.optimizer))
            if name == "session"
            else Loop.of(framework, name, self, "float32")
            for name in names
        }
        batch = self.inputs("float32")[0]
        losses = {name: learner.step(batch, self.stated.rate)["loss"] for name, learner in found.items()}
        if not max(losses.values()) - min(losses.values()) <= APART32 * max(1.0, abs(losses[names[0]])):
            raise SystemExit(f"{self.name} in {framework}: first losses {losses}")
        return found


class Quiet:
    """A session of which nobody asks the norm of the gradient, as at steps that are not logged."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def step(self, inputs: Inputs, rate: float) -> Mapping[str, float]:
        return self.session.step(inputs, rate, norm=False)


def measure(family: Family, framework: str, names: list[str], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of processor time a step, in each round."""
    learners, batches, rate = family.learners(framework, names), family.inputs("float32"), family.stated.rate
    steps = {}
    for name, learner in learners.items():
        run(learner, batches, rate, 3)
        steps[name] = max(2, round(ROUND / max(run(learner, batches, rate, 4).processor, 1e-6)))
        run(learner, batches, rate, min(steps[name], 50))
    found: dict[str, list[float]] = {name: [] for name in learners}
    for number in range(rounds):
        for name in list(learners) if number % 2 else reversed(learners):
            found[name].append(1e3 * run(learners[name], batches, rate, steps[name]).processor)
    return found


def lines(framework: str, families: list[str], names: list[str], rounds: int) -> None:
    keep_pages()
    for name in families:
        start = time.perf_counter()
        family = Family(name)
        apart = family.check(framework)
        times = measure(family, framework, names, rounds)
        for learner, own in times.items():
            ratios = [a / b for a, b in zip(own, times["hand"], strict=True)]
            low, _, high = quantiles(ratios, n=4)
            note = f"   {apart:.0e} apart" if learner == "hand" else ""
            note += f"   {time.perf_counter() - start:.0f} s" if learner == names[-1] else ""
            print(f"{name:<16}{framework:<7}{learner:<9}{median(own):>9.3f}{median(ratios):>7.2f}"
                  f"{low:>7.2f}{high:>6.2f}{note}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", default=list(SPECS), choices=list(SPECS))
    parser.add_argument("--frameworks", nargs="+", default=list(FRAMEWORKS), choices=list(FRAMEWORKS))
    parser.add_argument("--models", nargs="+", default=[], choices=MODELS)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        framework = given.frameworks[0]
        names = ["hand", *(given.models or (m for m in MODELS if (framework, m) != ("jax", "emitted")))]
        lines(framework, [f for f in given.families if Loop.has(framework, f)], names, given.rounds)
        return
    load_now = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{processor()}, {os.cpu_count()} cores, one thread; load {load_now}")
    print(f"{'family':<16}{'in':<7}{'model':<9}{'ms':>9}{'ratio':>7}{'quartiles':>13}", flush=True)
    for framework in given.frameworks:
        subprocess.run(
            [sys.executable, __file__, "--one", "--frameworks", framework, "--rounds", str(given.rounds),
             "--families", *given.families, *(["--models", *given.models] if given.models else [])], check=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
