"""A recording: one call of a model that was not written here as a graph, and the arrays that went in and out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mpcompile.diagnostics import Span
from mpcompile.ir import Array, Builder, Graph, Node, Parameter, Value


@dataclass(frozen=True, slots=True)
class Margin:
    """A finite mask that was taken for minus infinity, and the softmax behind it.

    number  the largest number that masks; `added` to scores, or filled in for them
    rows    whether every row certainly has an element that is not masked; else inputs decide it, and a row that is masked
            whole reads all of it
    truths  inputs that hold zeros and ones alone, as the mask takes it
    """

    number: float
    added: bool
    rows: bool
    span: Span
    truths: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Read:
    """A number that the code of the model read from a value that was not known, such as the condition of an `if`."""

    span: Span
    value: float


@dataclass(frozen=True)
class Recording:
    """One call of a model.

    graph       its inputs are those of the call (and noise), its parameters weights by the names of the `state_dict`
    inputs      what they were, by name
    parameters  the weights
    outputs     what the model gave, by the names of the graph's outputs
    noise       inputs of the graph that the model drew
    margins     finite masks that count as minus infinity
    reads       numbers that decided what the code did
    coarse      operations that are bounded from above alone, by where they are
    eps         of the coarsest float type that the call computes in; 0 for single precision and finer
    written     whether weights are constants of the graph, as they are, zeros among them
    """

    graph: Graph
    inputs: Mapping[str, Array]
    parameters: Mapping[str, Array]
    outputs: Mapping[str, Array]
    noise: Mapping[str, Array] = field(default_factory=dict)
    margins: tuple[Margin, ...] = ()
    reads: tuple[Read, ...] = ()
    coarse: tuple[tuple[str, Span], ...] = ()
    eps: float = 0.0
    written: bool = False


def as_written(recording: Recording) -> Recording:
    """Return the recording with its weights as constants: what masks were multiplied into before is found in zeros."""

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Parameter):
            return (b.constant(recording.parameters[node.op.path]),)
        return None

    return replace(recording, graph=recording.graph.rebuild(rewrite), parameters={}, written=True)


class Unrecordable(Exception):
    """A call that a reader cannot record. The message names the operation and where it is written."""

    def __init__(self, what: str, span: Span) -> None:
        self.what, self.span = what, span
        super().__init__(f"{span}: {what}" if span.path else what)
