"""The spelling of each primitive in JAX: one row per primitive in `SPELLINGS`."""

from __future__ import annotations

from mpcompile.emission.means import averaged, counted, summed
from mpcompile.emission.text import (
    BITAND,
    BITOR,
    COMPARE,
    PRODUCT,
    SUM,
    UNARY,
    Expr,
    addition,
    comparison,
    number,
    slice_text,
    tuple_text,
)
from mpcompile.ir import DType, Node
from mpcompile_jax.rows import Row, RowContext, filled, first_operand, operand, shape_text, tensor, widths
from mpcompile_jax.windows import avg_pool, conv, conv_transpose, conv_weight_grad, max_pool, max_pool_grad

# --- elementwise ---


def function(name: str) -> Row:
    """Return the row of a function that is called on all operands, as arrays."""

    def row(a: RowContext, node: Node, args: list[Expr]) -> Expr:
        return Expr(f"{name}({', '.join(operand(a, node, args, i).text for i in range(len(args)))})")

    return row


def infix(symbol: str, precedence: int) -> Row:
    """Return the row of a left-associative binary operator; one of the two sides may be a Python number."""

    def row(a: RowContext, node: Node, args: list[Expr]) -> Expr:
        left, right = args
        if left.scalar and right.scalar:
            left = tensor(a, left, node.inputs[0].dtype)
        if precedence == COMPARE:
            return comparison(symbol, left, right)
        if symbol == "+":
            return addition(left, right)
        return Expr(f"{left.at(precedence)} {symbol} {right.at(precedence + 1)}", precedence)

    return row


def _log_abs_det(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    return Expr(f"jnp.linalg.slogdet({operand(a, node, args, 0).text})[1]")


def _mul(a: RowContext, node: Node, args: list[Expr]) -> Expr | list[Expr] | None:
    if (mean := averaged(args, inverse=True)) is not None:
        return mean
    left, right = args
    if right.mask and not left.scalar and not left.mask:
        right = Expr(right.mask)
    elif left.mask and not right.scalar and not right.mask:
        left = Expr(left.mask)
    return infix("*", PRODUCT)(a, node, [left, right])


def _div(a: RowContext, node: Node, args: list[Expr]) -> Expr | list[Expr] | None:
    return averaged(args, inverse=False) or infix("/", PRODUCT)(a, node, args)


def _neg(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    return Expr("-" + operand(a, node, args).at(UNARY), UNARY)


def _modulo(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    return Expr(f"{operand(a, node, args).at(PRODUCT)} % {node.op.attributes()['divisor']}", PRODUCT)


def _not(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    return Expr("~" + operand(a, node, args).at(UNARY), UNARY)


def _where(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    condition, yes, no = args
    condition = tensor(a, condition, DType.BOOL)
    if yes.scalar and no.scalar:
        yes = tensor(a, yes, node.inputs[1].dtype)
    return Expr(f"jnp.where({condition.text}, {yes.text}, {no.text})")


def _all_sum(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """A program over a mesh has the whole batch: its sums are those over all processes."""
    return args[0]


def _cast(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    source, target = node.inputs[0].dtype, node.types[0].dtype
    if source is target:
        return args[0]
    if args[0].scalar:
        return tensor(a, args[0], target)
    return Expr(f"{first_operand(a, node, args)}.astype({a.kind(target)})")


# --- structure ---


def _reshape(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    old, new = node.inputs[0].shape, node.types[0].shape
    if old == new:
        return args[0]
    symbolic = [s for s in new if not isinstance(s, int)]
    free = len(symbolic) == 1 and 0 not in new
    sizes = ["-1" if free and s in symbolic else a.size(s).text for s in new]
    return Expr(f"{first_operand(a, node, args)}.reshape({', '.join(sizes) if sizes else '()'})")


def _transpose(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    order = node.op.attributes()["permutation"]
    rank, x = len(order), first_operand(a, node, args)
    moved = [i for i in range(rank) if order[i] != i]
    if not moved:
        return args[0]
    if moved == [rank - 2, rank - 1]:
        return Expr(f"{x}.T" if rank == 2 else f"{x}.mT")
    if len(moved) == 2:
        return Expr(f"{x}.swapaxes({moved[0]}, {moved[1]})")
    return Expr(f"{x}.transpose({', '.join(map(str, order))})")


def _broadcast(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    shape = node.types[0].shape
    if node.inputs[0].shape == shape:
        return args[0]
    if args[0].scalar:
        text = filled(a, shape_text(a, shape), args[0].text, node.types[0].dtype)
        return Expr(text, fill=args[0].text)
    return Expr(f"jnp.broadcast_to({args[0].text}, {shape_text(a, shape)})")


def _slice(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    op = node.op.attributes()
    axis, size = op["axis"], node.inputs[0].shape[op["axis"]]
    start = "" if op["start"] == 0 else a.size(op["start"]).text
    stop = "" if op["stop"] == size else a.size(op["stop"]).text
    step = "" if op["step"] == 1 else f":{op['step']}"
    rank = node.inputs[0].type.rank
    before = "..., " if axis == rank - 1 and axis > 1 else ":, " * axis
    return Expr(f"{first_operand(a, node, args)}[{before}{slice_text(start, stop)}{step}]")


def _pad(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    op = node.op.attributes()
    pairs = list(zip(op["before"], op["after"], strict=True))
    if not any(map(any, pairs)):
        return args[0]
    kind = {DType.FLOAT: float, DType.INT: int, DType.BOOL: bool}[node.types[0].dtype]
    value = f", constant_values={number(kind(op['value']))}" if op["value"] else ""
    return Expr(f"jnp.pad({operand(a, node, args).text}, {widths(pairs)}{value})")


def _concat(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    if len(args) == 1:
        return args[0]
    parts = ", ".join(operand(a, node, args, i).text for i in range(len(args)))
    return Expr(f"jnp.concatenate([{parts}], {node.op.attributes()['axis']})")


def _flip(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    return Expr(f"jnp.flip({operand(a, node, args).text}, {node.op.attributes()['axis']})")


# --- indexing ---


def _gather(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """A table that is a literal is numpy's, which cannot be indexed by a traced value."""
    axis, data = node.op.attributes()["axis"], first_operand(a, node, args)
    table = data if node.inputs[0].dtype is DType.FLOAT else f"jnp.asarray({data})"
    return Expr(f"{table}[{':, ' * axis}{args[1].text}]")


def _slice_at(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    op, (data, start) = node.op.attributes(), (operand(a, node, args, i).text for i in range(2))
    return Expr(f"lax.dynamic_slice_in_dim({data}, {start}, {op['size']}, {op['axis']})")


def _update_at(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    data, update, start = (operand(a, node, args, i).text for i in range(3))
    axis = node.op.attributes()["axis"]
    return Expr(f"lax.dynamic_update_slice_in_dim({data}, {update}, {start}, {axis})")


def _take_along(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    data, indices = (operand(a, node, args, i).text for i in range(2))
    return Expr(f"jnp.take_along_axis({data}, {indices}, {node.op.attributes()['axis']})")


def _zeros(a: RowContext, node: Node) -> str:
    return f"jnp.zeros({shape_text(a, node.types[0].shape)}, {a.kind(node.types[0].dtype)})"


def _scatter_add(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    axis = node.op.attributes()["axis"]
    index = f"{':, ' * axis}{args[1].text}"
    return Expr(f"{_zeros(a, node)}.at[{index}].add({args[0].text})")


def _scatter_along(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    axis, shape = node.op.attributes()["axis"], node.types[0].shape
    index = []
    for i, size in enumerate(shape):
        line = f"jnp.arange({a.size(size).text})"
        if i < len(shape) - 1:
            line += "[" + ", ".join([":", *["None"] * (len(shape) - 1 - i)]) + "]"
        index.append(operand(a, node, args, 1).text if i == axis else line)
    return Expr(f"{_zeros(a, node)}.at[{', '.join(index)}].add({args[0].text})")


def _iota(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    shape, axis = node.types[0].shape, node.op.attributes()["axis"]
    if len(shape) == 1:
        return Expr(f"jnp.arange({a.size(shape[0]).text})")
    return Expr(f"lax.broadcasted_iota(int, {shape_text(a, shape)}, {axis})")


def _one_hot(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    depth = node.op.attributes()["depth"]
    return Expr(f"jax.nn.one_hot({operand(a, node, args).text}, {depth}, dtype={a.kind(DType.FLOAT)})")


# --- reductions ---


def _axes(node: Node) -> str:
    axes = node.op.attributes()["axes"]
    return str(axes[0]) if len(axes) == 1 else tuple_text(map(str, axes))


def reduction(name: str) -> Row:
    """Return the row of a reduction over axes."""

    def row(a: RowContext, node: Node, args: list[Expr]) -> Expr:
        op = node.op.attributes()
        axes, x = op["axes"], first_operand(a, node, args)
        if not axes:
            return Expr(x)
        if name == "sum" and (size := counted(node, args[0], a.size)) is not None:
            return size
        keep = ", keepdims=True" if op["keepdims"] else ""
        axis = "" if len(axes) == node.inputs[0].type.rank and not keep else _axes(node)
        return summed(node, x, f"{axis}{keep}") if name == "sum" else Expr(f"{x}.{name}({axis}{keep})")

    return row


def _log_sum_exp(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    op = node.op.attributes()
    x = operand(a, node, args)
    keep = ", keepdims=True" if op["keepdims"] else ""
    return x if not op["axes"] else Expr(f"jax.nn.logsumexp({x.text}, {_axes(node)}{keep})")


def along(name: str) -> Row:
    """Return the row of a function that acts along one axis."""

    def row(a: RowContext, node: Node, args: list[Expr]) -> Expr:
        return Expr(f"{name}({operand(a, node, args).text}, {node.op.attributes()['axis']})", heavy=True)

    return row


def _arg_max(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    op = node.op.attributes()
    keep = ", keepdims=True" if op["keepdims"] else ""
    return Expr(f"jnp.argmax({operand(a, node, args).text}, {op['axis']}{keep})")


def _cum_sum(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    op = node.op.attributes()
    axis, reverse, x = op["axis"], op["reverse"], operand(a, node, args)
    text = x.text
    if op["exclusive"]:
        rank, before = node.inputs[0].type.rank, ":, " * axis
        pairs = [(0, 0)] * axis + [(0, 1) if reverse else (1, 0)] + [(0, 0)] * (rank - 1 - axis)
        text = f"jnp.pad({text}, {widths(pairs)})[{before}{'1:' if reverse else ':-1'}]"
    return Expr(f"lax.cumsum({text}, {axis}{', reverse=True' if reverse else ''})")


# --- linear ---


def _matmul(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    left, right = args
    return Expr(f"{left.at(PRODUCT)} @ {right.at(PRODUCT + 1)}", PRODUCT, heavy=True)


def _statement(a: RowContext, node: Node, args: list[Expr]) -> None:
    """Written by `body`."""
    return None


SPELLINGS: dict[str, Row] = {
    "neg": _neg,
    "exp": function("jnp.exp"),
    "log": function("jnp.log"),
    "tanh": function("jnp.tanh"),
    "sigmoid": function("jax.nn.sigmoid"),
    "relu": function("jax.nn.relu"),
    "softplus": function("jax.nn.softplus"),
    "sqrt": function("jnp.sqrt"),
    "abs": function("jnp.abs"),
    "sign": function("jnp.sign"),
    "modulo": _modulo,
    "floor": function("jnp.floor"),
    "erf": function("lax.erf"),
    "sin": function("jnp.sin"),
    "cos": function("jnp.cos"),
    "stop_gradient": function("lax.stop_gradient"),
    "cast": _cast,
    "logical_not": _not,
    "add": infix("+", SUM),
    "sub": infix("-", SUM),
    "mul": _mul,
    "div": _div,
    "maximum": function("jnp.maximum"),  # at a tie the gradient is shared
    "minimum": function("jnp.minimum"),
    "less": infix("<", COMPARE),
    "less_equal": infix("<=", COMPARE),
    "equal": infix("==", COMPARE),
    "logical_and": infix("&", BITAND),
    "logical_or": infix("|", BITOR),
    "where": _where,
    "reshape": _reshape,
    "transpose": _transpose,
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
    "sum": reduction("sum"),
    "max": reduction("max"),
    "log_sum_exp": _log_sum_exp,
    "softmax": along("jax.nn.softmax"),
    "log_softmax": along("jax.nn.log_softmax"),
    "cum_sum": _cum_sum,
    "arg_max": _arg_max,
    "mat_mul": _matmul,
    "inverse": function("jnp.linalg.inv"),
    "log_abs_det": _log_abs_det,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "conv_weight_grad": conv_weight_grad,
    "max_pool": max_pool,
    "max_pool_grad": max_pool_grad,
    "avg_pool": avg_pool,
    "all_sum": _all_sum,
    "scan": _statement,
    "repeat": _statement,
}
