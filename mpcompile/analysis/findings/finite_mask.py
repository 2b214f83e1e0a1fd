"""MP322: a softmax whose mask is a large finite number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mpcompile import ops
from mpcompile.analysis.findings._trace import graphs, through_moves
from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.ir import Array, Constant, Graph, Module, Node, Value
from mpcompile.ops.traits import Exponentials, Movement

#: A number from which on it stands for minus infinity, and is none.
LARGE = 1e3


def finite_mask(module: Module) -> Iterator[Diagnostic]:
    """Find softmaxes whose scores get a finite number of at least 1000 in size, at some elements and not at others.

    Exactly: what a softmax, log-softmax or log-sum-exp reads is, through moves, sums and products with constants, a
    `where` one of whose branches is a constant with a finite element of at most -1000; or a sum with a constant that
    has both such elements and others; or a sum with a value times such a constant. A number that every score gets
    alike shifts them all and is no mask.
    """
    seen: set[str] = set()
    for graph in (g for program in module.programs.values() for g in graphs(program)):
        for node in graph.nodes():
            if not isinstance(node.op, Exponentials):
                continue
            for fault, number in _masks(graph, node.inputs[0]):
                if (key := f"{fault.span}{number}") not in seen:
                    seen.add(key)
                    yield _finding(fault, number)


def _finding(node: Node, number: float) -> Diagnostic:
    return Diagnostic(
        "MP322",
        f"scores are masked with {number:g}, which is finite: what is masked still gets a share",
        node.scope[-1].span if node.scope and not node.span.path else node.span,
        Severity.WARNING,
        label="no proof of independence holds through this mask",
        notes=(
            "where all scores are masked, or as low, the softmax spreads its weight over what should be hidden",
        ),
        help="use minus infinity: its weight is exactly zero",
    )


def _masks(graph: Graph, scores: Value) -> Iterator[tuple[Node, float]]:
    """Nodes that put a large number on some of the scores, and the number."""
    todo, done = [scores], set[int]()
    while todo:
        node = graph.node(todo.pop())
        if node.id in done:
            continue
        done.add(node.id)
        scaled = isinstance(node.op, ops.Mul | ops.Div) and _known(graph, node.inputs[1]) is not None
        if scaled or isinstance(node.op, Movement):
            todo.append(node.inputs[0])
        elif isinstance(node.op, ops.Where | ops.Add | ops.Sub):
            for side in node.inputs[1:] if isinstance(node.op, ops.Where) else node.inputs:
                number = (
                    _branch(graph, side) if isinstance(node.op, ops.Where) else _summand(graph, node, side)
                )
                if number is not None:
                    yield node, number
                else:
                    todo.append(side)


def _branch(graph: Graph, side: Value) -> float | None:
    """The large number in a branch of a `where`."""
    array = _known(graph, side)
    return float(array[_large(array)].flat[0]) if array is not None and _large(array).any() else None


def _summand(graph: Graph, node: Node, side: Value) -> float | None:
    """The large number in one side of a sum: of a constant that has others too, or times a value."""
    sign = -1.0 if isinstance(node.op, ops.Sub) and side == node.inputs[1] else 1.0
    array = _known(graph, side)
    if array is not None:
        large = _large(sign * array)
        return float((sign * array)[large].flat[0]) if large.any() and not large.all() else None
    factor = _factor(graph, side)
    return float(-abs(factor).max()) if factor is not None and _large(-abs(factor)).any() else None


def _large(array: Array) -> Array:
    return np.isfinite(array) & (array <= -LARGE)


def _factor(graph: Graph, value: Value) -> Array | None:
    """The constant that a value is a product with."""
    node = through_moves(graph, value)
    if not isinstance(node.op, ops.Mul):
        return None
    return next((a for v in node.inputs if (a := _known(graph, v)) is not None), None)


def _known(graph: Graph, value: Value) -> Array | None:
    """A constant, through moves and signs."""
    node, sign = graph.node(value), 1.0
    while isinstance(node.op, Movement | ops.Neg | ops.Cast):
        sign = -sign if isinstance(node.op, ops.Neg) else sign
        node = graph.node(node.inputs[0])
    return sign * np.asarray(node.op.array, np.float64) if isinstance(node.op, Constant) else None
