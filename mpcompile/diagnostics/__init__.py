"""Findings and where they are: imported by everything, imports nothing of the project."""

from mpcompile.diagnostics.core import Diagnostic, PathStep, Severity, Source, Span, SpecError, error

__all__ = ["Diagnostic", "PathStep", "Severity", "Source", "Span", "SpecError", "error"]
