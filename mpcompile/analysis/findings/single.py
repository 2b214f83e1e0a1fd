"""MP330: a normalisation or a softmax over one element, which makes a constant of it."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from mpcompile import ops
from mpcompile.analysis.findings._trace import fixed, graphs, through_moves
from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.ir import Constant, Graph, Module, Node, Primitive, Value
from mpcompile.ops.normalisation import Normalisation


def constant_normalisation(module: Module) -> Iterator[Diagnostic]:
    """Find normalisations of one element, such as an element less its own mean, or the softmax of one element.

    Exactly: a value less its own mean over axes that have one element together, and a softmax along an axis
    of one element, each of something that reads an input.
    """
    seen: set[object] = set()
    for program in module.programs.values():
        for graph in graphs(program):
            for node, why in alone(graph):
                frame = node.scope[-1] if node.scope else None
                span = frame.span if frame else node.span
                if span in seen:
                    continue
                seen.add(span)
                yield Diagnostic(
                    "MP330",
                    f"{frame.label if frame else node.op.name} {why}: its result does not depend on its input",
                    span,
                    Severity.WARNING,
                    label="one element",
                    help="leave it out, or give it more channels (positions, classes) to normalise over",
                )


def normalised_alone(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yield the layers that normalise one element, loops included, each with what it does."""
    for g in graphs(graph):
        for node, why in alone(g):
            yield (node.scope[-1].label if node.scope else node.op.name), why


def alone(graph: Graph) -> Iterator[tuple[Node, str]]:
    """Yield the operations of a graph that normalise one element, bodies of loops excluded, each with what it does."""
    still = fixed(graph)
    for node in graph.nodes():
        if not node.inputs or node.inputs[0].node in still:
            continue
        if isinstance(node.op, Normalisation) and node.inputs[0].shape[node.op.axis] == 1:
            yield node, "takes a softmax over one element"
        elif isinstance(node.op, ops.Sub) and _own_mean(graph, *node.inputs):
            yield node, "takes mean and variance over one element"


def _own_mean(graph: Graph, x: Value, mean: Value) -> bool:
    """Whether a value is the mean of x over axes with one element."""
    node = graph.node(mean)
    if isinstance(node.op, ops.Mul | ops.Div) and _is_one(through_moves(graph, node.inputs[1]).op):
        node = graph.node(node.inputs[0])
    return isinstance(node.op, ops.Sum) and node.inputs[0] == x and _one(node)


def _is_one(op: Primitive) -> bool:
    """The share of one element in its mean."""
    return isinstance(op, Constant) and bool((op.stored == 1).all())


def _one(node: Node) -> bool:
    assert isinstance(node.op, ops.Sum)
    sizes = [node.inputs[0].shape[a] for a in node.op.axes]
    return (
        bool(sizes)
        and all(isinstance(s, int) for s in sizes)
        and prod(s for s in sizes if isinstance(s, int)) == 1
    )
