"""Orders of units: values whose last axes run along each other can hold their units in another order together."""

from __future__ import annotations

from dataclasses import dataclass, field

from mpcompile import ops
from mpcompile.ir import Constant, Graph, Node, Parameter, Shape, Value
from mpcompile.ops.reduction import Reduction
from mpcompile.ops.traits import Elementwise


@dataclass(frozen=True)
class MaskedProduct:
    """`x (W * M)^T`: a product whose weight a program reads under a mask.

    name      of the weight, [out, in]
    mask      [out, in]
    node      the product
    """

    name: str
    mask: Constant
    node: Node

    @property
    def given(self) -> Value:
        """The value whose last axis runs along the columns of the weight."""
        return self.node.inputs[0]

    @property
    def result(self) -> Value:
        """The value whose last axis runs along the rows of the weight."""
        return self.node.outputs[0]


def masked_weight(graph: Graph, value: Value) -> tuple[Parameter, Constant] | None:
    """Return the parameter and the mask of `W * M`; None for any other value."""
    node = graph.node(value)
    if not isinstance(node.op, ops.Mul) or len(node.inputs) != 2:
        return None
    found = [graph.node(v).op for v in node.inputs]
    for weight, mask in (found, found[::-1]):
        if isinstance(weight, Parameter) and isinstance(mask, Constant):
            same = weight.type.shape == mask.stored.shape == node.types[0].shape
            return (weight, mask) if same and mask.compact else None
    return None


def masked_product(graph: Graph, node: Node) -> MaskedProduct | None:
    """Return the product that a node is; None for any other node."""
    if not isinstance(node.op, ops.MatMul):
        return None
    turned = graph.node(node.inputs[1])
    if not isinstance(turned.op, ops.Transpose) or turned.op.permutation != (1, 0):
        return None
    found = masked_weight(graph, turned.inputs[0])
    return None if found is None else MaskedProduct(found[0].path, found[1], node)


def products(graph: Graph) -> list[MaskedProduct]:
    """Return the masked products of a graph, in its order."""
    return [found for n in graph.nodes() if (found := masked_product(graph, n)) is not None]


@dataclass
class Units:
    """Classes of values whose last axes run along each other through element-wise primitives.

    Parameters and constants belong to none: they are read in the order that is asked for.
    """

    graph: Graph
    _parent: dict[Value, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.graph.nodes():
            if spreads(node):
                for v in node.inputs:
                    if runs_along(v.shape, node.types[0].shape) and not is_leaf(self.graph, v):
                        self._parent[self.of(v)] = self.of(node.outputs[0])

    def of(self, value: Value) -> Value:
        """Return the value that stands for the class of a value."""
        while (parent := self._parent.get(value, value)) != value:
            self._parent[value] = self._parent.get(parent, parent)
            value = parent
        return value


def spreads(node: Node) -> bool:
    """Return whether the units of a node's result are those of its operands, each at its own place."""
    return isinstance(node.op, Elementwise) and len(node.types) == 1 and node.types[0].rank > 0


def gathers(node: Node, value: Value) -> bool:
    """Return whether a node forgets the order of the last axis of an operand."""
    return isinstance(node.op, Reduction) and value.type.rank - 1 in node.op.axes


def runs_along(shape: Shape, result: Shape) -> bool:
    """Return whether the last axis of an operand is that of the result, and not repeated along it."""
    return len(shape) > 0 and shape[-1] == result[-1]


def is_leaf(graph: Graph, value: Value) -> bool:
    """Return whether a value is a weight or a constant."""
    return isinstance(graph.node(value).op, Parameter | Constant)


__all__ = [
    "MaskedProduct",
    "Units",
    "gathers",
    "is_leaf",
    "masked_product",
    "masked_weight",
    "products",
    "runs_along",
    "spreads",
]
