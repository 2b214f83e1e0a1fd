"""MP321: two affine layers that one could replace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from mpcompile import ops
from mpcompile.analysis.findings._trace import fixed
from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.ir import Constant, Graph, Module, Node, Parameter, Scope, Value
from mpcompile.ops.traits import Product


def affine_collapse(module: Module) -> Iterator[Diagnostic]:
    """Find dense and convolution layers that are fed by another with nothing nonlinear between.

    Exactly: both layers consist of one product with a weight of their own and a bias, no mask and no groups; between
    them stand only moves of elements and sums with weights; nothing else reads what is between; and the features
    between are at least as many as the fewer of those before and after. Fewer limit the rank: that is a bottleneck
    (a linear autoencoder, a factorised layer) and no finding. Dense follows only dense, a convolution only a
    convolution. Two dense layers are then just as free as one; two convolutions are, but for their border, some of
    the convolutions with the larger kernel that both span.
    """
    graph = module.programs["loss"]
    constant = fixed(graph)
    layers: dict[Scope, list[Node]] = defaultdict(list)
    for node in graph.nodes():
        layers[node.scope].append(node)
    affine = {
        scope: products[0]
        for scope, nodes in layers.items()
        if scope and all(_affine(n) for n in nodes)
        and len(products := [n for n in nodes if isinstance(n.op, Product)]) == 1
    }  # fmt: skip
    seen: set[tuple[str, str]] = set()
    for scope, second in affine.items():
        first = _fed_by(graph, second.inputs[0], constant)
        if first is None or affine.get(first.scope) is not first or first.scope == scope:
            continue
        if isinstance(first.op, ops.MatMul) != isinstance(second.op, ops.MatMul):
            continue
        sizes, others = _features(first, constant), _features(second, constant)
        where = (str(first.scope[-1].span), str(scope[-1].span))
        if sizes is None or others is None or sizes[1] < min(sizes[0], others[1]) or where in seen:
            continue
        seen.add(where)
        yield Diagnostic(
            "MP321",
            f"`{first.scope[-1].label}` and `{scope[-1].label}` collapse: nothing between them is nonlinear, so they "
            f"are {_one(second)} from {sizes[0]} to {others[1]} features",
            scope[-1].span,
            Severity.WARNING,
            label=f"its input is an affine function of that of line {first.scope[-1].span.line}",
            help="put an activation between them, or leave one out",
        )


def _affine(node: Node) -> bool:
    """Whether a node may stand in an affine layer: a product, a sum, a weight, or a new shape of one."""
    return isinstance(node.op, Product | ops.Add | ops.Transpose | ops.Reshape | Parameter | Constant)


def _one(node: Node) -> str:
    return "one dense layer" if isinstance(node.op, ops.MatMul) else "one linear filter"


def _fed_by(graph: Graph, value: Value, constant: set[int]) -> Node | None:
    """The product whose result, moved or shifted by weights, a value is; None where something else reads it too."""
    while True:
        node = graph.node(value)
        if len(graph.users(node.id)) != 1:
            return None
        if isinstance(node.op, Product):
            return node
        if isinstance(node.op, ops.Reshape | ops.Transpose) or (
            isinstance(node.op, ops.Add) and node.inputs[1].node in constant
        ):
            value = node.inputs[0]
        else:
            return None


def _features(node: Node, constant: set[int]) -> tuple[int, int] | None:
    """Features before and after a product with an unmasked weight of its own; None where it is another."""
    weight = node.inputs[1]
    if weight.node not in constant or node.inputs[0].node in constant or _groups(node) != 1:
        return None
    shape = weight.type.concrete({})
    return (shape[1], shape[0]) if isinstance(node.op, ops.Conv) else (shape[-2], shape[-1]) if isinstance(
        node.op, ops.MatMul) else (shape[0], shape[1])  # fmt: skip


def _groups(node: Node) -> int:
    return node.op.groups if isinstance(node.op, ops.Conv | ops.ConvTranspose) else 1
