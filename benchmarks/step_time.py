"""What one training step costs on each backend: forward, backward, clipping and the optimiser.

    python benchmarks/step_time.py
    python benchmarks/step_time.py --specs specs/cnn.mp specs/made.yaml:pixels=784,batch=128 --backends torch,onnx

A spec may name parameters to change; `batch` and `length` stand for those of its `train` section. `eager` is the loop
that everyone writes: the emitted torch model, `backward`, `clip_grad_norm_`, and the optimiser of torch.optim with its
defaults. `torch` is the session of the torch backend, which asks for fused optimisers; `loops` is the same without
torch's kernels for recurrent layers. The figures are medians over
rounds of processor time and of wall time, as ratios to the first backend in the same round. Every backend has one
thread of one core, in one process, and rounds alternate between backends, so that what else the machine does hits all
alike.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import median
from typing import Any, Protocol
from unittest import mock

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
if hasattr(os, "sched_setaffinity"):  # frameworks size their pools by the cores that they see
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

# ruff: noqa: E402  (frameworks read the settings above when they are imported)
import numpy as np

from mpcompile.api import load
from mpcompile.backend import OptimizerSpec, find_backend, installed
from mpcompile.ir import Array, Module
from mpcompile.runner.examples import example_inputs
from mpcompile.runner.initial import initial
from mpcompile.runner.settings import Settings, settings

SPECS = (
    "made.yaml:pixels=784,hidden=1024,batch=128",
    "cnn.mp",
    "transformer.mp",
    "char_lstm.mp",
    "realnvp2d.mp",
    "realnvp.yaml",
    "pixelcnn.mp",
)
BATCHES = 4
#: Seconds of work between two readings of the clock, and steps before the first one.
ROUND, WARM = 0.15, 3

Inputs = dict[str, Array]


class Trainer(Protocol):
    """The part of a session that is measured."""

    def step(self, inputs: Inputs, rate: float) -> dict[str, float]: ...


class Eager:
    """The emitted torch model under the plain loop."""

    def __init__(self, module: Module, weights: Inputs, rule: OptimizerSpec) -> None:
        import torch

        self.torch, self.clip = torch, rule.clip
        model: Any = find_backend("torch").compile(module, weights)
        self.model = model
        self.weights = [p for p in model.parameters() if p.requires_grad]
        more: dict[str, Any] = {"weight_decay": rule.weight_decay}
        if rule.kind in ("adam", "adamw"):
            more |= {"betas": rule.betas, "eps": rule.eps}
        kinds = {"adam": "Adam", "adamw": "AdamW", "adagrad": "Adagrad", "sgd": "SGD", "perceptron": "SGD"}
        self.optimizer = getattr(torch.optim, kinds[rule.kind])(self.weights, lr=1e-3, **more)

    def step(self, inputs: Inputs, rate: float) -> dict[str, float]:
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        made = self.model.loss(**{name: self.torch.from_numpy(a) for name, a in inputs.items()})
        loss = made["loss"] if isinstance(made, dict) else made
        loss.backward()
        if self.clip is not None:
            self.torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
        self.optimizer.step()
        return {"loss": loss.item()}


def parse(text: str) -> tuple[Path, dict[str, str]]:
    """`path:name=value,...` as the path and its values."""
    path, _, rest = text.partition(":")
    pairs = (pair.partition("=") for pair in rest.split(",") if pair)
    return Path(path), {name: value for name, _, value in pairs}


def prepare(text: str, names: list[str]) -> tuple[dict[str, Trainer], list[Inputs], Settings]:
    """A spec on every backend, and the batches that all of them see."""
    path, changes = parse(text)
    train: dict[str, Any] = {k: int(changes.pop(k)) for k in ("batch", "length") if k in changes}
    module = load(path, changes)
    module.train = module.train.changed(**train)
    stated = settings(module)
    weights = initial(module, stated.seed)
    trainers = {n: trainer(n, module, weights, stated.optimizer) for n in names}
    batches = [example_inputs(module, "loss", stated.batch, stated.length, seed) for seed in range(BATCHES)]
    narrow = [
        {k: np.asarray(v, np.float32 if v.dtype.kind == "f" else v.dtype) for k, v in b.items()}
        for b in batches
    ]
    return trainers, narrow, stated


def trainer(name: str, module: Module, weights: Inputs, rule: OptimizerSpec) -> Trainer:
    if name == "eager":
        return Eager(module, weights, rule)
    if name == "loops":
        with mock.patch("mpcompile_torch.body.find_cells", return_value={}):
            return find_backend("torch").session(module, weights, rule)
    return find_backend(name).session(module, weights, rule)


def run(trainer: Trainer, batches: list[Inputs], rate: float, steps: int) -> tuple[float, float]:
    """Processor and wall time of one step, in seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    for i in range(steps):
        trainer.step(batches[i % len(batches)], rate)
    return (time.process_time() - cpu) / steps, (time.perf_counter() - wall) / steps


def measure(text: str, names: list[str], repeats: int) -> dict[str, tuple[float, float, float]]:
    """For each backend its milliseconds of processor time, and its ratios (processor, wall) to the first one."""
    trainers, batches, stated = prepare(text, names)
    steps: dict[str, int] = {}
    for name, trainer in trainers.items():
        run(trainer, batches, stated.rate, WARM)
        once = run(trainer, batches, stated.rate, 2)[1]
        steps[name] = max(2, round(ROUND / once))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(repeats):
        order = names if number % 2 else names[::-1]
        for name in order:
            times[name].append(run(trainers[name], batches, stated.rate, steps[name]))
    base = times[names[0]]
    found = {}
    for name in names:
        ratios = [(a / c, b / d) for (a, b), (c, d) in zip(times[name], base, strict=True)]
        found[name] = (
            1e3 * median(cpu for cpu, _ in times[name]),
            median(cpu for cpu, _ in ratios),
            median(wall for _, wall in ratios),
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = Path(__file__).parents[1] / "specs"
    parser.add_argument("--specs", nargs="+", default=[str(folder / name) for name in SPECS])
    parser.add_argument(
        "--backends", default=",".join(["eager", *sorted(installed(), key=lambda n: n != "torch")])
    )
    parser.add_argument("--repeats", type=int, default=15, help="rounds of each backend")
    options = parser.parse_args()
    names = options.backends.split(",")
    print(f"{'spec':<14}{'backend':<9}{'ms a step':>10}{'ratio':>8}{'wall':>8}")
    for text in options.specs:
        for name, (ms, cpu, wall) in measure(text, names, options.repeats).items():
            print(f"{parse(text)[0].stem:<14}{name:<9}{ms:>10.2f}{cpu:>8.2f}{wall:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
