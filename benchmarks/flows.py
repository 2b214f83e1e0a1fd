"""Flows on real data beside published figures, and beside two libraries trained in the same run: one command.

    python benchmarks/flows.py --data /path/to/sets --sets bsds300,red_wine --steps 2000

`--data` is a folder with `bsds300/bsds300_patches8.npz` and `uci_small/uci_small.npz`; a set that is not there is
skipped, and so is a library that is not installed (`flow_peers.py` says how). Every library sees the same standardised
rows in the same batches in the same order, with adam, the same cosine schedule and the same threshold on the gradient,
and is tested at the weights that were best on the validation part, looked at equally often. Figures are mean test
log-likelihoods in nats an example, in the units of the published tables, with standard errors over test rows.

MAF (5) and RealNVP (5) are as in Papamakarios et al. 2017 but for batch normalisation, which zuko does not have; NSF (C)
has ten spline couplings, with plain networks of two layers and masks in turn in place of residual ones and linear maps.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# ruff: noqa: E402  (frameworks read the settings above when they are imported)
import numpy as np
from flow_peers import Absent, Learner, Shape, learner

from mpcompile.ir import Array
from mpcompile.runner.noise import permutation

NAMES = ("torch", "zuko", "nflows")
BATCH, CLIP = 100, 5.0
LAYERS = {"maf": 5, "coupling": 5, "nsf": 10}
TITLES = {"maf": "MAF (5)", "coupling": "RealNVP (5)", "nsf": "NSF (C)"}
#: Best published test log-likelihoods by set: MAF paper's table 1, NSF paper's table 1, RNADE paper's table 1.
PUBLISHED = {
    ("bsds300", "maf"): "155.69 +- 0.14",
    ("bsds300", "coupling"): "152.97 +- 0.14",
    ("bsds300", "nsf"): "157.54",
    ("red_wine", ""): "Gaussian -13.18, RNADE -9.36",
    ("white_wine", ""): "Gaussian -13.20, RNADE -10.23",
    ("ionosphere", ""): "Gaussian -41.24, RNADE -2.50",
}


@dataclass(frozen=True)
class Parts:
    """Standardised rows, float32 [n, D], and what a log density of them lacks to be one in the published units."""

    train: Array
    valid: Array
    test: Array
    offset: float


def standardised(train: Array, valid: Array, test: Array, unit: Array | float) -> Parts:
    """By mean and deviation of the training part; `unit` is the deviation that the published table divides by."""
    mean, spread = train.mean(0), train.std(0)
    parts = [((a - mean) / spread).astype(np.float32) for a in (train, valid, test)]
    return Parts(*parts, float(np.sum(np.log(unit / spread))))


def bsds300(path: Path, seed: int) -> Iterator[Parts]:
    """Patches of 8 x 8, dequantised, less their mean and the last pixel: 63 numbers (Zoran and Weiss 2011)."""
    with np.load(path / "bsds300" / "bsds300_patches8.npz", allow_pickle=False) as file:
        rows = []
        for name in ("train", "valid", "test"):
            patches = file[name].reshape(-1, 64).astype(np.float64)
            x = (patches + np.random.default_rng(seed).random(patches.shape)) / 256
            rows.append((x - x.mean(1, keepdims=True))[:, :63])
    yield standardised(*rows, 1.0)


def wine(path: Path, seed: int, name: str, folds: int) -> Iterator[Parts]:
    """Ten folds, of which the first ones; a tenth of the training part for validation (Uria et al. 2013, section 5).

    Discrete columns are dropped, and one of each pair that is correlated beyond 0.98; log-likelihoods are those of rows
    standardised by the training part.
    """
    with np.load(path / "uci_small" / "uci_small.npz", allow_pickle=False) as file:
        rows = np.asarray(file[name], np.float64)
    rows = rows[:, [len(np.unique(c)) > 10 for c in rows.T]]
    close = np.triu(np.abs(np.corrcoef(rows.T)), 1) > 0.98
    rows = rows[permutation(len(rows), seed, "folds")][:, ~close.any(0)]
    for fold in range(folds):
        held = np.arange(len(rows)) % 10 == fold
        rest = rows[~held]
        known = len(rest) - len(rest) // 10
        yield standardised(rest[:known], rest[known:], rows[held], rest[:known].std(0))


def mean_log_prob(it: Learner, rows: Array, batch: int = 2000) -> Array:
    return np.concatenate([it.log_prob(rows[i : i + batch]) for i in range(0, len(rows), batch)])


def fit(it: Learner, parts: Parts, options: argparse.Namespace) -> tuple[Array, int, float]:
    """Log densities of the test rows at the best weights, the step of those, and the seconds of training."""
    per_epoch, start = len(parts.train) // BATCH, time.process_time()
    every = max(1, options.steps // 20)
    best, at, kept = -np.inf, 0, it.keep()
    for step in range(options.steps):
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            order = permutation(len(parts.train), options.seed, "order", epoch)
        it.step(
            parts.train[order[place * BATCH : (place + 1) * BATCH]],
            options.rate * 0.5 * (1 + cos(pi * step / options.steps)),
        )
        if (step + 1) % every == 0:
            value = float(mean_log_prob(it, parts.valid[:5000]).mean())
            if value > best:
                best, at, kept = value, step + 1, it.keep()
    spent = time.process_time() - start
    it.restore(kept)
    return mean_log_prob(it, parts.test) + parts.offset, at, spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("--sets", default="bsds300,red_wine,white_wine")
    parser.add_argument("--kinds", default=",".join(LAYERS))
    parser.add_argument("--names", default=",".join(NAMES), help="torch, jax and onnx are ours")
    parser.add_argument("--steps", type=int, default=2000, help=f"of {BATCH} examples")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument(
        "--hidden", type=int, default=0, help="units a layer; 0: 512, for NSF 256, for small sets 64"
    )
    parser.add_argument("--folds", type=int, default=1, help="of the ten of a small set")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    import torch

    torch.set_num_threads(1)
    print(
        f"{'set':<12}{'flow':<13}{'library':<9}{'test log-likelihood':>20}{'best step':>11}{'s':>6}  published"
    )
    for name in options.sets.split(","):
        small = name != "bsds300"
        try:
            of = (
                wine(options.data, options.seed, name, options.folds)
                if small
                else bsds300(options.data, options.seed)
            )
            folds = list(of)
        except FileNotFoundError as missing:
            print(f"{name}: skipped, there is no {missing.filename}")
            continue
        for kind in options.kinds.split(","):
            hidden = options.hidden or (64 if small else 256 if kind == "nsf" else 512)
            shape = Shape(kind, folds[0].train.shape[1], hidden, LAYERS[kind])
            for library in options.names.split(","):
                try:
                    runs = [
                        fit(learner(library, shape, options.seed, CLIP), parts, options) for parts in folds
                    ]
                except Absent as why:
                    print(f"{name}: {why}", file=sys.stderr)
                    continue
                found = np.concatenate([r[0] for r in runs])
                figure = f"{found.mean():.2f} +- {found.std(ddof=1) / np.sqrt(len(found)):.2f}"
                steps = (
                    "/".join(str(r[1]) for r in runs)
                    if len(runs) < 3
                    else f"~{np.mean([r[1] for r in runs]):.0f}"
                )
                published = PUBLISHED.get((name, kind)) or PUBLISHED.get((name, ""), "-")
                seconds = sum(r[2] for r in runs)
                print(
                    f"{name:<12}{TITLES[kind]:<13}{library:<9}{figure:>20}{steps:>11}{seconds:>6.0f}  {published}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
