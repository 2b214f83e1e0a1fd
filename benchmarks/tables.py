"""Tables with holes, series of counts and an inverse problem beside their baselines: one command, a row for each model.

    python benchmarks/tables.py --rows mdn,deepar,mixed_table

The data are generated. The baselines are fitted to the same training part: a constant rate for the counts, one normal for
the inverse problem. The true density of that problem is known.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy import optimize, special
from training import SPECS, Fitted

from mpcompile.api import load
from mpcompile.ir import Array
from mpcompile.runner.run import open_run

STEPS = {"mdn": 2000, "deepar": 300, "mixed_table": 600}


def fitted(name: str, out: Path, steps: int, sizes: tuple[str, ...] = ()) -> Fitted:
    """Train a spec of the project, and open its run."""
    folder, start = out / "_".join((name, *sizes)), time.perf_counter()
    options = [part for size in sizes for part in ("--set", size)]
    command = [sys.executable, "-m", "mpcompile", "train", str(SPECS / f"{name}.mp"), "--out", str(folder)]
    subprocess.run([*command, "--steps", str(steps), *options], check=True, capture_output=True)
    module = load(SPECS / f"{name}.mp", dict(s.split("=") for s in sizes))
    return Fitted(module, open_run(folder), steps, 0, time.perf_counter() - start)


def said(what: str, values: Array) -> None:
    """Print a mean over examples with its standard error."""
    print(f"  {what:<44}{values.mean():9.3f} +- {values.std() / len(values) ** 0.5:.3f}", flush=True)


def mdn(out: Path, steps: int) -> None:
    """Nats of y given x on the test part: of the mixture, of one normal, and of the truth."""
    for what, sizes in (("mixture of 5 normals", ()), ("one normal", ("components=1",))):
        run = fitted("mdn", out, steps, sizes)
        said(what, run.outputs("log_prob", "log_prob", run.part()))
    test, grid = run.whole(), np.linspace(0, 1, 20001)
    near = abs(test["x"][:, None] - grid - 0.3 * np.sin(2 * np.pi * grid)) < 0.1
    said("the true density", -np.log(near.mean(1)))


def deepar(out: Path, steps: int) -> None:
    """Nats of a day that is known: of the network, and of one negative binomial in the scale of each item."""
    run = fitted("deepar", out, steps)

    def days(part: dict[str, Array]) -> Array:
        return (np.arange(part["sales"].shape[1]) < part["length"][:, None]) & ~np.isnan(part["sales"])

    def constant(at: Array, part: dict[str, Array]) -> Array:
        mean, size = np.exp(at[0]) * part["scale"][:, None], np.exp(at[1])
        x = np.nan_to_num(part["sales"])
        each = special.gammaln(x + size) - special.gammaln(size) - special.gammaln(x + 1)
        each = each + size * np.log(size / (size + mean)) + x * np.log(mean / (size + mean))
        return np.where(days(part), each, 0).sum(1) / days(part).sum(1)

    train, test = run.whole("train"), run.whole()
    best = optimize.minimize(lambda at: -constant(at, train).mean(), np.zeros(2), method="Nelder-Mead").x
    said("DeepAR", run.outputs("log_prob", "log_prob", run.part()) / days(test).sum(1))
    said("a constant rate, in each item's scale", constant(best, test))


def mixed_table(out: Path, steps: int) -> None:
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
    rows = {f.__name__: f for f in (mdn, deepar, mixed_table)}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default=",".join(rows), help="some of these, by comma")
    parser.add_argument("--steps", type=int, help=f"of training (default: {STEPS})")
    parser.add_argument("--out", type=Path, default=Path("runs/tables"))
    options = parser.parse_args()
    for name in options.rows.split(","):
        print(name, flush=True)
        rows[name](options.out, options.steps or STEPS[name])


if __name__ == "__main__":
    main()
