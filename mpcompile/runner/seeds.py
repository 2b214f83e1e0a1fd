"""The same training from several seeds: a run each, and what their figures have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mpcompile.ir import Module
from mpcompile.runner import disk
from mpcompile.runner.loop import Options, Report, Result, train
from mpcompile.runner.metrics import read_metrics
from mpcompile.runner.run import RUN, open_run
from mpcompile.runner.settings import settings


def train_seeds(
    module: Module,
    out: Path,
    options: Options,
    count: int,
    say: Callable[[str], None] = lambda text: None,
    watch: Callable[[Report], None] = lambda report: None,
) -> list[tuple[int, Result]]:
    """Train from `count` seeds in turn, each in `out/seed-<seed>`, and return seeds with results.

    The first seed is that of the options, or of the spec. With `resume` each run goes on, or begins. An interrupt ends
    the list early. Raises what `train` raises, and `SpecError` (MP524) where `out` is a run.
    """
    first = settings(module).seed if options.seed is None else options.seed
    found: list[tuple[int, Result]] = []
    if disk.kind(out / RUN) != "nothing":
        raise disk.refused(f"{out} is a run, and holds no runs of seeds", "choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        say(f"seed {seed}")
        own = replace(options, seed=seed)
        found.append((seed, train(module, out / f"seed-{seed}", own, say=say, watch=watch)))
        if found[-1][1].reason == "interrupted":
            break
    return found


def table(results: Sequence[tuple[int, Result]]) -> list[str]:
    """Return lines with the losses of each run, and their mean and standard deviation (of a sample, n - 1)."""
    head = ("seed", "steps", "train loss", "best validation loss", "at step")
    rows: list[tuple[str, ...]] = []
    losses: list[tuple[float, float]] = []
    for seed, result in results:
        lines = [
            line["loss"] for line in read_metrics(open_run(result.folder).metrics) if line["split"] == "train"
        ]
        last = lines[-1] if lines else float("nan")
        best = float("nan") if result.best is None else result.best
        losses.append((last, best))
        rows.append((str(seed), str(result.step), _number(last), _number(best), str(result.best_step)))
    columns = np.array(losses)
    if len(results) > 1:
        rows.append(("mean", "", *map(_number, columns.mean(0)), ""))
        rows.append(("deviation", "", *map(_number, columns.std(0, ddof=1)), ""))
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.5g}"


__all__ = ["table", "train_seeds"]
