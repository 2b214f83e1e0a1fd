"""MP328: a scale that need not be positive."""

from __future__ import annotations

from collections.abc import Iterator

from mpcompile import ops
from mpcompile.analysis.findings._trace import of_law
from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.ir import Graph, Input, Module, Node, Parameter, Positivity, Value


def scale_not_positive(module: Module) -> Iterator[Diagnostic]:
    """Find distributions that take the logarithm of a `scale` that is not positive by construction.

    Exactly: in the loss, a logarithm of the distribution itself reads a value for which no rule of signs (exp,
    softplus, sigmoid, softmax; sums, products, quotients and maxima of positive values; integers from 1 on) says that
    it is positive. Logarithms of the law's own formula are not of a scale. Underflow is not considered, nor are loops.
    """
    graph, seen = module.programs["loss"], set[str]()
    known_signs = signs(module, graph)
    for node in graph.nodes():
        if not isinstance(node.op, ops.Log) or not of_law(node):
            continue
        source = graph.node(node.inputs[0])
        known = known_signs[node.inputs[0].node]
        if _of_noise(module, graph, node.inputs[0]) or _of_the_law(graph, node, source):
            continue
        if known is Positivity.POSITIVE or str(source.span) in seen:
            continue
        seen.add(str(source.span))
        can = "zero" if known is Positivity.NOT_NEGATIVE else "zero or negative"
        yield Diagnostic(
            "MP328",
            f"the scale of {node.scope[0].name} can be {can}, and its logarithm is taken",
            source.span if source.scope else node.span,
            Severity.WARNING,
            label="not positive by construction",
            help="end it with softplus or exp, or give its logarithm as log_scale",
        )


def _of_the_law(graph: Graph, node: Node, source: Node) -> bool:
    """Whether a logarithm is of the law's own formula, and not of a scale that its spec states.

    The formula stands at the place of the law, a stated scale at a place of its own; and a law takes the logarithm of
    its variable, as `gamma` does, also where holes of it are filled.
    """
    made = [source, *map(graph.node, source.inputs)] if isinstance(source.op, ops.Where) else [source]
    own = any(isinstance(n.op, Input) and n.op.path == node.scope[0].name for n in made)
    return own or source.span == node.span


def _of_noise(module: Module, graph: Graph, value: Value) -> bool:
    """Whether a value is a function of noise alone, whose range is that of a draw: no scale."""
    noise, made = module.noise.get(graph.name, {}), graph.made_of(value)
    read = [node.op for node in made if isinstance(node.op, Input | Parameter)]
    return bool(read) and all(isinstance(op, Input) and op.path in noise for op in read)


def signs(module: Module, graph: Graph) -> dict[int, Positivity]:
    """Return the sign of the first result of every node. Sound, not complete."""
    found: dict[int, Positivity] = {}
    for node in graph.nodes():
        if isinstance(node.op, Input):
            found[node.id] = _declared(module, node.op)
        else:
            of = [found[v.node] for v in node.inputs]
            found[node.id] = node.op.sign(of, len(set(node.inputs)) == 1)
    graph.settle(lambda v, w: found[v.node] == found[w.node], bodies=False)
    return found


def _declared(module: Module, op: Input) -> Positivity:
    field = module.fields.get(op.path)
    if field is None or field.base == "real":
        return Positivity.UNKNOWN
    return Positivity.POSITIVE if field.low > 0 else Positivity(field.low == 0)
