"""Operators of ONNX in primitives: one table, by the type of the operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mpcompile import ops
from mpcompile.foreign import formulas
from mpcompile.ir import DType, Primitive, Value, numbers
from mpcompile.ops import build
from mpcompile_onnx.reader.einsum import einsum
from mpcompile_onnx.reader.recurrent import RECURRENT
from mpcompile_onnx.reader.tape import Call, Rule

FLOAT, INT, BOOL = DType.FLOAT, DType.INT, DType.BOOL


# Elements ---------------------------------------------------------------------------------------------


def unary(op: Primitive) -> Rule:
    """Return the rule of a primitive of one operand."""
    return lambda c: c.b.emit(op, c.value(0, c.kind))


def formula(make: Callable[[Any, Value], Value]) -> Rule:
    """Return a rule of one operand that is a composition."""
    return lambda c: make(c.b, c.value(0, FLOAT))


def _folded(op: Callable[..., Value]) -> Rule:
    """A rule of operands one after another, as Add and Max have it."""

    def rule(c: Call) -> Value:
        found = c.value(0, c.kind)
        for i in range(1, len(c.inputs)):
            found = op(c.b, found, c.value(i, c.kind))
        return found

    return rule


def _div(c: Call) -> Value | tuple[Value, ...]:
    return build.div(c.b, c.value(0), c.value(1)) if c.kind is FLOAT else c.observe(())


def _pow(c: Call) -> Value | tuple[Value, ...]:
    if c.unknown(1) or c.array(1).size != 1:
        return c.observe(())
    found = formulas.power(c.b, c.value(0, FLOAT), float(c.array(1).item()))
    return c.observe(()) if found is None else found


def _compare(op: Primitive, swap: bool = False) -> Rule:
    def rule(c: Call) -> Value:
        like = FLOAT if c.array(0).dtype.kind == "f" else INT
        x, y = c.value(0, like), c.value(1, like)
        return c.b.emit(op, y, x) if swap else c.b.emit(op, x, y)

    return rule


def _truth(op: Primitive) -> Rule:
    return lambda c: c.b.emit(op, *(c.value(i, BOOL) for i in range(len(c.inputs))))


def _where(c: Call) -> Value:
    return c.tape.chosen(c.value(0, BOOL), c.value(1, c.kind), c.value(2, c.kind))


def _clip(c: Call) -> Value:
    x = c.value(0)
    x = build.maximum(c.b, x, c.value(1, c.kind)) if c.has(1) else x
    return build.minimum(c.b, x, c.value(2, c.kind)) if c.has(2) else x


def _gelu(c: Call) -> Value:
    return formulas.gelu(c.b, c.value(0, FLOAT), c.attributes.get("approximate") == "tanh")


def _leaky(c: Call) -> Value:
    return formulas.leaky_relu(c.b, c.value(0, FLOAT), float(c.attributes.get("alpha", 0.01)))


def _elu(c: Call) -> Value:
    return formulas.elu(c.b, c.value(0, FLOAT), float(c.attributes.get("alpha", 1.0)))


def _cast(c: Call) -> Value:
    return c.value(0, c.kind)


# Places -----------------------------------------------------------------------------------------------


def _reshape(c: Call) -> Value:
    return build.reshape(c.b, c.value(0), c.out.shape)


def _transpose(c: Call) -> Value:
    order = c.attributes.get("perm") or list(range(c.array(0).ndim))[::-1]
    return build.transpose(c.b, c.value(0), *(int(a) for a in order))


def _expand(c: Call) -> Value:
    x, rank = c.value(0), c.out.ndim
    if x.type.rank < rank:
        x = build.reshape(c.b, x, (*(1,) * (rank - x.type.rank), *x.shape))
    return x if x.shape == c.out.shape else c.b.emit(ops.BroadcastTo(c.out.shape), x)


def _concat(c: Call) -> Value:
    return build.concat(
        c.b, [c.value(i) for i in range(len(c.inputs))], int(c.attributes["axis"]) % c.out.ndim
    )


def _split(c: Call) -> tuple[Value, ...]:
    axis = int(c.attributes.get("axis", 0)) % c.array(0).ndim
    at, found = 0, []
    for part in c.results:
        found.append(build.slice_axis(c.b, c.value(0), axis, at, at + part.shape[axis]))
        at += part.shape[axis]
    return tuple(found)


def _slice(c: Call) -> Value | tuple[Value, ...]:
    x = c.value(0)
    starts, ends = (np.atleast_1d(c.array(i)).tolist() for i in (1, 2))
    axes = np.atleast_1d(c.array(3)).tolist() if c.has(3) else list(range(len(starts)))
    steps = np.atleast_1d(c.array(4)).tolist() if c.has(4) else [1] * len(starts)
    if min(steps, default=1) < 1:
        return c.moved([0])
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = int(axis) % x.type.rank
        first, last, by = slice(start, end, step).indices(numbers(x.shape)[at])
        x = build.slice_axis(c.b, x, at, first, max(first, last), by)
    return x


def _gather(c: Call) -> Value:
    axis = int(c.attributes.get("axis", 0)) % c.array(0).ndim
    if c.unknown(1):
        return c.b.emit(ops.Gather(axis), c.value(0), c.value(1, INT))
    size, known = c.array(0).shape[axis], c.array(1).astype(np.int64)
    return c.b.emit(ops.Gather(axis), c.value(0), c.b.constant(np.where(known < 0, known + size, known)))


def _along(c: Call) -> tuple[Value, ...]:
    """An operation whose results read everything along its axis."""
    axis = int(c.attributes.get("axis", -1)) % c.array(0).ndim
    return c.observe((axis,))


def _trilu(c: Call) -> Value:
    mask = np.ones(c.out.shape, bool)
    k = int(c.array(1).item()) if c.has(1) else 0
    kept = np.triu(mask, k) if c.attributes.get("upper", 1) else np.tril(mask, k)
    return build.where(c.b, c.b.constant(kept), c.value(0), build.cast(c.b, c.b.constant(0), c.kind))


def _pad(c: Call) -> Value | tuple[Value, ...]:
    if c.attributes.get("mode", "constant") != "constant" or c.kind is not FLOAT or c.has(3):
        return c.moved([0])
    pads, rank = np.atleast_1d(c.array(1)).tolist(), c.out.ndim
    value = float(c.array(2).item()) if c.has(2) else 0.0
    if min(pads, default=0) < 0:
        return c.moved([0])
    return c.b.emit(ops.Pad(tuple(pads[:rank]), tuple(pads[rank:]), value), c.value(0))


def _one_place(c: Call) -> tuple[Value, ...]:
    return c.observe(())


def _quantised(c: Call) -> tuple[Value, ...]:
    """Elements at their own place, where scales and zero points are known; else anything."""
    return c.observe(None if any(c.unknown(i) for i in range(1, len(c.inputs))) else ())


# Joins ------------------------------------------------------------------------------------------------


def _axes(c: Call) -> tuple[tuple[int, ...], bool]:
    """The axes of a reduction, which are an attribute or an operand, and whether they stay with length one."""
    rank = c.array(0).ndim
    given = c.attributes.get("axes")
    given = c.array(1).tolist() if given is None and c.has(1) else given
    if not given:
        given = [] if c.attributes.get("noop_with_empty_axes") else list(range(rank))
    return tuple(sorted(int(a) % rank for a in given)), bool(c.attributes.get("keepdims", 1))


def _reduction(make: Callable[[Call, Value, tuple[int, ...], bool], Value]) -> Rule:
    def rule(c: Call) -> Value:
        axes, keep = _axes(c)
        x = c.value(0, c.kind)
        return make(c, x, axes, keep) if axes else x

    return rule


def _largest(c: Call, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    x = c.seen(x, axes[0]) if len(axes) == 1 and x.dtype is FLOAT else x
    return c.b.emit(ops.Max(axes, keep), x)


def _smallest(c: Call, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return formulas.smallest(c.b, x, axes, keep)


def _squares(c: Call, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return build.sum_axes(c.b, build.mul(c.b, x, x), axes, keep)


def _argmax(sign: int) -> Rule:
    def rule(c: Call) -> Value:
        axis = int(c.attributes.get("axis", 0)) % c.array(0).ndim
        x = c.value(0, FLOAT)
        keep = bool(c.attributes.get("keepdims", 1))
        return c.b.emit(ops.ArgMax(axis, keep), x if sign > 0 else build.neg(c.b, x))

    return rule


def _cumsum(c: Call) -> Value:
    axis = int(c.array(1).item()) % c.out.ndim
    flags = (bool(c.attributes.get(n, 0)) for n in ("exclusive", "reverse"))
    return c.b.emit(ops.CumSum(axis, *flags), c.value(0))


def _softmax(c: Call) -> Value:
    axis = int(c.attributes.get("axis", -1)) % c.out.ndim
    return c.b.emit(ops.Softmax(axis), c.seen(c.value(0, FLOAT), axis))


def _log_softmax(c: Call) -> Value:
    axis, x = int(c.attributes.get("axis", -1)) % c.out.ndim, c.value(0, FLOAT)
    seen = c.seen(x, axis)
    if seen is x:
        return c.b.emit(ops.LogSoftmax(axis), x)
    # the logarithm itself is finite where a finite mask is
    return build.sub(c.b, x, c.b.emit(ops.LogSumExp((axis,), True), seen))


def _layer_norm(center: bool) -> Rule:
    def rule(c: Call) -> Value:
        x = c.value(0, FLOAT)
        axis = int(c.attributes.get("axis", -1)) % x.type.rank
        y, *_ = formulas.standardised(c.b, x, range(axis, x.type.rank), _epsilon(c), center)
        y = build.mul(c.b, y, c.value(1, FLOAT))
        return build.add(c.b, y, c.value(2, FLOAT)) if c.has(2) else y

    return rule


def _epsilon(c: Call) -> float:
    return float(c.attributes.get("epsilon", 1e-5))


def _per_channel(c: Call, y: Value) -> Value:
    return formulas.per_channel(c.b, y, c.value(1, FLOAT), c.value(2, FLOAT))


def _instance_norm(c: Call) -> Value:
    x = c.value(0, FLOAT)
    return _per_channel(c, formulas.standardised(c.b, x, range(2, x.type.rank), _epsilon(c))[0])


def _group_norm(c: Call) -> Value:
    shape, groups = c.array(0).shape, int(c.attributes["num_groups"])
    split = build.reshape(c.b, c.value(0, FLOAT), (shape[0], groups, int(np.prod(shape[1:])) // groups))
    y, *_ = formulas.standardised(c.b, split, (2,), _epsilon(c))
    return _per_channel(c, build.reshape(c.b, y, shape))


def _batch_norm(c: Call) -> Value | tuple[Value, ...]:
    if c.attributes.get("training_mode", 0):
        return c.observe(None)
    b, x = c.b, c.value(0, FLOAT)
    wide = (1, c.array(0).shape[1], *(1,) * (c.array(0).ndim - 2))
    mean, variance = (build.reshape(b, c.value(i, FLOAT), wide) for i in (3, 4))
    deviation = b.emit(ops.Sqrt(), build.add(b, variance, _epsilon(c)))
    return _per_channel(c, build.div(b, build.sub(b, x, mean), deviation))


# Products ---------------------------------------------------------------------------------------------


def _matmul(c: Call) -> Value:
    return formulas.matmul(c.b, c.value(0, FLOAT), c.value(1, FLOAT))


def _gemm(c: Call) -> Value:
    b = c.b
    x, y = (
        build.transpose(b, c.value(i, FLOAT), 1, 0) if c.attributes.get(n) else c.value(i, FLOAT)
        for i, n in ((0, "transA"), (1, "transB"))
    )
    z = build.mul(b, b.emit(ops.MatMul(), x, y), float(c.attributes.get("alpha", 1.0)))
    return (
        build.add(b, z, build.mul(b, c.value(2, FLOAT), float(c.attributes.get("beta", 1.0))))
        if c.has(2)
        else z
    )


def _conv(transposed: bool) -> Rule:
    def rule(c: Call) -> Value | tuple[Value, ...]:
        a, axes = c.attributes, c.array(0).ndim - 2
        pads = list(a.get("pads") or [0] * (2 * axes))
        if a.get("auto_pad", "NOTSET") != "NOTSET" or a.get("output_shape"):
            return c.observe(None)
        around = tuple((int(pads[i]), int(pads[i + axes])) for i in range(axes))
        stride, dilation = (tuple(int(s) for s in a.get(n) or [1] * axes) for n in ("strides", "dilations"))
        group = int(a.get("group", 1))
        op: ops.Conv | ops.ConvTranspose = ops.Conv(stride, around, dilation, group)
        if transposed:
            more = tuple(int(s) for s in a.get("output_padding") or [0] * axes)
            op = ops.ConvTranspose(stride, around, dilation, group, more)
        y = c.b.emit(op, c.value(0, FLOAT), c.value(1, FLOAT))
        return build.channel_bias(c.b, y, c.value(2, FLOAT)) if c.has(2) else y

    return rule


def _pool(largest: bool) -> Rule:
    def rule(c: Call) -> Value | tuple[Value, ...]:
        a, axes = c.attributes, c.array(0).ndim - 2
        kernel = tuple(int(k) for k in a["kernel_shape"])
        stride = tuple(int(s) for s in a.get("strides") or [1] * axes)
        pads = list(a.get("pads") or [0] * (2 * axes))
        around = tuple((int(pads[i]), int(pads[i + axes])) for i in range(axes))
        plain = not a.get("ceil_mode") and max(a.get("dilations") or [1]) == 1
        if not plain or a.get("auto_pad", "NOTSET") != "NOTSET":
            return c.observe(None)
        if largest:
            return c.b.emit_all(ops.MaxPool(kernel, stride, around), c.value(0, FLOAT))
        return c.b.emit(
            ops.AvgPool(kernel, stride, around, bool(a.get("count_include_pad", 0))), c.value(0, FLOAT)
        )

    return rule


def _global_mean(c: Call) -> Value:
    return build.mean_axes(c.b, c.value(0, FLOAT), tuple(range(2, c.array(0).ndim)), True)


def _everything(c: Call) -> tuple[Value, ...]:
    return c.observe(None)


def _scattered(c: Call) -> tuple[Value, ...]:
    return c.moved([0, 2]) if c.attributes.get("reduction", "none") == "none" else c.observe(None)


def _moved(*data: int) -> Rule:
    return lambda c: c.moved(data)


RULES: dict[str, Rule] = {
    **{n: unary(op) for n, op in {
        "Neg": ops.Neg(), "Exp": ops.Exp(), "Log": ops.Log(), "Tanh": ops.Tanh(), "Sigmoid": ops.Sigmoid(),
        "Relu": ops.Relu(), "Sqrt": ops.Sqrt(), "Abs": ops.Abs(), "Sign": ops.Sign(), "Floor": ops.Floor(),
        "Erf": ops.Erf(), "Sin": ops.Sin(), "Cos": ops.Cos(), "Softplus": ops.Softplus(),
    }.items()},
    "Reciprocal": formula(lambda b, x: build.div(b, 1.0, x)),
    "Ceil": formula(formulas.ceil),
    "Add": _folded(build.add), "Sub": _folded(build.sub), "Mul": _folded(build.mul), "Sum": _folded(build.add),
    "Max": _folded(build.maximum), "Min": _folded(build.minimum), "Div": _div, "Pow": _pow,
    "Equal": _compare(ops.Equal()), "Less": _compare(ops.Less()), "LessOrEqual": _compare(ops.LessEqual()),
    "Greater": _compare(ops.Less(), swap=True), "GreaterOrEqual": _compare(ops.LessEqual(), swap=True),
    "And": _truth(ops.LogicalAnd()), "Or": _truth(ops.LogicalOr()), "Not": _truth(ops.LogicalNot()),
    "Where": _where, "Clip": _clip, "Gelu": _gelu, "LeakyRelu": _leaky, "Elu": _elu,
    **dict.fromkeys(["Identity", "Cast", "CastLike", "Dropout"], _cast),
    **dict.fromkeys(["Reshape", "Squeeze", "Unsqueeze", "Flatten"], _reshape),
    "Transpose": _transpose, "Expand": _expand, "Concat": _concat, "Split": _split, "Slice": _slice,
    "Gather": _gather, "Trilu": _trilu, "Pad": _pad,
    **dict.fromkeys(["Tile", "GatherElements", "GatherND", "DepthToSpace", "SpaceToDepth", "ReverseSequence"], _moved(0)),
    **dict.fromkeys(["ScatterND", "ScatterElements"], _scattered),
    "ReduceSum": _reduction(lambda c, x, axes, keep: build.sum_axes(c.b, x, axes, keep)),
    "ReduceMean": _reduction(lambda c, x, axes, keep: build.mean_axes(c.b, x, axes, keep)),
    "ReduceMax": _reduction(_largest), "ReduceMin": _reduction(_smallest), "ReduceSumSquare": _reduction(_squares),
    "ReduceL2": _reduction(lambda c, x, axes, keep: c.b.emit(ops.Sqrt(), _squares(c, x, axes, keep))),
    "ReduceLogSumExp": _reduction(lambda c, x, axes, keep: c.b.emit(
        ops.LogSumExp(axes, keep), c.seen(x, axes[0]) if len(axes) == 1 else x)),
    "ArgMax": _argmax(1), "ArgMin": _argmax(-1), "CumSum": _cumsum,
    "Softmax": _softmax, "LogSoftmax": _log_softmax, "LayerNormalization": _layer_norm(True),
    "RMSNormalization": _layer_norm(False), "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm, "BatchNormalization": _batch_norm,
    "MatMul": _matmul, "Gemm": _gemm, "Conv": _conv(False), "ConvTranspose": _conv(True),
    "Einsum": einsum, **RECURRENT,
    "MaxPool": _pool(True), "AveragePool": _pool(False), "GlobalAveragePool": _global_mean,
    **dict.fromkeys(["TopK", "Hardmax"], _along),
    **dict.fromkeys("Mod Round IsNaN IsInf Atan Tan Asin Acos Sinh Cosh Xor BitShift HardSigmoid".split(), _one_place),
    **dict.fromkeys(["QuantizeLinear", "DequantizeLinear"], _quantised),
    **dict.fromkeys("NonZero Compress Unique Resize OneHot ReduceProd Det".split(), _everything),
}  # fmt: skip

#: Operands, by their place, whose numbers decide what an operator does or how many elements it gives.
NUMBERS: dict[str, tuple[int, ...]] = {
    "Slice": (1, 2, 3, 4), "Pad": (1, 2, 3), "Split": (1,), "Resize": (1, 2, 3), "Compress": (1,),
    **dict.fromkeys(["ConstantOfShape", "NonZero", "Unique"], (0,)),
    **dict.fromkeys("Reshape Expand Tile TopK CumSum Trilu OneHot Squeeze Unsqueeze".split(), (1,)),
    **dict.fromkeys([f"Reduce{n}" for n in "Sum Mean Max Min SumSquare L2 LogSumExp Prod".split()], (1,)),
}  # fmt: skip

#: Operators whose results have the shape of an operand and none of its elements.
SHAPES = frozenset(["Shape", "Size", "ConstantOfShape"])
