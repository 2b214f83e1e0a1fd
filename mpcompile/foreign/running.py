"""Runs of a model: whether its recording is what it computes, and which elements of an input it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mpcompile.foreign.masks import MASK
from mpcompile.foreign.model import ForeignModel
from mpcompile.foreign.observed import Observed
from mpcompile.foreign.recording import Recording
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Builder, Graph, Node, Value

#: A recording equals its model where they differ by no more than this, relative to the largest element.
CLOSE = 1e-4
#: A change below this, relative to the largest element, is one of rounding.
ROUNDING = 1e-6
#: Other values of whole numbers that are tried in the place of one.
TRIES = 3
#: Weights that are tried: the model's own, and others.
TRIALS = 2


@dataclass(frozen=True, slots=True)
class Change:
    """The change of an output element with an input element, relative to the largest output element."""

    size: float

    @property
    def real(self) -> bool:
        return self.size > ROUNDING

    @property
    def rounding(self) -> bool:
        return 0 < self.size <= ROUNDING


def difference(recording: Recording) -> float:
    """Return the largest difference between what the graph gives on the recorded inputs and what the model gave.

    It is relative to the largest element; elements that are not finite must be the same. Runs in the oracle, twice where
    that matters: operations without a primitive give what they gave, or are run again, as rounding decides a `topk`.
    """
    found = _gap(recording, recording.graph)
    if found > close(recording) and _observed(recording):
        return min(found, _gap(recording, recording.graph.rebuild(_as_recorded)))
    return found


def _gap(recording: Recording, graph: Graph) -> float:
    inputs = {**recording.inputs, **recording.noise}
    wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in inputs.items()}
    weights = {k: v.astype(np.float64) for k, v in recording.parameters.items()}
    try:
        with np.errstate(all="ignore"):
            found = interpret(graph, weights, wide)
    except ValueError:  # an operation without a primitive, which cannot be run again
        return np.inf
    return max((apart(found[k], v) for k, v in recording.outputs.items()), default=0.0)


def _observed(recording: Recording) -> list[Observed]:
    return [n.op for n in recording.graph.nodes() if isinstance(n.op, Observed)]


def _as_recorded(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    return b.emit_all(replace(node.op, again=None), *inputs) if isinstance(node.op, Observed) else None


def unlike(model: ForeignModel, recording: Recording) -> str:
    """Return in words how far a recording is from what its model computes; nothing where rounding explains it.

    The inputs of the call alone would not do: what was taken for a constant is right there.
    """
    apart, where = difference(recording), ""
    if apart <= close(recording):
        apart, where = elsewhere(model, recording), " on other inputs"
    if apart <= close(recording):
        return ""
    return f"the recording of {model.name} differs from the model by {apart:.1e} of its largest output{where}"


def elsewhere(model: ForeignModel, recording: Recording) -> float:
    """Return the largest difference between graph and model on inputs that differ from those of the call.

    It is 0 where no others can be asked: where numbers that were read decide what runs, where noise is drawn, and
    where an operation without a primitive cannot be run again.
    """
    graph = recording.graph
    moved = {k: _elsewhere(v) for k, v in recording.inputs.items()}
    asked = any(
        not np.array_equal(v, recording.inputs[k], equal_nan=v.dtype.kind == "f") for k, v in moved.items()
    )
    if (
        not asked
        or recording.reads
        or recording.noise
        or any(op.again is None for op in _observed(recording))
    ):
        return 0.0
    weights = {k: v.astype(np.float64) for k, v in recording.parameters.items()}
    wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in moved.items()}
    try:
        with np.errstate(all="ignore"):
            found = interpret(graph, weights, wide)
    except ValueError:  # an operation without a primitive, which cannot be run again
        return 0.0
    want = model.run(moved, 0)
    return max((apart(found[k], want[k]) for k in recording.outputs), default=0.0)


def _elsewhere(x: Array) -> Array:
    """Numbers in another order, so that whole ones stay in their range; masks and truth values as they are."""
    rng = np.random.default_rng(0)
    kept = (
        x.dtype.kind not in "iuf" or not np.isfinite(x).all() or np.isin(x, (0, 1)).all() or (x <= MASK).any()
    )
    if kept:
        return x
    mixed = rng.permutation(x.reshape(-1)).reshape(x.shape)
    return (
        mixed
        if x.dtype.kind != "f"
        else mixed + (0.1 * x.std() * rng.standard_normal(x.shape)).astype(x.dtype)
    )


def close(recording: Recording) -> float:
    """Return the largest difference that rounding explains: some units in the last place of the coarsest type."""
    return max(CLOSE, 8 * recording.eps)


def apart(x: Array, y: Array) -> float:
    """Return the largest difference of two arrays, relative to the largest element of the second.

    Elements that are not finite must be the same.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    finite = np.isfinite(y)
    if not np.array_equal(np.isfinite(x), finite) or not np.array_equal(
        x[~finite], y[~finite], equal_nan=True
    ):
        return np.inf
    scale = float(np.abs(y[finite]).max(initial=0.0)) or 1.0
    return float(np.abs(x[finite] - y[finite]).max(initial=0.0)) / scale


def changes(
    model: ForeignModel,
    recording: Recording,
    source: str,
    at: tuple[int | slice, ...],
    output: str,
    axis: int,
) -> list[Change]:
    """Return for each place along an axis of the output how much it changes with one element of an input (`moved`)."""
    found = moved(model, recording, source, at, output)
    along = found.max(axis=tuple(a for a in range(found.ndim) if a != axis))
    return [Change(float(c)) for c in along]


def moved(
    model: ForeignModel, recording: Recording, source: str, at: tuple[int | slice, ...], output: str
) -> Array:
    """Return how much each element of an output changes with one element of an input, relative to the largest.

    `at` is the index of an element, or of a block of elements that change together. The largest change over some
    other values, and over weights (of a recording that has any), counts.
    """
    largest: Array | None = None
    for trial in range(TRIALS if recording.parameters else 1):
        before = model.run(recording.inputs, trial)[output]
        scale = float(np.abs(before[np.isfinite(before)]).max(initial=0.0)) or 1.0
        for step in range(1, TRIES + 1):
            after = model.run({**recording.inputs, source: other(recording.inputs, source, at, step)}, trial)[
                output
            ]
            found = np.abs(np.nan_to_num(after - before)) / scale
            largest = found if largest is None else np.maximum(largest, found)
        if largest is not None and (largest > ROUNDING).all():
            break
    assert largest is not None
    return largest


def other(inputs: Mapping[str, Array], source: str, at: tuple[int | slice, ...], step: int) -> Array:
    """Return the input with other values at one place: the next whole numbers among those it has, else moved by steps.

    The elements of a block move apart, because a layer that normalises does not see that all move alike.
    """
    x = inputs[source].copy()
    if x.dtype.kind == "f":
        apart = 1 + 0.5 * np.cos(np.arange(np.asarray(x[at]).size)).reshape(np.shape(x[at]))
        x[at] = x[at] + (np.asarray([1.0, -0.7, 2.3][step - 1]) * apart).astype(x.dtype)
    elif x.dtype.kind == "b":
        x[at] = ~x[at]
    else:
        among = np.unique(inputs[source])
        low, count = int(among.min()), max(int(among.max()) - int(among.min()) + 1, 2)
        x[at] = low + (x[at] - low + step) % count
    return x
