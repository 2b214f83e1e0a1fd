"""Which axis of a primitive's result runs along with which axis of its inputs.

An axis of an input *runs along* with an axis of the result when element p of the result along it reads element p of
the input and no other. Along such an axis a primitive may be applied to any stretch of its inputs, alone. It is all
that a sampler needs to know of most primitives; what reads beside itself (a convolution along time, a shift, a
recurrence) has its own rule in `local.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mpcompile import ops
from mpcompile.ir import Node, NoRule, Primitive, Shape, product

#: Axis of an input -> axis of the result.
Along = dict[int, int]


def along(node: Node) -> list[Along]:
    """For each input of a node the axes that run along with one of its (first) result. Raises `NoRule`."""
    rule = _RULES.get(type(node.op))
    if rule is None:
        raise NoRule(node.op, "incremental")
    return rule(node.op, [v.shape for v in node.inputs], node.types[0].shape)


def _broadcast(_: Primitive, shapes: Sequence[Shape], out: Shape) -> list[Along]:
    """Aligned at the right; an axis of length one that is repeated runs along with nothing."""
    return [
        {a: a + len(out) - len(s) for a in range(len(s)) if s[a] == out[a + len(out) - len(s)]}
        for s in shapes
    ]


def _transpose(op: Primitive, _: Sequence[Shape], out: Shape) -> list[Along]:
    return [{p: i for i, p in enumerate(op.attributes()["permutation"])}]


def _reshape(_: Primitive, shapes: Sequence[Shape], out: Shape) -> list[Along]:
    """An axis that keeps its length and the number of elements before it."""
    (shape,) = shapes
    places = {(product(out[:i]), size): i for i, size in enumerate(out) if size != 1}
    return [{a: places[key] for a, size in enumerate(shape) if (key := (product(shape[:a]), size)) in places}]


def _beside(*names: str) -> Callable[[Primitive, Sequence[Shape], Shape], list[Along]]:
    """Every axis but those that an attribute names."""

    def rule(op: Primitive, shapes: Sequence[Shape], out: Shape) -> list[Along]:
        taken = {op.attributes()[n] for n in names}
        return [{a: a for a in range(len(s)) if a not in taken} for s in shapes]

    return rule


def _reduction(op: Primitive, shapes: Sequence[Shape], out: Shape) -> list[Along]:
    given = op.attributes()
    axes = given["axes"] if "axes" in given else (given["axis"],)
    kept = [a for a in range(len(shapes[0])) if a not in axes]
    return [{a: a if given["keepdims"] else i for i, a in enumerate(kept)}]


def _pad(op: Primitive, shapes: Sequence[Shape], out: Shape) -> list[Along]:
    given = op.attributes()
    return [{a: a for a in range(len(out)) if given["before"][a] == given["after"][a] == 0}]


def _gather(op: Primitive, shapes: Sequence[Shape], out: Shape) -> list[Along]:
    data, indices = shapes
    axis, width = op.attributes()["axis"], len(indices)
    rows = {a: a if a < axis else a + width - 1 for a in range(len(data)) if a != axis}
    return [rows, {a: axis + a for a in range(width)}]


def _mat_mul(_: Primitive, shapes: Sequence[Shape], out: Shape) -> list[Along]:
    left, right = shapes
    rank = len(out)
    batch = _broadcast(_, [(*s[:-2], 0, 0) for s in shapes], (*out[:-2], 0, 0))
    maps = [{a: b for a, b in m.items() if b < rank - 2} for m in batch]
    maps[0][len(left) - 2] = rank - 2
    maps[1][len(right) - 1] = rank - 1
    return maps


def _conv(_: Primitive, shapes: Sequence[Shape], out: Shape) -> list[Along]:
    return [{0: 0}, {0: 1}]


_ELEMENTWISE = (
    ops.Neg, ops.Exp, ops.Log, ops.Tanh, ops.Sigmoid, ops.Relu, ops.Softplus, ops.Sqrt, ops.Abs, ops.Sign, ops.Floor,
    ops.Erf, ops.Sin, ops.Cos, ops.LogicalNot, ops.StopGradient, ops.Cast, ops.Add, ops.Sub, ops.Mul, ops.Div,
    ops.Maximum, ops.Minimum, ops.Less, ops.LessEqual, ops.Equal, ops.LogicalAnd, ops.LogicalOr, ops.Where,
    ops.BroadcastTo,
)  # fmt: skip

_RULES: dict[type[Primitive], Callable[[Primitive, Sequence[Shape], Shape], list[Along]]] = {
    **dict.fromkeys(_ELEMENTWISE, _broadcast),
    ops.Transpose: _transpose,
    ops.Reshape: _reshape,
    ops.Slice: _beside("axis"),
    ops.Concat: _beside("axis"),
    ops.Flip: _beside("axis"),
    ops.TakeAlong: _beside("axis"),
    ops.Softmax: _beside("axis"),
    ops.LogSoftmax: _beside("axis"),
    ops.CumSum: _beside("axis"),
    ops.Sum: _reduction,
    ops.Max: _reduction,
    ops.LogSumExp: _reduction,
    ops.ArgMax: _reduction,
    ops.OneHot: lambda _, shapes, out: [{a: a for a in range(len(shapes[0]))}],
    ops.Pad: _pad,
    ops.Gather: _gather,
    ops.MatMul: _mat_mul,
    ops.Conv: _conv,
    ops.MaxPool: lambda _, shapes, out: [{0: 0, 1: 1}],
    ops.AvgPool: lambda _, shapes, out: [{0: 0, 1: 1}],
    ops.Scan: lambda op, shapes, out: [{} for _ in shapes],
}
