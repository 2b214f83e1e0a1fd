"""Prepare a training: settle settings, data, session and plan before its first step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpcompile.backend import Backend, Session, SessionOptions, open_session
from mpcompile.diagnostics import Span, error
from mpcompile.group import Group, processes
from mpcompile.ir import Array, Module
from mpcompile.passes.across import shared
from mpcompile.runner import checkpoint, disk, parts, resume
from mpcompile.runner import run as runs
from mpcompile.runner.batches import Batches, as_precision
from mpcompile.runner.data import Dataset, Split, drawn, load_data
from mpcompile.runner.options import Options
from mpcompile.runner.run_data import require_own
from mpcompile.runner.settings import Settings, describe
from mpcompile.runner.weights import start


@dataclass(frozen=True, slots=True)
class Setup:
    """A training before its first step.

    options    those of the command line, filled from the run resumed and the defaults
    earlier    the run that is resumed, and `found` its newest checkpoint; None for a run that begins
    init       the run or the file whose weights training starts from
    loaded     weights that training starts from and that were not drawn
    group      the processes that train together, and the shards of a batch
    session    holds the weights and the state of the optimiser
    """

    module: Module
    options: Options
    settings: Settings
    spec_hash: str
    dataset: Dataset
    batches: Batches
    plan: resume.Plan
    session: Session
    group: Group
    earlier: runs.Run | None
    found: checkpoint.Checkpoint | None
    init: str | None
    loaded: Mapping[str, Array]

    @property
    def precision(self) -> str:
        return str(self.options.precision)

    @property
    def validation(self) -> Split | None:
        """The split to validate on; None where it is not there or empty."""
        split = self.dataset.splits.get("valid")
        return split if split is not None and len(split) else None

    def rate(self, step: int) -> float:
        """The learning rate of a 0-based step."""
        return self.settings.schedule.rate(self.settings.rate, step, self.plan.total)

    def facts(self) -> dict[str, Any]:
        """Return the training as `run.json` records it."""
        data, options = self.settings.data or "", self.options
        return {
            "data": str(Path(data).resolve()) if self.dataset.digest else data,
            "data_digest": self.dataset.digest,
            "vocabulary": self.dataset.vocabulary,
            "classes": dict(self.dataset.classes),
            "statistics": self.dataset.statistics,
            "order": self.batches.order.kind,
            "seed": self.settings.seed,
            "steps": self.settings.steps,
            "settings": describe(self.settings),
            "backend": options.backend,
            "device": options.device,
            "precision": options.precision,
            "mixed": options.mixed,
            "unproven": options.unproven,
            "trackers": options.trackers,
            "layout": options.layout,
            "compile": options.compile,
            "init": self.init,
            "versions": runs.versions(str(options.backend)),
        }


def prepare(
    module: Module,
    options: Options,
    earlier: runs.Run | None,
    backend: Backend | None,
    say: Callable[[str], None],
) -> Setup:
    """Load the data, open the session, and settle what the command line and the run resumed leave open.

    Nothing is written. Raises `SpecError` (MP5xx) and `BackendMissing` as `loop.train` does.
    """
    parts.largest()  # a wrong setting is said before the first step
    filled, settings, group, dataset = _settled(module, options, earlier, *processes())
    found = resume.latest(earlier, module) if earlier else None
    begun = start(filled.init, filled.init_names, module, settings.seed, say)
    session = open_session(
        backend or str(filled.backend),
        module,
        as_precision(begun.weights, str(filled.precision)),
        settings.optimizer,
        options=SessionOptions(
            device=str(filled.device),
            precision=str(filled.precision),
            mixed=bool(filled.mixed),
            group=group,
            compiled=bool(filled.compile),
        ),
    )
    batches = Batches(
        module, dataset.splits["train"], settings.batch, settings.seed,
        earlier.facts["order"] if earlier else None, filled.workers, group,
    )  # fmt: skip
    _require_whole_shards(module, batches.batch, group)
    setup = Setup(
        module=module,
        options=filled,
        settings=settings,
        spec_hash=runs.spec_hash(module, options.overrides),
        dataset=dataset,
        batches=batches,
        plan=resume.Plan.of(settings, batches.per_epoch),
        session=session,
        group=group,
        earlier=earlier,
        found=found,
        init=_init(options, earlier),
        loaded={name: begun.weights[name] for name in begun.loaded},
    )
    _require_one_training(setup)
    return setup


def require_launch(module: Module, options: Options, earlier: runs.Run | None, size: int) -> None:
    """Check what can be known before `size` processes start, each of which would say it. Raises `SpecError` (MP5xx)."""
    _, settings, group, dataset = _settled(module, options, earlier, 0, size)
    _require_whole_shards(module, min(settings.batch, len(dataset.splits["train"])), group)
    shared(module, group)


def _settled(
    module: Module, options: Options, earlier: runs.Run | None, rank: int, size: int
) -> tuple[Options, Settings, Group, Dataset]:
    """Settle the settings between spec, command line and the run resumed, and load the data that they name."""
    if earlier:
        runs.same_spec(earlier, module, options.overrides)
    filled = resume.filled(options, earlier)
    settings = resume.merged(module, options, earlier)
    group = _group(module, settings, filled, rank, size)
    settings = replace(settings, shards=group.shards)
    return filled, settings, group, _data(module, settings, earlier)


def _require_whole_shards(module: Module, batch: int, group: Group) -> None:
    if batch % group.shards:
        what = f"a batch of {batch} cannot be cut into {group.shards} shards of one size"
        raise error("MP534", what, module.train.place("batch"),
                    help=f"a batch that {group.shards} divides, or fewer --shards")  # fmt: skip


def _group(module: Module, settings: Settings, options: Options, rank: int, size: int) -> Group:
    """Return a process of several with the shards of the settings. Raises `SpecError` (MP534)."""
    shards = settings.shards or size
    try:
        return Group(rank, size, shards, "sharded" if options.layout == "sharded" else "replicated")
    except ValueError as fault:
        raise error(
            "MP534", str(fault), module.train.place("shards"),
            help="shards are a power of two that the processes divide: --shards 4 --processes 2",
        ) from fault  # fmt: skip


def _require_one_training(setup: Setup) -> None:
    """Check that all processes were given the same training, and see the same checkpoint. Raises `SpecError` (MP535)."""
    if setup.group.size == 1:
        return
    step = setup.found.record["step"] if setup.found else None
    told = {**setup.facts(), "spec_hash": setup.spec_hash, "checkpoint": step, "versions": None}
    for name, fact in told.items():
        digest = hashlib.sha256(disk.as_json({name: fact})).digest()
        rows = setup.session.exchange([int.from_bytes(digest[:6], "big")])
        if any(row != rows[0] for row in rows):
            raise error("MP535", f"the processes of this training were given another '{name}' each", Span.none(),
                        help="start all of them with one command line, on one text, and in one folder")  # fmt: skip


def _data(module: Module, settings: Settings, earlier: runs.Run | None) -> Dataset:
    """The data that are named, those of the run resumed, or the draws of a model that reads none."""
    name = settings.data
    if not module.fields:
        return drawn(module, settings.batch, name)
    if name is None:
        raise error("MP501", "neither train.data nor --data is given", module.train.place(),
                    help="e.g. --data digits, or a path to .npz, .csv, .txt")  # fmt: skip
    if earlier:
        require_own(earlier, name)
    return load_data(module, name, settings.length, settings.threshold)


def _init(options: Options, earlier: runs.Run | None) -> str | None:
    if earlier:
        return None if earlier.facts["init"] is None else str(earlier.facts["init"])
    return str(options.init.resolve()) if options.init else None


__all__ = ["Setup", "prepare"]
