"""MP328: a scale that need not be positive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum

from mpcompile import ops
from mpcompile.analysis.findings._trace import MOVES, of_law
from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.ir import Constant, DType, Graph, Input, Module, Node


class Sign(IntEnum):
    """What is known of every element of a value, whatever weights and inputs are."""

    UNKNOWN = 0
    NOT_NEGATIVE = 1
    POSITIVE = 2


_POSITIVE = (ops.Exp, ops.Softplus, ops.Sigmoid, ops.Softmax)
_NOT_NEGATIVE = (ops.Relu, ops.Abs, ops.OneHot)
_KEPT = (*MOVES, ops.Sqrt, ops.Tanh, ops.Sum, ops.Max, ops.MaxPool, ops.StopGradient)


def scale_not_positive(module: Module) -> Iterator[Diagnostic]:
    """A distribution takes the logarithm of a `scale` that is not positive by construction.

    Exactly: in the loss, a logarithm of the distribution itself reads a value for which no rule of signs (exp,
    softplus, sigmoid, softmax; sums, products, quotients and maxima of positive values; integers from 1 on) says that
    it is positive. Underflow is not considered, nor are loops.
    """
    graph, seen = module.programs["loss"], set[str]()
    known_signs = signs(module, graph)
    for node in graph.nodes():
        if not isinstance(node.op, ops.Log) or not of_law(node):
            continue
        source = graph.node(node.inputs[0])
        known = known_signs[node.inputs[0].node]
        if known is Sign.POSITIVE or str(source.span) in seen:
            continue
        seen.add(str(source.span))
        can = "zero" if known is Sign.NOT_NEGATIVE else "zero or negative"
        yield Diagnostic(
            "MP328",
            f"the scale of {node.scope[0].name} can be {can}, and its logarithm is taken",
            source.span if source.scope else node.span,
            Severity.WARNING,
            label="not positive by construction",
            help="end it with softplus or exp, or give its logarithm as log_scale",
        )


def signs(module: Module, graph: Graph) -> dict[int, Sign]:
    """The sign of the first result of every node. Sound, not complete."""
    found: dict[int, Sign] = {}
    for node in graph.nodes():
        found[node.id] = _sign(module, node, [found[v.node] for v in node.inputs])
    return found


def _sign(module: Module, node: Node, of: Sequence[Sign]) -> Sign:
    op = node.op
    if isinstance(op, Constant):
        return Sign.POSITIVE if op.positive else Sign(op.not_negative)
    if isinstance(op, Input):
        declared = module.fields.get(op.path)
        if declared is None or declared.base == "real":
            return Sign.UNKNOWN
        return Sign.POSITIVE if declared.low > 0 else Sign(declared.low == 0)
    if isinstance(op, _POSITIVE):
        return Sign.POSITIVE
    if isinstance(op, _NOT_NEGATIVE):
        return Sign.NOT_NEGATIVE
    if isinstance(op, _KEPT):
        return of[0]
    if isinstance(op, ops.Cast):
        return min(of[0], Sign.NOT_NEGATIVE) if op.dtype is DType.INT else of[0]
    if isinstance(op, ops.Add):
        return max(of) if min(of) else Sign.UNKNOWN
    if isinstance(op, ops.Mul):
        return max(min(of), Sign(node.inputs[0] == node.inputs[1]))
    if isinstance(op, ops.Div):
        return of[0] if of[1] is Sign.POSITIVE else Sign.UNKNOWN
    if isinstance(op, ops.Maximum):
        return max(of)
    if isinstance(op, ops.Minimum | ops.Concat):
        return min(of)
    return min(of[1:]) if isinstance(op, ops.Where) else Sign.UNKNOWN
