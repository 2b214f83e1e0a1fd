"""Targets as the program `predict` answers for them: elements of a batch, each with its truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import pi

import numpy as np

from mpcompile.ir import Answer, Array, Field, Module, multiple_of

#: Kinds of targets, by which metrics are chosen.
CLASSES, LEVELS, QUANTITY, ANGLE, TEXT = "classes", "levels", "quantity", "angle", "text"
NOUNS = {
    CLASSES: "a category or bits",
    LEVELS: "an integer of a range, such as `integer(1..5)`",
    QUANTITY: "real numbers and counts",
    ANGLE: "real numbers modulo 2 pi",
    TEXT: "a sequence of classes of which the law gives the best path (`ctc`)",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """The m elements of a batch of n examples whose truth is known.

    row          [m] the example of each
    truth        [m] the class from 0, or a quantity
    guess        [m] of the same kind: the most probable class, or the mean
    probability  [m, K] of each class; None where the law does not give them
    error        [m] truth minus guess as quantities, of levels and quantities; of angles in (-pi, pi]
    weight       [n] of each example
    edits        [n] of texts: insertions, deletions and substitutions from the guess to the truth
    """

    row: Array
    truth: Array
    guess: Array
    weight: Array
    probability: Array | None = None
    error: Array | None = None
    edits: Array | None = None

    @property
    def weights(self) -> Array:
        """The weight [m] of each element."""
        return np.asarray(self.weight[self.row])


@dataclass(frozen=True, slots=True)
class Target:
    """A target and what `predict` gives of it.

    kind      see `CLASSES` and the others
    places    elements of an example; None where examples differ
    certain   the law gives probabilities: of no criterion, draw or best path
    """

    field: Field
    answer: Answer
    kind: str
    places: int | None
    certain: bool

    @property
    def count(self) -> int:
        """Number of classes."""
        return 2 if self.field.bits else int(self.field.classes or 0)

    @property
    def low(self) -> int:
        return self.field.low if self.field.base == "integer" else 0

    def named(self, words: Sequence[str] | None) -> list[str]:
        """Return the names of the classes: words where there are some, else their numbers."""
        if words is not None and len(words) == self.count:
            return list(words)
        return [str(self.low + k) for k in range(self.count)]

    def seen(
        self, output: Array, data: Mapping[str, Array], lengths: Mapping[str, Array], weight: Array
    ) -> Seen:
        """Compare an output of `predict` with the truth in `data`; `lengths` has the real size of each symbolic one."""
        truth = data[self.field.name]
        there = self.there(truth, lengths)
        row = np.broadcast_to(np.arange(len(truth)).reshape(-1, *(1,) * (truth.ndim - 1)), truth.shape)[there]
        if self.kind == TEXT:
            return self._text(output, truth, there, row, weight)
        real = truth[there]
        probability = self.probabilities(output)
        value = self.values(output, probability)
        error = None if value is None else real.astype(np.float64) - value[there]
        if self.kind == ANGLE and error is not None:
            error = pi - np.mod(pi - error, 2 * pi)
        if not self.count:
            assert value is not None
            return Seen(row, real, value[there], weight, error=error)
        classes = real.astype(np.int64) - self.low
        guess = self.classes(output, probability)[there]
        shown = None if probability is None or not self.certain else probability[there]
        return Seen(row, classes, guess, weight, shown, error)

    def there(self, truth: Array, lengths: Mapping[str, Array]) -> Array:
        """Return which elements of the truth are real: not missing, nor behind the end of their sequence."""
        found = ~np.isnan(truth) if truth.dtype.kind == "f" else np.ones(truth.shape, bool)
        if self.field.optional and truth.dtype.kind in "iu":
            found &= truth >= self.low
        for axis, size in enumerate(self.field.type.shape[1:], 1):
            symbol, times = multiple_of(size) or ("", 1)
            if symbol in lengths:
                ends = (lengths[symbol].reshape(-1) * times).reshape(-1, *(1,) * (truth.ndim - 1))
                places = np.arange(truth.shape[axis]).reshape(-1, *(1,) * (truth.ndim - 1 - axis))
                found &= places < ends
        return found

    def probabilities(self, output: Array) -> Array | None:
        """Return the probability of each class along a last axis; None for quantities and means of levels."""
        if self.answer.axis is not None:
            return np.moveaxis(output, self.answer.axis, -1)
        if not self.field.bits:
            return None
        return np.stack([1 - output, output], -1)

    def classes(self, output: Array, probability: Array | None) -> Array:
        """Return the most probable class, from 0."""
        if probability is not None:  # of two as probable the first
            return np.asarray(probability.argmax(-1))
        return np.clip(np.rint(output), self.low, self.low + self.count - 1).astype(np.int64) - self.low

    def values(self, output: Array, probability: Array | None) -> Array | None:
        """Return the mean as a quantity; None of classes, which are none."""
        if self.kind == CLASSES:
            return None
        if probability is None:
            return output.astype(np.float64)
        return np.asarray(probability @ (self.low + np.arange(self.count, dtype=np.float64)))

    def _text(self, output: Array, truth: Array, there: Array, row: Array, weight: Array) -> Seen:
        found = texts(np.moveaxis(output, self.answer.axis or -1, -1))
        real = truth.astype(np.int64) - self.low
        edits = np.array([distance(a, b[t]) for a, b, t in zip(found, real, there, strict=True)], np.float64)
        return Seen(row, real[there], real[there], weight, edits=edits.reshape(len(truth)))


def texts(one_hot: Array) -> list[Array]:
    """Return the symbols of each text `[n, places, classes]`, which is zero behind its end."""
    return [row[row.any(-1)].argmax(-1) for row in one_hot]


def distance(a: Array, b: Array) -> int:
    """Return how many insertions, deletions and substitutions lead from one text to another (Levenshtein 1966)."""
    steps = np.arange(len(b) + 1)
    costs = steps.copy()
    for i, symbol in enumerate(a, 1):
        best = np.concatenate([[i], np.minimum(costs[1:] + 1, costs[:-1] + (b != symbol))])
        costs = np.minimum.accumulate(best - steps) + steps  # insertions, all at once
    return int(costs[-1])


def targets(module: Module) -> list[Target]:
    """Return the targets that `predict` answers for."""
    graph = module.programs.get("predict")
    found = []
    for field in module.fields.values() if graph is not None else ():
        output = graph.outputs.get(field.name) if graph is not None else None
        if field.role == "target" and output is not None:
            found.append(_target(module, field, output.type.rank))
    return found


def _target(module: Module, field: Field, rank: int) -> Target:
    answer = module.answers.get(field.name, Answer())
    axis = answer.axis if rank > field.type.rank else None
    if rank > field.type.rank and axis is None:
        axis = rank - 1
    answer = Answer(answer.kind, axis)
    fixed = [s for s in field.type.shape[1:] if isinstance(s, int)]
    places = int(np.prod(fixed)) if len(fixed) == field.type.rank - 1 else None
    certain = answer.kind == "mean" and (axis is not None or field.bits)
    if field.angle:
        kind = ANGLE
    elif field.measured:
        kind = QUANTITY
    elif answer.kind == "best" and axis is not None:
        kind = TEXT
    else:
        kind = LEVELS if field.base == "integer" and not field.bits else CLASSES
    return Target(field, answer, kind, places, certain)


def lengths_of(module: Module, data: Mapping[str, Array]) -> dict[str, Array]:
    """Return how many steps of each symbolic length are real, by its name, where data say so."""
    return {f.counts: data[f.name] for f in module.fields.values() if f.counts and f.name in data}
