"""Rows of the spelling table for products: matrices, convolutions, pooling."""

from __future__ import annotations

from typing import Any

from mpcompile.emission.text import ATOM, PRODUCT, Expr, tuple_text
from mpcompile.ir import DType, Node, Symbolic
from mpcompile_torch.rows import RowContext, ints, pads, shape_text


def matmul(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell a matrix product as `@`."""
    left, right = args
    return Expr(f"{left.at(PRODUCT)} @ {right.at(PRODUCT + 1)}", PRODUCT, heavy=True)


def symmetric(padding: tuple[tuple[int, int], ...]) -> bool:
    """Return whether every axis is padded by the same amount on both sides."""
    return all(lo == hi for lo, hi in padding)


def _padded(x: str, padding: tuple[tuple[int, int], ...], value: str = "") -> str:
    widths = pads([("0", "0"), *((str(lo), str(hi)) for lo, hi in padding)])
    return f"F.pad({x}, {widths}{value})"


def _options(**options: tuple[tuple[int, ...] | int, int]) -> str:
    """Keyword arguments that differ from their defaults."""
    shown = []
    for name, (value, default) in options.items():
        text = str(value) if isinstance(value, int) else ints(value)
        if text != str(default):
            shown.append(f", {name}={text}")
    return "".join(shown)


def conv(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell a convolution of data and a weight, with a bias where there is a third operand."""
    op = node.op.attributes()
    x, weight, *rest = args
    bias = rest[0] if rest else None
    padding: Any = op["padding"]
    same = symmetric(padding)
    options = _options(
        stride=(op["stride"], 1),
        padding=(tuple(lo for lo, _ in padding) if same else 0, 0),
        dilation=(op["dilation"], 1),
        groups=(op["groups"], 1),
    )
    data = x.text if same else _padded(x.text, padding)
    called = a.layer(weight, bias, x)
    more = f", {bias.text}" if bias else ""
    return Expr(called or f"F.conv{len(padding)}d({data}, {weight.text}{more}{options})", heavy=True)


def is_native(node: Node) -> bool:
    """Return whether torch's transposed convolution has this padding; else its result is cut."""
    op = node.op.attributes()
    stride, dilation = op["stride"], op["dilation"]
    extra = op["output_padding"] or (0,) * len(stride)
    small = all(e < max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True))
    return symmetric(op["padding"]) and small


def conv_transpose(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell a transposed convolution of data and a weight, with a bias for a third operand where it `is_native`."""
    op = node.op.attributes()
    x, weight, *rest = args
    padding, stride, native = op["padding"], op["stride"], is_native(node)
    extra = op["output_padding"] or (0,) * len(stride)
    options = _options(
        stride=(stride, 1),
        padding=(tuple(lo for lo, _ in padding) if native else 0, 0),
        output_padding=(extra if native else 0, 0),
        groups=(op["groups"], 1),
        dilation=(op["dilation"], 1),
    )
    called = a.layer(weight, rest[0] if rest else None, x) if native else None
    more = f", {rest[0].text}" if rest else ""
    text = called or f"F.conv_transpose{len(padding)}d({x.text}, {weight.text}{more}{options})"
    if native:
        return Expr(text, heavy=True)
    return Expr(
        _padded(text, tuple((-lo, e - hi) for (lo, hi), e in zip(padding, extra, strict=True))), heavy=True
    )


def conv_weight_grad(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell the gradient of a convolution by its weight."""
    op = node.op.attributes()
    x, dy = args
    padding = op["padding"]
    same = symmetric(padding)
    data = x.text if same else _padded(x.text, padding)
    options = _options(
        stride=(op["stride"], 1),
        padding=(tuple(lo for lo, _ in padding) if same else 0, 0),
        dilation=(op["dilation"], 1),
        groups=(op["groups"], 1),
    )
    name = f"torch.nn.grad.conv{len(padding)}d_weight"
    return Expr(f"{name}({data}, {shape_text(a, node.types[0].shape)}, {dy.text}{options})", heavy=True)


# --- pooling ---


def max_pool(a: RowContext, node: Node, args: list[Expr]) -> list[Expr]:
    """Spell max-pooling; indices are computed where they are used."""
    op = node.op.attributes()
    kernel, stride, padding = op["kernel"], op["stride"], op["padding"]
    rank, x = len(kernel), args[0].text
    indices = node.outputs[1]
    native = symmetric(padding) and all(2 * lo <= k for (lo, _), k in zip(padding, kernel, strict=True))
    low = tuple(lo for lo, _ in padding) if native else 0
    options = _options(stride=(stride, -1), padding=(low, 0))
    if not native and a.used(indices):
        widths = tuple_text(tuple_text(map(str, p)) for p in padding)
        sizes = f"{tuple_text(map(str, kernel))}, {tuple_text(map(str, stride))}"
        return [Expr(f"max_pool_padded({x}, {sizes}, {widths})", heavy=True)]
    data = x if native else _padded(x, padding, ", value=-math.inf")
    call = f"F.max_pool{rank}d({data}, {ints(kernel)}{options}"
    if not a.used(indices):
        return [Expr(call + ")", heavy=True), Expr("")]
    return [Expr(call + ", return_indices=True)", heavy=True)]


def max_pool_grad(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell the gradient of max-pooling as a scatter to the places of the maxima."""
    n, c, *_ = node.types[0].shape
    total: int | Symbolic = 1
    for s in node.types[0].shape[2:]:
        total = total * s
    zeros = f"torch.zeros({shape_text(a, (n, c, total))}, {a.like(DType.FLOAT)})"
    added = f"{zeros}.scatter_add(2, {args[1].at(ATOM)}.flatten(2), {args[0].at(ATOM)}.flatten(2))"
    return Expr(f"{added}.reshape{shape_text(a, node.types[0].shape)}", heavy=True)


def avg_pool(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell mean-pooling, also with padding that torch's own does not take."""
    op = node.op.attributes()
    kernel, padding = op["kernel"], op["padding"]
    native = symmetric(padding) and all(2 * lo <= k for (lo, _), k in zip(padding, kernel, strict=True))
    count = "" if op["count_padding"] or not any(map(any, padding)) else ", count_include_pad=False"
    stride = _options(stride=(op["stride"], -1))
    name = f"F.avg_pool{len(kernel)}d"
    if native:
        low = _options(padding=(tuple(lo for lo, _ in padding), 0))
        return Expr(f"{name}({args[0].text}, {ints(kernel)}{stride}{low}{count})", heavy=True)
    pooled = f"{name}({_padded(args[0].text, padding)}, {ints(kernel)}{stride})"
    if not count:
        return Expr(pooled, heavy=True)
    share = f"{name}({_padded(f'torch.ones_like({args[0].text})', padding)}, {ints(kernel)}{stride})"
    return Expr(f"{pooled} / {share}", PRODUCT, heavy=True)
