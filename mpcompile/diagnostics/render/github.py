"""`github`: workflow commands, which GitHub Actions shows as annotations beside the lines of a pull request.

Escapes are those of the runner: `%`, carriage return and line feed everywhere, `:` and `,` in properties too.
"""

from __future__ import annotations

from mpcompile.diagnostics.core import Diagnostic, Severity
from mpcompile.diagnostics.render._text import details, printable, relative
from mpcompile.diagnostics.report import STATUSES, Report

#: Worst first: the runner shows only the first ten annotations of a step.
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def github(report: Report, colour: bool = False) -> str:
    """Render a command for each finding, errors before warnings before notes, each group by place."""
    worst = list(_LEVELS)
    found = sorted(report.diagnostics, key=lambda d: worst.index(d.severity))
    crashed = [
        _command("error", {"file": relative(spec.path), "title": "internal error"}, printable(spec.crash))
        for spec in report.specs
        if spec.crash
    ]
    return "".join([*crashed, *(_annotation(d, report) for d in found)])


def _annotation(d: Diagnostic, report: Report) -> str:
    properties: dict[str, str | int] = {}
    if d.span.path:
        properties["file"] = relative(d.span.path)
    if d.span.line:
        properties["line"] = d.span.line
        if d.span.end_line > d.span.line:  # columns of a finding over several lines are refused by GitHub
            properties["endLine"] = d.span.end_line
        else:
            properties |= {"col": d.span.column, "endColumn": max(d.span.column, d.span.end_column)}
    about = report.claim_of(d)
    properties["title"] = f"{d.code} {about.name} {STATUSES[about.status]}" if about else d.code
    return _command(_LEVELS[d.severity], properties, "\n".join([printable(d.message), *details(d)]))


def _command(level: str, properties: dict[str, str | int], message: str) -> str:
    listed = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())
    return f"::{level} {listed}::{_data(message)}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


__all__ = ["github"]
