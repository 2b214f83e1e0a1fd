"""The signatures of the call around a place, with the argument that is due there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lsprotocol import types

from mpcompile.frontend import ast
from mpcompile.reference import KINDS, Kind, entry, options
from mpcompile.server.complete import Where, where
from mpcompile.server.document import Document

#: Kinds whose calls stand in one section alone.
SECTIONS = {"claims": "check", "optimizers": "train", "schedules": "train", "augmentations": "train"}


@dataclass(frozen=True)
class _Parameter:
    """An argument of a signature: its characters in the label, and whether a value alone may state it."""

    name: str
    start: int
    by_place: bool
    about: str = ""


def signatures(document: Document, position: types.Position) -> types.SignatureHelp | None:
    """Return the signatures of the call that is open at a position; None outside of calls, and for unknown names."""
    at = where(document.text, document.places.offset(position), document.syntax)
    found = [*_of_spec(document, at), *_of_language(at)]
    if not found:
        return None
    shown = [
        types.SignatureInformation(
            label,
            about,
            [types.ParameterInformation((p.start, p.start + len(p.name)), p.about or None) for p in own],
            active_parameter=_due(own, at),
        )
        for label, about, own in found
    ]
    return types.SignatureHelp(shown, 0, shown[0].active_parameter)


def _due(own: Sequence[_Parameter], at: Where) -> int | None:
    """The number of the argument that is due: the one that is named, or the one of this place, or the next by name."""
    names = [p.name for p in own]
    if at.argument in names:
        return names.index(at.argument)
    by_place = [p for p in own if p.by_place]
    if not at.given and at.number < len(by_place):
        return own.index(by_place[at.number])
    return next((i for i, p in enumerate(own) if not p.by_place and p.name not in at.given), None)


def _of_spec(document: Document, at: Where) -> Iterator[tuple[str, str, list[_Parameter]]]:
    """The signature of a block of the text."""
    known = document.known
    for d in known.definitions if known is not None and at.callee else ():
        if d.kind == "block" and d.name == at.callee and isinstance(d.node, ast.Block):
            label, own = f"{d.name}(", list[_Parameter]()
            for p in d.node.params:
                own.append(_Parameter(p.name, len(label) + (2 if own else 0), True))
                label += (", " if len(own) > 1 else "") + p.name
            yield f"{label})", "a block of the model", own


def _of_language(at: Where) -> Iterator[tuple[str, str, list[_Parameter]]]:
    """The signatures of a name of the language, of each kind that may stand in this section."""
    for title, kind in KINDS.items():
        section = SECTIONS.get(title, "")
        if at.callee in kind.rows() and (at.head == section if section else at.head not in SECTIONS.values()):
            about = entry(kind, at.callee)
            label, own = signature(kind, at.callee, step=at.step)
            yield label, f"{about.noun}. {next(iter(about.about), '')}".strip(), own


def signature(kind: Kind, name: str, *, step: bool = False) -> tuple[str, list[_Parameter]]:
    """Return how a spec calls a name, with all arguments, and the arguments by their places in that text.

    The values that a function takes are arguments, but where it is a step of a pipeline and takes what comes before it.
    Raises `KeyError` for another name.
    """
    about, given = entry(kind, name), options(kind, name)
    label = about.usage
    start = label.rfind(f"{name}(") + len(name) + 1  # of `normal(net) or normal(loc, scale)` the second
    if f"{name}(" not in label:
        label, start = f"{label}()", len(label) + 1
    end = label.index(")", start)
    written = re.findall(r"(?:^|, )(\w+)", label[start:end])
    more = [f"{slot.name} = ..." for slot in given if slot.name not in written]
    between = ", " if more and end > start else ""
    label = f"{label[:end]}{between}{', '.join(more)}{label[end:]}"
    inside = label[start : end + len(between) + len(", ".join(more))]
    places = {m[1]: start + m.start(1) for m in re.finditer(r"(?:^|, )(\w+)", inside)}
    texts, slots = dict(about.arguments), {slot.name: slot for slot in given}
    values = [] if step else [_Parameter(v, places[v], True) for v in written if v not in slots]
    return label, [
        *values,
        *(_Parameter(s.name, places[s.name], s.by_place, texts.get(s.name, "")) for s in given),
    ]


__all__ = ["signature", "signatures"]
