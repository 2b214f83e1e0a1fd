"""Findings and where they are: imported by everything, imports nothing of the project."""

from mpcompile.diagnostics.core import (
    Diagnostic,
    Expected,
    PathStep,
    Severity,
    Source,
    Span,
    SpecError,
    error,
)

__all__ = ["Diagnostic", "Expected", "PathStep", "Severity", "Source", "Span", "SpecError", "error"]
