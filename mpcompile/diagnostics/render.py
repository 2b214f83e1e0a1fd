"""Diagnostics as text: a registry of output formats.

A renderer takes the diagnostics and a function that finds the source of a path, and returns the whole output.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from mpcompile.diagnostics.core import Diagnostic, Severity, Source, Span

Renderer = Callable[[Sequence[Diagnostic], Mapping[str, Source], bool], str]

_COLOURS = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.NOTE: "36"}
_TAB = 4
_MAX_SHOWN = 160


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """By place, then code: the same findings always print the same."""
    return sorted(diagnostics, key=lambda d: (d.span, d.code, d.message))


def use_colour(stream: TextIO) -> bool:
    """Whether to colour: on a terminal, unless NO_COLOR is set."""
    return not os.environ.get("NO_COLOR") and stream.isatty() and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """Text of a spec made safe for a terminal: what does not print is escaped."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour and text else text


def full(diagnostics: Sequence[Diagnostic], sources: Mapping[str, Source], colour: bool = False) -> str:
    """As a person reads it: message, place, the line with a caret, path, notes and help."""
    return "\n".join(_full(d, sources.get(d.span.path), colour) for d in diagnostics)


def _full(d: Diagnostic, source: Source | None, colour: bool) -> str:
    tone = _COLOURS[d.severity]
    head = _paint(f"{d.severity}[{d.code}]", f"1;{tone}", colour) + _paint(
        f": {printable(d.message)}", "1", colour
    )
    gutter = " " * len(str(d.span.line))
    bar = _paint("|", "34", colour)
    out = [head, f"{gutter}{_paint('-->', '34', colour)} {d.span}"]
    if source is not None and d.span.line:
        shown, caret = _excerpt(source.line(d.span.line), d.span)
        out.append(f"{gutter} {bar}")
        out.append(f"{_paint(str(d.span.line), '34', colour)} {bar} {shown}".rstrip())
        out.append(f"{gutter} {bar} " + _paint(f"{caret} {printable(d.label)}".rstrip(), f"1;{tone}", colour))
    equals = _paint("=", "34", colour)
    if d.path:
        out.append(f"{gutter} {equals} path: " + " -> ".join(printable(step.text) for step in d.path))
    out += [f"{gutter} {equals} note: {printable(note)}" for note in d.notes]
    if d.help:
        out.append(f"{gutter} {equals} help: {printable(d.help)}")
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


def concise(diagnostics: Sequence[Diagnostic], sources: Mapping[str, Source], colour: bool = False) -> str:
    """One line each: `path:line:col: CODE message`."""
    return "".join(f"{d.span}: {d.code} {printable(d.message)}\n" for d in diagnostics)


def as_json(diagnostics: Sequence[Diagnostic], sources: Mapping[str, Source], colour: bool = False) -> str:
    """A JSON array with every field."""
    return json.dumps([_plain(d) for d in diagnostics], indent=2, ensure_ascii=False) + "\n"


def _plain(d: Diagnostic) -> dict[str, Any]:
    return {
        "code": d.code,
        "severity": str(d.severity),
        "message": d.message,
        "label": d.label,
        "notes": list(d.notes),
        "help": d.help,
        **_place(d.span),
        "path": [{"text": step.text, **_place(step.span)} for step in d.path],
    }


def _place(span: Span) -> dict[str, Any]:
    return {
        "filename": span.path,
        "location": {"line": span.line, "column": span.column},
        "end_location": {"line": span.end_line, "column": span.end_column},
    }


RENDERERS: dict[str, Renderer] = {"full": full, "concise": concise, "json": as_json}


def render(
    diagnostics: Iterable[Diagnostic],
    sources: Mapping[str, Source] | Iterable[Source] = (),
    output_format: str = "full",
    colour: bool = False,
) -> str:
    """Diagnostics in one of the formats of `RENDERERS`, ordered by place."""
    known = sources if isinstance(sources, Mapping) else {source.path: source for source in sources}
    return RENDERERS[output_format](in_order(diagnostics), known, colour)


__all__ = [
    "RENDERERS",
    "Renderer",
    "as_json",
    "concise",
    "full",
    "in_order",
    "printable",
    "render",
    "use_colour",
]
