"""What a flow costs beside other libraries: a training step and log densities, the same architecture for all.

    python benchmarks/flow_speed.py
    python benchmarks/flow_speed.py --kinds maf --batches 1 512 --names torch,zuko,nflows

Ten affine couplings of 43 variables, five masked autoregressive layers, ten spline couplings, all with conditioners of
two hidden layers of 256 units (`flow_peers.py` says how the peers are installed; one that is not there is left out).
`torch`, `jax` and `onnx` are our backends, `torch.compile` is our torch code compiled. Each flow and batch has a process
of its own with one thread of one core, in which rounds alternate between learners; the figures are medians of processor
time of a call with numpy arrays in and out, for ours and theirs. `ratio` is to the fastest peer of
the same framework in the same rounds: torch, torch.compile and onnx to those of torch, jax to flowjax. Below 1 ours is
the faster.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from statistics import median

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
if hasattr(os, "sched_setaffinity"):  # frameworks size their pools by the cores that they see
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

# ruff: noqa: E402  (frameworks read the settings above when they are imported)
import numpy as np
from flow_peers import Absent, Learner, Shape, learner

LAYERS = {"coupling": 10, "maf": 5, "nsf": 10}
OURS = ("torch", "torch.compile", "jax", "onnx")
NAMES = (*OURS, "zuko", "nflows", "normflows", "FrEIA", "flowjax")
#: Seconds of work between two readings of the clock.
ROUND = 0.1


def seconds(call: Callable[[], object], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - start) / times


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of one call, for each round; what warms up is left out."""
    times = {}
    for name, call in calls.items():
        call(), call()
        times[name] = max(1, round(ROUND / max(1e-6, seconds(call, 2))))
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls) if number % 2 else reversed(calls):
            found[name].append(seconds(calls[name], times[name]))
    return found


def peers(name: str, names: list[str]) -> list[str]:
    """What a learner is compared with: the libraries on the same framework."""
    if name in ("jax", "flowjax"):
        return [n for n in names if n == "flowjax"]
    return [n for n in names if n not in (*OURS, "flowjax")]


def lines(kind: str, batch: int, names: list[str], rounds: int, sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, sizes[0])).astype(np.float32)
    found: dict[str, Learner] = {}
    for name in names:
        try:
            found[name] = learner(name, Shape(kind, *sizes, LAYERS[kind]))
        except Absent as why:
            print(f"# {kind}: {why}", file=sys.stderr)
    for work in ("log_prob", "step"):
        calls: dict[str, Callable[[], object]] = {
            n: (lambda it=it: it.log_prob(x)) if work == "log_prob" else (lambda it=it: it.step(x, 1e-4))
            for n, it in found.items()
        }
        times = interleaved(calls, rounds)
        for name, mine in times.items():
            others = peers(name, list(times))
            ratio = "-"
            if others:
                best = [min(group) for group in zip(*(times[n] for n in others), strict=True)]
                ratio = f"{median(a / b for a, b in zip(mine, best, strict=True)):.2f}"
            print(
                f"{kind:<10}{work:<10}{batch:>5}  {name:<15}{1e3 * median(mine):>9.2f}{ratio:>8}", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64, 512])
    parser.add_argument("--names", default=",".join(NAMES))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--dims", type=int, default=43)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        warnings.filterwarnings("ignore")
        import torch

        torch.set_num_threads(1)
        sizes = (options.dims, options.hidden)
        lines(options.kinds[0], options.batches[0], options.names.split(","), options.rounds, sizes)
        return
    print(f"{'flow':<10}{'work':<10}{'batch':>5}  {'library':<15}{'ms':>9}{'ratio':>8}", flush=True)
    for kind in options.kinds:
        for batch in options.batches:
            chosen = {"kinds": kind, "batches": batch, "names": options.names, "rounds": options.rounds,
                      "dims": options.dims, "hidden": options.hidden}  # fmt: skip
            given = [text for name, value in chosen.items() for text in (f"--{name}", str(value))]
            subprocess.run([sys.executable, __file__, "--one", *given], check=True)


if __name__ == "__main__":
    main()
