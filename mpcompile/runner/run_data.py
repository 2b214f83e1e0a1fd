"""The data of a run: those it was trained on, or others that are read as those were."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import Array, Module
from mpcompile.runner.data import NAMES, Column, Dataset, Pieces, Split, drawn, load_data
from mpcompile.runner.data.files import digest_of
from mpcompile.runner.data.opening import Unreadable, is_there
from mpcompile.runner.run import Run


def data_of(
    run: Run, module: Module, data: str | None = None, beside: Collection[str] = (), *, whole: bool = False
) -> Dataset:
    """Load the data of a run, or the set or file `data` under the run's settings, vocabulary and classes.

    A file is used whole where it names no splits, unless it is the run's own, moved or not: that keeps the run's splits
    if it is not asked for `whole`.
    Columns `beside` the variables come with it where the data have them: apart from x, or part of it where x lacks
    one without them. Raises `SpecError` as `load_data` does, and MP523 where the run's own data changed.
    """
    facts = run.facts
    if not module.fields:
        return drawn(module, facts["settings"]["batch"], data)
    own = data is None or _name(data) == facts["data"]
    name = str(facts["data"]) if data is None or own else data
    settings = facts["settings"]
    if own:
        require_own(run, name)
    read = partial(
        load_data, module, name, settings["length"], settings["threshold"], vocabulary=facts.get("vocabulary") or None,
        classes=facts.get("classes"), whole=whole or not own, own="" if whole else str(facts["data_digest"]),
        beside=beside,
    )  # fmt: skip
    try:
        try:
            return read()
        except SpecError as problem:
            if not beside or problem.diagnostics[0].code not in ("MP502", "MP503"):
                raise
            with suppress(SpecError):
                return read(shared=True)
            raise
    except SpecError as problem:
        (first, *rest) = problem.diagnostics
        if data is not None or first.code != "MP501":
            raise
        help = "they were moved: put them there again, or give another place where the command has `--data`"
        raise SpecError([replace(first, help=help), *rest]) from problem


def rows_of(part: Split) -> Array:
    """Return the place of each example of a split in its data, from 0."""
    known = (c.rows for c in part.columns.values() if isinstance(c, Column | Pieces) and c.rows is not None)
    return np.asarray(next(known, np.arange(len(part))))


def require_own(run: Run, name: str) -> None:
    """Check that `name` has the data that the run was trained on. Raises `SpecError` (MP523).

    A run may come from anywhere, and names a file: before it is read as data, whose text could then be shown, its
    digest must be the one that the run was trained on. A file that is gone is left to `load_data`.
    """
    known, path = run.facts["data_digest"], Path(name)
    if not known and name != run.facts["data"]:
        raise error("MP523", f"{run.folder} is trained on {run.facts['data']}, not on {name}", Span.none(),
                    help="leave out --data, or leave out --resume to start again")  # fmt: skip
    if not known and name not in NAMES:
        raise error("MP523", f"{run.folder} names the data '{name}', but not what they were", Span.none(),
                    help="--data gives data by name")  # fmt: skip
    if known and is_there(path):
        try:
            same = digest_of(path) == known
        except Unreadable as bad:
            raise error("MP506", str(bad), Span.none(), help=bad.help) from bad
        if not same:
            raise error("MP523", f"data '{name}' changed since the run was trained", Span.none(),
                        help="--data names the file that it began with, where that was moved")  # fmt: skip
    if known and name in NAMES:
        raise error("MP523", f"{run.folder} is trained on {run.facts['data']}, not on {name}", Span.none())


def _name(data: str) -> str:
    return os.path.realpath(data) if is_there(Path(data)) else data
