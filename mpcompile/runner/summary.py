"""The contents of a report on a run: metrics, the likelihood of each held-out example beside a baseline, draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpcompile.backend import Backend
from mpcompile.diagnostics import SpecError
from mpcompile.ir import Array, Module
from mpcompile.runner import sampling
from mpcompile.runner.baselines import Baseline, baselines
from mpcompile.runner.evaluate import density, of_targets
from mpcompile.runner.metrics import read_metrics
from mpcompile.runner.reading import reading_of
from mpcompile.runner.run import Run
from mpcompile.runner.run_data import data_of


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a run.

    metrics    lines in order
    step       of the best checkpoint
    figures    of a split: `quantity`, `nats` or `loss`, `bits_per_dim`, ..., `targets` (evaluate.py)
    values     [n] log-likelihoods or bounds of its examples, in nats; None for a model without one
    baselines  the same of closed-form laws, fitted on the training split
    samples    draws; None for a model without a sampler
    """

    metrics: list[dict[str, Any]]
    step: int
    split: str
    figures: Mapping[str, Any]
    values: Array | None
    baselines: list[Baseline]
    samples: sampling.Samples | None


def summarise(
    run: Run,
    module: Module,
    *,
    split: str = "test",
    count: int = 64,
    backend: Backend | None = None,
    device: str | None = None,
) -> Summary:
    """Evaluate the best checkpoint of a run, and draw from it.

    Raises `SpecError` (MP5xx), but for a model that cannot be drawn from.
    """
    dataset = data_of(run, module)
    part = dataset.split(split)
    reading, step = reading_of(run, module, part, backend=backend, device=device)
    figures, values = density(reading)
    figures["targets"] = of_targets(reading, dataset.classes)
    beside = baselines(module, dataset.splits, part) if values is not None else []
    try:
        drawn = sampling.sample(run, module, count, backend=backend, device=device)
    except SpecError:
        drawn = None
    return Summary(read_metrics(run.metrics), step, dataset.named(split), figures, values, beside, drawn)


__all__ = ["Summary", "summarise"]
