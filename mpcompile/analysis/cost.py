"""What a model costs: parameters by formula, floating-point operations, memory.

Operations are counted primitive by primitive, as polynomials in the batch `N` and the length. One multiply-add is
two operations; every other function of one element (exp, max, a comparison) is one; moving elements is free. A
framework that fuses a mask into its weight, or skips a zero, does fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from mpcompile import ops
from mpcompile.ir import (
    Constant,
    DType,
    Graph,
    Input,
    Module,
    Node,
    NoRule,
    Parameter,
    Primitive,
    Scope,
    Symbolic,
    Type,
    Value,
    product,
)
from mpcompile.ops.normalisation import Normalisation
from mpcompile.ops.pointwise import Binary, Unary
from mpcompile.ops.reduction import Reduction

Size = int | Symbolic


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations.

    products  of matrix products and convolutions: two for each multiply-add
    rest      of everything else
    """

    products: Size = 0
    rest: Size = 0

    @property
    def total(self) -> Size:
        return self.products + self.rest

    def __add__(self, other: Work) -> Work:
        return Work(self.products + other.products, self.rest + other.rest)

    def times(self, n: Size) -> Work:
        return Work(self.products * n, self.rest * n)


Types = tuple[Type, ...]
Rule = Callable[[Primitive, Types, Types], Work]


def _free(op: Primitive, inputs: Types, outputs: Types) -> Work:
    return Work()


def _each_output(op: Primitive, inputs: Types, outputs: Types) -> Work:
    return Work(rest=outputs[0].size)


def _each_input(op: Primitive, inputs: Types, outputs: Types) -> Work:
    return Work(rest=inputs[0].size)


def _exponentials(op: Primitive, inputs: Types, outputs: Types) -> Work:
    """Largest, difference from it, exp, sum, and (a softmax alone) quotient: five and four an element."""
    return Work(rest=inputs[0].size * (5 if isinstance(op, Normalisation) else 4))


def _mat_mul(op: Primitive, inputs: Types, outputs: Types) -> Work:
    return Work(products=outputs[0].size * inputs[0].shape[-1] * 2)


def _elimination(op: Primitive, inputs: Types, outputs: Types) -> Work:
    """A third of C^3 multiply-adds for the factors, C^3 for the inverse (Golub and Van Loan 2013, section 3.2)."""
    size = inputs[0].shape[0]
    assert isinstance(size, int)
    return Work(rest=2 * size**3 if isinstance(op, ops.Inverse) else -(-2 * size**3 // 3))


def _conv(op: Primitive, inputs: Types, outputs: Types) -> Work:
    """Each output reads a window of every channel of its group; padding is counted as if it were data."""
    return Work(products=outputs[0].size * product(inputs[1].shape[1:]) * 2)


def _conv_transpose(op: Primitive, inputs: Types, outputs: Types) -> Work:
    """Each input is spread over a window of every channel of its group."""
    return Work(products=inputs[0].size * product(inputs[1].shape[1:]) * 2)


def _conv_weight_grad(op: Primitive, inputs: Types, outputs: Types) -> Work:
    return Work(products=inputs[1].size * product(outputs[0].shape[1:]) * 2)


def _pool(op: Primitive, inputs: Types, outputs: Types) -> Work:
    assert isinstance(op, ops.MaxPool | ops.AvgPool)
    return Work(rest=outputs[0].size * prod(op.kernel))


def _scan(op: Primitive, inputs: Types, outputs: Types) -> Work:
    """The body, as often as the loop runs."""
    assert isinstance(op, ops.Scan)
    return work(op.body).times(op.trip_count(inputs))


#: Operations of each primitive. Classes of primitives stand for all below them; the nearest row counts.
RULES: Mapping[type[Primitive], Rule] = {
    Input: _free, Parameter: _free, Constant: _free,
    Unary: _each_output, Binary: _each_output, ops.Where: _each_output,
    ops.StopGradient: _free, ops.Cast: _free,
    ops.Reshape: _free, ops.Transpose: _free, ops.BroadcastTo: _free, ops.Slice: _free, ops.Pad: _free,
    ops.Concat: _free, ops.Flip: _free,
    ops.Gather: _free, ops.TakeAlong: _free, ops.ScatterAlong: _free, ops.Iota: _free, ops.OneHot: _free,
    ops.SliceAt: _free, ops.UpdateAt: _free,
    ops.ScatterAdd: _each_input, ops.MaxPoolGrad: _each_input,
    Reduction: _each_input, ops.CumSum: _each_input, ops.ArgMax: _each_input,
    ops.LogSumExp: _exponentials, Normalisation: _exponentials,
    ops.MatMul: _mat_mul, ops.Inverse: _elimination, ops.LogAbsDet: _elimination,
    ops.Conv: _conv, ops.ConvTranspose: _conv_transpose,
    ops.ConvWeightGrad: _conv_weight_grad, ops.MaxPool: _pool, ops.AvgPool: _pool,
    ops.Scan: _scan,
}  # fmt: skip


def rule_of(op: Primitive) -> Rule:
    """The rule of a primitive. Raises `NoRule` where it has none."""
    for cls in type(op).__mro__:
        if cls in RULES:
            return RULES[cls]
    raise NoRule(op, "cost")


def work_of(node: Node) -> Work:
    """Operations of one node."""
    return rule_of(node.op)(node.op, tuple(v.type for v in node.inputs), node.types)


def work(graph: Graph) -> Work:
    """Operations of a whole graph."""
    return sum(map(work_of, graph.nodes()), Work())


def by_scope(graph: Graph) -> dict[Scope, Work]:
    """Operations of each layer, in order of first use; what a loop does counts for the layers inside of it."""
    found: dict[Scope, Work] = {}

    def walk(graph: Graph, times: Size) -> None:
        for node in graph.nodes():
            if isinstance(node.op, ops.Scan):
                inner = times * node.op.trip_count([v.type for v in node.inputs])
                walk(node.op.body, inner)
            else:
                found[node.scope] = found.get(node.scope, Work()) + work_of(node).times(times)

    walk(graph, 1)
    return found


# --- parameters ---


@dataclass(frozen=True, slots=True)
class Weights:
    """Trained numbers of a layer.

    formula  `out * in + out` in numbers; a kernel first, `3 * 3 * in * out`
    total    their number
    live     how many no mask removes in every place that reads them
    """

    formula: str
    total: int
    live: int


def weights(module: Module, graph: Graph, nodes: Iterable[Node]) -> Weights:
    """Of the trained parameters among some nodes of a program; running statistics are not trained."""
    named = {n.op.path: n for n in nodes if isinstance(n.op, Parameter)}
    parameters = {path: n for path, n in named.items() if module.parameters[path].trainable}
    shapes = [n.types[0].concrete({}) for n in parameters.values()]
    formula = " + ".join(" * ".join(map(str, s[::-1] if len(s) > 2 else s)) or "1" for s in shapes)
    live = sum(int(kept(graph, n).sum()) for n in parameters.values())
    return Weights(formula, sum(map(prod, shapes)), live)


def kept(graph: Graph, parameter: Node) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which elements of a parameter some use reads: not those that every use multiplies by a constant zero."""
    shape = parameter.types[0].concrete({})
    users = graph.users(parameter.id)
    seen = np.full(shape, not users)
    for user in users:
        others = [graph.node(v) for v in user.inputs if v.node != parameter.id]
        mask = others[0].op if isinstance(user.op, ops.Mul) and others else None
        if not isinstance(mask, Constant) or user.types[0].shape != shape:
            return np.ones(shape, bool)
        seen = seen | np.broadcast_to(mask.stored != 0, shape)
    return seen


# --- memory ---

#: Bytes of an element at single precision: what the backends allocate.
BYTES: Mapping[DType, int] = {DType.FLOAT: 4, DType.INT: 8, DType.BOOL: 1}

#: Primitives whose result is the argument's memory seen otherwise.
VIEWS = (ops.Reshape, ops.Transpose, ops.BroadcastTo, ops.Slice, ops.StopGradient)


def size_in_bytes(value: Value) -> Size:
    return value.type.size * BYTES[value.dtype]


def saved_for_backward(combined: Graph, forward: Graph) -> Size:
    """Bytes of activations that the backward pass reads, at single precision.

    `combined` is `differentiate(forward, ...)`. An activation is a value of the forward pass whose size
    depends on the batch or the length; a weight and a masked weight are none. A view counts as what it is a view of.
    Of a loop what its gradient rule reads from outside counts: it runs the body again.
    """
    count = len(forward)
    nodes = combined.nodes()
    first = {n.id for n in nodes[:count]}
    saved: dict[Value, Size] = {}
    for node in nodes[count:]:
        for value in node.inputs:
            base = storage(combined, value)
            if base.node in first and not isinstance(size_in_bytes(base), int):
                saved[base] = size_in_bytes(base)
    total: Size = 0
    for size in saved.values():
        total = total + size
    return total


def storage(graph: Graph, value: Value) -> Value:
    """The value in whose memory a value lies."""
    while isinstance(graph.node(value).op, VIEWS):
        value = graph.node(value).inputs[0]
    return value


def peak(graph: Graph, env: Mapping[str, int]) -> int:
    """Most bytes that live at once when nodes run in order and each value goes after its last use.

    Inputs count, parameters and constants do not (they are there before). Nothing is done in place. Of a loop the
    results count, not what lives for one step.
    """
    nodes = graph.nodes()
    last: dict[Value, int] = {}
    for i, node in enumerate(nodes):
        for value in (*node.inputs, *node.outputs):
            last[storage(graph, value)] = i
    for value in graph.outputs.values():
        last[storage(graph, value)] = len(nodes)
    ending: dict[int, list[Value]] = {}
    for value, i in last.items():
        ending.setdefault(i, []).append(value)
    counted = {
        v: int(prod(v.type.concrete(env))) * BYTES[v.dtype]
        for v in last
        if not isinstance(graph.node(v).op, Parameter | Constant)
    }
    live = most = 0
    for i, node in enumerate(nodes):
        live += sum(counted.get(v, 0) for v in node.outputs if storage(graph, v) == v)
        most = max(most, live)
        live -= sum(counted.get(v, 0) for v in ending.get(i, []))
    return most
