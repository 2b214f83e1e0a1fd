"""`sarif`: the Static Analysis Results Interchange Format 2.1.0 (OASIS, 2023), as code scanning reads it.

Columns count code points from 1 and ends are exclusive, which is how a `Span` counts, so places go over unchanged.
"""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from mpcompile.diagnostics.codes import CODES
from mpcompile.diagnostics.core import Diagnostic, Severity, Source, Span
from mpcompile.diagnostics.render._text import details, printable, relative
from mpcompile.diagnostics.report import Report

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def sarif(report: Report, colour: bool = False) -> str:
    """Render one run: a rule for each code that was found, a result for each finding. Pure ASCII."""
    from mpcompile import __version__

    found = report.diagnostics
    rules = sorted({d.code for d in found})
    seen: Counter[str] = Counter()
    run = {
        "tool": {
            "driver": {"name": "mpcompile", "version": __version__, "rules": [_rule(code) for code in rules]}
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(report)],
        "results": [_result(d, rules.index(d.code), report, seen) for d in found],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _invocation(report: Report) -> dict[str, Any]:
    crashed = [
        {
            "level": "error",
            "message": {"text": printable(spec.crash)},
            "locations": [_location(Span(spec.path, 0, 0, 0, 0))],
        }
        for spec in report.specs
        if spec.crash
    ]
    return {"executionSuccessful": not crashed} | ({"toolExecutionNotifications": crashed} if crashed else {})


def _rule(code: str) -> dict[str, Any]:
    page = CODES[code]
    return {
        "id": code,
        "name": page.name,
        "shortDescription": {"text": page.what},
        "fullDescription": {"text": f"{page.what} {page.why}"},
        "help": {"text": page.page(), "markdown": page.page()},
    }


def _result(d: Diagnostic, rule: int, report: Report, seen: Counter[str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": d.code,
        "ruleIndex": rule,
        "level": _LEVELS[d.severity],
        "message": {"text": "\n".join([printable(d.message), *details(d)])},
        "partialFingerprints": {"primaryLocationLineHash": _fingerprint(d, report.sources, seen)},
    }
    if (about := report.claim_of(d)) is not None:
        result["properties"] = {"claim": about.name, "status": about.status}
    if d.span.path:
        result["locations"] = [_location(d.span, d.label)]
    if d.fix is not None:
        replacement = {
            "deletedRegion": _region(d.fix.span),
            "insertedContent": {"text": printable(d.fix.new)},
        }
        change = {"artifactLocation": _artifact(d.fix.span.path), "replacements": [replacement]}
        result["fixes"] = [{"description": {"text": printable(d.help)}, "artifactChanges": [change]}]
    if d.path:
        steps = [{"location": _location(step.span, step.text)} for step in d.path]
        result["codeFlows"] = [{"threadFlows": [{"locations": steps}]}]
    return result


def _location(span: Span, message: str = "") -> dict[str, Any]:
    """A location; what was derived has no place in a file, only its message."""
    place: dict[str, Any] = {}
    if span.path:
        where: dict[str, Any] = {"artifactLocation": _artifact(span.path)}
        if span.line:
            where["region"] = _region(span)
        place["physicalLocation"] = where
    return place | ({"message": {"text": printable(message)}} if message else {})


def _artifact(path: str) -> dict[str, str]:
    shown = relative(path)
    if PurePath(shown).is_absolute():
        return {"uri": "file://" + quote(shown, errors="surrogateescape")}
    return {"uri": quote(shown, errors="surrogateescape"), "uriBaseId": "%SRCROOT%"}


def _region(span: Span) -> dict[str, int]:
    region = {"startLine": span.line, "startColumn": max(1, span.column)}
    if (span.end_line, span.end_column) >= (span.line, span.column):
        region |= {"endLine": span.end_line, "endColumn": max(1, span.end_column)}
    return region


def _fingerprint(d: Diagnostic, sources: dict[str, Source], seen: Counter[str]) -> str:
    """Return what stays when lines move: the code, the file and the text of the place, and a number for repeats."""
    source = sources.get(d.span.path)
    text = source.line(d.span.line).strip() if source and d.span.line else ""
    column = d.span.column - 1
    if source and d.span.end_line == d.span.line:
        text += "\0" + source.line(d.span.line)[column : d.span.end_column - 1]
    key = sha256(
        "\0".join((d.code, relative(d.span.path), text)).encode("utf-8", "surrogateescape")
    ).hexdigest()[:16]
    seen[key] += 1
    return f"{key}:{seen[key]}"


__all__ = ["SCHEMA", "sarif"]
