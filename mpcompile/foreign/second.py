"""A second opinion: the program that a framework exports, run beside the model on the same inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mpcompile.diagnostics import Diagnostic, Severity, Span
from mpcompile.foreign.model import Exportable, ForeignModel
from mpcompile.foreign.recording import Recording, Unrecordable
from mpcompile.foreign.running import apart, close, other
from mpcompile.ir import Array


def second_opinion(model: ForeignModel, recording: Recording) -> list[Diagnostic]:
    """Return what is to be said of the exported program: that it is another one, that there is none, or nothing.

    Both run on the inputs of the call, and on other values of inputs that have more than two.
    """
    if not isinstance(model, Exportable):
        return [_note(f"{model.name} has no framework that exports it: there is no second opinion")]
    worst = 0.0
    places: tuple[Span, ...] = ()
    try:
        for inputs in _tried(recording):
            eager, program, places = model.exported(inputs)
            if set(eager) != set(program):
                worst = float("inf")
            worst = max([worst, *(apart(program[k], eager[k]) for k in eager if k in program)])
    except Unrecordable as refused:
        return [_note(f"there is no second opinion: {refused.what}", refused.span)]
    if worst <= close(recording):
        return []
    what = (
        f"the exported program is not the one that runs: their outputs differ by {worst:.1e} of the largest"
    )
    notes = tuple(f"{place}: the code asks here whether it is traced" for place in places)
    where = places[0] if places else Span.none()
    return [
        Diagnostic("MP710", what, where, label="asks whether it is traced" if places else "", notes=notes[1:])
    ]


def _note(what: str, span: Span | None = None) -> Diagnostic:
    return Diagnostic("MP711", what, span or Span.none(), Severity.NOTE)


def _tried(recording: Recording) -> Iterator[Mapping[str, Array]]:
    yield recording.inputs
    changed = dict(recording.inputs)
    for name, x in recording.inputs.items():
        if len(set(x.reshape(-1).tolist())) > 2:
            changed[name] = other(recording.inputs, name, (slice(None),) * x.ndim, 1)
    yield changed


__all__ = ["second_opinion"]
