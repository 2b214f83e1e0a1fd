"""Metrics as text: what `mpcompile eval` prints of targets and groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mpcompile.diagnostics.render import printable

#: Most classes of which a table, or a matrix, is printed.
_ROWS, _MATRIX = 30, 12
_WHOLE = ("accuracy", "mean_squared_error", "error_rate")


def target(name: str, scores: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for the first metric of a target with its standard error, and one for the others."""
    rest = {k: v for k, v in scores.items() if k not in ("classes", "confusion")}
    for metric in _WHOLE:
        if metric in rest:
            yield f"  {name}: {_label(metric)} {_figure(rest.pop(metric))}"
    if rest:
        yield f"    {'   '.join(f'{_label(k)} {_figure(v)}' for k, v in rest.items())}"


def rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the loss of a model without a likelihood, and each metric of each target: whose, its name, its number."""
    if "loss" in figures:
        yield "the model", "loss", f"{figures['loss']['mean']:.4f}"
    for name, scores in figures["targets"].items():
        for metric, figure in scores.items():
            if metric not in ("classes", "confusion"):
                yield name, _label(metric), _figure(figure)


def groups(by: Mapping[str, Any], targets: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table with a row for each value; of a target also its classes and the matrix of confusions."""
    found = by["groups"]
    rows = {name: _cells(group) for name, group in found.items()}
    heads = list(dict.fromkeys(head for cells in rows.values() for head in cells))
    table = [[name, *(cells.get(h, "") for h in heads)] for name, cells in rows.items()]
    yield from _table([by["name"], *heads], table)
    own = targets.get(by["name"], {})
    classes = own.get("classes", {})
    if 0 < len(classes) <= _ROWS:
        heads = list(next(iter(classes.values())))
        table = [[name, *(_number(h, figures[h]) for h in heads)] for name, figures in classes.items()]
        yield from _table(["class", *heads], table)
    if 0 < len(classes) <= _MATRIX and "confusion" in own:
        table = [
            [n, *(_number("support", c) for c in row)]
            for n, row in zip(classes, own["confusion"], strict=True)
        ]
        yield from _table(["true \\ guessed", *classes], table)


def _cells(group: Mapping[str, Any]) -> dict[str, str]:
    cells = {"examples": str(group["examples"])}
    if "nats" in group:
        cells["nats"] = _figure(group["nats"])
    several = len(group.get("targets", {})) > 1
    for name, scores in group.get("targets", {}).items():
        for metric in _WHOLE:
            if metric in scores:
                cells[f"{name}: {_label(metric)}" if several else _label(metric)] = _figure(scores[metric])
    return cells


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lay a table out: the first column to the left, numbers to the right."""
    shown = [[printable(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[i]) for row in shown) for i in range(len(heads))]
    for first, *others in shown:
        cells = [f"{c:>{w}}" for c, w in zip(others, widths[1:], strict=True)]
        yield "    " + "  ".join([f"{first:<{widths[0]}}", *cells]).rstrip()


def _label(metric: str) -> str:
    own = {"auc": "AUC", "iou": "IoU", "f1": "F1", "crps": "CRPS", "brier": "Brier", "r_squared": "R^2"}
    return own.get(metric, metric.replace("_", " "))


def _figure(figure: Mapping[str, float]) -> str:
    if "value" in figure:
        return f"{figure['value']:.4f}"
    return f"{figure['mean']:.4f} +- {figure['standard_error']:.4f}"


def _number(head: str, number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:g}" if head == "support" else f"{number:.4f}"
