"""Baselines for a model: laws with a closed-form fit, in the same units as the model's own figure.

A variable of real numbers has a density for a baseline, a discrete one a mass: nats of the one are no nats of the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log, pi, prod

import numpy as np

from mpcompile.ir import Array, Field, Module
from mpcompile.runner.batches import chunks
from mpcompile.runner.data import Split
from mpcompile.runner.measure import observed

_MOST_DIMENSIONS, _MOST_ROWS, _MOST_NUMBERS = 4096, 50_000, 2**26
_RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_BATCH = 1024
#: Deviation of a column, as a share of its largest number, below which it is constant but for rounding.
_CONSTANT = 1e-7

#: Log-likelihoods [n] in nats of rows [n, d]; None where the law says nothing about them.
Score = Callable[[Array], Array | None]


@dataclass(frozen=True, slots=True)
class Baseline:
    """`values` are log-likelihoods in nats, one for each test example."""

    name: str
    values: Array


def baselines(module: Module, splits: Mapping[str, Split], test: Split) -> list[Baseline]:
    """Fit the baselines for a density of one variable without inputs; none for other models.

    Fitted on `splits["train"]`, their ridge chosen on a tenth of it.

    They are fitted on `splits["train"]`, their ridge is chosen on a tenth of it.
    """
    fields = observed(module)
    if len(fields) != 1 or fields[0].role != "input" or len(module.fields) != 1:
        return []
    name, train = fields[0].name, splits["train"]
    size = max(1, prod(train.take(np.arange(1))[name].shape))
    rows = np.arange(min(len(train), _MOST_ROWS, max(_MOST_NUMBERS // size, 1)))
    fit = train.take(rows)[name]
    if fit.shape[1:] != test.take(np.arange(1))[name].shape[1:]:
        return []
    found = _fitted(fields[0], fit.reshape(len(fit), -1), train.windowed)
    if found is None:
        return []
    label, score = found
    values = [score(data[name].reshape(len(data[name]), -1)) for _, data in chunks(test, _BATCH)]
    if any(v is None for v in values):
        return []
    return [Baseline(label, np.concatenate([v for v in values if v is not None]))]


def _fitted(field: Field, fit: Array, windowed: bool) -> tuple[str, Score] | None:
    """The baseline of a field, by its own type."""
    if field.base == "binary":
        return "independent Bernoulli", lambda test: bernoulli(fit, test)
    if field.base in ("category", "integer") and field.classes:
        low, classes = field.low if field.base == "integer" else 0, field.classes
        table = _frequencies(fit - low, classes, windowed)
        label = "unigram" if windowed else "independent categories"
        return label, lambda test: _looked_up(table, test - low)
    if field.base == "integer":
        return "independent geometric", lambda test: geometric(fit - field.low, test - field.low)
    if field.base != "real" or fit.shape[1] > _MOST_DIMENSIONS:
        return None
    law = Gaussian.fit(fit)
    if law is None:
        return None
    left_out = fit.shape[1] - len(law.columns)
    constant = (
        f"; {left_out} constant {'column' if left_out == 1 else 'columns'} left out" if left_out else ""
    )
    return f"Gaussian, full covariance{constant}", law.log_density


# Discrete ---------------------------------------------------------------------------------------------


def bernoulli(fit: Array, test: Array) -> Array:
    """Return log p of 0/1 rows [n] under independent coins with one pseudo-count a side."""
    p = (fit.sum(0, dtype=np.float64) + 1.0) / (len(fit) + 2.0)
    return np.asarray(test @ np.log(p) + (1 - test) @ np.log1p(-p))


def categories(fit: Array, test: Array, classes: int) -> Array:
    """Return log p [n] under an independent table for each position, one pseudo-count a class."""
    return _looked_up(_frequencies(fit, classes, False), test)


def unigram(fit: Array, test: Array, classes: int) -> Array:
    """Return log p [n] under one table for all positions."""
    return _looked_up(_frequencies(fit, classes, True), test)


def _frequencies(fit: Array, classes: int, shared: bool) -> Array:
    """Logarithms of smoothed frequencies [d, classes], or [1, classes] where all positions share them."""
    columns = fit.reshape(-1, 1) if shared else fit
    table = np.empty((columns.shape[1], classes))
    for d in range(columns.shape[1]):
        counts = np.bincount(columns[:, d].astype(np.int64), minlength=classes) + 1.0
        table[d] = np.log(counts / counts.sum())
    return table


def _looked_up(table: Array, test: Array) -> Array:
    at = np.arange(test.shape[1]) if len(table) > 1 else np.zeros(test.shape[1], np.int64)
    return np.asarray(table[at, test.astype(np.int64)].sum(1))


def geometric(fit: Array, test: Array) -> Array:
    """Return log p [n] of counts under p (1 - p)^k for each position; p = 1 / (1 + mean), with one pseudo-count of 1."""
    mean = (fit.sum(0, dtype=np.float64) + 1.0) / (len(fit) + 1.0)
    return np.asarray((test * np.log(mean / (1 + mean)) - np.log1p(mean)).sum(1))


# Real -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A normal law over the columns that are not constant; about the others it says nothing but where they are.

    columns  [k]      their places among the d columns
    mean, deviation   of all d columns [d]; the law is one of (x - mean) / deviation
    root     [k, k]   the lower Cholesky factor of their correlations, with a ridge on the diagonal
    """

    columns: Array
    mean: Array
    deviation: Array
    root: Array

    @classmethod
    def fit(cls, rows: Array) -> Gaussian | None:
        """The law of rows [n, d]; None where all columns are constant.

        Columns of any scale are alike to the ridge: it is added to correlations, whose diagonal is 1. It is chosen on
        the last tenth of the rows; then all of them are used.
        """
        rows = rows.astype(np.float64)
        held = max(1, len(rows) // 10)
        ridge = 1e-3
        if len(rows) >= 20 and (part := cls._with(rows[:-held], _RIDGES[0])) is not None:
            tail = rows[-held:, part.columns]
            few = rows[:-held, part.columns]
            laws = {r: cls._with(few, r) for r in _RIDGES}
            scores = {r: float(law._scored(tail).mean()) for r, law in laws.items() if law is not None}
            ridge = max(scores, key=lambda r: scores[r])
        return cls._with(rows, ridge)

    @classmethod
    def _with(cls, rows: Array, ridge: float) -> Gaussian | None:
        mean = rows.mean(0)
        scale = np.abs(rows).max(0)
        unit = np.where(scale > 0, scale, 1.0)  # so that no square is too large or too small
        deviation = unit * ((rows - mean) / unit).std(0)
        columns = np.flatnonzero(deviation > _CONSTANT * scale)
        if not len(columns):
            return None
        z = (rows[:, columns] - mean[columns]) / deviation[columns]
        correlation = z.T @ z / len(z)
        correlation[np.diag_indices(len(columns))] += ridge
        return cls(columns, mean, deviation, np.linalg.cholesky(correlation))

    def log_density(self, test: Array) -> Array | None:
        """Nats [n] of rows [n, d]; None where a constant column has another value, which has no density."""
        test = test.astype(np.float64)
        constant = np.setdiff1d(np.arange(len(self.mean)), self.columns)
        off = np.abs(test[:, constant] - self.mean[constant])
        if (off > _CONSTANT * np.abs(self.mean[constant])).any():
            return None
        return self._scored(test[:, self.columns])

    def _scored(self, test: Array) -> Array:
        mean, deviation = self.mean[self.columns], self.deviation[self.columns]
        z = np.linalg.solve(self.root, ((test - mean) / deviation).T)
        scale = np.log(deviation).sum() + np.log(np.diag(self.root)).sum()
        return np.asarray(-0.5 * ((z**2).sum(0) + len(mean) * log(2 * pi)) - scale)
