"""Formatting that loses nothing: what is printed is read again, and refused where anything is missing."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from mpcompile.diagnostics import Source, Span, SpecError, error
from mpcompile.frontend import SUFFIXES, Syntax, ast, parse_text
from mpcompile.frontend.ast import without_spans
from mpcompile.frontend.comments import Comment, comments_of
from mpcompile.frontend.layout import laid_out
from mpcompile.frontend.printing import format_model


def formatted(model: ast.Model, source: Source, syntax: Syntax) -> str:
    """Return the text of a model in a syntax, with the comments of the source that it was parsed from.

    The text reads back as the same model with the same comments, and formats to itself. Line ends are those of the
    source. Raises `SpecError` (MP010) where no such text was found: at the comment that would be lost, or at the model.
    """
    same = SUFFIXES.get(Path(source.path).suffix.lower()) == syntax
    text = laid_out(source, syntax) if same else format_model(model, syntax, source)
    for _ in range(2):
        _read_back(text, syntax, model, source)
        settled = laid_out(Source(f"formatted.{syntax}", text), syntax)
        if settled == text:
            break
        text = settled
    else:
        raise _lost(model.span, "formatting it twice would change it twice")
    lines = source.text.count("\n")
    windows = lines > 0 and source.text.count("\r\n") == lines
    return text.replace("\n", "\r\n") if windows else text


def _read_back(text: str, syntax: Syntax, model: ast.Model, source: Source) -> ast.Model:
    """The model that a printed text reads back as. Raises MP010 where it is another one, or a comment is missing."""
    kept = comments_of(source)
    try:
        again = parse_text(text, f"formatted.{syntax}", syntax)
    except SpecError as problem:
        odd = next((c for c in kept if not _plain(c.text)), None)
        why = f"printed, it would not read back: {problem.diagnostics[0].message}"
        raise _lost(odd.span(source) if odd else model.span, why) from problem
    if without_spans(again) != without_spans(model):
        raise _lost(model.span, "printed, it would read back as another model")
    left = Counter(_words(c.text) for c in comments_of(Source(f"formatted.{syntax}", text)))
    for comment in kept:
        words = _words(comment.text)
        if left[words] == 0:
            raise _lost(comment.span(source), "this comment would be lost")
        left[words] -= 1
    return again


def _plain(text: str) -> bool:
    return all(c.isprintable() for c in text)


def _words(text: str) -> str:
    """A comment without the white space in it, which YAML does not tell apart."""
    return re.sub(r"\s+", "", text)


def _lost(span: Span, why: str) -> SpecError:
    return error("MP010", f"the formatter cannot keep this: {why}", span, help="the file is left as it is")


__all__ = ["Comment", "formatted"]
