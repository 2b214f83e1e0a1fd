"""One walk over nodes, for whoever gives each primitive a meaning of his own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from mpcompile.ir.graph import Builder, Graph, Node, Scope, Value

T = TypeVar("T")


def run(nodes: Iterable[Node], known: dict[Value, T], apply: Callable[..., Sequence[T]]) -> dict[Value, T]:
    """Return `known` with the results of nodes, which come in an order in which inputs stand before their users.

    `apply(node, *meanings of its inputs)` gives the meanings of a node's results; it is not asked for what is known.
    """
    for node in nodes:
        if node.outputs[0] not in known:
            results = apply(node, *(known[v] for v in node.inputs))
            known.update(zip(node.outputs, results, strict=True))
    return known


def inline(
    b: Builder, graph: Graph, values: Mapping[Value, Value], scope: Callable[[Scope], Scope] = lambda s: s
) -> dict[Value, Value]:
    """Copy the nodes of a graph into another one, with `values` in place of its inputs; return its values there.

    `scope` gives the scope of a copy from that of the node.
    """

    def copy(node: Node, *inputs: Value) -> tuple[Value, ...]:
        with b.within(scope(node.scope), node.span):
            return b.emit_all(node.op, *inputs)

    return run(graph.nodes(), dict(values), copy)


__all__ = ["inline", "run"]
