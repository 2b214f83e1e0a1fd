"""What a flow costs beside other libraries: training steps, log densities and samples, the same architecture for all.

    python benchmarks/flow_speed.py
    python benchmarks/flow_speed.py --kinds maf --batches 1 512 --names torch,jax,zuko,flowjax

Ten affine couplings of 43 variables, five masked autoregressive layers, ten spline couplings, all with conditioners of
two hidden layers of 256 units (`flow_peers.py` says how the peers are installed; one that is not there is left out).
`torch`, `jax` and `onnx` are our backends, `torch.compile` is our torch code compiled. Each flow has a process of its
own with one thread of one core, in which rounds alternate between learners; the figures are medians of processor time of
a call with numpy arrays out (and in), for ours and theirs. `ratio` is to the fastest peer of the same framework in the
same rounds: torch, torch.compile and onnx to those of torch, jax to flowjax. Below 1 ours is the faster; the last line
names those of ours that are not. By default: torch and torch.compile beside normflows and nflows, 54 lines. Most of the
time is torch's compiler, twice for each flow and work (a batch of one has code of its own); torch keeps what it made.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from itertools import product
from statistics import median

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
if hasattr(os, "sched_setaffinity"):  # frameworks size their pools by the cores that they see
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

# ruff: noqa: E402  (frameworks read the settings above when they are imported)
import numpy as np
from flow_peers import Absent, Learner, Ours, Shape, learner
from step_time import processor

from mpcompile.ir import Array

LAYERS = {"coupling": 10, "maf": 5, "nsf": 10}
OURS = ("torch", "torch.compile", "jax", "onnx")
NAMES = ("torch", "torch.compile", "normflows", "nflows")
WORKS = ("step", "log_prob", "sample")
#: Seconds of work between two readings of the clock, and seconds for all rounds of one learner.
ROUND, MOST = 0.06, 1.5


def seconds(call: Callable[[], object], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - start) / times


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return seconds of one call, for each round; what warms up is left out, and long calls have fewer rounds."""
    times, slowest = {}, 0.0
    for name, call in calls.items():
        call(), call()
        one = seconds(call, 2)
        times[name], slowest = max(1, round(ROUND / max(1e-6, one))), max(slowest, one)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(max(3, min(rounds, round(MOST / max(slowest, 1e-6))))):
        for name in list(calls) if number % 2 else reversed(calls):
            found[name].append(seconds(calls[name], times[name]))
    return found


def peers(name: str, names: list[str]) -> list[str]:
    """What a learner is compared with: the libraries on the same framework."""
    if name in ("jax", "flowjax"):
        return [n for n in names if n == "flowjax"]
    return [n for n in names if n not in (*OURS, "flowjax")]


def learners(kind: str, names: list[str], sizes: tuple[int, int]) -> dict[str, Learner]:
    """Build those that are installed, with weights of which none starts at zero."""
    found: dict[str, Learner] = {}
    for name in names:
        try:
            found[name] = made = learner(name, Shape(kind, *sizes, LAYERS[kind]))
        except Absent as why:
            print(f"# {kind}: {why}", file=sys.stderr)
            continue
        if isinstance(made, Ours):
            made.spread()
    return found


def call_of(learner: Learner, work: str, x: Array) -> Callable[[], object]:
    if work == "sample":
        return lambda: learner.sample(len(x))
    return (lambda: learner.step(x, 1e-6)) if work == "step" else (lambda: learner.log_prob(x))


def lines(
    kind: str, batches: list[int], works: list[str], names: list[str], rounds: int, sizes: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    found = learners(kind, names, sizes)
    for work, batch in product(works, batches):
        x = rng.standard_normal((batch, sizes[0])).astype(np.float32)
        times = interleaved({n: call_of(it, work, x) for n, it in found.items()}, rounds)
        for name, mine in times.items():
            others = peers(name, list(times))
            ratio, beside = "-", ""
            if others:
                best = [min(group) for group in zip(*(times[n] for n in others), strict=True)]
                ratio = f"{median(a / b for a, b in zip(mine, best, strict=True)):.2f}"
                beside = min(others, key=lambda n: median(times[n])) if name in OURS else ""
            print(f"{kind:<10}{work:<10}{batch:>5}  {name:<15}{1e3 * median(mine):>9.2f}{ratio:>8}  {beside}",
                  flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64, 512])
    parser.add_argument("--works", nargs="+", default=list(WORKS), choices=WORKS)
    parser.add_argument("--names", default=",".join(NAMES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dims", type=int, default=43)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        warnings.filterwarnings("ignore")
        import torch

        torch.set_num_threads(1)
        sizes = (options.dims, options.hidden)
        names = options.names.split(",")
        lines(options.kinds[0], options.batches, options.works, names, options.rounds, sizes)
        return
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{processor()}, {os.cpu_count()} cores, one thread; load {load}")
    print(f"{'flow':<10}{'work':<10}{'batch':>5}  {'library':<15}{'ms':>9}{'ratio':>8}  fastest", flush=True)
    ratios = {}
    for kind in options.kinds:
        given = ["--one", "--kinds", kind, "--names", options.names, "--rounds", str(options.rounds),
                 "--batches", *map(str, options.batches), "--works", *options.works,
                 "--dims", str(options.dims), "--hidden", str(options.hidden)]  # fmt: skip
        with subprocess.Popen([sys.executable, __file__, *given], stdout=subprocess.PIPE, text=True) as run:
            for line in run.stdout or ():
                print(line, end="", flush=True)
                flow, work, batch, name, _, ratio, *_ = line.split()
                if name in OURS and ratio != "-":
                    ratios[f"{flow} {work} {batch} {name}"] = float(ratio)
        if run.returncode:
            raise SystemExit(run.returncode)
    above = ", ".join(f"{line} {ratio:.2f}" for line, ratio in ratios.items() if ratio > 1)
    print(f"{len(ratios)} lines of ours; above 1: {above or 'none'}")


if __name__ == "__main__":
    main()
