"""The settings that a command line gives to a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Names of the trackers (`trackers.TRACKERS`).
TRACKED = ("csv", "tensorboard", "wandb", "mlflow")


@dataclass(frozen=True, slots=True)
class Options:
    """The settings that a command line adds to a spec's `train` section.

    None leaves a setting to that, or to the run resumed.
    """

    backend: str | None = None
    data: str | None = None
    seed: int | None = None
    steps: int | None = None
    resume: bool = False
    device: str | None = None
    mixed: bool | None = None
    precision: str | None = None
    trackers: list[str] | None = None  # some of `TRACKED`
    checkpoint_every: int | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    unproven: bool | None = None
    init: Path | None = None  # a run or a file whose weights training starts from
    shards: int | None = None
    layout: str | None = None  # of the weights of several processes: replicated or sharded
    workers: int = 0  # processes that make batches; the run is the same for any number
    compile: bool | None = None  # loss and gradient by torch's compiler
    init_names: Path | None = None  # which weight there is which here (weights.py)


__all__ = ["TRACKED", "Options"]
