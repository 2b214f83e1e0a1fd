"""The settings of a run: the `train` section of a spec with defaults for what it does not state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mpcompile.backend import OptimizerSpec
from mpcompile.ir import Module
from mpcompile.ir.optimizers import OPTIMIZERS, Adam
from mpcompile.ir.training import SCHEDULES, TABLES, Constant, Schedule, plain


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a training. Fields of the names of `ir.Training` mean what they mean there, and have a value.

    epochs, steps  neither means 2000 steps
    valid_every  None: an epoch, at least 50 steps, at most a fifth of all
    log_every    None: total / 200, at most 100
    checkpoint_every  None: at validations, and after a minute
    shards       None: as many as processes
    threshold    None refuses data that are not 0/1
    """

    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    rate: float = 1e-3
    schedule: Schedule = field(default_factory=Constant)
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
    shards: int | None = None
    threshold: float | None = None


def settings(module: Module) -> Settings:
    """Return the settings of a module's checked `train` section, with defaults for what it does not state."""
    train = module.train
    same = {f.name for f in fields(Settings)} & {f.name for f in fields(train)} - TABLES.keys()
    stated = {name: value for name in same if (value := getattr(train, name)) is not None}
    return Settings(
        optimizer=OptimizerSpec.of(train),
        rate=(train.optimizer or Adam()).rate,
        schedule=train.schedule or Constant(),
        **stated,
    )


#: What `run.json` says of a schedule, or of an optimiser, that has no such argument.
_UNUSED = {"warmup": 0, "final": 0.0, "every": 1000, "factor": 0.1}
_UNUSED_OF_OPTIMIZER = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "momentum": 0.0}


def describe(values: Settings) -> Mapping[str, Any]:
    """Return the settings as plain data, for `run.json`."""
    stated = plain(values.schedule)
    schedule = {"kind": stated.pop("kind"), **_UNUSED, **stated}
    made = {"schedule": schedule, "optimizer": _described(values.optimizer)}
    return {f.name: made.get(f.name, getattr(values, f.name)) for f in fields(values)}


def _described(spec: OptimizerSpec) -> dict[str, Any]:
    own = {name: getattr(spec.rule, name) for name in own_arguments(spec.kind)}
    arguments = {**_UNUSED_OF_OPTIMIZER, **own}
    betas = (arguments.pop("beta1"), arguments.pop("beta2"))
    rest = {"weight_decay": spec.weight_decay, "clip": spec.clip, "ema": spec.ema, "skip": spec.skip}
    return {"kind": spec.kind, "betas": betas, **arguments, **rest}


def own_arguments(kind: str) -> list[str]:
    """Return the arguments of an optimiser that `OptimizerSpec` and the settings have no place for."""
    return [f.name for f in fields(OPTIMIZERS[kind]) if f.name not in ("rate", "weight_decay")]


def optimizer_of(described: Mapping[str, Any]) -> OptimizerSpec:
    """Return the optimiser that `describe` wrote."""
    told = {**described, "beta1": described["betas"][0], "beta2": described["betas"][1]}
    arguments = {name: told[name] for name in own_arguments(told["kind"])}
    return OptimizerSpec(
        told["kind"], arguments, told["weight_decay"], told["clip"], told["ema"], told["skip"]
    )


def schedule_of(described: Mapping[str, Any]) -> Schedule:
    """Return the schedule that `describe` wrote."""
    kind = SCHEDULES[described["kind"]]
    return kind(**{f.name: described[f.name] for f in fields(kind)})


__all__ = ["Settings", "describe", "optimizer_of", "own_arguments", "schedule_of", "settings"]
