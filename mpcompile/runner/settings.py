"""What a run is trained with: the `train` section of a spec with defaults for what it does not state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mpcompile.backend import OptimizerSpec
from mpcompile.diagnostics import Span
from mpcompile.ir import Module
from mpcompile.ir.training import Adam, plain
from mpcompile.runner.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train.

    batch        examples a step (never more than there are)
    epochs, steps  whichever ends first; neither means 2000 steps
    length       length of the windows that sequences are cut into, and of sampled sequences
    patience     validations without a new best before training stops; 0 never stops early
    valid_every  steps between validations (default: an epoch, at least 50 steps, at most a fifth of all)
    log_every    steps that a training line of the metrics averages over (default: total / 200, at most 100)
    checkpoint_every  steps between checkpoints (default: at validations, and after a minute)
    threshold    real or grey data above it count as one for binary fields; None refuses data that are not 0/1
    """

    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    rate: float = 1e-3
    schedule: Schedule = field(default_factory=Schedule)
    batch: int = 128
    epochs: int | None = None
    steps: int | None = None
    data: str | None = None
    seed: int = 0
    length: int = 64
    patience: int = 0
    valid_every: int | None = None
    log_every: int | None = None
    checkpoint_every: int | None = None
    threshold: float | None = None


def settings(module: Module) -> Settings:
    """Settings of a module's `train` section, which is checked already, with defaults for what it does not state."""
    train = module.train
    stated = {f.name: getattr(train, f.name) for f in fields(Settings) if f.name in _SAME}
    return Settings(
        optimizer=OptimizerSpec.of(train),
        rate=(train.optimizer or Adam()).rate,
        schedule=Schedule(**plain(train.schedule)) if train.schedule else Schedule(),
        **{k: v for k, v in stated.items() if v is not None},
    )


#: Settings that are what the section states.
_SAME = (
    "batch", "epochs", "steps", "data", "seed", "length", "patience", "valid_every", "log_every", "checkpoint_every",
    "threshold",
)  # fmt: skip


def place(module: Module, *names: str) -> Span:
    """Where the first of these settings that the `train` section states is written."""
    return module.train.place(*names)


def describe(values: Settings) -> Mapping[str, Any]:
    """Plain data of the settings, for `run.json`."""
    from dataclasses import asdict

    return asdict(values)
