"""A lower bound that costs nothing: where nothing on the way is subtracted, nothing cancels.

Let all weights and inputs be positive. If every operation between a source and the outputs then grows strictly with each
operand that reads the source, an output grows with every element in its set of inputs, so the sets are exact: the
expression is not constant. `rises` says whether the operations of a graph are all of this kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mpcompile import ops
from mpcompile.ir import Constant, DType, Field, Graph, Input, Module, Node, Parameter, Primitive, Value


@dataclass(frozen=True, slots=True)
class Growth:
    """What holds of a value at the point where all weights are positive and inputs are at the top of their range.

    reads    whether it reads the source; then it grows strictly with every element that it reads
    good     every element is positive, or zero whatever the weights are
    fixed    it is made of constants alone
    full     no element is zero
    table    it is a weight itself, whose rows may grow from one to the next
    """

    reads: bool
    good: bool
    fixed: bool = False
    full: bool = False
    table: bool = False


class _Falls(Exception):
    """An operation on the way that does not grow."""


def rises(module: Module, graph: Graph, source: str) -> bool:
    """Whether every operation between a source and the outputs grows with what reads the source."""
    known: dict[Value, Growth] = {}
    needed = _needed(graph)
    try:
        for node in graph.nodes():
            if node.id in needed:
                known.update(
                    dict.fromkeys(
                        node.outputs, _growth(module, source, node, [known[v] for v in node.inputs])
                    )
                )
    except _Falls:
        return False
    return source in graph.inputs


def _needed(graph: Graph) -> set[int]:
    """Nodes that some output needs."""
    found: set[int] = {v.node for v in graph.outputs.values()}
    for node in reversed(graph.nodes()):
        if node.id in found:
            found.update(v.node for v in node.inputs)
    return found


def _growth(module: Module, source: str, node: Node, inputs: Sequence[Growth]) -> Growth:
    op = node.op
    if isinstance(op, Input):
        return Growth(op.path == source, _positive(module.fields.get(op.path)))
    if isinstance(op, Parameter):
        return Growth(False, True, full=True, table=True)
    if isinstance(op, Constant):
        return Growth(False, op.not_negative, True, op.positive)
    rule = next((RULES[c] for c in type(op).__mro__ if c in RULES), None)
    if not any(g.reads for g in inputs):
        good = rule is not None and _quietly(rule, op, inputs)
        full = good and isinstance(op, KEEPING) and all(g.full for g in inputs)
        return Growth(False, good, all(g.fixed for g in inputs), full)
    if rule is None:
        raise _Falls
    return Growth(True, rule(op, inputs))


def _positive(field: Field | None) -> bool:
    """Whether an input may be positive; what is not declared is a real number."""
    if field is None or field.base == "real" or field.counts is not None:
        return True
    return field.low + (2 if field.base == "binary" else field.classes or 2) - 1 > 0


def _quietly(rule: Rule, op: Primitive, inputs: Sequence[Growth]) -> bool:
    try:
        return rule(op, inputs)
    except _Falls:
        return False


#: Whether results are good, from the operands; raises where they do not grow with what reads the source.
Rule = Callable[[Primitive, Sequence[Growth]], bool]


def _all(op: Primitive, inputs: Sequence[Growth]) -> bool:
    return all(g.good for g in inputs)


def _always(op: Primitive, inputs: Sequence[Growth]) -> bool:
    return True


def _where_positive(op: Primitive, inputs: Sequence[Growth]) -> bool:
    """Functions that grow, or are defined, for positive numbers alone."""
    if not inputs[0].good:
        raise _Falls
    return True


def _log(op: Primitive, inputs: Sequence[Growth]) -> bool:
    _where_positive(op, inputs)
    return False


def _sub(op: Primitive, inputs: Sequence[Growth]) -> bool:
    if inputs[1].reads:
        raise _Falls
    return False


def _product(op: Primitive, inputs: Sequence[Growth]) -> bool:
    """Each factor of what reads the source is positive."""
    x, y = inputs
    if (x.reads and not y.good) or (y.reads and not x.good):
        raise _Falls
    return x.good and y.good


def _quotient(op: Primitive, inputs: Sequence[Growth]) -> bool:
    if inputs[1].reads or not inputs[1].full:
        raise _Falls
    return inputs[0].good


def _cast(op: Primitive, inputs: Sequence[Growth]) -> bool:
    """To a float; a whole number or a truth value is constant but for steps."""
    assert isinstance(op, ops.Cast)
    if op.dtype is not DType.FLOAT:
        raise _Falls
    return inputs[0].good


def _lookup(op: Primitive, inputs: Sequence[Growth]) -> bool:
    """Rows at known places, or at unknown ones of a table without zeros; of a weight they may grow with the index."""
    data, index = inputs
    if not index.fixed and (data.reads or not data.full):
        raise _Falls
    if index.reads and not data.table:
        raise _Falls
    return data.good


def _selection(op: Primitive, inputs: Sequence[Growth]) -> bool:
    """A choice that constants make."""
    if not inputs[0].fixed:
        raise _Falls
    return inputs[1].good and inputs[2].good


def _padding(op: Primitive, inputs: Sequence[Growth]) -> bool:
    assert isinstance(op, ops.Pad)
    return inputs[0].good and op.value >= 0


#: Operations that grow with their operands. Softmax, norms, comparisons, maxima and loops are not among them.
RULES: Mapping[type[Primitive], Rule] = {
    ops.Reshape: _all, ops.Transpose: _all, ops.BroadcastTo: _all, ops.Slice: _all, ops.Concat: _all, ops.Flip: _all,
    ops.Pad: _padding, ops.Gather: _lookup, ops.Where: _selection, ops.Iota: _all,
    ops.Add: _all, ops.Sub: _sub, ops.Mul: _product, ops.Div: _quotient,
    ops.MatMul: _product, ops.Conv: _product, ops.ConvTranspose: _product, ops.AvgPool: _all,
    ops.Sum: _all, ops.CumSum: _all,
    ops.Exp: _always, ops.Sigmoid: _always, ops.Softplus: _always, ops.Tanh: _all, ops.Erf: _all,
    ops.Relu: _where_positive, ops.Sqrt: _where_positive, ops.Log: _log, ops.StopGradient: _all, ops.Cast: _cast,
}  # fmt: skip

#: Operations whose results have no zeros where no operand has.
KEEPING = (
    ops.Reshape, ops.Transpose, ops.BroadcastTo, ops.Slice, ops.Concat, ops.Flip, ops.Gather, ops.Add, ops.Mul, ops.Div,
    ops.Exp, ops.Sqrt, ops.Sigmoid, ops.Softplus,
)  # fmt: skip
