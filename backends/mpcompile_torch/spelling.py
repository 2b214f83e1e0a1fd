"""The spelling of each primitive in torch: one row per primitive in `SPELLINGS`."""

from __future__ import annotations

from collections.abc import Callable

from mpcompile.emission.means import averaged, counted, summed
from mpcompile.emission.text import (
    ATOM,
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
from mpcompile.ir import DType, Node, Value
from mpcompile_torch.products import (
    avg_pool,
    conv,
    conv_transpose,
    conv_weight_grad,
    matmul,
    max_pool,
    max_pool_grad,
)
from mpcompile_torch.rows import Row, RowContext, filled, first_operand, pads, shape_text, tensor

#: A row that gives one expression.
Operator = Callable[[RowContext, Node, list[Expr]], Expr]

# --- elementwise ---


def function(name: str, *extra: str) -> Row:
    """Return the row of a function that is called on all operands, as tensors."""

    def row(a: RowContext, node: Node, args: list[Expr]) -> Expr:
        texts = [tensor(a, e, v.dtype).text for e, v in zip(args, node.inputs, strict=True)]
        return Expr(f"{name}({', '.join([*texts, *extra])})")

    return row


def infix(symbol: str, precedence: int) -> Operator:
    """Return the row of a left-associative binary operator; one of the two sides may be a Python number."""

    def row(a: RowContext, node: Node, args: list[Expr]) -> Expr:
        left, right = args
        counts = left.scalar and right.scalar and symbol in "+-*" and node.types[0].dtype is DType.INT
        if left.scalar and right.scalar and not counts:
            left = tensor(a, left, node.inputs[0].dtype)
        tight = precedence + 1
        if precedence == COMPARE:
            return comparison(symbol, left, right)
        if symbol == "+":
            return addition(left, right).with_(scalar=counts)
        return Expr(f"{left.at(precedence)} {symbol} {right.at(tight)}", precedence, scalar=counts)

    return row


def _mul(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    return averaged(args, inverse=True) or infix("*", PRODUCT)(a, node, args)


def _div(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    return averaged(args, inverse=False) or infix("/", PRODUCT)(a, node, args)


def _negated(e: Expr) -> Expr | None:
    """Return the expression behind a minus, or None where the expression does not begin with one."""
    if e.scalar or e.precedence != UNARY or not e.text.startswith("-"):
        return None
    text = e.text.removeprefix("-")
    mean = None if e.mean is None else (e.mean[0].removeprefix("-"), e.mean[1])
    return e.with_(text=text, precedence=UNARY if text.startswith(("-", "~")) else ATOM, mean=mean)


def _neg(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    if (positive := _negated(args[0])) is not None:
        return positive
    return Expr("-" + tensor(a, args[0], node.inputs[0].dtype).at(UNARY), UNARY)


def modulo(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell a remainder of whole numbers; that of a Python number is one."""
    divisor = node.op.attributes()["divisor"]
    return Expr(f"{args[0].at(PRODUCT)} % {divisor}", PRODUCT, scalar=args[0].scalar)


def _not(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    return Expr("~" + tensor(a, args[0], DType.BOOL).at(UNARY), UNARY)


def _where(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    condition, yes, no = args
    condition = tensor(a, condition, DType.BOOL)
    if yes.scalar and no.scalar:
        yes = tensor(a, yes, node.inputs[1].dtype)
    return Expr(f"torch.where({condition.text}, {yes.text}, {no.text})")


def _cast(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    if node.inputs[0].dtype is node.types[0].dtype:
        return args[0]
    if args[0].scalar:
        return tensor(a, args[0], node.types[0].dtype)
    target = {DType.INT: "torch.int64", DType.BOOL: "torch.bool"}.get(node.types[0].dtype) or a.float_dtype()
    return Expr(f"{first_operand(a, node, args)}.to({target})")


def _detach(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    return Expr(f"{first_operand(a, node, args)}.detach()")


def _log_abs_det(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    return Expr(f"torch.linalg.slogdet({args[0].text})[1]")


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
        return Expr(f"{x}.mT")
    if len(moved) == 2:
        return Expr(f"{x}.transpose({moved[0]}, {moved[1]})")
    return Expr(f"{x}.permute({', '.join(map(str, order))})")


def _broadcast(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    shape = node.types[0].shape
    if node.inputs[0].shape == shape:
        return args[0]
    if args[0].scalar:
        text = filled(shape_text(a, shape), args[0].text, a.like(node.types[0].dtype))
        return Expr(text, fill=args[0].text)
    return Expr(f"{first_operand(a, node, args)}.expand({', '.join(a.size(s).text for s in shape)})")


def _slice(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    op = node.op.attributes()
    axis, size = op["axis"], node.inputs[0].shape[op["axis"]]
    start = "" if op["start"] == 0 else str(op["start"])
    stop = "" if op["stop"] == size else a.size(op["stop"]).text
    step = "" if op["step"] == 1 else f":{op['step']}"
    before = _before(axis, node.inputs[0].type.rank)
    return Expr(f"{first_operand(a, node, args)}[{before}{slice_text(start, stop)}{step}]")


def _before(axis: int, rank: int) -> str:
    """The index of all axes before one."""
    return "..., " if axis == rank - 1 and axis > 1 else ":, " * axis


def _pad(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    op = node.op.attributes()
    widths = [(str(lo), str(hi)) for lo, hi in zip(op["before"], op["after"], strict=True)]
    if all(w == ("0", "0") for w in widths):
        return args[0]
    kind = {DType.FLOAT: float, DType.INT: int, DType.BOOL: bool}[node.types[0].dtype]
    value = f", value={number(kind(op['value']))}" if op["value"] else ""
    return Expr(f"F.pad({args[0].text}, {pads(widths)}{value})")


def _concat(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    if len(args) == 1:
        return args[0]
    return Expr(f"torch.cat([{', '.join(e.text for e in args)}], {node.op.attributes()['axis']})")


def _flip(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    return Expr(f"{first_operand(a, node, args)}.flip({node.op.attributes()['axis']})")


# --- indexing ---


def _gather(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    axis = node.op.attributes()["axis"]
    data = node.inputs[0]
    if axis == 0 and data.type.rank == 2 and data.dtype is DType.FLOAT and not args[1].scalar:
        text = a.layer(args[0], None, args[1]) or f"F.embedding({args[1].text}, {args[0].text})"
        return Expr(text)
    return Expr(f"{first_operand(a, node, args)}[{':, ' * axis}{args[1].text}]")


def _take_along(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """`gather` of operands of one shape: `take_along_dim` broadcasts, and an exporter fixes its number of examples."""
    axis = node.op.attributes()["axis"]
    wanted = [y if x == 1 else x for x, y in zip(*node.shapes, strict=True)]

    def widened(e: Expr, value: Value) -> Expr:
        e = tensor(a, e, value.dtype)
        pairs = list(zip(value.shape, wanted, strict=True))
        sizes = ["-1" if old == new or i == axis else a.size(new).text for i, (old, new) in enumerate(pairs)]
        return e if all(s == "-1" for s in sizes) else Expr(f"{e.at(ATOM)}.expand({', '.join(sizes)})")

    data, indices = (widened(e, v) for e, v in zip(args, node.inputs, strict=True))
    return Expr(f"{data.at(ATOM)}.gather({axis}, {indices.text})")


def _stop(start: Expr, size: str) -> str:
    """Write where a stretch ends, as `step + 3` for `step + 1` and 2."""
    if start.text.isdigit() and size.isdigit():
        return str(int(start.text) + int(size))
    base, plus, more = start.text.rpartition(" + ")
    if plus and more.isdigit() and size.isdigit() and start.precedence == SUM:
        return f"{base} + {int(more) + int(size)}"
    return f"{start.at(SUM)} + {size}"


def stretch(axis: int, rank: int, start: Expr, size: str) -> str:
    """Write the index of a stretch of an axis that starts at a Python integer."""
    return f"{_before(axis, rank)}{start.text} : {_stop(start, size)}"


def _slice_at(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    op = node.op.attributes()
    x, start = first_operand(a, node, args), args[1]
    if start.scalar:
        return Expr(f"{x}[{stretch(op['axis'], node.inputs[0].type.rank, start, a.size(op['size']).text)}]")
    return Expr(f"{x}.narrow({op['axis']}, {start.text}, {op['size']})")


def _update_at(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    axis = node.op.attributes()["axis"]
    data, update = (tensor(a, e, node.types[0].dtype) for e in args[:2])
    start, size = args[2], node.inputs[1].shape[axis]
    if start.scalar:
        ends = f"{start.text}, {_stop(start, a.size(size).text)}"
        return Expr(f"{data.at(ATOM)}.slice_scatter({update.text}, {axis}, {ends})")
    index = f"{start.at(ATOM)}.reshape(1)"
    if size != 1:
        index = f"{start.at(SUM)} + torch.arange({a.size(size).text}, {a.like(DType.INT)})"
    return Expr(f"{data.at(ATOM)}.index_copy({axis}, {index}, {update.text})")


def _zeros(a: RowContext, node: Node) -> str:
    return f"torch.zeros({shape_text(a, node.types[0].shape)}, {a.like(node.types[0].dtype)})"


def _scatter_add(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    axis, rank = node.op.attributes()["axis"], node.inputs[1].type.rank
    updates = tensor(a, args[0], node.inputs[0].dtype)
    indices = tensor(a, args[1], DType.INT)
    if rank == 1:
        return Expr(f"{_zeros(a, node)}.index_add({axis}, {indices.text}, {updates.text})")
    if rank == 0:
        flat = f"{updates.at(ATOM)}.unsqueeze({axis})"
    else:
        flat = f"{updates.at(ATOM)}.flatten({axis}, {axis + rank - 1})"
    return Expr(f"{_zeros(a, node)}.index_add({axis}, {indices.at(ATOM)}.reshape(-1), {flat})")


def _scatter_along(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    axis = node.op.attributes()["axis"]
    full = list(node.types[0].shape)
    lengths = [v.shape[axis] for v in node.inputs]
    full[axis] = lengths[0] if lengths[0] != 1 else lengths[1]
    texts = []
    for e, v in zip(args, node.inputs, strict=True):
        e = tensor(a, e, v.dtype)
        spread = f"{e.at(ATOM)}.expand({', '.join(a.size(s).text for s in full)})"
        texts.append(e.text if v.shape == tuple(full) else spread)
    return Expr(f"{_zeros(a, node)}.scatter_add({axis}, {texts[1]}, {texts[0]})")


def _iota(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    shape, axis = node.types[0].shape, node.op.attributes()["axis"]
    line = f"torch.arange({a.size(shape[axis]).text}, {a.device()})"
    if len(shape) == 1:
        return Expr(line)
    trailing = (
        "[" + ", ".join([":", *["None"] * (len(shape) - 1 - axis)]) + "]" if axis < len(shape) - 1 else ""
    )
    return Expr(f"{line}{trailing}.expand({', '.join(a.size(s).text for s in shape)})")


def _one_hot(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    # not F.one_hot, which refuses an index outside of the range where the meaning is a row of zeros
    levels = f"torch.arange({node.op.attributes()['depth']}, {a.device()})"
    return Expr(f"({first_operand(a, node, args)}[..., None] == {levels}).to({a.float_dtype()})")


# --- reductions ---


def reduction(name: str) -> Row:
    """Return the row of a reduction over axes, as a method of its operand."""

    def row(a: RowContext, node: Node, args: list[Expr]) -> Expr:
        op = node.op.attributes()
        axes, x = op["axes"], first_operand(a, node, args)
        if not axes:
            return Expr(x)
        if name == "sum" and (size := counted(node, args[0], a.size)) is not None:
            return size
        negated = _negated(args[0]) if name == "sum" else None
        if negated is not None:
            total = row(a, node, [negated])
            assert isinstance(total, Expr)
            mean = None if total.mean is None else (f"-{total.mean[0]}", total.mean[1])
            return Expr(f"-{total.text}", UNARY, mean=mean)
        keep = ", keepdim=True" if op["keepdims"] else ""
        axis = str(axes[0]) if len(axes) == 1 else tuple_text(map(str, axes))
        if name == "sum" and len(axes) == node.inputs[0].type.rank and not keep:
            axis = ""
        return summed(node, x, f"{axis}{keep}") if name == "sum" else Expr(f"{x}.{name}({axis}{keep})")

    return row


def along(name: str) -> Row:
    """Return the row of a method of its operand that acts along one axis."""

    def row(a: RowContext, node: Node, args: list[Expr]) -> Expr:
        return Expr(f"{first_operand(a, node, args)}.{name}({node.op.attributes()['axis']})", heavy=True)

    return row


def _arg_max(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    op = node.op.attributes()
    keep = ", keepdim=True" if op["keepdims"] else ""
    return Expr(f"{first_operand(a, node, args)}.argmax({op['axis']}{keep})")


def _cum_sum(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    op = node.op.attributes()
    axis, text = op["axis"], first_operand(a, node, args)
    if op["reverse"]:
        text = f"{text}.flip({axis})"
    if op["exclusive"]:
        widths = [("0", "0")] * axis + [("1", "-1")] + [("0", "0")] * (node.inputs[0].type.rank - 1 - axis)
        text = f"F.pad({text}, {pads(widths)})"
    text = f"{text}.cumsum({axis})"
    return Expr(f"{text}.flip({axis})" if op["reverse"] else text)


def _statement(a: RowContext, node: Node, args: list[Expr]) -> None:
    """Written by `body`."""
    return None


#: Operators that are written for Python integers as for tensors, and give Python integers of them.
COUNTED = {"add", "sub", "mul", "modulo"}

SPELLINGS: dict[str, Row] = {
    "neg": _neg,
    "exp": function("torch.exp"),
    "log": function("torch.log"),
    "tanh": function("torch.tanh"),
    "sigmoid": function("torch.sigmoid"),
    "relu": function("F.relu"),
    "softplus": function(
        "F.softplus", "threshold=40.0"
    ),  # the default cuts to x where double still tells them apart
    "sqrt": function("torch.sqrt"),
    "abs": function("torch.abs"),
    "sign": function("torch.sign"),
    "modulo": modulo,
    "floor": function("torch.floor"),
    "erf": function("torch.erf"),
    "sin": function("torch.sin"),
    "cos": function("torch.cos"),
    "stop_gradient": _detach,
    "cast": _cast,
    "logical_not": _not,
    "add": infix("+", SUM),
    "sub": infix("-", SUM),
    "mul": _mul,
    "div": _div,
    "maximum": function("torch.maximum"),  # not clamp: at a tie the gradient is shared
    "minimum": function("torch.minimum"),
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
    "max": reduction("amax"),
    "log_sum_exp": reduction("logsumexp"),
    "softmax": along("softmax"),
    "log_softmax": along("log_softmax"),
    "cum_sum": _cum_sum,
    "arg_max": _arg_max,
    "mat_mul": matmul,
    "inverse": function("torch.linalg.inv"),
    "log_abs_det": _log_abs_det,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "conv_weight_grad": conv_weight_grad,
    "max_pool": max_pool,
    "max_pool_grad": max_pool_grad,
    "avg_pool": avg_pool,
    "all_sum": function("AllSum.apply"),
    "scan": _statement,
    "repeat": _statement,
}
