"""Predictions, class probabilities and log-likelihoods of each row of some data, streamed to a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from mpcompile.backend import Backend
from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import Array, DType, Module
from mpcompile.runner.answers import LEVELS, TEXT, Target, lengths_of, targets
from mpcompile.runner.batches import sizes
from mpcompile.runner.data import Dataset, Split
from mpcompile.runner.data.dataset import shape_of
from mpcompile.runner.divergence import require_finite
from mpcompile.runner.reading import Reading, reading_of
from mpcompile.runner.run import Run
from mpcompile.runner.run_data import data_of, rows_of
from mpcompile.runner.tables import Column, arrays, table

#: Programs that give a log-likelihood of each example, or a bound.
SCORES = ("log_prob", "elbo")


@dataclass(frozen=True, slots=True)
class Predicted:
    """The table that was written: how many rows, and the headings of its columns."""

    rows: int
    columns: list[str]


def predict(
    run: Run,
    module: Module,
    data: str,
    target: Path,
    *,
    split: str | None = None,
    ids: Sequence[str] = (),
    backend: Backend | None = None,
    device: str | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Predicted:
    """Write what the best checkpoint says of every row of a file or data set, by the ending of `target`.

    row                 the place of the example in the data, from 0
    <id>                the text of each column `ids` of the data, which the model need not read; in .npz its number
    <target>            the most probable class by its word, or the mean
    <target>.<class>    the probability of each class, where the law gives them
    <target>_mean       of levels: the mean
    log_prob, elbo      the log-likelihood, or its bound, in nats: where the data have all variables of the model

    In .npz the probabilities are `<target>_probability` [n, ..., classes]. Reals are float32. Cells behind the end of a
    sequence are empty. Data that lack targets need only what `predict` reads. Without `split` a file that names no splits
    is read whole, and of others the test split; with it the run's own data have the splits of the training.

    Raises `SpecError`: MP501 to MP507 for the data, MP530 for numbers that are not finite, MP540 for a model that says
    nothing of a row, MP541 for columns of one name. Raises `OSError` where the file cannot be written.
    """
    reading, table_of, columns = _opened(run, module, data, split, ids, backend, device, watch)
    with table(target, columns, len(reading.part)) as writer:
        for number, given in reading:
            writer.add(table_of.batch(reading, number, given))
    return Predicted(len(reading.part), [head for c in columns for head in c.heads])


def collected(
    run: Run,
    module: Module,
    data: str,
    *,
    split: str | None = None,
    ids: Sequence[str] = (),
    backend: Backend | None = None,
    device: str | None = None,
) -> dict[str, Array]:
    """Return what `predict` writes, as the arrays [n, ...] of its .npz file. Raises `SpecError` as it does."""
    reading, table_of, columns = _opened(run, module, data, split, ids, backend, device, None)
    batches = [table_of.batch(reading, number, given) for number, given in reading]
    return arrays(columns, batches)


def _opened(
    run: Run,
    module: Module,
    data: str,
    split: str | None,
    ids: Sequence[str],
    backend: Backend | None,
    device: str | None,
    watch: Callable[[int, int], None] | None,
) -> tuple[Reading, _Table, list[Column]]:
    """Open a split of some data to predict for. Raises `SpecError` as `predict` does."""
    chosen, complete = _data(run, module, data, ids, whole=split is None)
    part = chosen.split(split or "test")
    table_of = _Table(run, module, part, complete, [_id(module, chosen, part, name) for name in ids])
    done = 0

    def seen(count: int) -> None:
        nonlocal done
        done += count
        if watch is not None:
            watch(done, len(part) * table_of.calls)

    reading, _ = reading_of(run, module, part, backend=backend, device=device, seen=seen)
    columns = [c for c, _ in table_of.columns]
    heads = [head for c in columns for head in c.heads]
    if len(set(heads)) < len(heads):
        twice = next(h for h, count in Counter(heads).items() if count > 1)
        raise error("MP541", f"two columns of the table are named '{twice}'", Span.none(),
                    help=f"give the target, or its class, another name than '{twice}'")  # fmt: skip
    return reading, table_of, columns


def _id(module: Module, data: Dataset, part: Split, name: str) -> Column:
    """Return the column of a table that copies one of the data. Raises `SpecError` (MP502, MP503)."""
    field = module.fields.get(name)
    if name not in part.columns:
        raise error("MP502", f"data '{data.name}' has no column '{name}' beside those of the model", Span.none(),
                    help="--id takes a column of a table by its header, or an array of one value a row")  # fmt: skip
    if (shape := shape_of(part.columns[name])) not in ((), (1,)):
        raise error("MP503", f"'{name}' has {list(shape)} values a row, and --id copies one",
                    Span.none() if field is None else field.span)  # fmt: skip
    if field is None:
        return Column(name, whole=True, words=data.classes[name])
    whole = field.type.dtype is not DType.FLOAT
    return Column(name, whole=whole, words=data.classes.get(name, ()) if whole else (), low=field.low)


def _data(run: Run, module: Module, data: str, ids: Sequence[str], *, whole: bool) -> tuple[Dataset, bool]:
    """Load the data, and tell whether they have all variables of the model: those that `predict` reads suffice."""
    known = [p for p in ("predict", *SCORES) if p in module.programs]
    if not known:
        raise error("MP540", f"model '{module.name}' has neither a prediction nor a likelihood", Span.none(),
                    help="mpcompile sample RUN --reconstruct decodes what an autoencoder encodes")  # fmt: skip
    reads = module.programs["predict"].inputs if "predict" in known else module.fields
    kept = dict(module.fields)
    while True:
        try:
            found = data_of(run, replace(module, fields=kept), data, ids, whole=whole)
            return found, len(kept) == len(module.fields)
        except SpecError as problem:
            (fault, *_) = problem.diagnostics
            lacking = [n for n, f in kept.items() if f.span == fault.span and n not in reads]
            if fault.code != "MP502" or not lacking:
                raise
            del kept[lacking[0]]


@dataclass(frozen=True, slots=True)
class _Batch:
    row: Array
    data: Mapping[str, Array]
    outputs: dict[str, Array]
    scores: dict[str, Array]
    lengths: Mapping[str, Array]


#: The values [n, ...] of a column for a batch.
Values = Callable[[_Batch], Array]


class _Table:
    """The columns of a table and their values for a batch.

    columns  each with the function that gives its values
    calls    how many programs read each row
    """

    def __init__(self, run: Run, module: Module, part: Split, complete: bool, ids: Sequence[Column]) -> None:
        self.module, self.part = module, part
        self.targets = targets(module)
        self.score = next((p for p in SCORES if p in module.programs), None) if complete else None
        self.calls = bool(self.targets) + (self.score is not None)
        self._rows = rows_of(part)
        words: Mapping[str, list[str]] = run.facts.get("classes") or {}
        shapes = {name: np.empty((1, *shape_of(c)), np.bool_) for name, c in part.columns.items()}
        self.columns: list[tuple[Column, Values]] = [(Column("row", whole=True), lambda at: at.row)]
        self.columns += [(own, partial(_copied, own.name)) for own in ids]
        if self.targets:
            graph = module.programs["predict"]
            env = sizes(graph, {k: v for k, v in shapes.items() if k in graph.inputs})
            for t in self.targets:
                shape = graph.outputs[t.field.name].type.concrete({**env, "N": 1})[1:]
                self.columns += _columns(t, shape, words.get(t.field.name))
        if self.score is not None:
            name = self.score
            self.columns.append((Column(name), lambda at: at.scores[name]))

    def batch(self, reading: Reading, number: int, data: dict[str, Array]) -> dict[str, Array]:
        """Return the values of every column for some rows. Raises `SpecError` (MP530) where one is not finite."""
        count = len(next(iter(data.values())))
        row = self._rows[number * reading.batch :][:count]
        outputs = reading.run("predict", data, "predict", number) if self.targets else {}
        scores = reading.run(self.score, data, "evaluate", number) if self.score is not None else {}
        for name, value in (outputs | scores).items():
            improbable = np.where(value == -np.inf, 0, value) if name in scores else value
            require_finite(improbable, f"prediction {name}")
        at = _Batch(row, data, outputs, scores, lengths_of(self.module, data))
        return {column.name: values(at) for column, values in self.columns}


def _copied(name: str, at: _Batch) -> Array:
    return at.data[name].reshape(-1)


def _columns(target: Target, shape: tuple[int, ...], words: list[str] | None) -> list[tuple[Column, Values]]:
    """Columns of a target; `shape` is that of the output of `predict` for the longest example."""
    name, axis = target.field.name, target.answer.axis
    if axis is not None:
        shape = (*shape[: axis - 1], *shape[axis:])
    own = words if words is not None and len(words) == target.count else []
    label = Column(name, shape, whole=True, words=own, low=target.low)

    def filled(at: _Batch, values: Array, nothing: float) -> Array:
        """Return values [n, ...] with `nothing` where an example has no element."""
        if target.kind == TEXT and axis is not None:
            there = np.moveaxis(at.outputs[name], axis, -1).any(-1)
        else:
            there = target.there(np.zeros(values.shape[: 1 + len(shape)]), at.lengths)
        return np.where(there.reshape(*there.shape, *(1,) * (values.ndim - there.ndim)), values, nothing)

    def mean(at: _Batch) -> Array:
        found = target.values(at.outputs[name], target.probabilities(at.outputs[name]))
        assert found is not None, "of a quantity, or of levels"
        return filled(at, found, np.nan)

    def classes(at: _Batch) -> Array:
        found = target.classes(at.outputs[name], target.probabilities(at.outputs[name]))
        return filled(at, found + target.low, label.nothing)

    def probability(at: _Batch) -> Array:
        found = target.probabilities(at.outputs[name])
        assert found is not None, "of a law that is certain"
        return filled(at, found, np.nan)

    if not target.count:
        return [(Column(name, shape), mean)]
    made: list[tuple[Column, Values]] = [(label, classes)]
    if target.kind == LEVELS:
        made.append((Column(f"{name}_mean", shape), mean))
    if target.certain:
        wide = Column(f"{name}_probability", (*shape, target.count), parts=target.named(words), head=name)
        made.append((wide, probability))
    return made


__all__ = ["Predicted", "collected", "predict"]
