"""Findings and where they are: imported by everything, imports nothing of the project."""

from mpcompile.diagnostics.core import (
    Diagnostic,
    Expected,
    Fix,
    InternalError,
    PathStep,
    Severity,
    Source,
    Span,
    SpecError,
    error,
)

__all__ = [
    "Diagnostic",
    "Expected",
    "Fix",
    "InternalError",
    "PathStep",
    "Severity",
    "Source",
    "Span",
    "SpecError",
    "error",
]
