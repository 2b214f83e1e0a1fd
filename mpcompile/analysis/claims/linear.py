"""`linear(y)`: the prediction of y is a linear function of all inputs together, f(a x + b z) = a f(x) + b f(z).

Proved by the operations on the way: moves, sums, and products with what no input reaches. Refuted by a run in which
f(x) + f(z) is not f(x + z). An affine map is not linear. What is neither, as relu(x) - relu(-x), is undecided.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from mpcompile import ops
from mpcompile.analysis.predicted import prediction
from mpcompile.analysis.verdict import FINITE, GENERIC, Proof, Verdict, scope_of
from mpcompile.diagnostics import Diagnostic
from mpcompile.interpret import interpret
from mpcompile.ir import (
    Array,
    Claim,
    Constant,
    DType,
    Graph,
    Input,
    Module,
    Node,
    Parameter,
    Primitive,
    Value,
    symbols,
)
from mpcompile.ops.traits import Exact, Movement, Product

METHOD = "the operations between inputs and prediction"
RUN = "a sum of inputs whose prediction is not the sum"
#: The length at which a counterexample is looked for, and how far off, relative to the values, it must be.
LENGTH, OFF = 5, 1e-6


class Form(IntEnum):
    """A value as a function of the inputs: one that no input reaches, a linear one, or any."""

    FIXED = 0
    LINEAR = 1
    UNKNOWN = 2


def linear(module: Module, claim: Claim) -> Verdict:
    """Decide whether the prediction of a variable is linear in the inputs of the program `predict`."""
    graph = prediction(module, claim)
    if isinstance(graph, Verdict):
        return graph
    output = graph.outputs[claim.subject]
    known: dict[Value, Form] = {}
    for node in graph.nodes():
        known.update(dict.fromkeys(node.outputs, _form(graph, node, [known[v] for v in node.inputs])))
    if known[output] is Form.LINEAR or _zero(graph, output):
        return Verdict.proved(claim, Proof(scope_of(graph, covers="lengths"), METHOD, (FINITE,)))
    lengths = {name: LENGTH for v in graph.inputs.values() for s in v.shape for name in symbols(s)} | {"N": 1}
    at = {name: size for name, size in lengths.items() if name != "N"}
    off = _off(module, graph, claim.subject, lengths)
    if off is not None and off > OFF:
        message = (
            f"the prediction of {claim.subject} is not linear: that of a sum of inputs is off by {off:.2g}"
        )
        finding = Diagnostic("MP307", message, claim.span, help="leave out biases and activations")
        return Verdict.refuted(claim, RUN, at, [finding], {"assumes": GENERIC})
    return Verdict.undecided(claim, "an operation on the way is not linear by itself", checked=[at])


def _form(graph: Graph, node: Node, inputs: list[Form]) -> Form:
    """The form of the results of a node."""
    op, top = node.op, max(inputs, default=Form.FIXED)
    if isinstance(op, Input):
        return Form.LINEAR if node.types[0].dtype is DType.FLOAT else Form.UNKNOWN
    if isinstance(op, Parameter | Constant) or top is Form.FIXED:
        return Form.FIXED
    if isinstance(op, Product | ops.Mul):
        return Form.LINEAR if sorted(inputs) == [Form.FIXED, Form.LINEAR] else Form.UNKNOWN
    if isinstance(op, ops.Div):
        return Form.LINEAR if inputs == [Form.LINEAR, Form.FIXED] else Form.UNKNOWN
    if isinstance(op, ops.Pad):
        return top if op.value == 0 else Form.UNKNOWN
    if isinstance(op, Movement | Exact | ops.Neg):
        return top
    if isinstance(op, ops.Add | ops.Sub | ops.Concat):
        both = all(f is Form.LINEAR or _zero(graph, v) for f, v in zip(inputs, node.inputs, strict=True))
        return Form.LINEAR if both else Form.UNKNOWN
    return Form.UNKNOWN


def _zero(graph: Graph, value: Value) -> bool:
    """Whether a value is a constant without an entry but zeros."""
    op = graph.node(value).op
    return isinstance(op, Constant) and not np.any(op.stored)


def _off(module: Module, graph: Graph, name: str, sizes: dict[str, int]) -> float | None:
    """Return the distance of f(x) + f(z) from f(x + z), relative to the largest value on the way.

    Where large values cancel, what is left of them are roundings. None for a program with other inputs than numbers, and
    where a value on the way is not finite.
    """
    if any(v.dtype is not DType.FLOAT for v in graph.inputs.values()):
        return None
    rng = np.random.default_rng(0)
    weights = {k: rng.normal(size=p.shape) for k, p in module.parameters.items() if p.trainable}
    weights |= {k: np.ones(p.shape) for k, p in module.parameters.items() if not p.trainable}
    x, z = ({k: rng.normal(size=v.type.concrete(sizes)) for k, v in graph.inputs.items()} for _ in range(2))

    largest = 0.0

    def f(given: dict[str, Array]) -> Array:
        return interpret(graph, weights, given, apply=seen)[name]

    def seen(op: Primitive, *inputs: Array) -> tuple[Array, ...]:
        nonlocal largest
        results = op.evaluate(*inputs)
        largest = max([largest, *(float(np.abs(y).max(initial=0.0)) for y in results if y.dtype.kind == "f")])
        return results

    with np.errstate(all="ignore"):
        parts = f(x), f(z), f({k: x[k] + z[k] for k in x})
        found = float(np.abs(parts[0] + parts[1] - parts[2]).max(initial=0.0))
    return found / largest if largest > 0 and np.isfinite(largest) and np.isfinite(found) else None
