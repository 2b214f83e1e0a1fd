"""A text in an editor: its model, its findings and the shapes at its places, and what is proved of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Event

from mpcompile import api
from mpcompile.analysis.receptive import ReceptiveField, receptive_fields
from mpcompile.budget import Budget, OutOfBudget, ensured, within
from mpcompile.diagnostics import Diagnostic, Source, Span, SpecError
from mpcompile.diagnostics.report import in_order
from mpcompile.frontend import SUFFIXES, Syntax, ast, parse_text
from mpcompile.frontend.intake import guard
from mpcompile.ir import Module, NoRule
from mpcompile.lowering import lower
from mpcompile.lowering.watched import Places as Watched
from mpcompile.lowering.watched import watched
from mpcompile.server.names import Names
from mpcompile.server.places import Places

#: Seconds of processor time for reading a text while it is typed, and for its proofs.
READING, PROVING = 5.0, 30.0

_MODEL = re.compile(r"^model[ \t]*:", re.MULTILINE)


@dataclass
class Document:
    """A text as it is now.

    model, module   None where the text cannot be read, or lowered
    findings        of reading and lowering, and about its names
    shapes          of expressions, also of those before an error
    names           of the text, or of the last one that could be read
    """

    path: str
    text: str
    syntax: Syntax
    model: ast.Model | None = None
    module: Module | None = None
    findings: list[Diagnostic] = field(default_factory=list)
    shapes: Watched = field(default_factory=dict)
    last: Document | None = None

    @cached_property
    def places(self) -> Places:
        return Places(self.text)

    @cached_property
    def names(self) -> Names | None:
        """The names of the text; None where it cannot be read."""
        return None if self.model is None else Names(self.model, Source(self.path, self.text))

    @property
    def known(self) -> Names | None:
        """The names of the text, or of the last one before it that could be read."""
        return self.names or (None if self.last is None else self.last.known)


def syntax_in(path: str, text: str) -> Syntax | None:
    """Return the syntax of a text that is a spec; None for another file, such as YAML without a model."""
    syntax = SUFFIXES.get(Path(path).suffix.lower())
    return None if syntax == "yaml" and not _MODEL.search(text) else syntax


def read(path: str, text: str, syntax: Syntax, last: Document | None = None) -> Document:
    """Read and lower a text, without its proofs. Whatever is wrong with it is in the findings, not raised."""
    text = text.removeprefix("\ufeff")
    if last is not None and last.model is None:
        last = last.last
    made = Document(path, text, syntax, last=last and replace(last, last=None))
    try:
        with within(Budget(READING)), watched() as made.shapes:
            source = guard(text, path)
            made.model = parse_text(source.text, path, syntax)
            made.module = lower(made.model, source)
            made.findings = api.name_warnings(made.module)
    except SpecError as problem:
        made.findings = list(problem.diagnostics)
    except OutOfBudget as limit:
        place = Span(path, 1, 1, 1, 1) if made.model is None else made.model.span
        made.findings = [Diagnostic("MP310", f"the spec is not read within {limit}", place)]
    made.findings = in_order(made.findings)
    return made


@dataclass(frozen=True)
class Proved:
    """Findings of the claims of a text and its warnings, the answers by their place, and receptive fields by layer."""

    findings: list[Diagnostic]
    answers: dict[Span, list[str]]
    fields: dict[Span, list[tuple[str, ReceptiveField]]]


def prove(document: Document, stop: Event) -> Proved | None:
    """Prove the claims of a document; None where it has no module, or `stop` was set before the end."""
    if document.module is None:
        return None
    with within(Budget(PROVING), stop):
        properties, warned = api.properties(document.module), api.warnings(document.module)
        fields = _fields(document.module)
    if stop.is_set():
        return None
    answers: dict[Span, list[str]] = {}
    for p in properties:
        answers.setdefault(p.span, []).append(f"{p.name}: {p.answer}")
    return Proved(in_order([*warned, *(d for p in properties for d in p.diagnostics)]), answers, fields)


def _fields(module: Module) -> dict[Span, list[tuple[str, ReceptiveField]]]:
    """Return the receptive fields of layers, by place; of a layer that is used several times that of each use, once."""
    from mpcompile.analysis import paths
    from mpcompile.analysis.stencils import axes_of, spatial_axes

    found: dict[Span, list[tuple[str, ReceptiveField]]] = {}
    for name in module.fields:
        program = paths.program_of(module, name)
        if program is None or program.name == "forward":
            continue
        if not spatial_axes(program.inputs[name].type, axes_of(program, name)):
            continue
        spans = {n.path: n.scope[-1].span for n in program.nodes() if n.scope}
        try:
            with ensured():
                fields = receptive_fields(program, name)
        except (NoRule, OutOfBudget):
            continue
        for path, seen in fields.items():
            if isinstance(seen, ReceptiveField) and path in spans:
                uses = found.setdefault(spans[path], [])
                if (name, seen) not in uses:
                    uses.append((name, seen))
    return found


__all__ = ["Document", "Proved", "prove", "read", "syntax_in"]
