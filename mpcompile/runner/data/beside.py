"""Columns of some data that no variable of a model takes: the names of rows, and the groups that they are in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, DType
from mpcompile.runner.data.dataset import Column, Dataset, Raw, Split, Survey

#: Names that a reader gives to columns of the model; none of them is beside it.
_MODELS = ("x", "y", "length")
#: The largest whole number up to which a float64 tells all apart.
_EXACT = 2**53


def taken(raw: Raw, names: Collection[str]) -> Raw:
    """Take columns out of raw data, in place, and return them as data of their own. Raises `Unreadable`."""
    names = [
        n for n in names if n not in _MODELS and n in raw.columns and n not in (*raw.streams, *raw.pieces)
    ]
    for fault in (raw.faults[n] for n in names if n in raw.faults):
        raise fault
    splits = {split: {n: columns.pop(n) for n in names} for split, columns in raw.splits.items()}
    return Raw(splits, classes={n: raw.classes.pop(n) for n in names if n in raw.classes})


def joined(data: Dataset, raw: Raw, apart: Raw) -> Dataset:
    """Return data with columns beside the model's: in each split the number of the example's text, -1 for none.

    `classes` has the texts. `raw` says which rows a split has. Raises `SpecError` (MP503, MP504, MP507).
    """
    splits, classes = dict(data.splits), dict(data.classes)
    for name in apart.columns:
        coded, classes[name] = _coded(data.name, name, apart)
        for split, part in splits.items():
            rows = raw.rows.get(split)
            column = Column(coded.get(split, coded["train"]), DType.INT, (), Survey(), rows)
            if len(column) != len(part):
                raise error("MP507", f"data '{data.name}': column '{name}' has {len(column)} rows, {split} has "
                            f"{len(part)} examples", Span.none())  # fmt: skip
            splits[split] = Split({**part.columns, name: column})
    return replace(data, splits=splits, classes=classes)


def _coded(data: str, name: str, apart: Raw) -> tuple[dict[str, Array], list[str]]:
    """Return the values of a column in every split as numbers of their texts, and the texts."""
    parts: dict[str, Array] = {}
    for split, columns in apart.splits.items():
        values = columns[name]
        if values.size != len(values):
            raise error("MP503", f"column '{name}' of data '{data}' has {list(values.shape[1:])} numbers a row, "
                        "and a name or a group is one", Span.none())  # fmt: skip
        parts[split] = values.reshape(-1)
    values = np.concatenate(list(parts.values()))
    words = apart.classes.get(name)
    if words is None:
        values, words = _texts(data, name, values)
    codes = np.where(np.isnan(values), -1, values).astype(np.int64)
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    return dict(zip(parts, np.split(codes, ends), strict=True)), list(words)


def _texts(data: str, name: str, values: Array) -> tuple[Array, list[str]]:
    """Return numbers as numbers of texts, in their order; NaN stays. Raises `SpecError` (MP504) for rounded ones."""
    there = ~np.isnan(values)
    known, places = np.unique(values[there], return_inverse=True)
    if values.dtype.kind == "f" and known.size and np.abs(known[[0, -1]]).max() >= _EXACT:
        raise error("MP504", f"column '{name}' of data '{data}' holds numbers of {_EXACT} and more, of which "
                    "neighbours are read as one", Span.none(), help="write them as text")  # fmt: skip
    codes = np.full(len(values), np.nan)
    codes[there] = places
    whole = [int(v) if v == int(v) else v for v in known.tolist()]
    return codes, [str(v) for v in whole]


__all__ = ["joined", "taken"]
