"""Edits of a spec's text at the places of its nodes, comments and layout kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from mpcompile.diagnostics import Source, Span
from mpcompile.frontend import Syntax
from mpcompile.frontend.locate import Locator


@dataclass(frozen=True, order=True)
class Edit:
    """Characters `start` to `end` of a file are replaced by a text."""

    start: int
    end: int
    text: str


def offsets(text: str, span: Span) -> tuple[int, int]:
    """Return the characters of a text at which a span starts and ends."""
    starts = _starts(text)
    first, last = (starts[min(max(n, 1), len(starts)) - 1] for n in (span.line, span.end_line))
    return first + span.column - 1, last + span.end_column - 1


@lru_cache(maxsize=8)  # a text has many spans
def _starts(text: str) -> tuple[int, ...]:
    """The characters at which lines start, and the one behind the line feed that would end the last one."""
    return (0, *accumulate(len(line) + 1 for line in text.split("\n")))


def edited(source: Source, syntax: Syntax, edits: Iterable[Edit]) -> str:
    """Return the text of a source with edits that do not overlap; plain YAML strings get the quotes that they need."""
    left = sorted(set(edits))
    if syntax == "yaml":
        left = _quoted(source, left)
    return _applied(source.text, left)


def _applied(text: str, edits: list[Edit], offset: int = 0) -> str:
    for e in sorted(edits, reverse=True):
        text = text[: e.start - offset] + e.text + text[e.end - offset :]
    return text


def _quoted(source: Source, edits: list[Edit]) -> list[Edit]:
    from mpcompile.frontend.printyaml import scalar
    from mpcompile.frontend.yamltree import Scalar, compose, walk

    root, _ = compose(Locator(source), [])
    plain = {(n.start, n.end) for n in walk(root) if isinstance(n, Scalar) and n.style is None}
    for start, end in plain:
        inner = [e for e in edits if start <= e.start and e.end <= end]
        text = _applied(source.text[start:end], inner, start)
        if inner and scalar(text) != text:
            edits = [*(e for e in edits if e not in inner), Edit(start, end, scalar(text))]
    return edits


__all__ = ["Edit", "edited", "offsets"]
