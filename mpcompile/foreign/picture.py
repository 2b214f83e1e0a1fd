"""A recording as the page of `inspect` draws it: modules as layers, lines of one file, answers with their paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mpcompile.diagnostics import Diagnostic, Span, error
from mpcompile.diagnostics.report import Property
from mpcompile.foreign.answers import along, answer, completed
from mpcompile.foreign.claims import ForeignClaim
from mpcompile.foreign.model import ForeignModel
from mpcompile.foreign.recording import Recording
from mpcompile.foreign.report import notes_of, property_of
from mpcompile.foreign.running import unlike
from mpcompile.foreign.verdict import Unclear
from mpcompile.ir import Builder, Graph, Node, Scope, Value


@dataclass(frozen=True)
class Picture:
    """A recorded call to be drawn.

    recording  its frames are modules alone, its spans lines of one file
    path       that file; empty for a model without source
    source     the input whose elements are followed
    order      its axis along which they come one after another; None where no claim has an order
    answers    properties, each with the nodes of the path to its refutation
    notes      what is to be said besides
    """

    recording: Recording
    path: str
    source: str
    order: int | None
    answers: Sequence[tuple[Property, Sequence[int]]]
    notes: Sequence[Diagnostic]


def picture(model: ForeignModel, claims: Iterable[str] = ()) -> Picture:
    """Arrange a recorded call to be drawn, with the answers to claims about it.

    Raises `Unrecordable`, and `SpecError` for a claim that is none (MP706) and a recording of another program (MP705).
    """
    try:
        asked = [ForeignClaim.parse(text) for text in claims]
        recording = model.record()
        if what := unlike(model, recording):
            raise error("MP705", what, Span.none())
        asked = [completed(recording, claim) for claim in asked]
        answers = [answer(recording, claim, model) for claim in asked]
    except Unclear as wrong:
        raise error("MP706", str(wrong), Span.none()) from wrong
    except ValueError as wrong:
        raise error("MP706", str(wrong), Span.none()) from wrong
    culprits = [a.path[a.culprit or -1].node.span.path for a in answers if a.path]
    files = Counter(n.span.path for n in recording.graph.live().nodes() if n.span.path)
    path = next(filter(None, culprits), "") or next((p for p, _ in files.most_common(1)), "")
    graph, moved = _drawn(recording.graph, path)
    properties = [(property_of(recording, a), [moved[s.node.id] for s in a.path]) for a in answers]
    source = next((c.source for c in asked if c.source in graph.inputs), next(iter(recording.inputs)))
    order = next((along(recording, c)[0] for c in asked if c.source == source and c.order is not None), None)
    return Picture(replace(recording, graph=graph), path, source, order, properties, notes_of(recording))


def _drawn(graph: Graph, path: str) -> tuple[Graph, dict[int, int]]:
    """The graph with frames of modules alone, and the new number of each node.

    A frame stands where the first line of its module in a file is.
    """
    first: dict[tuple[str, ...], Span] = {}
    for node in graph.nodes():
        names = [f.name for f in node.scope[:-1]]
        if node.span.path == path:
            for depth in range(len(names)):
                first.setdefault(tuple(names[: depth + 1]), node.span)
    numbers: dict[int, int] = {}

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        span = node.span if node.span.path == path else Span.none()
        names = [f.name for f in node.scope[:-1]]
        places = [first.get(tuple(names[: depth + 1]), Span.none()) for depth in range(len(names))]
        scope: Scope = tuple(replace(f, span=s) for f, s in zip(node.scope, places, strict=False))
        with b.within(scope, span):
            made = b.graph.copy(replace(node, span=span), inputs, scope)
        numbers[node.id] = made.id
        return made.outputs

    return graph.rebuild(rewrite), numbers


__all__ = ["Picture", "picture"]
