"""What one training step costs on each backend: forward, backward, clipping and the optimiser.

    python benchmarks/step_time.py
    python benchmarks/step_time.py --specs specs/cnn.mp specs/made.yaml:pixels=784,batch=128 --backends torch,onnx

A spec may name parameters to change; `batch` and `length` stand for those of its `train` section. `eager` is the loop
that everyone writes around the very model that the torch session runs: `backward`, `clip_grad_norm_`, the optimiser of
torch.optim with its defaults, and `loss.item()` after each step. `fused` is the same loop with `fused=True`. `torch`,
`jax` and `onnx` are sessions, whose scalars are read every tenth step, as a run reads them; `loops` is the session of
torch without its kernels for recurrent layers, `primitives` without those of `mpcompile_torch.kernels`.

Every backend has one thread of one core, in one process, and rounds alternate between backends, so that what else the
machine does hits all alike. The process keeps the memory that it frees, as `mpcompile train` does (`--allocator system`
leaves the allocator as it is). Columns: milliseconds of processor time a step, in the program (user) and in the
system, and pages that the system handed out; then medians over rounds of ratios to the first backend in the same
round: processor time, user time alone, and wall time. Memory that is handed back to the system and fetched again at
each step shows in the system's time and in pages.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
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
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs
from mpcompile.runner.initial import initial
from mpcompile.runner.pages import keep_pages
from mpcompile.runner.settings import Settings, settings

SPECS = (
    "made.yaml:pixels=784,hidden=1024,batch=128",
    "cnn.mp",
    "transformer.mp",
    "char_lstm.mp",
    "vae.yaml",
    "vae_iaf.mp",
    "vrnn.mp",
    "pixelcnn.mp",
    "realnvp2d.mp",
    "realnvp.yaml",
    "glow.mp",
    "maf.mp:batch=512",
    "nsf.mp",
)
#: Steps between two readings of a session's scalars.
READ = 10
BATCHES = 4
#: Seconds of work between two readings of the clock, and steps before the first one.
ROUND, WARM = 0.15, 3

Inputs = dict[str, Array]


class Trainer(Protocol):
    """The part of a session that is measured."""

    def step(self, inputs: Inputs, rate: float) -> Mapping[str, float]: ...


class Eager:
    """The emitted torch model under the plain loop."""

    def __init__(self, module: Module, weights: Inputs, spec: OptimizerSpec, **more: Any) -> None:
        import torch

        self.torch, self.clip = torch, spec.clip
        model: Any = find_backend("torch").compile(module, weights)
        self.model = model
        self.weights = [p for p in model.parameters() if p.requires_grad]
        own = vars(spec.rule)
        more |= {"weight_decay": spec.weight_decay}
        more |= {"betas": (own["beta1"], own["beta2"])} if "beta1" in own else {}
        more |= {name: own[name] for name in ("eps", "momentum") if name in own}
        kinds = {"adam": "Adam", "adamw": "AdamW", "adagrad": "Adagrad", "sgd": "SGD", "perceptron": "SGD"}
        self.optimizer = getattr(torch.optim, kinds[spec.kind])(self.weights, lr=1e-3, **more)

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
    module = optimise(module).module
    stated = settings(module)
    weights = initial(module, stated.seed)
    trainers = {n: trainer(n, module, weights, stated.optimizer) for n in names}
    batches = [example_inputs(module, "loss", stated.batch, stated.length, seed) for seed in range(BATCHES)]
    narrow = [
        {k: np.asarray(v, np.float32 if v.dtype.kind == "f" else v.dtype) for k, v in b.items()}
        for b in batches
    ]
    return trainers, narrow, stated


def trainer(name: str, module: Module, weights: Inputs, spec: OptimizerSpec) -> Trainer:
    if name in ("eager", "fused"):
        return Eager(module, weights, spec, **({"fused": True} if name == "fused" else {}))
    if name == "loops":
        with mock.patch("mpcompile_torch.body.find_recurrent_layers", return_value={}):
            return find_backend("torch").session(module, weights, spec)
    if name == "primitives":
        with mock.patch("mpcompile_torch.body.spells", return_value=False):
            return find_backend("torch").session(module, weights, spec)
    return find_backend(name).session(module, weights, spec)


@dataclass(frozen=True)
class Cost:
    """One step: seconds in the program, in the system and on the wall, and pages handed out."""

    user: float
    system: float
    wall: float
    pages: float

    @property
    def processor(self) -> float:
        return self.user + self.system


def run(trainer: Trainer, batches: list[Inputs], rate: float, steps: int) -> Cost:
    """What a step costs, over several. The last scalars are read within the time."""
    before, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for i in range(steps):
        told = trainer.step(batches[i % len(batches)], rate)
        if i % READ == 0 or i == steps - 1:
            told["loss"]
    after = resource.getrusage(resource.RUSAGE_SELF)
    differences = (
        after.ru_utime - before.ru_utime,
        after.ru_stime - before.ru_stime,
        time.perf_counter() - wall,
        after.ru_minflt - before.ru_minflt,
    )
    return Cost(*(d / steps for d in differences))


def measure(text: str, names: list[str], repeats: int) -> dict[str, list[Cost]]:
    """The costs of each backend in each round."""
    trainers, batches, stated = prepare(text, names)
    steps: dict[str, int] = {}
    for name, trainer in trainers.items():
        run(trainer, batches, stated.rate, WARM)
        once = run(trainer, batches, stated.rate, 2).wall
        steps[name] = max(2, round(ROUND / once))
    found: dict[str, list[Cost]] = {name: [] for name in names}
    for number in range(repeats):
        for name in names if number % 2 else names[::-1]:
            found[name].append(run(trainers[name], batches, stated.rate, steps[name]))
    return found


def row(costs: list[Cost], base: list[Cost]) -> str:
    """Milliseconds and pages, and medians of the ratios to another backend in the same rounds."""
    pairs = list(zip(costs, base, strict=True))
    user, system = (1e3 * median(values) for values in ([c.user for c in costs], [c.system for c in costs]))
    ratios = (
        median(c.processor / b.processor for c, b in pairs),
        median(c.user / b.user for c, b in pairs),
        median(c.wall / b.wall for c, b in pairs),
    )
    pages = median(c.pages for c in costs)
    return f"{user:>9.2f}{system:>9.2f}{pages:>8.0f}" + "".join(f"{r:>8.2f}" for r in ratios)


def processor() -> str:
    """The name of the processor, as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


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
    parser.add_argument("--allocator", choices=("kept", "system"), default="kept", help="of freed memory")
    options = parser.parse_args()
    kept = options.allocator == "kept" and keep_pages()
    names = options.backends.split(",")
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    memory = "pages kept" if kept else "allocator as it is"
    print(f"{processor()}, {os.cpu_count()} cores, one thread; load {load}; {memory}")
    print(
        f"{'spec':<18}{'backend':<9}{'user ms':>8}{'sys ms':>9}{'pages':>8}{'ratio':>8}{'user':>8}{'wall':>8}"
    )
    for text in options.specs:
        costs = measure(text, names, options.repeats)
        for name in names:
            print(f"{parse(text)[0].stem:<18}{name:<8}{row(costs[name], costs[names[0]])}", flush=True)


if __name__ == "__main__":
    main()
