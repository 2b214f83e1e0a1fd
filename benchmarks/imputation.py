"""What a model of mixed columns says of cells that are taken away, beside the median or the mode of the column.

    python benchmarks/imputation.py

The data are generated. `columns.py` has the nats of the same model.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from training import SPECS, Fitted

from mpcompile.api import load
from mpcompile.ir import Array
from mpcompile.runner.run import open_run


def fitted(name: str, out: Path, steps: int) -> Fitted:
    """Train a spec of the project, and open its run."""
    folder, start = out / name, time.perf_counter()
    command = [sys.executable, "-m", "mpcompile", "train", str(SPECS / f"{name}.mp"), "--out", str(folder)]
    subprocess.run([*command, "--steps", str(steps)], check=True, capture_output=True)
    return Fitted(load(SPECS / f"{name}.mp"), open_run(folder), steps, 0, time.perf_counter() - start)


def said(what: str, values: Array) -> None:
    """Print a mean over examples with its standard error."""
    print(f"  {what:<44}{values.mean():9.3f} +- {values.std() / len(values) ** 0.5:.3f}", flush=True)


def imputed(out: Path, steps: int) -> None:
    """What the model says of cells that are there when they are taken away, beside mean and mode of the column."""
    run = fitted("mixed_table", out, steps)
    said("bound of log p of a row", run.outputs("elbo", "elbo", run.part()))
    train, test, session = run.whole("train"), run.whole(), run.session()
    for name in ("age", "income", "visits", "job", "health"):
        hole = -1 if name == "job" else np.nan
        there = (test[name] != hole) & ~np.isnan(test[name])
        inputs = session.run("reconstruct", {**test, name: np.full_like(test[name], hole)})
        known = train[name][(train[name] != hole) & ~np.isnan(train[name])]
        truth, guess = test[name][there], inputs[name][there]
        if name == "job":
            said("job: accuracy", (guess.argmax(1) == truth).astype(float))
            said("job: accuracy of the mode", (truth == np.bincount(known).argmax()).astype(float))
        else:
            said(f"{name}: absolute error", abs(truth - guess))
            said(f"{name}: absolute error of the median", abs(truth - np.median(known)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600, help="of training")
    parser.add_argument("--out", type=Path, default=Path("runs/imputed"))
    options = parser.parse_args()
    imputed(options.out, options.steps)


if __name__ == "__main__":
    main()
