"""Reports as text: one file for each format, one row here.

A renderer takes a report and whether to colour. It gives text that is the same for the same report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from mpcompile.diagnostics.core import Diagnostic, Source
from mpcompile.diagnostics.render._text import printable, use_colour
from mpcompile.diagnostics.render.concise import concise
from mpcompile.diagnostics.render.full import full
from mpcompile.diagnostics.report import Report

Renderer = Callable[[Report, bool], str]


def _later(module: str, function: str) -> Renderer:
    """A renderer whose file is imported on first use: `mpcompile check` starts without XML and hashing."""

    def render_with(report: Report, colour: bool) -> str:
        from importlib import import_module

        made: str = getattr(import_module(f"mpcompile.diagnostics.render.{module}"), function)(report, colour)
        return made

    return render_with


RENDERERS: dict[str, Renderer] = {
    "full": full,
    "concise": concise,
    "json": _later("plain", "as_json"),
    "json-lines": _later("plain", "as_json_lines"),
    "sarif": _later("sarif", "sarif"),
    "github": _later("github", "github"),
    "junit": _later("junit", "junit"),
}


def render(
    diagnostics: Iterable[Diagnostic],
    sources: Mapping[str, Source] | Iterable[Source] = (),
    output_format: str = "full",
    colour: bool = False,
) -> str:
    """Render findings alone in one of the formats of `RENDERERS`, ordered by place."""
    return RENDERERS[output_format](Report.of(diagnostics, sources), colour)


__all__ = ["RENDERERS", "Renderer", "concise", "full", "printable", "render", "use_colour"]
