"""A recorded call for every size of its batch: recordings at some sizes are fitted, and checked at another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mpcompile.diagnostics import SpecError
from mpcompile.foreign.lengths import Apart, fitted
from mpcompile.foreign.model import Batched, ForeignModel
from mpcompile.foreign.recording import Recording, Unrecordable
from mpcompile.ir import Builder, Graph, Input, Node, Parameter, Symbolic, Value
from mpcompile.ir.size import symbol

#: Sizes that are fitted.
SIZES = (2, 3, 4)


def opened(model: ForeignModel, recording: Recording) -> tuple[Recording, Recording] | str:
    """Return a recording whose first axis is `N`, and one of another size to compare with; else why there is none.

    Recordings of three sizes give one graph, which is compared node by node with the call itself. A constant that differs
    between sizes in another way than by repetition leaves the size as it is.
    """
    if not isinstance(model, Batched):
        return "its reader has no calls of other sizes"
    size = next((x.shape[0] for x in recording.inputs.values() if x.ndim), 0)
    if not size or recording.reads:
        return "its code read numbers of its inputs" if size else "its inputs have no axes"
    held = size if size not in SIZES else max(SIZES) + 1
    found: dict[int, Recording] = {}
    try:
        for count in (*SIZES, held):
            call = model.batched(count)
            if call is None:
                return "its inputs have no first axis that is open"
            found[count] = recording if count == size else call.record()
        graph = fitted(found, len(SIZES)).graph
    except Apart as reason:
        return reason.what
    except (Unrecordable, SpecError) as reason:
        return str(reason)
    others = [
        n for n in graph.nodes() if isinstance(n.op, Parameter) and n.op.path not in recording.parameters
    ]
    if others or any(n.op.name == "relative" for n in graph.nodes()):
        return "a constant is another at another size"
    return replace(recording, graph=_renamed(graph)), found[SIZES[1]]


def _renamed(graph: Graph) -> Graph:
    """The graph with the symbol of the batch that specs have, in place of the one of a fit."""
    env: dict[str, Any] = {"length": symbol("N")}

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        if isinstance(node.op, Input):
            shape = tuple(symbol("N") if isinstance(s, Symbolic) else s for s in node.op.type.shape)
            return (b.input(node.op.path, node.op.type.with_shape(shape)),)
        return b.emit_all(node.op.bind(env), *inputs)

    return graph.rebuild(rewrite, retype=True)


__all__ = ["SIZES", "opened"]
