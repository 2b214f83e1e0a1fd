"""Rows of the table for kernels: what of `mpcompile.kernels` is one call in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mpcompile.emission.text import ATOM, BITAND, PRODUCT, SUM, UNARY, Expr, tuple_text
from mpcompile.ir import DType
from mpcompile.kernels import (
    Attention,
    BinaryLogProb,
    ClassLogProb,
    Convolution,
    Elu,
    Gelu,
    GeluTanh,
    Glu,
    HardSigmoid,
    HardSwish,
    Kernel,
    LayerNorm,
    Linear,
    Mish,
    Phase,
    Prelu,
    Relu6,
    RmsNorm,
    Selu,
    Silu,
    Split,
    Unbind,
)
from mpcompile_torch.products import conv, conv_transpose, is_native
from mpcompile_torch.rows import RowContext, shape_text, tensor

#: Operands by the names of the kernel's fields.
Operands = Mapping[str, Expr]


def _unary(text: str) -> Callable[[RowContext, Any, Operands], Expr]:
    """A function of x alone; `text` has `{x}` in its place."""

    def row(a: RowContext, k: Kernel, args: Operands) -> Expr:
        return Expr(text.format(x=tensor(a, args["x"], DType.FLOAT).text))

    return row


def _elu(a: RowContext, k: Elu, args: Operands) -> Expr:
    alpha = "" if k.alpha == 1.0 else f", alpha={k.alpha!r}"
    return Expr(f"F.elu({tensor(a, args['x'], DType.FLOAT).text}{alpha})")


def _hard_sigmoid(a: RowContext, k: HardSigmoid, args: Operands) -> Expr:
    """`F.hardsigmoid` has no second derivative."""
    return Expr(f"F.relu6({tensor(a, args['x'], DType.FLOAT).at(SUM)} + 3.0) / 6.0", PRODUCT)


def _prelu(a: RowContext, k: Prelu, args: Operands) -> Expr:
    return Expr(f"F.prelu({_listed(args['x'], args['slope'])})")


def _glu(a: RowContext, k: Glu, args: Operands) -> Expr:
    return Expr(f"F.glu({args['x'].text}, {k.axis})")


def _linear(a: RowContext, k: Linear, args: Operands) -> Expr:
    x, weight, bias = args["x"], args["weight"], args.get("bias")
    called = a.layer(weight, bias, x)
    return Expr(called or f"F.linear({_listed(x, weight, bias)})", heavy=True)


def _listed(*operands: Expr | None) -> str:
    return ", ".join(e.text for e in operands if e is not None)


def _convolution(a: RowContext, k: Convolution, args: Operands) -> Expr:
    row = conv if k.product.op.name == "conv" else conv_transpose
    return row(a, k.product, [args["x"], args["weight"], args["bias"]])


def _norm(a: RowContext, k: LayerNorm | RmsNorm, args: Operands) -> Expr:
    x, weight, bias = args["x"], args.get("weight"), args.get("bias")
    called = a.layer(weight, bias, x) if weight is not None else None
    shape, eps = tuple_text(map(str, k.shape)), repr(k.eps)
    given = _listed(weight, bias)
    options = f"{given}, eps={eps}" if given else f"eps={eps}"
    return Expr(called or f"F.{k.name}({x.text}, {shape}, {options})")


def _attention(a: RowContext, k: Attention, args: Operands) -> Expr:
    options = ", is_causal=True" if k.causal else ""
    masks = [args[name] for name in ("mask", "also") if name in args]
    if masks:
        both = len(masks) > 1
        options = f", attn_mask={' & '.join(e.at(BITAND + 1) if both else e.text for e in masks)}"
    options += "" if k.usual_scale else f", scale={k.scale!r}"
    q, key, v = (args[name].text for name in ("q", "k", "v"))
    return Expr(f"F.scaled_dot_product_attention({q}, {key}, {v}{options})", heavy=True)


def _class_log_prob(a: RowContext, k: ClassLogProb, args: Operands) -> Expr:
    """Classes stand on axis 1 for torch; where they are last, all axes before are one batch."""
    logits, classes = args["logits"], tensor(a, args["classes"], DType.INT)
    rank, shape = k.logits.type.rank, k.result.shape
    after = ""
    if k.axis == 1:
        given = f"{logits.text}, {classes.text}"
    elif k.axis == rank - 1:
        given = f"{logits.at(ATOM)}.flatten(0, {rank - 2}), {classes.at(ATOM)}.flatten()"
        after = f".reshape{shape_text(a, shape)}"
    else:
        given = f"{logits.at(ATOM)}.movedim({k.axis}, 1), {classes.text}"
    return Expr(f'-F.cross_entropy({given}, reduction="none"){after}', UNARY)


def _binary_log_prob(a: RowContext, k: BinaryLogProb, args: Operands) -> Expr:
    logits, x = (tensor(a, args[name], DType.FLOAT).text for name in ("logits", "x"))
    return Expr(f'-F.binary_cross_entropy_with_logits({logits}, {x}, reduction="none")', UNARY)


def _phase(a: RowContext, k: Phase, args: Operands) -> Expr:
    x = tensor(a, args["x"], DType.INT).text
    return Expr(f"phases({x}, {k.base!r}, {k.count}, {a.float_dtype()})", heavy=True)


def _unbind(a: RowContext, k: Unbind, args: Operands) -> list[Expr]:
    return [Expr(f"{args['x'].at(ATOM)}.unbind({k.axis})", heavy=True)]


def _split(a: RowContext, k: Split, args: Operands) -> list[Expr]:
    """Spell stretches; equal ones as `chunk`, which is written shorter."""
    x = tensor(a, args["x"], k.x.dtype).at(ATOM)
    if len(set(k.lengths)) == 1:
        return [Expr(f"{x}.chunk({len(k.lengths)}, {k.axis})")]
    lengths = tuple_text(a.size(n).text for n in k.lengths)
    return [Expr(f"{x}.split_with_sizes({lengths}, {k.axis})")]


KERNELS: dict[str, Callable[[RowContext, Any, Operands], Expr | list[Expr]]] = {
    Attention.name: _attention,
    BinaryLogProb.name: _binary_log_prob,
    ClassLogProb.name: _class_log_prob,
    Convolution.name: _convolution,
    Elu.name: _elu,
    Gelu.name: _unary("F.gelu({x})"),
    GeluTanh.name: _unary('F.gelu({x}, approximate="tanh")'),
    Glu.name: _glu,
    HardSigmoid.name: _hard_sigmoid,
    HardSwish.name: _unary("F.hardswish({x})"),
    LayerNorm.name: _norm,
    Linear.name: _linear,
    Mish.name: _unary("F.mish({x})"),
    Phase.name: _phase,
    Prelu.name: _prelu,
    Relu6.name: _unary("F.relu6({x})"),
    RmsNorm.name: _norm,
    Selu.name: _unary("F.selu({x})"),
    Silu.name: _unary("F.silu({x})"),
    Split.name: _split,
    Unbind.name: _unbind,
}


def spells(kernel: Kernel) -> bool:
    """Return whether a kernel is one call in torch.

    A transposed convolution whose result is cut takes no bias; torch takes the first axis of logits for examples.
    """
    match kernel:
        case Convolution(product=product):
            return product.op.name == "conv" or is_native(product)
        case ClassLogProb(axis=axis):
            return axis > 0
    return kernel.name in KERNELS
