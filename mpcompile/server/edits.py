"""Changes of a text that an editor asks for: renaming, fixes of findings, and formatting."""

from __future__ import annotations

from lsprotocol import types

from mpcompile.diagnostics import Fix, Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.frontend.editing import Edit, edited, offsets
from mpcompile.frontend.expressions import name_problem
from mpcompile.frontend.formatting import formatted
from mpcompile.server.document import Document
from mpcompile.server.names import RENAMED, Definition, Names


class Refused(Exception):
    """A change that is not made; the text says why."""


def renamable(document: Document, offset: int) -> Definition:
    """Return the name at a character. Raises `Refused` where there is none that an editor may change."""
    if document.names is None:
        raise Refused("the spec has errors: mend those first")
    found = document.names.at(offset)
    if found is None:
        raise Refused("no name of the spec stands here")
    if found.kind not in RENAMED:
        raise Refused(f"`{found.name}` is a {found.kind}: data are read by that name")
    return found


def renamed(document: Document, offset: int, new: str) -> str:
    """Return the text with another name for the net, block, mask or value at a character, wherever it is written.

    The new text is read, and must have the same names of the same kinds at as many places: a name that is taken, or that
    hides another one, is refused. Raises `Refused`.
    """
    found = renamable(document, offset)
    if not (new.isascii() and new.isidentifier()):
        raise Refused(f"`{new}` is no name: use letters, digits and _")
    if problem := name_problem(new):
        raise Refused(f"`{new}`: {problem[0]}")
    edits = [Edit(p, p + len(found.name), new) for p in found.places]
    source = Source(document.path, document.text)
    text = edited(source, document.syntax, edits)
    assert document.names is not None and document.model is not None
    try:
        model = parse_text(text, document.path, document.syntax)
    except SpecError as problem_:
        raise Refused(f"`{new}` does not fit: {problem_.diagnostics[0].message}") from problem_
    if Names(model, Source(document.path, text)).shape() != document.names.shape():
        raise Refused(f"`{new}` has a meaning already in this spec")
    return text


def renaming(document: Document, offset: int, new: str) -> list[types.TextEdit]:
    """Return the edits of `renamed`: one a place, or one for all where strings of YAML get quotes. Raises `Refused`."""
    text, found = renamed(document, offset, new), renamable(document, offset)
    edits = [Edit(p, p + len(found.name), new) for p in found.places]
    if edited(Source(document.path, document.text), "mp", edits) != text:
        return difference(document, text)
    return [types.TextEdit(document.places.range_of(e.start, e.end), new) for e in edits]


def tidy(document: Document) -> str:
    """Return the formatted text. Raises `Refused` for one that cannot be read, or written without loss."""
    try:
        model = document.model or parse_text(document.text, document.path, document.syntax)
        return formatted(model, Source(document.path, document.text), document.syntax)
    except SpecError as problem:
        raise Refused(problem.diagnostics[0].message) from problem


def mended(document: Document, fix: Fix) -> str | None:
    """Return the text with a fix; None where the text does not have there what the fix replaces."""
    start, end = offsets(document.text, fix.span)
    if document.text[start:end] != fix.old:
        return None
    return edited(Source(document.path, document.text), document.syntax, [Edit(start, end, fix.new)])


def difference(document: Document, text: str) -> list[types.TextEdit]:
    """Return the least single edit that makes one text of another: nothing for the same text."""
    old = document.text
    if old == text:
        return []
    start = next(
        (i for i, (a, b) in enumerate(zip(old, text, strict=False)) if a != b), min(len(old), len(text))
    )
    tail = 0
    while tail < min(len(old), len(text)) - start and old[-1 - tail] == text[-1 - tail]:
        tail += 1
    place = document.places.range_of(start, len(old) - tail)
    return [types.TextEdit(place, text[start : len(text) - tail])]


__all__ = ["Refused", "difference", "mended", "renamable", "renamed", "renaming", "tidy"]
