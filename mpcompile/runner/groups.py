"""Figures for each value of a variable, or of a column beside the model's: `eval --by`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, Field, Module
from mpcompile.runner.data import Dataset
from mpcompile.runner.reading import Reading
from mpcompile.runner.scores import Scores
from mpcompile.runner.tallies import moments

#: Most groups.
MOST = 1000


@dataclass(slots=True)
class Groups:
    """Examples by their value of the column `name`, whose lowest value is `low`, with the metrics of each group."""

    module: Module
    name: str
    low: int
    scores: dict[int, Scores] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, module: Module, name: str, data: Dataset) -> Groups:
        """The groups that a variable makes, or a column beside the model's.

        Raises `SpecError` (MP544) for one that has not one of few values.
        """
        found = module.fields.get(name)
        if found is None and name in next(iter(data.splits.values())).columns:
            if (count := len(data.classes[name])) > MOST:
                raise error("MP544", f"column '{name}' of data '{data.name}' has {count} values, and groups are at most "
                            f"{MOST}", Span.none(), help="predict --id copies a column of any values")  # fmt: skip
            return cls(module, name, 0)
        if found is None or not _groups(found):
            what = f"'{name}' is no variable of '{module.name}', and no column of its data" if found is None else (
                f"'{name}' has not one of a few values in each example")  # fmt: skip
            known = [f.name for f in module.fields.values() if _groups(f)]
            raise error("MP544", what, Span.none() if found is None else found.span,
                        help=f"--by takes {', '.join(known)}" if known else "leave out --by")  # fmt: skip
        return cls(module, name, found.low)

    def values(self, data: Mapping[str, Array]) -> Array:
        """Return the value [n] of every example: a whole number, below the lowest where it is missing."""
        values = data[self.name].reshape(-1)
        missing = np.isnan(values) if values.dtype.kind == "f" else values < self.low
        return np.where(missing, self.low - 1, values).astype(np.int64)

    def add(self, outputs: Mapping[str, Array], data: Mapping[str, Array]) -> None:
        """Count a batch of what `predict` gives in."""
        values = self.values(data)
        for value in np.unique(values):
            rows = np.flatnonzero(values == value)
            scores = self.scores.setdefault(int(value), Scores(self.module))
            scores.add({k: v[rows] for k, v in outputs.items()}, {k: v[rows] for k, v in data.items()})

    def figures(
        self, reading: Reading, each: Array | None, words: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        """Return `name` and `groups`: for each value its examples, nats (of log-likelihoods `each` [n]) and targets."""
        values = np.concatenate([self.values(data) for _, data in reading])
        known = words.get(self.name, [])
        named = dict(enumerate(known, self.low)) | {self.low - 1: "(missing)"}
        found: dict[str, Any] = {}
        for value in np.unique(values):
            rows = values == value
            own: dict[str, Any] = {"examples": int(rows.sum())}
            if each is not None:
                own["nats"] = moments(each[rows])
            if value in self.scores:
                targets = self.scores[int(value)].figures(words)
                own["targets"] = {n: _scalars(t) for n, t in targets.items()}
            found[named.get(int(value), str(value))] = own
        return {"name": self.name, "groups": found}


def _scalars(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics that are one number; a matrix of one class alone has one row."""
    return {k: v for k, v in figures.items() if k not in ("classes", "confusion")}


def _groups(field: Field) -> bool:
    """Whether every example has one of a few values of a variable."""
    fixed = [s for s in field.type.shape[1:] if isinstance(s, int)]
    one = len(fixed) == field.type.rank - 1 and int(np.prod(fixed)) == 1
    few = field.bits or (field.base in ("category", "integer") and (field.classes or MOST + 1) <= MOST)
    return one and few and not field.counts
