"""Metrics as sums over batches: each tally takes what a target is and gives its figures at the end.

A tally keeps counts of classes, bins or examples, never the outputs of a model, but for `Ranking`, whose figure is one of
all scores together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.answers import Seen, Target

Figures = dict[str, Any]

#: Bins of confidence; most classes of a matrix, and of the area under the curve.
BINS, MATRIX, RANKED = 15, 64, 100


class Tally(Protocol):
    """A sum over batches of what some metrics need."""

    def add(self, seen: Seen) -> None:
        """Count a batch in."""

    def figures(self) -> Figures:
        """Return metrics by name; none where nothing was counted, or where a metric is not defined."""


class Mean:
    """The mean of a score over elements, and its standard error over examples, which are drawn, not their elements.

    The mean is a ratio of two sums over examples; its error is that of a ratio (Cochran 1977, eq. 2.46), which for
    examples of as many elements each is the deviation of their means over sqrt(n).
    """

    def __init__(self, name: str, score: Callable[[Seen], Array | None]) -> None:
        self.name, self.score = name, score
        self._sums: list[Array] = []  # [n, 2] of each batch: sums of weighted scores, and of weights

    def add(self, seen: Seen) -> None:
        if (score := self.score(seen)) is not None:
            n, weights = len(seen.weight), seen.weights
            both = [np.bincount(seen.row, v, n) for v in (weights * score, weights)]
            self.add_rows(*both)

    def add_rows(self, scores: Array, weights: Array) -> None:
        """Count examples in by their sums [n]; those of no weight count for nothing."""
        there = weights > 0
        self._sums.append(np.stack([scores[there], weights[there]], 1).astype(np.float64))

    def figures(self) -> Figures:
        found = np.concatenate(self._sums or [np.zeros((0, 2))])
        return {self.name: ratio(found[:, 0], found[:, 1])} if len(found) else {}


def ratio(scores: Array, weights: Array) -> dict[str, float]:
    """Return the ratio of two sums over n examples and its standard error (0 for one example)."""
    n, total = len(scores), float(weights.sum())
    mean = float(scores.sum()) / total
    spread = 0.0
    if n > 1:
        spread = float(np.sqrt(n / (n - 1) * np.sum((scores - mean * weights) ** 2))) / total
    return {"mean": mean, "standard_error": spread}


def moments(values: Array) -> dict[str, float]:
    """Return the mean and the standard error of the mean (0 for one example)."""
    n = len(values)
    spread = float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    return {"mean": float(np.mean(values)), "standard_error": spread}


class Hits(Mean):
    """The share of elements whose most probable class is the true one."""

    def __init__(self, target: Target) -> None:
        super().__init__("accuracy", lambda seen: (seen.guess == seen.truth).astype(np.float64))


class Surprise(Mean):
    """-log p of the true class in nats, and its exponential."""

    def __init__(self, target: Target) -> None:
        super().__init__("cross_entropy", _surprise)

    def figures(self) -> Figures:
        found = super().figures()
        if not found or not np.isfinite(found[self.name]["mean"]):
            return {}  # a true class of no probability at all
        with np.errstate(over="ignore"):
            perplexity = float(np.exp(found[self.name]["mean"]))
        return found | ({"perplexity": {"value": perplexity}} if np.isfinite(perplexity) else {})


def _surprise(seen: Seen) -> Array | None:
    if seen.probability is None:
        return None
    own = seen.probability[np.arange(len(seen.truth)), seen.truth].astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(own))


class Brier(Mean):
    """The mean squared distance of the probabilities from the truth; of two classes that of one of them."""

    def __init__(self, target: Target) -> None:
        half = 0.5 if target.count == 2 else 1.0

        def score(seen: Seen) -> Array | None:
            if seen.probability is None:
                return None
            off = seen.probability.astype(np.float64)
            off[np.arange(len(off)), seen.truth] -= 1
            return np.asarray(half * (off**2).sum(1))

        super().__init__("brier", score)


class Confusion:
    """Counts of each class, of each guess of it, and of hits; all pairs of a few classes."""

    def __init__(self, target: Target) -> None:
        self.size = target.count
        self.spatial = target.places != 1
        self.true, self.guessed, self.hits = (np.zeros(self.size) for _ in range(3))
        self.pairs = np.zeros((self.size, self.size)) if self.size <= MATRIX else None

    def add(self, seen: Seen) -> None:
        w, hit = seen.weights, seen.guess == seen.truth
        self.true += np.bincount(seen.truth, w, self.size)
        self.guessed += np.bincount(seen.guess, w, self.size)
        self.hits += np.bincount(seen.truth[hit], w[hit], self.size)
        if self.pairs is not None:
            flat = np.bincount(seen.truth * self.size + seen.guess, w, self.size**2)
            self.pairs += flat.reshape(self.size, self.size)

    def by_class(self) -> dict[str, Array]:
        """Return each class's figures [K]; NaN where one is not defined."""
        union = self.true + self.guessed - self.hits
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "precision": self.hits / self.guessed,
                "recall": self.hits / self.true,
                "f1": 2 * self.hits / (self.true + self.guessed),
                "iou": self.hits / union,
            }

    def figures(self) -> Figures:
        if not self.true.sum():
            return {}
        each = self.by_class()
        names = {"balanced_accuracy": "recall", "f1": "f1", **({"iou": "iou"} if self.spatial else {})}
        found: Figures = {name: {"value": float(np.nanmean(each[key]))} for name, key in names.items()}
        if self.pairs is not None:
            kept = {k: v for k, v in each.items() if self.spatial or k != "iou"}
            found["classes"] = [
                {k: _known(v[i]) for k, v in kept.items()} | {"support": float(self.true[i])}
                for i in range(self.size)
            ]
            found["confusion"] = self.pairs.tolist()
        return found


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


class Calibration:
    """The expected calibration error: |hits - confidence| over bins of confidence, by their weight."""

    def __init__(self, target: Target) -> None:
        self.sums = np.zeros((3, BINS))  # weights, weighted hits, weighted confidences

    def add(self, seen: Seen) -> None:
        if seen.probability is None:
            return
        sure = seen.probability.max(1).astype(np.float64) if len(seen.truth) else np.zeros(0)
        place = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
        w = seen.weights
        for i, part in enumerate((w, w * (seen.guess == seen.truth), w * sure)):
            self.sums[i] += np.bincount(place, part, BINS)

    def figures(self) -> Figures:
        total = self.sums[0].sum()
        if not total:
            return {}
        return {"calibration_error": {"value": float(np.abs(self.sums[1] - self.sums[2]).sum() / total)}}


class Ranking:
    """The area under the ROC curve of each class against the others, and the mean of those that are defined.

    The area is the probability that an element of the class has a larger score than another, half where they tie (Hanley
    and McNeil 1982). It is of all scores: K numbers an example are kept, of targets of one element and at most 100
    classes.
    """

    def __init__(self, target: Target) -> None:
        self.kept = target.places == 1 and target.count <= RANKED
        self.size = target.count
        self._parts: list[tuple[Array, Array, Array]] = []

    def add(self, seen: Seen) -> None:
        if self.kept and seen.probability is not None:
            self._parts.append((seen.probability, seen.truth, seen.weights))

    def figures(self) -> Figures:
        if not self._parts:
            return {}
        scores, truth, weights = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        classes = range(1, 2) if self.size == 2 else range(self.size)
        areas = [area(scores[:, k], truth == k, weights) for k in classes]
        defined = [a for a in areas if a is not None]
        return {"auc": {"value": float(np.mean(defined))}} if defined else {}


def area(score: Array, positive: Array, weight: Array) -> float | None:
    """Return the area under the ROC curve [m]; None where all elements are positive, or none is."""
    _, place = np.unique(score, return_inverse=True)
    up = np.bincount(place, weight * positive)
    down = np.bincount(place, weight * ~positive)
    total = up.sum() * down.sum()
    return float((up * (np.cumsum(down) - 0.5 * down)).sum() / total) if total else None


class Errors:
    """Mean absolute and mean squared errors of quantities, the root of the latter, and the share that is explained."""

    def __init__(self, target: Target) -> None:
        self.square = Mean("mean_squared_error", lambda s: None if s.error is None else s.error**2)
        self.absolute = Mean("mean_absolute_error", lambda s: None if s.error is None else np.abs(s.error))

    def add(self, seen: Seen) -> None:
        self.square.add(seen)
        self.absolute.add(seen)

    def figures(self) -> Figures:
        found = self.absolute.figures() | self.square.figures()
        if found:
            found["root_mean_square_error"] = {"value": float(np.sqrt(found["mean_squared_error"]["mean"]))}
        return found


class Explained:
    """1 minus the squared errors over the squared distances from the mean (R^2), of all elements together."""

    def __init__(self, target: Target) -> None:
        self.low = target.low if target.count else 0
        self.weight = self.mean = self.square = self.left = 0.0

    def add(self, seen: Seen) -> None:
        """Merge the moments of a batch in (Chan, Golub and LeVeque 1983, eq. 1.5)."""
        w, x = seen.weights.astype(np.float64), seen.truth.astype(np.float64)
        total = float(w.sum())
        if seen.error is None or not total:
            return
        mean = float((w * x).sum() / total)
        step, both = mean - self.mean, self.weight + total
        self.square += float((w * (x - mean) ** 2).sum()) + step**2 * self.weight * total / both
        self.mean += step * total / both
        self.left += float((w * seen.error**2).sum())
        self.weight = both

    def figures(self) -> Figures:
        return {"r_squared": {"value": 1 - self.left / self.square}} if self.square > 0 else {}


class Edits(Mean):
    """Edits of a text over the symbols of the truth, and the share of texts without any."""

    def __init__(self, target: Target) -> None:
        super().__init__("error_rate", lambda seen: None)
        self.whole = Mean("sequence_accuracy", lambda seen: None)

    def add(self, seen: Seen) -> None:
        if seen.edits is not None:
            sizes = np.bincount(seen.row, minlength=len(seen.weight))
            self.add_rows(seen.weight * seen.edits, seen.weight * sizes)
            self.whole.add_rows(seen.weight * (seen.edits == 0), seen.weight)

    def figures(self) -> Figures:
        return super().figures() | self.whole.figures()


class Ensemble:
    """The continuous ranked probability score of draws, and the share of truths within their middle half and 90 %.

    With draws y_1 .. y_K of the law and the truth y, the score is the mean of |y_k - y| minus half the mean of
    |y_j - y_k| over pairs of different draws (Gneiting and Raftery 2007, eq. 21; without bias for every K: Ferro 2014).
    """

    LEVELS: ClassVar[dict[str, float]] = {"coverage_50": 0.5, "coverage_90": 0.9}

    def __init__(self) -> None:
        self.score = Mean("crps", lambda seen: None)
        self.within = {name: Mean(name, lambda seen: None) for name in self.LEVELS}

    def add(self, row: Array, truth: Array, draws: Array, weight: Array) -> None:
        """Count m elements in: `row` and `truth` [m], `draws` [K, m], and the weight [n] of examples."""
        k, n = len(draws), len(weight)
        ranked = np.sort(draws.astype(np.float64), axis=0)
        near = np.abs(ranked - truth).mean(0)
        order = (2 * np.arange(k) - k + 1).reshape(-1, 1)
        apart = (order * ranked).sum(0) / max(k * (k - 1), 1)
        weights = weight[row]
        sizes = np.bincount(row, weights, n)
        self.score.add_rows(np.bincount(row, weights * (near - apart), n), sizes)
        for name, level in self.LEVELS.items():
            low, high = np.quantile(ranked, [(1 - level) / 2, (1 + level) / 2], axis=0)
            inside = (low <= truth) & (truth <= high)
            self.within[name].add_rows(np.bincount(row, weights * inside, n), sizes)

    def figures(self) -> Figures:
        found = self.score.figures()
        for part in self.within.values():
            found |= part.figures()
        return found
