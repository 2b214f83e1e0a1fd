"""The limit of the length of sequences: a model with learned positions has one for each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mpcompile import ops
from mpcompile.diagnostics import Span, error
from mpcompile.ir import Graph, Module, Symbolic, symbols


def longest(module: Module) -> dict[str, int]:
    """Return the largest size of each symbolic axis whose places are looked up in a table (`position(512)`)."""
    found: dict[str, int] = {}
    for graph in module.programs.values():
        for symbol, places in _looked_up(graph):
            found[symbol] = min(places, found.get(symbol, places))
    return found


def require_places(
    module: Module, env: Mapping[str, int], code: str, subject: str, span: Span, help: str
) -> None:
    """Raise `SpecError` (`code`) where an axis of `env` has more elements than learned positions."""
    for symbol, most in longest(module).items():
        if env.get(symbol, 0) > most:
            message = (
                f"{subject} {env[symbol]} steps along '{symbol}', and there are {most} learned positions"
            )
            raise error(code, message, span, help=help.format(most=most))


def _looked_up(graph: Graph) -> Iterator[tuple[str, int]]:
    """Yield symbolic sizes whose numbers 0, 1, .. pick rows of a table, and how many rows it has."""
    for node in graph.nodes():
        for body in node.op.bodies():
            yield from _looked_up(body)
        if not isinstance(node.op, ops.Gather):
            continue
        table, index = node.inputs
        maker = graph.node(index)
        places = table.shape[node.op.axis]
        if isinstance(maker.op, ops.Iota) and isinstance(places, int):
            size = index.shape[maker.op.axis]
            if isinstance(size, Symbolic) and {str(size)} == set(symbols(size)):
                yield str(size), places
