"""Metrics are scikit-learn's, or brute force's, whatever the batches, holes, ties and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from written import lowered

from mpcompile.ir import Array, Module
from mpcompile.runner.answers import distance
from mpcompile.runner.scores import OF_DRAWS, Scores, named
from mpcompile.runner.tallies import Ensemble

HEAD = "model m\ninput x: real[2]\n"


def of_classes(count: int) -> Module:
    return lowered(f"{HEAD}target y: category({count})\ny ~ categorical(logits = x -> dense({count}))\n")


BITS = lowered(HEAD + "target y: binary\ny ~ bernoulli(logits = x -> dense(1))\n")
LEVELS = lowered(HEAD + "target y: integer(1..5)\ny ~ ordinal(x -> dense(1))\n")
REAL = lowered(HEAD + "target y: real?\ny ~ normal(x -> dense(2))\n")
ANGLE = lowered(HEAD + "target y: angle\ny ~ von_mises(x -> dense(2))\n")


def figures(
    module: Module, output: Array, truth: Array, weight: Array | None = None, batch: int = 7
) -> dict[str, Any]:
    """The metrics of y, over batches."""
    scores = Scores(module)
    for a in range(0, len(truth), batch):
        rows = slice(a, a + batch)
        scores.add({"y": output[rows]}, {"y": truth[rows]}, None if weight is None else weight[rows])
    return scores.figures().get("y", {})


def value(figure: Mapping[str, float]) -> float:
    return figure["mean"] if "mean" in figure else figure["value"]


def require(found: Mapping[str, Any], wanted: Mapping[str, float]) -> None:
    for name, number in wanted.items():
        assert value(found[name]) == pytest.approx(number, rel=1e-9, abs=1e-12), name


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), classes=st.integers(2, 5), weighed=st.booleans())
def test_metrics_of_classes_are_those_of_scikit_learn(seed: int, n: int, classes: int, weighed: bool) -> None:
    """With tied scores, classes that never occur, and one row."""
    r = np.random.default_rng(seed)
    p = r.integers(1, 4, (n, classes)).astype(float)
    p /= p.sum(1, keepdims=True)
    y = r.integers(0, r.integers(1, classes + 1), n)
    w = r.integers(1, 5, n).astype(float) if weighed else None
    guess, labels = p.argmax(1), list(range(classes))
    found = figures(of_classes(classes), p, y, w)
    brier = ((p - np.eye(classes)[y]) ** 2).sum(1) * (0.5 if classes == 2 else 1)
    recall = sk.recall_score(y, guess, labels=np.unique(y), average="macro", sample_weight=w, zero_division=0)
    wanted = {
        "accuracy": sk.accuracy_score(y, guess, sample_weight=w),
        "balanced_accuracy": recall,
        "f1": sk.f1_score(y, guess, average="macro", sample_weight=w, zero_division=0),
        "cross_entropy": sk.log_loss(y, p, labels=labels, sample_weight=w),
        "brier": np.average(brier, weights=w),
        "calibration_error": calibration(p, y, w),
    }
    require(found, wanted | {"perplexity": np.exp(wanted["cross_entropy"])})
    assert found["confusion"] == sk.confusion_matrix(y, guess, labels=labels, sample_weight=w).tolist()
    areas = [sk.roc_auc_score(y == k, p[:, k], sample_weight=w) for k in labels if 0 < (y == k).sum() < n]
    assert ("auc" in found) == bool(areas)
    if areas:
        require(found, {"auc": float(np.mean(areas))})
    each = sk.f1_score(y, guess, average=None, labels=labels, sample_weight=w, zero_division=0)
    for k, own in enumerate(found["classes"].values()):
        assert (own["f1"] is None) == (k not in y and k not in guess)
        assert own["f1"] is None or own["f1"] == pytest.approx(each[k])
        assert (own["recall"] is None) == (k not in y)


def calibration(p: Array, y: Array, w: Array | None) -> float:
    """Guo et al. 2017, eq. 3, bin by bin."""
    w = np.ones(len(y)) if w is None else w
    sure, hit, total = p.max(1), p.argmax(1) == y, 0.0
    for b in range(15):
        inside = (sure > b / 15) & (sure <= (b + 1) / 15)
        if inside.any():
            gap = np.average(hit[inside], weights=w[inside]) - np.average(sure[inside], weights=w[inside])
            total += w[inside].sum() / w.sum() * abs(gap)
    return total


def test_bits_are_two_classes() -> None:
    r = np.random.default_rng(0)
    p, y = r.random(50), r.integers(0, 2, 50).astype(np.float32)
    found = figures(BITS, p, y)
    require(found, {
        "accuracy": sk.accuracy_score(y, p > 0.5), "auc": sk.roc_auc_score(y, p),
        "brier": sk.brier_score_loss(y, p), "cross_entropy": sk.log_loss(y, p),
    })  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 30])
def test_quantities(n: int) -> None:
    """Rows whose truth is missing count for nothing; nor do they in the standard error."""
    r = np.random.default_rng(n)
    mean, y = r.normal(5e6, 1, n + 3), r.normal(5e6, 1, n + 3)
    y[[0, n, -1]] = np.nan
    there = ~np.isnan(y)
    found = figures(REAL, mean, y)
    wanted = {
        "mean_absolute_error": sk.mean_absolute_error(y[there], mean[there]),
        "mean_squared_error": sk.mean_squared_error(y[there], mean[there]),
        "root_mean_square_error": sk.root_mean_squared_error(y[there], mean[there]),
    }
    require(found, wanted)
    assert ("r_squared" in found) == (there.sum() > 1)
    if there.sum() > 1:
        assert value(found["r_squared"]) == pytest.approx(sk.r2_score(y[there], mean[there]), rel=1e-6)
        square = (y[there] - mean[there]) ** 2
        error = found["mean_squared_error"]["standard_error"]
        assert error == pytest.approx(np.std(square, ddof=1) / np.sqrt(there.sum()))
    assert figures(REAL, mean, np.full(n + 3, np.nan)) == {}


def test_levels_and_angles() -> None:
    """A level is a class and a quantity; the error of an angle is the shorter way round."""
    mean, y = np.array([1.2, 4.9, 2.6]), np.array([1.0, 5.0, 2.0])
    found = figures(LEVELS, mean, y)
    require(found, {"accuracy": 2 / 3, "mean_absolute_error": 0.3})
    assert "auc" not in found and list(found["classes"]) == ["1", "2", "3", "4", "5"]
    found = figures(ANGLE, np.array([0.1, -3.0]), np.array([2 * np.pi - 0.1, 3.0]))
    require(found, {"mean_absolute_error": (0.2 + 2 * np.pi - 6) / 2})
    assert "r_squared" not in found


SEQUENCE = """
model m
input x: real[time, 2]
condition length: integer(1..time)
target y: category(3)[time]
y ~ categorical(logits = x -> dense(3))
"""


def test_elements_behind_the_end_and_the_spread_over_examples() -> None:
    r = np.random.default_rng(0)
    p, y = r.dirichlet(np.ones(3), (6, 5)), r.integers(0, 3, (6, 5))
    ends = np.array([1, 2, 3, 4, 5, 5])
    there = np.arange(5) < ends[:, None]
    scores = Scores(lowered(SEQUENCE))
    for rows in (slice(0, 4), slice(4, 6)):
        scores.add({"y": p[rows]}, {"y": np.where(there, y, 99)[rows], "length": ends[rows]})
    found = scores.figures()["y"]
    hit = p.argmax(-1) == y
    require(found, {"accuracy": hit[there].mean(),
                    "iou": sk.jaccard_score(y[there], p.argmax(-1)[there], average="macro")})  # fmt: skip
    sums = (hit * there).sum(1)
    off = sums - hit[there].mean() * ends
    error = np.sqrt(6 / 5 * (off**2).sum()) / ends.sum()
    assert found["accuracy"]["standard_error"] == pytest.approx(error) and "auc" not in found


def test_the_axis_of_classes_is_that_of_the_law() -> None:
    """Also where its size is that of another axis, so that no shape tells them apart."""
    module = lowered(
        "model m\ninput x: real[channel: 2, height: 4, width: 4]\ntarget y: category(4)[height: 4, width: 4]\n"
        "y ~ categorical(logits = x -> conv(4, 1))\n"
    )
    y = np.random.default_rng(0).integers(0, 4, (3, 4, 4))
    output = np.moveaxis(np.eye(4)[y], -1, 1)
    require(figures(module, output, y), {"accuracy": 1, "iou": 1, "cross_entropy": 0})


@settings(max_examples=30, deadline=None)
@given(a=st.lists(st.integers(0, 2), max_size=6), b=st.lists(st.integers(0, 2), max_size=6))
def test_edits_are_those_of_the_recursion(a: list[int], b: list[int]) -> None:
    def edits(a: list[int], b: list[int]) -> int:
        if not a or not b:
            return len(a) + len(b)
        if a[0] == b[0]:
            return edits(a[1:], b[1:])
        return 1 + min(edits(a[1:], b), edits(a, b[1:]), edits(a[1:], b[1:]))

    assert distance(np.array(a, int), np.array(b, int)) == edits(a, b)


def test_scores_of_draws() -> None:
    """The CRPS is that of all pairs, in expectation that of the normal law in closed form, and intervals cover."""
    r = np.random.default_rng(0)
    n, k = 400, 60
    draws, y, rows = r.normal(size=(k, n)), r.normal(size=n), np.arange(n)
    tally = Ensemble()
    for a in (slice(0, 250), slice(250, 251), slice(251, n)):
        size = len(rows[a])
        tally.add(np.arange(size), y[a], draws[:, a], np.ones(size))
    found = tally.figures()
    pairs = np.abs(draws[:, None] - draws[None]).sum((0, 1)) / (k * (k - 1))
    require(found, {"crps": (np.abs(draws - y).mean(0) - pairs / 2).mean()})
    assert abs(value(found["crps"]) - 1 / np.sqrt(np.pi)) < 4 * found["crps"]["standard_error"] + 0.01
    for name, level in (("coverage_50", 0.5), ("coverage_90", 0.9)):
        assert abs(value(found[name]) - level) < 4 * found[name]["standard_error"] + 0.03
    assert found.keys() == OF_DRAWS.keys() <= named().keys()
