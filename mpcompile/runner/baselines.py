"""What a model must beat: densities with a closed-form fit, in the same units as the model's own figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, pi

import numpy as np

from mpcompile.ir import Array, Field, Module
from mpcompile.runner.data import Split
from mpcompile.runner.measure import observed
from mpcompile.runner.noise import generator

_MOST_DIMENSIONS, _MOST_ROWS = 4096, 50_000
_RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True, slots=True)
class Baseline:
    """`values` are log-likelihoods in nats, one for each test example."""

    name: str
    values: Array


def baselines(module: Module, splits: Mapping[str, Split], test: Split) -> list[Baseline]:
    """Baselines for a density of one variable without inputs; none for other models.

    Fitted on `splits["train"]`, their ridge or smoothing chosen on a tenth of it.
    """
    fields = observed(module)
    if len(fields) != 1 or fields[0].role != "input" or len(module.fields) != 1:
        return []
    name = fields[0].name
    train = splits["train"]
    rows = np.arange(min(len(train), _MOST_ROWS))
    fit, held = train.take(rows)[name], test.take(np.arange(len(test)))[name]
    if fit.shape[1:] != held.shape[1:]:
        return []
    return _of_field(fields[0], fit, held, train.windowed)


def _of_field(field: Field, fit: Array, held: Array, windowed: bool) -> list[Baseline]:
    flat, test = fit.reshape(len(fit), -1), held.reshape(len(held), -1)
    if field.base == "binary":
        return [Baseline("independent Bernoulli", bernoulli(flat, test))]
    if field.base == "category" and field.classes:
        if windowed:
            return [Baseline("unigram", unigram(flat, test, field.classes))]
        return [Baseline("independent categories", categories(flat, test, field.classes))]
    if flat.shape[1] > _MOST_DIMENSIONS:
        return []
    label = "Gaussian, full covariance"
    if field.base == "integer":
        flat = flat + generator("baseline", "train").random(flat.shape)
        test = test + generator("baseline", "test").random(test.shape)
        label += " (dequantised)"
    return [Baseline(label, gaussian(flat, test))]


def bernoulli(fit: Array, test: Array) -> Array:
    """log p of 0/1 rows under independent coins with one pseudo-count a side."""
    p = (fit.sum(0) + 1.0) / (len(fit) + 2.0)
    return np.asarray(test @ np.log(p) + (1 - test) @ np.log1p(-p))


def categories(fit: Array, test: Array, classes: int) -> Array:
    """log p under an independent table for each position, one pseudo-count a class."""
    total = np.zeros(len(test))
    for d in range(fit.shape[1]):
        counts = np.bincount(fit[:, d].astype(np.int64), minlength=classes) + 1.0
        total += np.log(counts / counts.sum())[test[:, d].astype(np.int64)]
    return total


def unigram(fit: Array, test: Array, classes: int) -> Array:
    """log p under one table for all positions."""
    counts = np.bincount(fit.reshape(-1).astype(np.int64), minlength=classes) + 1.0
    return np.asarray(np.log(counts / counts.sum())[test.astype(np.int64)].sum(1))


def gaussian(fit: Array, test: Array) -> Array:
    """log density under the normal with the data's mean and covariance plus a ridge.

    The ridge, a fraction of the mean variance, is chosen on the last tenth of `fit`; then all of it is used.
    """
    fit, test = fit.astype(np.float64), test.astype(np.float64)
    held = max(1, len(fit) // 10)
    ridge = 1e-3
    if len(fit) >= 20:
        ridge = max(_RIDGES, key=lambda r: float(_normal(fit[:-held], fit[-held:], r).mean()))
    return _normal(fit, test, ridge)


def _normal(fit: Array, test: Array, ridge: float) -> Array:
    mean, d = fit.mean(0), fit.shape[1]
    centred = fit - mean
    covariance = centred.T @ centred / len(fit)
    covariance[np.diag_indices(d)] += ridge * max(float(np.trace(covariance)) / d, 1e-12)
    root = np.linalg.cholesky(covariance)
    z = np.linalg.solve(root, (test - mean).T)
    return np.asarray(-0.5 * ((z**2).sum(0) + d * log(2 * pi)) - np.log(np.diag(root)).sum())
