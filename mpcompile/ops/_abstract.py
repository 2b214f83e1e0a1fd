"""Running the body of a loop: on arrays, and on abstract values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from mpcompile.ir import Abstract, Array, Builder, Domain, Graph, Input, Node, Symbolic, Type, Value
from mpcompile.ir.walk import run


def run_body(
    domain: Domain, graph: Graph, inputs: Sequence[Abstract], plan: Sequence[Node] | None = None
) -> list[Abstract]:
    """Return the abstract outputs of a graph for abstract inputs, both in the order of its signature.

    `plan` is `graph.nodes()`, for a caller that runs the same graph many times. A `Parameter` never occurs.
    """
    known: dict[Value, Abstract] = dict(zip(graph.inputs.values(), inputs, strict=True))
    found = run(plan or graph.nodes(), known, lambda node, *xs: node.op.depend(domain, *xs))
    return [found[v] for v in graph.outputs.values()]


def evaluate_body(
    graph: Graph,
    inputs: Sequence[Array],
    apply: Callable[..., tuple[Array, ...]],
    plan: Sequence[Node] | None = None,
) -> list[Array]:
    """Evaluate a graph on arrays, each primitive by `apply(op, *inputs)`, in the order of its signature.

    Inputs and outputs are in the order of its signature.
    """
    known: dict[Value, Array] = dict(zip(graph.inputs.values(), inputs, strict=True))
    found = run(plan or graph.nodes(), known, lambda node, *xs: apply(node.op, *xs))
    return [found[v] for v in graph.outputs.values()]


def bind_body(graph: Graph, env: Mapping[str, int]) -> Graph:
    """Bind symbolic sizes of a body to the numbers in `env`; return the body itself where nothing is bound."""
    return _bound(graph, tuple(env.items()))


@lru_cache(maxsize=64)
def _bound(graph: Graph, sizes: tuple[tuple[str, int], ...]) -> Graph:
    """`bind_body`, remembered: a body is run at the same sizes again and again."""
    env = dict(sizes)

    def number(t: Type) -> Type:
        return Type(t.dtype, t.concrete(env))

    if not any(isinstance(s, Symbolic) for n in graph.nodes() for t in n.types for s in t.shape) and all(
        n.op.bind(env) is n.op for n in graph.nodes()
    ):
        return graph

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        op = node.op
        bound = Input(op.path, number(op.type)) if isinstance(op, Input) else op.bind(env)
        return b.emit_all(bound, *inputs)

    return graph.rebuild(rewrite, retype=True)
