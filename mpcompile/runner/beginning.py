"""Measure before the first step: the statistics that a model standardises by, and a data-dependent start.

The program `statistics` gives count, mean and sum of squares of each batch. They are added up in double precision
(Chan, Golub and LeVeque 1983, eq. 1.5), so no sum of raw squares cancels, and the split is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mpcompile.backend import Session
from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import STATISTICS, Array, Module
from mpcompile.layers.standardise import DEVIATION, MEAN
from mpcompile.runner.batches import Batches, as_precision, chunks, complete

STATISTICS_OF, INITIALIZE = "statistics", "initialize"
#: A deviation below this share of the largest number is rounding of single precision.
_ROUNDING = 1e-6
_NAMED = 5


@dataclass
class Moments:
    """Count, mean and sum of squared distances from it, of each channel: [C] each, float64."""

    count: Array
    mean: Array
    squares: Array

    def add(self, other: Moments) -> None:
        """Count the numbers of another batch in."""
        total = self.count + other.count
        share = other.count / np.maximum(total, 1)
        step = other.mean - self.mean
        self.squares = self.squares + other.squares + step * step * self.count * share
        self.mean = self.mean + step * share
        self.count = total

    @property
    def deviation(self) -> Array:
        """The biased deviation of each channel; 0 where rounding alone makes it differ from that."""
        found = np.sqrt(self.squares / np.maximum(self.count, 1))
        return np.where(found > _ROUNDING * np.abs(self.mean), found, 0.0)


def begin(session: Session, batches: Batches, precision: str, say: Callable[[str], None]) -> None:
    """Set the statistics of the training split, then the parameters that `initialize` gives from the first batch.

    `say` takes messages. Raises `SpecError` (MP513) for data without statistics.
    """
    module = batches.module
    if STATISTICS_OF in module.programs:
        set_parameters(session, measured(session, batches, precision, say))
    if INITIALIZE in module.programs:
        first = complete(module, INITIALIZE, batches.at(0), (batches.seed, INITIALIZE))
        out = session.run(INITIALIZE, as_precision(first, precision))
        set_parameters(session, {name: out[output] for name, output in module.updates(INITIALIZE).items()})


def set_parameters(session: Session, values: Mapping[str, Array]) -> None:
    """Set some parameters of a session by name."""
    state = session.state()
    for name, value in values.items():
        key = f"parameter/{name}"
        state[key] = np.asarray(value, dtype=state[key].dtype).reshape(state[key].shape)
    session.load_state(state)


def measured(
    session: Session, batches: Batches, precision: str, say: Callable[[str], None]
) -> dict[str, Array]:
    """Return the untrained parameters of all that is standardised, by name.

    A channel without spread has the deviation 1, and `say` tells of it. Raises `SpecError` (MP513) for a channel without
    values, and for one without spread in a flow, whose density it would make infinite.
    """
    module, found = batches.module, dict[str, Moments]()
    for number, data in chunks(batches.split, batches.batch):
        inputs = complete(module, STATISTICS_OF, data, (batches.seed, STATISTICS_OF, number))
        for path, moments in _of(session.run(STATISTICS_OF, as_precision(inputs, precision))).items():
            if path in found:
                found[path].add(moments)
            else:
                found[path] = moments
    within_flow = {p for steps in module.flow_steps.values() for s in steps for p in s.graph.parameters()}
    state: dict[str, Array] = {}
    for path, moments in found.items():
        name = f"{path}.{DEVIATION}"
        _require(module, name, moments.count == 0, "no value of it is there in the training data")
        flat = moments.deviation == 0
        if name in within_flow:
            _require(module, name, flat, "all its training values are the same")
        elif flat.any():
            say(f"`{path}` leaves {_listed(flat)} without a scale: all training values are the same")
        state[f"{path}.{MEAN}"] = moments.mean
        state[name] = np.where(flat, 1.0, moments.deviation)
    return state


def _of(outputs: Mapping[str, Array]) -> dict[str, Moments]:
    """Return the moments of one batch, by path."""
    first = STATISTICS[0]
    paths = [name.removeprefix(first) for name in outputs if name.startswith(first)]
    return {p: Moments(*(np.asarray(outputs[f"{k}{p}"], np.float64) for k in STATISTICS)) for p in paths}


def _require(module: Module, name: str, wrong: Array, why: str) -> None:
    if wrong.any():
        raise _refused(module.parameters[name].span, wrong, why)


def _refused(span: Span, wrong: Array, why: str) -> SpecError:
    what = "the value" if wrong.size == 1 else _listed(wrong)
    return error("MP513", f"`standardise` cannot scale {what}: {why}", span,
                 help="leave it out of the data, or write the map without `standardise`")  # fmt: skip


def _listed(wrong: Array) -> str:
    at = np.flatnonzero(wrong)
    named = ", ".join(str(i) for i in at[:_NAMED]) + (
        f" and {len(at) - _NAMED} more" if len(at) > _NAMED else ""
    )
    return f"channel{'' if len(at) == 1 else 's'} {named}"


__all__ = ["Moments", "begin", "measured", "set_parameters"]
