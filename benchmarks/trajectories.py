"""Fifty clipped steps of gradient descent from one seed, on every backend, for every spec: where do the weights end?

    python benchmarks/trajectories.py
    python benchmarks/trajectories.py --specs specs/vae.yaml --steps 200

Weights start as a run's do; fresh data and noise each step, the same for all; double precision, so that it is the
arithmetic that is compared. Prints for each spec and backend the largest difference of any parameter from torch's, as a
part of its largest entry, and exits with 1 where one is above --tolerance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from mpcompile.api import load
from mpcompile.backend import DOUBLE, OptimizerSpec, find_backend, installed
from mpcompile.runner.examples import example_inputs
from mpcompile.runner.initial import initial

SPECS = Path(__file__).parents[1] / "specs"


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-6)) if a.size else 0.0


def gaps(path: Path, steps: int, rate: float) -> dict[str, float]:
    """Backend -> largest difference of a parameter from torch's."""
    module = load(path)
    weights = initial(module, 0)
    rule = OptimizerSpec("sgd", clip=1.0)
    sessions = {b: find_backend(b).session(module, weights, rule, options=DOUBLE) for b in installed()}
    for step in range(steps):
        inputs = example_inputs(module, "loss", 4, seed=step)
        for session in sessions.values():
            session.step(inputs, rate)
    ends = {b: s.state() for b, s in sessions.items()}
    keys = [k for k in ends["torch"] if k.startswith("parameter/")]
    return {b: max(relative(ends["torch"][k], e[k]) for k in keys) for b, e in ends.items() if b != "torch"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = sorted(p for p in SPECS.iterdir() if p.suffix in (".mp", ".yaml"))
    parser.add_argument("--specs", nargs="*", type=Path, default=every)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    options = parser.parse_args()
    worst = 0.0
    for path in options.specs:
        found = gaps(path, options.steps, options.rate)
        worst = max([worst, *found.values()])
        print(f"{path.stem:22}" + "".join(f"{b:>8} {g:8.1e}" for b, g in found.items()), flush=True)
    print(f"largest: {worst:.1e}")
    return int(worst > options.tolerance)


if __name__ == "__main__":
    sys.exit(main())
