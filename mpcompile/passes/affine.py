"""Affine maps with weights of their own (actnorm, batch norm, biases) move into the products beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Builder, Graph, Node, Primitive, Shape, Symbolic, Value, number
from mpcompile.ops import build as F
from mpcompile.passes.base import LIVE, Condition, Pass
from mpcompile.passes.weight_only import WeightOnly


@dataclass(frozen=True)
class _Product:
    """A matrix product or convolution of data by a weight: the axis of the data's and of the result's channels, and
    those of the weight."""

    node: Node
    axis: int
    rows: int
    columns: int

    @property
    def weight(self) -> Value:
        return self.node.inputs[1]

    def axis_of(self, y: Value) -> int:
        """The channels' axis of the result."""
        return y.type.rank - 1 if isinstance(self.node.op, ops.MatMul) else 1


#: Rounds over a graph: longer chains of affine maps than this are folded in part.
MOST = 200


@dataclass(frozen=True)
class FoldAffine(Pass):
    """Graph to graph: x s + t beside a product by a weight W, where s and t are functions of weights, one a channel.

    Keeps    every output, up to rounding.
    Does     (x s) W -> x (s W) and (x W) s -> x (W s) for products and convolutions; (x + t) W -> x W + (t W), not for a
             convolution with padding, which puts zeros where t would stand; (h + t) s -> h s + t s and (h + t) + u -> h +
             (t + u); so that of a chain of affine maps and products one weight and one bias are left.
    Only     where nothing else reads the value in between: else it would be computed as well.
    Refuses  grouped convolutions, scales that differ from place to place, and all that is not weights alone (a scale that
             a network gives). What it makes of weights is for `freeze` to compute once.
    """

    name: ClassVar[str] = "affine"
    requires: ClassVar[tuple[Condition, ...]] = (LIVE,)
    ensures: ClassVar[tuple[Condition, ...]] = (LIVE,)

    def call(self, graph: Graph) -> Graph:
        folded = graph
        for _ in range(
            MOST
        ):  # every rule removes a node, or moves a shift nearer to the outputs: this ends by itself
            fold = _Fold(folded)
            folded = fold.graph()
            if not fold.fired:
                break
        return folded if _data(folded) < _data(graph) else graph


def _data(graph: Graph) -> int:
    """Nodes that depend on more than weights."""
    weight_only = WeightOnly()
    for node in graph.nodes():
        weight_only.know(node)
    return sum(node.outputs[0] not in weight_only for node in graph.nodes())


class _Fold:
    def __init__(self, old: Graph) -> None:
        self.old, self.weight_only = old, WeightOnly()
        self.fired = False
        #: Values of the new graph that one node of the old one reads, and that are no output.
        self.lone: set[Value] = set()

    def graph(self) -> Graph:
        return self.old.rebuild(self._rewrite).live()

    def _rewrite(self, b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        made = self._folded(b, node, inputs) if len(inputs) == 2 else None
        self.fired |= made is not None
        outputs = b.emit_all(node.op, *inputs) if made is None else (made,)
        self.weight_only.know(b.graph.node(outputs[0]))
        out = node.outputs[0]
        if len(self.old.users(node.id)) == 1 and out not in self.old.outputs.values():
            reader = self.old.users(node.id)[0]
            if sum(v == out for v in reader.inputs) == 1:
                self.lone.add(outputs[0])
        return outputs

    def _folded(self, b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
        x, s = inputs
        if isinstance(node.op, ops.MatMul | ops.Conv):
            return self._before(b, node, inputs) if s in self.weight_only and x in self.lone else None
        parts = self._parts(b, node.op, inputs, node.types[0].shape)
        return self._after(b, *parts) if parts is not None and parts[1] in self.lone else None

    def _parts(
        self, b: Builder, op: Primitive, inputs: tuple[Value, ...], shape: Shape
    ) -> tuple[Primitive, Value, Value] | None:
        """x s, x / s, x + s or x - s of data x and weights s as a product or a sum, x and what it is taken with."""
        if not isinstance(op, ops.Add | ops.Sub | ops.Mul | ops.Div):
            return None
        x, s = inputs
        if x in self.weight_only and isinstance(op, ops.Add | ops.Mul):
            x, s = s, x
        if x in self.weight_only or s not in self.weight_only or x.shape != shape:
            return None
        if isinstance(op, ops.Sub):
            return ops.Add(), x, self._weight(b, F.neg(b, s))
        if isinstance(op, ops.Div):
            return ops.Mul(), x, self._weight(b, F.div(b, 1.0, s))
        return op, x, s

    def _parts_of(self, b: Builder, value: Value) -> tuple[Primitive, Value, Value] | None:
        """`_parts` of the node that made a value of the new graph."""
        node = b.graph.node(value)
        return self._parts(b, node.op, node.inputs, value.shape)

    # --- an affine map, then a product ---

    def _before(self, b: Builder, node: Node, inputs: tuple[Value, ...]) -> Value | None:
        product, parts = _product(node, inputs), self._parts_of(b, inputs[0])
        if product is None or parts is None:
            return None
        op, x, c = parts
        vector, weight = self._channel(b, c, x, product.axis), inputs[1]
        if vector is None or (isinstance(op, ops.Add) and _padded(node.op)):
            return None
        across = F.reshape(b, vector, _lined(weight, product.rows, vector.shape[0]))
        if isinstance(op, ops.Mul):
            return b.emit(node.op, x, self._weight(b, F.mul(b, weight, across)))
        axes = [a for a in range(weight.type.rank) if a != product.columns]
        bias = F.sum_axes(b, F.mul(b, weight, across), axes)
        y = b.emit(node.op, x, weight)
        return F.add(b, y, self._weight(b, F.reshape(b, bias, _lined(y, product.axis_of(y), bias.shape[0]))))

    # --- a product, then an affine map ---

    def _after(self, b: Builder, op: Primitive, x: Value, c: Value) -> Value | None:
        """x c or x + c."""
        if isinstance(op, ops.Mul) and (scaled := self._scaled(b, x, c)) is not None:
            return scaled
        parts = self._parts_of(b, x)
        if parts is None or not isinstance(parts[0], ops.Add):
            return None
        _, h, t = parts
        if isinstance(op, ops.Add):
            return F.add(b, h, self._weight(b, F.add(b, t, c)))
        scaled = self._scaled(b, h, c) if h in self.lone else None
        return None if scaled is None else F.add(b, scaled, self._weight(b, F.mul(b, t, c)))

    def _scaled(self, b: Builder, x: Value, c: Value) -> Value | None:
        """x c where x is a product by a weight, or scaled already."""
        inner = b.graph.node(x)
        product = _product(inner, inner.inputs)
        if product is not None and product.weight in self.weight_only:
            vector = self._channel(b, c, x, product.axis_of(x))
            if vector is None:
                return None
            lined = _lined(product.weight, product.columns, vector.shape[0])
            weight = self._weight(b, F.mul(b, product.weight, F.reshape(b, vector, lined)))
            with b.within(inner.scope, inner.span):
                return b.emit(inner.op, inner.inputs[0], weight)
        parts = self._parts_of(b, x)
        if parts is None or not isinstance(parts[0], ops.Mul):
            return None
        return F.mul(b, parts[1], self._weight(b, F.mul(b, parts[2], c)))

    def _channel(self, b: Builder, c: Value, x: Value, axis: int) -> Value | None:
        """c as a vector along an axis of x, where it is the same everywhere else; None where it is not."""
        shape = (1,) * (x.type.rank - c.type.rank) + tuple(c.shape)
        if any(s != 1 for a, s in enumerate(shape) if a != axis):
            return None
        size = number(x.shape[axis])
        flat = F.reshape(b, c, (number(shape[axis]),))
        return self._weight(b, flat if flat.shape[0] == size else b.emit(ops.BroadcastTo((size,)), flat))

    def _weight(self, b: Builder, value: Value) -> Value:
        """A value that was just made of weights, and all that it was made of."""
        for node in b.graph.made_of(value, known=self.weight_only):
            self.weight_only.know(node)
        return value


def _product(node: Node, inputs: tuple[Value, ...]) -> _Product | None:
    match node.op:
        case ops.MatMul() if inputs[1].type.rank == 2:
            return _Product(node, inputs[0].type.rank - 1, 0, 1)
        case ops.Conv(groups=1):
            return _Product(node, 1, 1, 0)
    return None


def _padded(op: Primitive) -> bool:
    return isinstance(op, ops.Conv) and any(low or high for low, high in op.padding)


def _lined(like: Value, axis: int, size: int | Symbolic) -> tuple[int, ...]:
    """The shape of a vector along an axis of a value."""
    return tuple(number(size) if a == axis else 1 for a in range(like.type.rank))
