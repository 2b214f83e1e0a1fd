"""The table of metrics: which of them a target has, by its type and law."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpcompile.ir import Array, Module
from mpcompile.runner import tallies
from mpcompile.runner.answers import ANGLE, CLASSES, LEVELS, QUANTITY, TEXT, Target, lengths_of, targets
from mpcompile.runner.tallies import Tally


@dataclass(frozen=True, slots=True)
class Row:
    """Metrics that one tally gives.

    kinds    of targets that have them
    metrics  name -> what it is, with its source
    certain  only of a law that gives probabilities of classes
    cheap    also in the validation lines of a training
    """

    tally: Callable[[Target], Tally]
    kinds: frozenset[str]
    metrics: Mapping[str, str]
    certain: bool = False
    cheap: bool = False

    def fits(self, target: Target) -> bool:
        return target.kind in self.kinds and (target.certain or not self.certain)


_OF_CLASSES = frozenset({CLASSES, LEVELS})
_QUANTITIES = frozenset({LEVELS, QUANTITY})

METRICS: tuple[Row, ...] = (
    Row(tallies.Hits, _OF_CLASSES, {
        "accuracy": "the share of elements whose most probable class is the true one",
    }, cheap=True),
    Row(tallies.Confusion, _OF_CLASSES, {
        "balanced_accuracy": "the mean recall of the classes that occur",
        "f1": "the mean over classes, true or guessed somewhere, of 2 hits / (true + guessed)",
        "iou": "the mean over the same classes of hits / (true or guessed); of targets of several elements",
        "classes": "precision, recall, f1, iou and support of each of at most 64 classes",
        "confusion": "counts of each true class (row) guessed as each (column), of at most 64 classes",
    }),
    Row(tallies.Surprise, _OF_CLASSES, {
        "cross_entropy": "the mean of -log p of the true class, in nats an element",
        "perplexity": "its exponential",
    }, certain=True),
    Row(tallies.Brier, _OF_CLASSES, {
        "brier": "the mean of the sum over classes of (p - truth)^2, of two classes half of it (Brier 1950)",
    }, certain=True),
    Row(tallies.Calibration, _OF_CLASSES, {
        "calibration_error": "the gap of hits and confidence in 15 bins of it, by their size (Guo et al. 2017, eq. 3)",
    }, certain=True),
    Row(tallies.Ranking, _OF_CLASSES, {
        "auc": "the area under the ROC curve, of several classes the mean of each against the rest (Hanley and McNeil "
               "1982); of targets of one element and at most 100 classes",
    }, certain=True),
    Row(tallies.Errors, frozenset({LEVELS, QUANTITY, ANGLE}), {
        "mean_absolute_error": "the mean distance of the truth from the mean of the law; of angles the shorter way round",
        "mean_squared_error": "the mean of the squared distance",
        "root_mean_square_error": "the root of that, in the unit of the target",
    }, cheap=True),
    Row(tallies.Explained, _QUANTITIES, {
        "r_squared": "1 - squared errors / squared distances from the mean of the truth",
    }),
    Row(tallies.Edits, frozenset({TEXT}), {
        "error_rate": "insertions, deletions and substitutions over the symbols of the truth (Levenshtein 1966)",
        "sequence_accuracy": "the share of texts without any",
    }, cheap=True),
)  # fmt: skip

#: Metrics of draws (`eval --samples K`), of quantities and levels.
OF_DRAWS = {
    "crps": "the continuous ranked probability score, in the unit of the target (Gneiting and Raftery 2007, eq. 21)",
    "coverage_50": "the share of truths between the quantiles 0.25 and 0.75 of the draws",
    "coverage_90": "the share of truths between the quantiles 0.05 and 0.95 of the draws",
}


class Scores:
    """The tallies of every target of a module, over the batches that `add` takes."""

    def __init__(self, module: Module, cheap: bool = False) -> None:
        self.module = module
        self.targets = targets(module)
        self.tallies = {
            t.field.name: [row.tally(t) for row in METRICS if row.fits(t) and (row.cheap or not cheap)]
            for t in self.targets
        }

    def add(
        self, outputs: Mapping[str, Array], data: Mapping[str, Array], weight: Array | None = None
    ) -> None:
        """Count a batch of n examples in: outputs of `predict`, data by field, and the weights [n] of examples."""
        lengths = lengths_of(self.module, data)
        for target in self.targets:
            name = target.field.name
            weights = np.ones(len(data[name])) if weight is None else weight
            seen = target.seen(outputs[name], data, lengths, weights)
            for tally in self.tallies[name]:
                tally.add(seen)

    def figures(self, words: Mapping[str, Sequence[str]] | None = None) -> dict[str, dict[str, Any]]:
        """Return metrics by target and name; `words` name the classes of a target."""
        found: dict[str, dict[str, Any]] = {}
        for target in self.targets:
            own: dict[str, Any] = {}
            for tally in self.tallies[target.field.name]:
                own |= tally.figures()
            if "classes" in own:
                names = target.named((words or {}).get(target.field.name))
                own["classes"] = dict(zip(names, own["classes"], strict=True))
            if own:
                found[target.field.name] = own
        return found


def named(rows: Iterable[Row] = METRICS) -> dict[str, str]:
    """Return every metric and what it is."""
    return {name: about for row in rows for name, about in row.metrics.items()} | OF_DRAWS


__all__ = ["METRICS", "OF_DRAWS", "Row", "Scores", "named"]
