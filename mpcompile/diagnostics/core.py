"""Places in a source (`Source`, `Span`) and findings about them (`Diagnostic`)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Source:
    """One spec file: its path as the user wrote it, and its whole text."""

    path: str
    text: str

    def line(self, number: int) -> str:
        """Text of a 1-based line, without its line break; empty beyond the end."""
        lines = self.text.split("\n")
        return lines[number - 1].partition("\r")[0] if 1 <= number <= len(lines) else ""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of a file. Lines and columns are 1-based; `end_column` is exclusive.

    `Span.none()` stands for code that was derived and has no place of its own.
    """

    path: str
    line: int
    column: int
    end_line: int
    end_column: int

    @classmethod
    def none(cls) -> Span:
        return cls("", 0, 0, 0, 0)

    @classmethod
    def of_code(cls, path: str, line: int, column: int = 1, end: int | None = None) -> Span:
        """Return a place in a file of Python, on one line.

        Its path is from the current folder where the file lies below it, as that of a spec that a user names.
        """
        with suppress(OSError):  # the current folder is gone
            path = path.removeprefix(os.path.join(os.getcwd(), ""))
        return cls(path, line, column, line, column + 1 if end is None else end)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}" if self.path else "<derived>"

    def head(self, text: str) -> Span:
        """The part of this span, on its first line, that a text at its start has."""
        return Span(self.path, self.line, self.column, self.line, self.column + len(text))

    def to(self, other: Span) -> Span:
        """The stretch from the start of this span to the end of another."""
        return Span(self.path, self.line, self.column, other.end_line, other.end_column)


class Severity(StrEnum):
    """The severity of a finding: errors and warnings fail a check, notes do not."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class PathStep:
    """One element on a witness path, e.g. `dense#1[17]`, and where its layer is written."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Fix:
    """A replacement that mends a finding: the characters `old` of a file at `span` become `new`.

    Whoever applies it looks first whether the file has `old` there: a string of YAML may spell it otherwise.
    """

    span: Span
    old: str
    new: str

    @classmethod
    def first(cls, span: Span, old: str, new: str) -> Fix:
        """Return the replacement of a text that stands at the start of a span, on one line."""
        return cls(span.head(old), old, new)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    `message` says what is wrong, `label` goes under the caret, `notes` add facts, `help` alone says how to
    mend it, `path` is the witness from input element to output element, `fix` is the edit that `help` names, where it
    is one.
    """

    code: str
    message: str
    span: Span
    severity: Severity = Severity.ERROR
    label: str = ""
    notes: tuple[str, ...] = ()
    help: str = ""
    path: tuple[PathStep, ...] = field(default=())
    fix: Fix | None = None


class SpecError(Exception):
    """A spec that cannot be accepted; carries every diagnostic found so far."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("; ".join(f"{d.span}: {d.code} {d.message}" for d in self.diagnostics))


class Expected(SpecError):
    """MP113: an expression of one kind, `wanted`, is expected where another stands."""

    def __init__(self, wanted: str, span: Span, *, help: str = "") -> None:
        super().__init__([Diagnostic("MP113", f"expected {wanted}", span, help=help)])
        self.wanted, self.span, self.help = wanted, span, help

    def of(self, who: str) -> SpecError:
        """The same fault, said of an argument."""
        return error("MP113", f"{who}: expected {self.wanted}", self.span, help=self.help)


class InternalError(Exception):
    """A fault of the compiler, never of a spec. The text begins with its code, one of MP9xx."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(f"{code} {message}")


def error(
    code: str,
    message: str,
    span: Span,
    *,
    label: str = "",
    notes: tuple[str, ...] = (),
    help: str = "",
    fix: Fix | None = None,
) -> SpecError:
    """Return a `SpecError` with one error in it, ready to raise."""
    return SpecError([Diagnostic(code, message, span, label=label, notes=notes, help=help, fix=fix)])
