"""`full`: as a person reads it."""

from __future__ import annotations

from mpcompile.diagnostics.core import Diagnostic, Severity, Source, Span
from mpcompile.diagnostics.render._text import details, printable
from mpcompile.diagnostics.report import Report

_COLOURS = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.NOTE: "36"}
_TAB = 4
_MAX_SHOWN = 160


def full(report: Report, colour: bool = False) -> str:
    """Render the answer for each property, then each finding with its excerpt, then a count.

    A report without specs is its findings alone.
    """
    sources = report.sources
    found = "\n".join(finding(d, sources.get(d.span.path), colour) for d in report.diagnostics)
    if not report.specs:
        return found
    answers = [
        f"{printable(spec.path)}: {p.name} {p.answer}\n" for spec in report.specs for p in spec.properties
    ]
    return "".join(answers) + (found or "\n") + _count(report) + "\n"


def _count(report: Report) -> str:
    proved = sum(p.status == "proved" for spec in report.specs for p in spec.properties)
    found = [d.severity for d in report.diagnostics]
    parts = [_number(proved, "claim") + " proved", _number(found.count(Severity.ERROR), "error")]
    if open_ := sum(p.status in ("undecided", "held") for spec in report.specs for p in spec.properties):
        parts.insert(1, f"{open_} not decided")
    if warnings := found.count(Severity.WARNING):
        parts.append(_number(warnings, "warning"))
    if crashed := sum(bool(spec.crash) for spec in report.specs):
        parts.append(f"{crashed} not checked")
    return f"checked {_number(len(report.specs), 'spec')}: {', '.join(parts)}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def finding(d: Diagnostic, source: Source | None = None, colour: bool = False) -> str:
    """Render one finding: message, place, the line with a caret, path, notes and help."""
    tone = _COLOURS[d.severity]
    head = _paint(f"{d.severity}[{d.code}]", f"1;{tone}", colour) + _paint(
        f": {printable(d.message)}", "1", colour
    )
    gutter = " " * len(str(d.span.line))
    bar = _paint("|", "34", colour)
    out = [head]
    if d.span.path:  # a device or a run folder has no place in a spec
        out.append(f"{gutter}{_paint('-->', '34', colour)} {printable(str(d.span))}")
    if source is not None and d.span.line:
        shown, caret = _excerpt(source.line(d.span.line), d.span)
        out.append(f"{gutter} {bar}")
        out.append(f"{_paint(str(d.span.line), '34', colour)} {bar} {shown}".rstrip())
        out.append(f"{gutter} {bar} " + _paint(f"{caret} {printable(d.label)}".rstrip(), f"1;{tone}", colour))
    equals = _paint("=", "34", colour)
    out += [f"{gutter} {equals} {line}" for line in details(d)]
    return "\n".join(out) + "\n"


def _excerpt(line: str, span: Span) -> tuple[str, str]:
    """The line as shown, and the caret line under it."""
    start = span.column - 1
    stop = span.end_column - 1 if span.end_line == span.line else len(line)
    offset = max(0, start - _MAX_SHOWN // 2) if len(line) > _MAX_SHOWN else 0
    cut = line[offset : offset + _MAX_SHOWN]
    widths = [_TAB if c == "\t" else len(printable(c)) for c in cut]
    shown = "".join(" " * _TAB if c == "\t" else printable(c) for c in cut)
    before = sum(widths[: start - offset])
    width = sum(widths[start - offset : max(stop - offset, 0)])
    return shown, " " * before + "^" * max(1, width)


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour and text else text


__all__ = ["finding", "full"]
