"""The finding for a training that diverges: the likely cause, and the checkpoint to go back to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import Array, Module
from mpcompile.runner import checkpoint
from mpcompile.runner.data import Dataset
from mpcompile.runner.run import Run
from mpcompile.runner.settings import Settings

_WIDE = {"real": 100.0, "integer": 1000.0}  # values beyond it are a likelier cause than the rate


def require_finite(values: Array, quantity: str) -> None:
    """Check that figures `[n, ...]` of examples are finite. Raises `SpecError` (MP530)."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        rows = len(np.unique(bad[:, 0]))
        raise error(
            "MP530",
            f"the {quantity.replace('_', ' ')} of {rows} of {len(values)} examples is not finite: "
            f"{values[tuple(bad[0])]} at number {bad[0, 0]}",
            Span.none(),
            help="the weights are too large for these data: train again with a lower rate, or scale the data",
        )


def diverged(
    module: Module, dataset: Dataset, settings: Settings, run: Run, what: str, rate: float
) -> SpecError:
    """Return the finding (MP530) that `what` is no longer finite.

    Its notes give the scale of the data, the rate, and what is kept.
    """
    reach = {
        name: max(abs(found["low"]), abs(found["high"]))
        for name, found in dataset.statistics.get("fields", {}).items()
        if name in module.fields and module.fields[name].base in _WIDE
    }
    widest = max(reach, key=lambda name: reach[name], default=None)
    notes, help = [], ""
    if widest is not None:
        found = dataset.statistics["fields"][widest]
        notes.append(
            f"'{widest}' of the data lies in [{found['low']:.4g}, {found['high']:.4g}], "
            f"standard deviation {found['deviation']:.4g}"
        )
        if reach[widest] > _WIDE[module.fields[widest].base]:
            help = f"scale '{widest}' of the data to a standard deviation of about 1; else lower the rate"
    notes.append(f"the rate was {rate:.3g} ({settings.optimizer.kind})")
    kept, held = _kept(run, module)
    if not help:
        clip = ", or clip the gradient (train.clip)" if settings.optimizer.clip is None else ""
        help = f"lower the rate{clip}"
    if held:
        help += f"; `mpcompile train SPEC --init {run.folder} --out NEW` starts from what is kept"
    return error("MP530", f"training diverged: {what}", module.train.place("optimizer"),
                 notes=(*notes, kept), help=help)  # fmt: skip


def told(run: Run) -> str | None:
    """Return one line about a run whose training diverged; None for another run."""
    found = run.facts.get("diverged")
    return (
        f"the training of {run.folder} diverged: {found['what']}; weights are of an earlier step"
        if found
        else None
    )


def _kept(run: Run, module: Module) -> tuple[str, bool]:
    limit = checkpoint.bound(module)
    best, last = checkpoint.best(run.best, limit), checkpoint.newest(run.checkpoints, limit)
    held = []
    if last is not None and last.record["step"]:
        loss = last.record["progress"].get("loss")
        held.append(f"step {last.record['step']}" + (f" (loss {loss:.5g})" if loss is not None else ""))
    if best is not None:
        value = best.record["progress"].get("best")
        shown = f" (validation loss {value:.5g})" if value is not None else ""
        held.append(f"step {best.record['step']}{shown} in best/")
    if not held:
        return "no step of training is kept, only the weights it began with", False
    return f"kept: {', '.join(held)}", True


def drop(folder: Path, step: int) -> None:
    """Remove the checkpoint of a step whose loss turned out not to be finite, unless there is no older one."""
    if step > 0 and checkpoint.exists(folder) and checkpoint.steps(folder)[-1] < step:
        checkpoint.discard_after(folder, step - 1)
