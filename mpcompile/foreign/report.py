"""Answers about a recorded model as a report, which every output format prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mpcompile.analysis.dependence import Step
from mpcompile.analysis.verdict import Status
from mpcompile.budget import OutOfBudget, ensured
from mpcompile.diagnostics import Diagnostic, PathStep, Severity, Source, Span, SpecError
from mpcompile.diagnostics.report import Checked, Property, Report
from mpcompile.foreign.claims import ForeignClaim
from mpcompile.foreign.model import ForeignModel, Sized
from mpcompile.foreign.recording import Recording, Unrecordable, as_written
from mpcompile.foreign.running import unlike
from mpcompile.foreign.second import second_opinion
from mpcompile.foreign.series import LENGTHS, Series, decided
from mpcompile.foreign.verdict import Answer, Unclear, margin_text

#: A mask of at most this needs no warning.
SAFE = -1e9


def checked(
    model: ForeignModel | Sized,
    claims: Iterable[str],
    lengths: Iterable[int] = LENGTHS,
    written: bool = False,
    second: bool = False,
) -> Report:
    """Check a call of a model: record it, hold it to the model, and answer claims about it.

    A model with a length is recorded at each of `lengths`. The graph is fitted at the first three and checked at the
    others, so that an answer may hold for every length.

    written  take weights as they are, with their zeros, not as weights that may be anything
    second   also run the program that the framework exports, and say where it is another one
    """  # fmt: skip
    try:
        asked = [ForeignClaim.parse(text) for text in claims]
    except ValueError as wrong:
        return _nothing(model, Diagnostic("MP706", str(wrong), Span.none()))
    try:
        with ensured():
            found = _recorded(model, sorted(set(lengths)), written)
            if isinstance(found, Diagnostic):
                return _nothing(model, found)
            return _answers(model.name, found, asked, second)
    except Unrecordable as fault:
        return _nothing(model, Diagnostic("MP700", fault.what, fault.span))
    except OutOfBudget as limit:
        return _nothing(model, Diagnostic("MP700", f"{model.name} was not read within {limit}", Span.none()))
    except SpecError as fault:
        return _nothing(model, *fault.diagnostics)


def _answers(name: str, series: Series, asked: Sequence[ForeignClaim], second: bool) -> Report:
    properties, findings = [], notes_of(series.together)
    if second:
        findings += second_opinion(next(iter(series.models.values())), series.first)
    for claim in asked:
        try:
            decision, recording, alone = decided(series, claim)
        except Unclear as wrong:
            findings.append(Diagnostic("MP706", f"{claim}: {wrong}", Span.none()))
            continue
        properties.append(property_of(recording, decision))
        if alone is not None:
            findings.append(Diagnostic("MP707", f"{claim} is not shown for every length: {alone.what}", alone.span,
                                       Severity.NOTE))  # fmt: skip
    return _with_texts(Checked(name, None, tuple(properties), tuple(findings)))


def _recorded(model: ForeignModel | Sized, lengths: Sequence[int], written: bool) -> Series | Diagnostic:
    """A model at some lengths, or in its one call; a finding where a recording is another program.

    Raises `Unrecordable` and `SpecError`.
    """
    models = {n: model.at(n) for n in lengths} if isinstance(model, Sized) else {0: model}
    recordings = {n: m.record() for n, m in models.items()}
    for length, recording in recordings.items():
        if what := unlike(models[length], recording):
            return Diagnostic("MP705", what, Span.none())
    return Series(models, {n: as_written(r) if written else r for n, r in recordings.items()})


def _nothing(model: ForeignModel | Sized, *findings: Diagnostic) -> Report:
    return _with_texts(Checked(model.name, None, (), findings))


def _with_texts(spec: Checked) -> Report:
    """The report with the lines of source files that findings point to."""
    spans = [d.span for d in spec.diagnostics] + [s.span for d in spec.diagnostics for s in d.path]
    texts = {path: found for path in {s.path for s in spans if s.path} if (found := source_of(path)).text}
    return Report((spec,), texts=texts)


def source_of(path: str) -> Source:
    """Return the text of a file of Python; none where it is not there."""
    try:
        return Source(path, Path(path).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return Source(path, "")


def property_of(recording: Recording, found: Answer) -> Property:
    """Return an answer as a property, with its findings."""
    read = recording.reads[0].span if recording.reads and found.change is not None else Span.none()
    span = _culprit(found).node.span if found.path else read
    how = found.reason
    if found.status is Status.PROVED:
        how = "; ".join([how, *_assumptions(recording)])
    findings: tuple[Diagnostic, ...] = ()
    if found.status is Status.REFUTED:
        findings = (_refuted(recording, found, span),)
    elif found.status is Status.UNDECIDED:
        findings = (
            Diagnostic(
                "MP702", f"{found.claim} is not decided: {found.reason}", span, path=_path(found.path)
            ),
        )
    return Property(str(found.claim), str(found.status), how, span, findings, method=found.reason)


def _refuted(recording: Recording, found: Answer, span: Span) -> Diagnostic:
    claim = found.claim
    if found.place is None:
        return Diagnostic("MP701", f"{claim} does not hold: {found.reason}", span)
    read, reader = found.place
    verb = "does not read" if claim.kind == "complete" else "reads"
    message = f"{claim.output or 'the output'} at {reader} {verb} {claim.source} at {read}"
    notes = []
    if found.change is not None:
        notes.append(
            f"confirmed by running the model: the output changes by {found.change.size:.1e} of its largest element"
        )
    if found.path and _unmasked(recording, found):
        notes.append("no mask reaches the softmax on the way")
    label = (
        "first reads ahead here"
        if found.path
        else "the number that is read here carries it"
        if span.path
        else ""
    )
    if names := _masked_weights(recording):
        notes.append(f"{names} has zeros that a mask may have left: --weights-as-written takes them for such")
    return Diagnostic("MP701", message, span, label=label, notes=tuple(notes),
                      path=_path(found.path))  # fmt: skip


def _masked_weights(recording: Recording) -> str:
    """The first matrix of weights with many zeros: an exporter folds masks into weights."""
    for name, x in recording.parameters.items():
        if x.ndim > 1 and 0.05 < float((x == 0).mean()) < 1:
            return name
    return ""


def _culprit(found: Answer) -> Step:
    return found.path[found.culprit if found.culprit is not None else -1]


def _unmasked(recording: Recording, found: Answer) -> bool:
    """Whether the culprit is a softmax, or what follows one, and no mask was found before any softmax."""
    near = [s.node.op.name for s in found.path[max((found.culprit or 0) - 1, 0) : (found.culprit or 0) + 1]]
    masks = any(n.op.name == "where" for n in recording.graph.nodes())
    return any("softmax" in name for name in near) and not masks and not recording.margins


def _path(path: Sequence[Step]) -> tuple[PathStep, ...]:
    """One step for each line of code that the path passes."""
    steps: list[PathStep] = []
    for step in path:
        span = step.node.span
        if span.path and steps and (steps[-1].span.path, steps[-1].span.line) == (span.path, span.line):
            steps.pop()
        where = ".".join(f.name for f in step.node.scope[:-1])
        named = step.node.scope[-1].label if step.node.scope and not span.path else ""
        label = named or getattr(step.node.op, "path", "") or step.node.op.name
        place = ", ".join(str(i) for i in step.index)
        steps.append(PathStep(f"{where + ': ' if where else ''}{label}[{place}]", span))
    return tuple(steps)


def _assumptions(recording: Recording) -> list[str]:
    """The assumptions of an answer: the margins of masks, rows that inputs may mask whole, and numbers that were read."""
    found = ["with its weights as they are"] if recording.written else []
    finite = [m for m in recording.margins if np.isfinite(m.number)]
    found += [margin_text(finite)] if finite else []
    if truths := sorted({name for m in recording.margins for name in m.truths}):
        found.append(f"where {', '.join(truths)} holds zeros and ones")
    if not all(m.rows for m in recording.margins):
        found.append("where the inputs leave every row something that is not masked")
    if recording.reads:
        found.append(f"where the {len(recording.reads)} numbers that the code read are as they were")
    return found


def notes_of(recording: Recording) -> list[Diagnostic]:
    """Return what is to be said of a recording beside its answers: masks of small margin, and numbers that were read."""
    found = []
    for margin in {m.span: m for m in recording.margins if m.number > SAFE}.values():
        found.append(Diagnostic("MP703", f"a mask of {margin.number:g} holds {margin_text([margin])}", margin.span,
                                Severity.WARNING, help="fill in -inf"))  # fmt: skip
    for read in {r.span: r for r in recording.reads}.values():
        found.append(Diagnostic("MP704", f"the code read the number {read.value:g}: the answer is about what it then did",
                                read.span, Severity.NOTE))  # fmt: skip
    return found
