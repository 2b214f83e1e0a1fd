"""Resuming a run: the settings that it inherits, the changes that are allowed, and the remarks about a change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, Module
from mpcompile.runner import checkpoint
from mpcompile.runner.metrics import check_metrics
from mpcompile.runner.record import settings_of
from mpcompile.runner.renames import renamed
from mpcompile.runner.run import Run, fit
from mpcompile.runner.settings import Settings, settings
from mpcompile.runner.weights import tell_dead

if TYPE_CHECKING:
    from mpcompile.backend import Session
    from mpcompile.runner.options import Options

# What an option means where neither the command line nor the run resumed says it.
_USUAL: Mapping[str, Any] = {
    "backend": "torch", "device": "cpu", "precision": "float32", "mixed": False, "trackers": [],
    "unproven": False, "layout": "replicated", "compile": False,
}  # fmt: skip
# Facts that follow from the data, or stand in another place of `run.json` too.
_DERIVED = (
    "vocabulary",
    "classes",
    "statistics",
    "data_digest",
    "settings.data",
    "settings.seed",
    "settings.steps",
)


def filled(options: Options, earlier: Run | None) -> Options:
    """Fill the options that the command line leaves open from the run resumed, or with defaults."""
    before = earlier.facts if earlier else _USUAL
    return replace(options, **{name: before[name] for name in _USUAL if getattr(options, name) is None})


def merged(module: Module, options: Options, earlier: Run | None) -> Settings:
    """Merge the settings of the spec, or of the run resumed, with the command line's.

    Raises `SpecError` (MP521: the seed).
    """
    stated = {n: getattr(options, n) for n in ("seed", "steps", "checkpoint_every", "shards")}
    module.train.changed(**stated)  # the command line has the ranges of the spec
    values = settings_of(earlier.facts) if earlier else settings(module)
    seed = values.seed if options.seed is None else options.seed
    if earlier and seed != values.seed:
        raise error(
            "MP521", f"{earlier.folder} was started with seed {values.seed}, not {seed}", Span.none(),
            help="leave out --seed, or leave out --resume to start again",
        )  # fmt: skip
    if earlier and options.shards not in (None, values.shards):
        raise error(
            "MP521", f"{earlier.folder} was started with {values.shards} shards, not {options.shards}", Span.none(),
            help="leave out --shards (any number of processes that divides them will do), or leave out --resume",
        )  # fmt: skip
    if options.steps is not None:
        values = replace(values, steps=options.steps, epochs=None)
    every = options.checkpoint_every or values.checkpoint_every
    shards = options.shards or values.shards
    return replace(values, data=options.data or values.data, seed=seed, checkpoint_every=every, shards=shards)


@dataclass(frozen=True, slots=True)
class Plan:
    """The number of steps, and which of them log and validate."""

    total: int
    log_every: int
    valid_every: int

    @classmethod
    def of(cls, values: Settings, per_epoch: int) -> Plan:
        limits = [values.steps] if values.steps is not None else []
        limits += [values.epochs * per_epoch] if values.epochs is not None else []
        total = min(limits, default=2000)
        log_every = values.log_every or max(1, min(100, total // 200))
        usual = max(per_epoch, min(50, ceil(total / 100)))
        valid_every = values.valid_every or max(1, min(usual, ceil(total / 5)))
        return cls(total, log_every, valid_every)


def reached(facts: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> str:
    """Say how many steps of its plan a run took: fewer after an early stop, an interruption or a divergence.

    A plan in epochs is one of steps where a line of metrics says how many steps an epoch has.
    """
    values = settings_of(facts)
    last = max(metrics, key=lambda line: line["step"], default={})
    step, epoch = last.get("step", 0), last.get("epoch", 0.0)
    end = f"; diverged: {facts['diverged']['what']}" if facts.get("diverged") else ""
    if values.epochs is not None and not epoch > 0:
        return f"{step} steps of {values.epochs} epochs{end}"
    return f"{step} of {Plan.of(values, round(step / epoch) if epoch > 0 else 1).total} steps{end}"


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the facts of a run that a resume changes: name -> [before, after]."""
    old, new = dict(_flat(before)), dict(_flat(after))
    names = [n for n in new if n not in _DERIVED and old.get(n) != new[n]]
    return {n: [old.get(n), new[n]] for n in names}


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if name in ("settings", "versions"):
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        elif name not in ("history", "format"):
            yield name, value


def about_rate(before: Settings, after: Settings, per_epoch: int, step: int) -> str:
    """Return what another number of steps does to the rate; nothing where the rate does not depend on that number."""
    old, new = (Plan.of(values, per_epoch).total for values in (before, after))
    if old == new or step == 0 or not after.schedule.ends:
        return ""
    last, following = (
        before.schedule.rate(before.rate, step - 1, old),
        after.schedule.rate(after.rate, step, new),
    )
    return (
        f"the {after.schedule.keyword} schedule now ends at step {new}, not {old}: "
        f"the rate goes from {last:.3g} to {following:.3g} at step {step}"
    )


def require_ahead(wanted: int | None, taken: int) -> None:
    """Raise `SpecError` (MP511) where a resume asks for fewer steps in all than the run has `taken`.

    None asks for no number.
    """
    if wanted is not None and wanted < taken:
        raise error(
            "MP511", f"the run has taken {taken} steps, and --steps {wanted} asks for fewer", Span.none(),
            help=f"--steps counts all steps of a run: name more than {taken}, or leave it out",
        )  # fmt: skip


# The checkpoint ---------------------------------------------------------------------------------------


def latest(earlier: Run, module: Module) -> checkpoint.Checkpoint | None:
    """Load the newest sound checkpoint; None where the run never had one and nothing would be lost.

    Raises `SpecError` (MP522) where there were checkpoints and none verifies.
    """
    why: list[str] = []
    limit = checkpoint.bound(module)
    found = checkpoint.newest(earlier.checkpoints, limit, why)
    if found is not None:
        return found
    best = checkpoint.best(earlier.best, limit)
    # A run of release 0.1 has its first checkpoint half a minute after its start; until then nothing is lost.
    unsaved = earlier.facts["format"] == 1 and not checkpoint.exists(earlier.checkpoints)
    if unsaved and not earlier.best.exists() and earlier.facts["init"] is None:
        return None
    fresh = f"mpcompile train SPEC --init {earlier.folder} --out NEW"
    held = f"best/ holds step {best.record['step']}: `{fresh}` starts from it" if best else (
        "train without --resume to start again; this run steps aside"
    )  # fmt: skip
    raise error("MP522", f"{earlier.folder} has no checkpoint that verifies, and --resume needs one", Span.none(),
                notes=tuple(why), help=held)  # fmt: skip


def restore(
    session: Session,
    module: Module,
    found: checkpoint.Checkpoint,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Load a checkpoint into a session. Raises `SpecError` (MP521, MP526) where its arrays are not the session's.

    `say` is told of elements that masks remove and that are not zero.
    """
    prefix = "parameter/"
    theirs = renamed(found.state, module)
    weights = {k.removeprefix(prefix): v for k, v in theirs.items() if k.startswith(prefix)}
    fit(weights, module, str(found.folder))
    tell_dead(weights, module, str(found.folder), say)
    ours = session.state()
    state: dict[str, Array] = {}
    for name in [*ours, *theirs]:
        a, b = ours.get(name), theirs.get(name)
        if a is None or b is None or a.shape != b.shape or a.dtype.kind != b.dtype.kind:
            shown = [f"{x.dtype} {x.shape}" if x is not None else "not there" for x in (b, a)]
            raise error("MP521", f"{found.folder} has another state: '{name}' is {shown[0]}, here {shown[1]}",
                        Span.none())  # fmt: skip
        state[name] = np.asarray(b, dtype=a.dtype)
    session.load_state(state)


def metrics_kept(earlier: Run, size: int) -> int:
    """Return how many bytes of metrics a checkpoint goes on from: those it names, or none where the file is gone.

    Raises `SpecError` (MP520) where they are not the lines that training wrote.
    """
    if not earlier.metrics.exists():
        return 0
    check_metrics(earlier.metrics, size)
    return size
