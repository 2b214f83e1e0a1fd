"""What a training step costs on a GPU, beside models that are written by hand.

    python benchmarks/gpu.py --device cuda
    python benchmarks/gpu.py --device cuda --models wavenet --precisions float32 --variants torch-session,torch-hand
    python benchmarks/gpu.py --device cpu

A step is what a training loop does: the batch goes from the host to the device, forward, backward, clipping where the
spec clips, the optimiser's update, and the loss comes back to the host, so that the device is idle at every reading of
the clock. All variants of a model start from the same weights and see the same batches, and their first losses are
compared before anything is timed.

    torch-session        the session of the torch backend, as `mpcompile train` runs it
    torch-compiled       the emitted model under `torch.compile` and the plain loop, with torch's fused optimiser
    torch-hand           a model written by hand (`gpu_torch.py`), the same loop
    torch-hand-compiled  the same under `torch.compile`
    jax-session          the session of the jax backend
    jax-hand             a loss written by hand (`gpu_jax.py`) and optax, jitted

float32 keeps its digits everywhere (no tf32); `mixed` is bfloat16: autocast in torch, weights cast by hand in JAX. Each
variant lives in its own process. As many compile at once as there are cores; what is not ready after `--wait` seconds is
left out, and named. Then they take turns: one runs, the others hold still. Milliseconds are medians over rounds; `by
hand` is the median ratio to the hand-written model of the same framework in the same round, `torch` the same to
torch-hand; `first` is how long the first step took, compilation included. On the CPU sizes are small, which checks the
command and says nothing about speed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from mpcompile.api import load
from mpcompile.backend import OptimizerSpec, SessionOptions, open_session
from mpcompile.ir import Array, Module
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs
from mpcompile.runner.initial import initial

VARIANTS = ("torch-session", "torch-compiled", "torch-hand", "torch-hand-compiled", "jax-session", "jax-hand")
#: Largest relative difference of two first losses.
AGREE = {"float32": 1e-4, "mixed": 2e-2}
RATE, BATCHES, WARM = 1e-4, 4, 3

Inputs = dict[str, Array]


class Trainer(Protocol):
    """The part of a session that is measured."""

    def step(self, inputs: Inputs, rate: float, norm: bool) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Case:
    """A spec at the sizes of a run, and at those for a CPU; `image` is the side of its images, if not the spec's."""

    sizes: dict[str, int]
    batch: int
    small: dict[str, int]
    length: int = 1
    small_length: int = 1
    image: int | None = None


CASES = {
    "transformer": Case(
        {"characters": 256, "width": 768, "heads": 12, "layers": 12, "longest": 512}, 8,
        {"characters": 20, "width": 16, "heads": 2, "layers": 2, "longest": 8}, 512, 8,
    ),
    "gated_pixelcnn": Case(
        {"width": 64, "layers": 12, "classes": 10}, 64, {"width": 8, "layers": 2, "classes": 10}, image=28
    ),
    "wavenet": Case(
        {"width": 64, "layers": 10, "cycles": 3, "levels": 256, "classes": 4}, 8,
        {"width": 8, "layers": 3, "cycles": 2, "levels": 32, "classes": 4}, 4096, 40,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One variant of a model in one precision on one device."""

    model: str
    precision: str
    variant: str
    device: str

    def read(self) -> tuple[Module, list[Inputs], dict[str, int]]:
        """The module, its batches, and its sizes."""
        case, small = CASES[self.model], self.device == "cpu"
        sizes = case.small if small else case.sizes
        text = (Path(__file__).parents[1] / "specs" / f"{self.model}.mp").read_text()
        if case.image is not None and not small:
            assert "[1, 8, 8]" in text
            text = text.replace("[1, 8, 8]", f"[1, {case.image}, {case.image}]")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{self.model}.mp"
            path.write_text(text)
            module = load(path, {k: str(v) for k, v in sizes.items()})
        batch, length = (2, case.small_length) if small else (case.batch, case.length)
        batches = [example_inputs(module, "loss", batch, length, seed) for seed in range(BATCHES)]
        return module, [{k: _narrow(v) for k, v in b.items()} for b in batches], sizes

    def trainer(self, module: Module, sizes: dict[str, int]) -> Trainer:
        """The variant, with the weights that training starts from."""
        rule, weights, mixed = OptimizerSpec.of(module.train), initial(module, 0), self.precision == "mixed"
        framework, kind = self.variant.split("-", 1)
        if kind == "session":
            return open_session(
                framework, module, weights, rule, options=SessionOptions(device=self.device, mixed=mixed)
            )
        if framework == "jax":
            import gpu_jax

            return gpu_jax.by_hand(self.model, sizes, list(weights.values()), rule, self.device, mixed)
        import gpu_torch

        if kind == "compiled":
            return gpu_torch.emitted(optimise(module).module, weights, rule, self.device, mixed)
        compiled = kind == "hand-compiled"
        return gpu_torch.by_hand(self.model, sizes, weights, rule, self.device, mixed, compiled)

    def kernels(self, trainer: Trainer, batches: list[Inputs]) -> dict[str, float]:
        """Milliseconds of each GPU kernel in one step."""
        written = import_module("gpu_jax" if self.variant.startswith("jax") else "gpu_torch")
        found = written.kernels(lambda: run(trainer, batches, BATCHES))
        return {str(name): float(ms) / BATCHES for name, ms in found.items()}


def _narrow(array: Array) -> Array:
    return np.asarray(array, np.float32 if array.dtype.kind == "f" else array.dtype)


def run(trainer: Trainer, batches: list[Inputs], steps: int) -> float:
    """Seconds of one step."""
    start = time.perf_counter()
    for i in range(steps):
        trainer.step(batches[i % len(batches)], RATE, norm=False)["loss"]  # reading it waits for the device
    return (time.perf_counter() - start) / steps


def release(job: Job) -> None:
    """Give back the memory that torch keeps for later: the other processes need it."""
    if job.variant.startswith("torch") and job.device == "cuda":
        import torch

        torch.cuda.empty_cache()


def serve(job: Job, pipe: Connection, room: Any) -> None:
    """Prepare a variant in a process of its own, tell its first loss, then run as many steps as are asked for.

    Zero steps ask for the time of each kernel, and None for the end. `room` bounds how many prepare at once.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # many processes share one device
    with room:
        if job.variant.startswith("torch"):
            import torch

            torch.backends.cudnn.allow_tf32 = False
        module, batches, sizes = job.read()
        trainer = job.trainer(module, sizes)
        start = time.perf_counter()
        loss = trainer.step(batches[0], RATE, norm=False)["loss"]
        first = time.perf_counter() - start
        run(trainer, batches, WARM)
        release(job)
    pipe.send((loss, first))
    while (steps := pipe.recv()) is not None:
        run(trainer, batches, 1)
        pipe.send(run(trainer, batches, steps) if steps else job.kernels(trainer, batches))
        release(job)


@dataclass
class Running:
    """A job in its process."""

    job: Job
    pipe: Connection
    process: Any
    loss: float = 0.0
    first: float = 0.0

    def ask(self, steps: int) -> Any:
        self.pipe.send(steps)
        return self.pipe.recv()


def start(jobs: list[Job], wait: float) -> list[Running]:
    """Processes of the jobs that are ready after so many seconds; the others are ended and named."""
    context = multiprocessing.get_context("spawn")
    room, running = context.Semaphore(os.cpu_count() or 1), []
    for job in jobs:
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(job, theirs, room), daemon=True)
        process.start()
        theirs.close()
        running.append(Running(job, ours, process))
    until, ready = time.monotonic() + wait, []
    for r in running:
        try:
            if r.pipe.poll(max(0.0, until - time.monotonic())):
                r.loss, r.first = r.pipe.recv()
                ready.append(r)
                continue
            reason = f"not ready after {wait:.0f} s"
        except (EOFError, ConnectionResetError):
            reason = "failed"
        r.process.kill()
        print(f"# left out: {r.job.model} {r.job.precision} {r.job.variant}, {reason}", flush=True)
    return ready


def require_agreement(group: list[Running]) -> None:
    """Raise `ValueError` where variants of one model in one precision start at different losses."""
    for r in group:
        if not abs(r.loss - group[0].loss) <= AGREE[r.job.precision] * abs(group[0].loss):
            raise ValueError(f"{r.job} starts at a loss of {r.loss}, {group[0].job} at {group[0].loss}")


def measure(group: list[Running], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of a step of each variant in each round; variants take turns."""
    steps = {r.job.variant: max(2, round(seconds / r.ask(2))) for r in group}
    times: dict[str, list[float]] = {r.job.variant: [] for r in group}
    for number in range(rounds):
        for r in group if number % 2 else group[::-1]:
            times[r.job.variant].append(r.ask(steps[r.job.variant]))
    return times


def ratio(times: dict[str, list[float]], variant: str, base: str) -> float | None:
    """The median over rounds of one variant's time over another's; None where that was not measured."""
    if base not in times:
        return None
    return median(a / b for a, b in zip(times[variant], times[base], strict=True))


def rows(group: list[Running], rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """One row of the table for each variant of a model in one precision."""
    times = measure(group, rounds, seconds)
    for r in group:
        job, variant = r.job, r.job.variant
        yield {
            "model": job.model, "precision": job.precision, "variant": variant,
            "ms": 1e3 * median(times[variant]), "first": r.first,
            "hand": ratio(times, variant, f"{variant.split('-')[0]}-hand"),
            "torch": ratio(times, variant, "torch-hand"),
        }  # fmt: skip


def written_by_hand(job: Job) -> bool:
    """Whether the variant is there: nobody wrote the PixelCNN in JAX."""
    return (job.model, job.variant) != ("gated_pixelcnn", "jax-hand")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--models", default=",".join(CASES))
    parser.add_argument("--precisions", default="float32,mixed")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=0.15, help="of work between two readings of the clock"
    )
    parser.add_argument("--wait", type=float, default=600, help="seconds in which variants must be ready")
    parser.add_argument("--json", type=Path, help="append a line for each row of the table to this file")
    parser.add_argument("--profile", type=int, default=0, help="how many of the longest kernels to print")
    options = parser.parse_args()
    if options.profile and options.device == "cpu":
        parser.error("--profile needs --device cuda")
    print("# " + ", ".join(f"{name} {version(name)}" for name in ("torch", "jax")))
    models, precisions = options.models.split(","), options.precisions.split(",")
    variants = options.variants.split(",")
    jobs = [Job(m, p, v, options.device) for m in models for p in precisions for v in variants]
    ready = start([job for job in jobs if written_by_hand(job)], options.wait)
    print("# all ready", flush=True)
    print(
        f"{'model':<15}{'precision':<10}{'variant':<20}{'ms a step':>10}{'by hand':>9}{'torch':>7}{'first':>7}"
    )
    for model, precision in ((m, p) for m in models for p in precisions):
        group = [r for r in ready if (r.job.model, r.job.precision) == (model, precision)]
        require_agreement(group)
        for row in rows(group, options.rounds, options.seconds):
            ratios = [f"{row[k]:.2f}" if row[k] is not None else "-" for k in ("hand", "torch")]
            print(
                f"{model:<15}{precision:<10}{row['variant']:<20}{row['ms']:>10.2f}"
                f"{ratios[0]:>9}{ratios[1]:>7}{row['first']:>7.0f}",
                flush=True,
            )
            if options.json:
                with options.json.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    for r in ready if options.profile else ():
        found = r.ask(0)
        print(f"# {r.job.model} {r.job.precision} {r.job.variant}: {sum(found.values()):.2f} ms in kernels")
        for name, ms in sorted(found.items(), key=lambda item: -item[1])[: options.profile]:
            print(f"  {ms:9.3f}  {name[:100]}", flush=True)
    for r in ready:
        r.pipe.send(None)
        r.process.join()


if __name__ == "__main__":
    main()
