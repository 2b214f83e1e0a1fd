"""The data of a run: those it was trained on, or others that are read as those were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import Module
from mpcompile.runner.data import Dataset, load_data
from mpcompile.runner.run import Run


def data_of(run: Run, module: Module, data: str | None = None) -> Dataset:
    """The data of a run, or the set or file `data` under the run's settings, vocabulary and classes.

    A file is used whole where it names no splits, unless it is the run's own, moved: that keeps the run's splits.
    Raises `SpecError` as `load_data` does, and MP523 where the run's own data changed.
    """
    facts = run.facts
    own = data is None or _name(data) == facts["data"]
    name = str(facts["data"]) if data is None or own else data
    settings = facts["settings"]
    try:
        found = load_data(
            module, name, settings["length"], settings["threshold"], vocabulary=facts.get("vocabulary") or None,
            classes=facts.get("classes"), whole=not own, own=str(facts["data_digest"]),
        )  # fmt: skip
    except SpecError as problem:
        (first, *rest) = problem.diagnostics
        if data is not None or first.code != "MP501":
            raise
        help = "they were moved: put them there again, or give another place where the command has `--data`"
        raise SpecError([replace(first, help=help), *rest]) from problem
    if own and found.digest != facts["data_digest"]:
        raise error("MP523", f"data '{facts['data']}' changed since the run was trained", Span.none())
    return found


def _name(data: str) -> str:
    path = Path(data)
    return str(path.resolve()) if path.exists() else data
