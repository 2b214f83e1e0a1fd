"""`json` and `json-lines`: every field of every finding."""

from __future__ import annotations

import json
from typing import Any

from mpcompile.diagnostics.core import Diagnostic, Span
from mpcompile.diagnostics.report import Report


def as_json(report: Report, colour: bool = False) -> str:
    """Render a JSON array of findings. Pure ASCII, so that it survives any terminal and pipe."""
    return json.dumps([_plain(d, report) for d in report.diagnostics], indent=2) + "\n"


def as_json_lines(report: Report, colour: bool = False) -> str:
    """Render the objects of `as_json`, one a line, for tools that read a stream."""
    return "".join(json.dumps(_plain(d, report)) + "\n" for d in report.diagnostics)


def _plain(d: Diagnostic, report: Report) -> dict[str, Any]:
    """Every field; `claim` and `status` of the property that it is about, or null."""
    about = report.claim_of(d)
    return {
        "claim": about and about.name,
        "status": about and about.status,
        "code": d.code,
        "severity": str(d.severity),
        "message": d.message,
        "label": d.label,
        "notes": list(d.notes),
        "help": d.help,
        **_place(d.span),
        "fix": d.fix and {"text": d.fix.new, **_place(d.fix.span)},
        "path": [{"text": step.text, **_place(step.span)} for step in d.path],
    }


def _place(span: Span) -> dict[str, Any]:
    return {
        "filename": span.path,
        "location": {"line": span.line, "column": span.column},
        "end_location": {"line": span.end_line, "column": span.end_column},
    }


__all__ = ["as_json", "as_json_lines"]
