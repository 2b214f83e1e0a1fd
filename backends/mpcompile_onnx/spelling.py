"""The spelling of each primitive in ONNX: one row per primitive in `SPELLINGS`.

A row takes the writer, the node and the names of its inputs, appends nodes, and gives the names of its results.
An input's own name may be given back where nothing is to be done.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from mpcompile.ir import DType, Node, Shape, Symbolic, Value, broadcast_shapes, product
from mpcompile.ops.pointwise import Binary
from mpcompile_onnx import products, special, windows
from mpcompile_onnx.loops import scan
from mpcompile_onnx.writer import END, Row, Size, Writer


def direct(kind: str) -> Row:
    """Return the row of an ONNX operator that has the meaning of the primitive."""

    def row(w: Writer, node: Node, args: list[str]) -> str:
        return w.op(kind, *args)

    return row


def same(w: Writer, node: Node, args: list[str]) -> str:
    """Spell a primitive that gives its operand."""
    return args[0]


# --- elementwise ---


def _softplus(w: Writer, node: Node, args: list[str]) -> str:
    return special.softplus(w, args[0]) if w.double else w.op("Softplus", args[0])


def _erf(w: Writer, node: Node, args: list[str]) -> str:
    return special.erf(w, args[0]) if w.double else w.op("Erf", args[0])


def _cast(w: Writer, node: Node, args: list[str]) -> str:
    before, after = node.inputs[0].dtype, node.types[0].dtype
    return args[0] if before is after else w.op("Cast", args[0], to=w.element(after))


def _where(w: Writer, node: Node, args: list[str]) -> str:
    condition, yes, no = node.inputs
    if yes.dtype is DType.BOOL:
        chosen = w.op("And", args[0], args[1])
        return w.op("Or", chosen, w.op("And", w.op("Not", args[0]), args[2]))
    other = w.known(no)
    # A mask of scores smaller than what it masks: one cheap operation at full size. (`Where` is the slowest there is.)
    # It hides infinite scores too. A product with the mask would not: it makes no number of a hidden log(0).
    small = yes.shape == node.types[0].shape != condition.shape
    if small and other is not None and other.size == 1 and np.isneginf(other).all():
        return w.op("Min", args[1], w.op("Where", args[0], w.literal(np.inf), w.literal(-np.inf)))
    return w.op("Where", *args)


# --- structure ---


def _reshape(w: Writer, node: Node, args: list[str]) -> str:
    old, new = node.inputs[0].shape, node.types[0].shape
    return args[0] if old == new else w.reshape(args[0], old, new)


def _broadcast(w: Writer, node: Node, args: list[str]) -> str:
    """Nothing at all, where every reader broadcasts by itself."""
    source, target = node.inputs[0], node.outputs[0]
    graph = w.graphs[-1]
    readers = graph.users(node.id)
    if target not in graph.outputs.values() and all(_broadcasts(w, r, target, source.shape) for r in readers):
        return args[0]
    return w.expand(args[0], source.shape, target.shape)


def _broadcasts(w: Writer, reader: Node, value: Value, shape: Shape) -> bool:
    if not isinstance(reader.op, Binary) or reader.inputs[0] == reader.inputs[1]:
        return False
    (other,) = (v for v in reader.inputs if v != value)
    if w.graphs[-1].node(other).op.name == "broadcast_to":
        return False
    return broadcast_shapes(shape, other.shape) == reader.types[0].shape


def _slice(w: Writer, node: Node, args: list[str]) -> str:
    op = node.op.attributes()
    axis, start, stop, step = op["axis"], op["start"], op["stop"], op["step"]
    whole = stop == node.inputs[0].shape[axis]
    if whole and start == 0 and step == 1:
        return args[0]
    return w.slice(args[0], [axis], [start], [END if whole else stop], [step])


def _pad(w: Writer, node: Node, args: list[str]) -> str:
    op = node.op.attributes()
    if not any((*op["before"], *op["after"])):
        return args[0]
    kind = {DType.FLOAT: float, DType.INT: int, DType.BOOL: bool}[node.types[0].dtype]
    value = [w.literal(np.asarray(kind(op["value"])))] if op["value"] else []
    return w.op("Pad", args[0], w.ints(*op["before"], *op["after"]), *value)


def _concat(w: Writer, node: Node, args: list[str]) -> str:
    return w.op("Concat", *args, axis=node.op.attributes()["axis"]) if len(args) > 1 else args[0]


def _flip(w: Writer, node: Node, args: list[str]) -> str:
    return w.slice(args[0], [node.op.attributes()["axis"]], [-1], [-END], [-1])


# --- indexing ---


def _gather(w: Writer, node: Node, args: list[str]) -> str:
    return w.op("Gather", *args, axis=node.op.attributes()["axis"])


def _stretch(w: Writer, start: str, size: int) -> tuple[str, str]:
    """First and last index of a stretch, as one-element tensors."""
    first = w.op("Reshape", start, w.ints(1))
    return first, w.op("Add", first, w.ints(size))


def _slice_at(w: Writer, node: Node, args: list[str]) -> str:
    op = node.op.attributes()
    first, last = _stretch(w, args[1], op["size"])
    return w.op("Slice", args[0], first, last, w.ints(op["axis"]))


def _update_at(w: Writer, node: Node, args: list[str]) -> str:
    """Join the elements before, the update, and the elements behind."""
    axis = node.op.attributes()["axis"]
    size = node.inputs[1].shape[axis]
    assert isinstance(size, int)
    first, last = _stretch(w, args[2], size)
    before = w.op("Slice", args[0], w.ints(0), first, w.ints(axis))
    after = w.op("Slice", args[0], last, w.ints(END), w.ints(axis))
    return w.op("Concat", before, args[1], after, axis=axis)


def _take_along(w: Writer, node: Node, args: list[str]) -> str:
    axis = node.op.attributes()["axis"]
    data, indices = node.inputs
    out = node.types[0].shape
    line = (*out[:axis], data.shape[axis], *out[axis + 1 :])
    return w.op(
        "GatherElements",
        w.expand(args[0], data.shape, line),
        w.expand(args[1], indices.shape, out),
        axis=axis,
    )


def _scatter_add(w: Writer, node: Node, args: list[str]) -> str:
    """One flat scatter: exact at any number of threads (a data race in ScatterND), and faster than one in rows."""
    axis = node.op.attributes()["axis"]
    updates, indices = node.inputs
    rank = updates.type.rank
    over = list(range(axis, axis + indices.type.rank))
    rest = [i for i in range(rank) if i not in over]
    rows = w.transpose(args[0], *over, *rest)
    others = [updates.shape[i] for i in rest]
    flat = _flat_scatter(w, rows, w.reshape(args[1], None, [indices.type.size, 1]), product(others),
                         node.op.attributes()["size"], node.types[0].dtype)  # fmt: skip
    made = w.reshape(flat, None, [node.op.attributes()["size"], *others])
    return w.transpose(made, *range(1, axis + 1), 0, *range(axis + 1, len(others) + 1))


def _flat_scatter(w: Writer, rows: str, index: str, width: Size, count: Size, dtype: DType) -> str:
    """Add rows of some width at row numbers index[., 1] into count rows of zeros; all flat."""
    if width != 1:
        index = w.op("Mul", index, w.size(width))
        index = w.op("Add", index, w.arange(width))
    minus_one = w.ints(-1)
    target = w.zeros([count * width], dtype)
    return w.op("ScatterElements", target, w.op("Reshape", index, minus_one), w.op("Reshape", rows, minus_one),
                axis=0, reduction="add")  # fmt: skip


def _scatter_along(w: Writer, node: Node, args: list[str]) -> str:
    axis = node.op.attributes()["axis"]
    updates, indices = node.inputs
    common = broadcast_shapes(updates.shape, indices.shape)
    given = [w.expand(args[1], indices.shape, common), w.expand(args[0], updates.shape, common)]
    target = w.zeros(node.types[0].shape, node.types[0].dtype)
    return w.op("ScatterElements", target, *given, axis=axis, reduction="add")


def _max_pool_grad(w: Writer, node: Node, args: list[str]) -> str:
    """The positions within each channel become positions in the whole array: one flat scatter."""
    n, c, *spatial = node.types[0].shape
    dy = node.inputs[0].shape
    first = w.op("Mul", w.arange(n * c), w.size(product(spatial)))
    first = w.reshape(first, None, [n * c, 1])
    index = w.op("Add", w.reshape(args[1], None, [n * c, product(dy[2:])]), first)
    minus_one = w.ints(-1)
    flat = w.op("ScatterElements", w.zeros([product(node.types[0].shape)]), w.op("Reshape", index, minus_one),
                w.op("Reshape", args[0], minus_one), axis=0, reduction="add")  # fmt: skip
    return w.reshape(flat, None, node.types[0].shape)


def _iota(w: Writer, node: Node, args: list[str]) -> str:
    shape, axis = node.types[0].shape, node.op.attributes()["axis"]
    line = w.arange(shape[axis])
    if len(shape) == 1:
        return line if isinstance(shape[0], Symbolic) else w.op("Identity", line)
    column = [s if i == axis else 1 for i, s in enumerate(shape)]
    return w.expand(w.reshape(line, None, column), column, shape)


def _one_hot(w: Writer, node: Node, args: list[str]) -> str:
    """Compare with all classes: to `OneHot` a negative index counts from the end."""
    index = w.op("Unsqueeze", args[0], w.ints(-1))
    hit = w.op("Equal", index, w.arange(node.op.attributes()["depth"]))
    return w.op("Cast", hit, to=w.element(DType.FLOAT))


# --- reductions ---


def reduction(kind: str) -> Row:
    """Return the row of a reduction over axes."""

    def row(w: Writer, node: Node, args: list[str]) -> str:
        axes, keep = node.op.attributes()["axes"], int(node.op.attributes()["keepdims"])
        if not axes:
            return args[0]
        over = [w.ints(*axes)] if len(axes) < node.inputs[0].type.rank else []
        return w.op(kind, args[0], *over, keepdims=keep)

    return row


def along(kind: str) -> Row:
    """Return the row of an operator that acts along one axis."""

    def row(w: Writer, node: Node, args: list[str]) -> str:
        return w.op(kind, args[0], axis=node.op.attributes()["axis"])

    return row


def _cum_sum(w: Writer, node: Node, args: list[str]) -> str:
    """Add up floats in double: the converter to float16 of onnxruntime spoils a `CumSum` of singles within a loop."""
    op, wide = node.op.attributes(), node.types[0].dtype is DType.FLOAT and not w.double
    axis = w.literal(np.asarray(op["axis"], np.int64))
    x = w.op("Cast", args[0], to=TensorProto.DOUBLE) if wide else args[0]
    total = w.op("CumSum", x, axis, exclusive=int(op["exclusive"]), reverse=int(op["reverse"]))
    return w.op("Cast", total, to=TensorProto.FLOAT) if wide else total


def _arg_max(w: Writer, node: Node, args: list[str]) -> str:
    op = node.op.attributes()
    return w.op("ArgMax", args[0], axis=op["axis"], keepdims=int(op["keepdims"]))


def _modulo(w: Writer, node: Node, args: list[str]) -> str:
    return w.op("Mod", args[0], w.literal(np.asarray(node.op.attributes()["divisor"], np.int64)))


SPELLINGS: dict[str, Row] = {
    "neg": direct("Neg"),
    "exp": direct("Exp"),
    "log": direct("Log"),
    "tanh": direct("Tanh"),
    "sigmoid": direct("Sigmoid"),
    "relu": direct("Relu"),
    "softplus": _softplus,
    "sqrt": direct("Sqrt"),
    "abs": direct("Abs"),
    "sign": direct("Sign"),
    "floor": direct("Floor"),
    "modulo": _modulo,
    "erf": _erf,
    "sin": direct("Sin"),
    "cos": direct("Cos"),
    "stop_gradient": same,
    "cast": _cast,
    "logical_not": direct("Not"),
    "add": products.add,
    "sub": direct("Sub"),
    "mul": direct("Mul"),
    "div": direct("Div"),
    "maximum": direct("Max"),
    "minimum": direct("Min"),
    "less": direct("Less"),
    "less_equal": direct("LessOrEqual"),
    "equal": direct("Equal"),
    "logical_and": direct("And"),
    "logical_or": direct("Or"),
    "where": _where,
    "reshape": _reshape,
    "transpose": products.transpose,
    "broadcast_to": _broadcast,
    "slice": _slice,
    "pad": _pad,
    "concat": _concat,
    "flip": _flip,
    "gather": _gather,
    "take_along": _take_along,
    "slice_at": _slice_at,
    "update_at": _update_at,
    "scatter_add": _scatter_add,
    "scatter_along": _scatter_along,
    "iota": _iota,
    "one_hot": _one_hot,
    "sum": reduction("ReduceSum"),
    "max": reduction("ReduceMax"),
    "log_sum_exp": reduction("ReduceLogSumExp"),
    "softmax": along("Softmax"),
    "log_softmax": along("LogSoftmax"),
    "cum_sum": _cum_sum,
    "arg_max": _arg_max,
    "mat_mul": products.mat_mul,
    "inverse": products.inverse,
    "log_abs_det": products.log_abs_det,
    "conv": windows.conv,
    "conv_transpose": windows.conv_transpose,
    "conv_weight_grad": windows.conv_weight_grad,
    "max_pool": windows.max_pool,
    "max_pool_grad": _max_pool_grad,
    "avg_pool": windows.avg_pool,
    "all_sum": same,  # one process
    "scan": scan,
    "repeat": scan,
}
