"""Rows of the table for kernels: what of `mpcompile.kernels` is one call in JAX.

Left out are those that JAX computes in single precision whatever the dtype (`jax.nn.dot_product_attention`), or from the
mean of squares, which cancels (`jax.nn.standardize`), and those that XLA makes of primitives just as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mpcompile.emission.text import Expr
from mpcompile.ir import DType
from mpcompile.kernels import (
    Elu,
    Gelu,
    GeluTanh,
    Glu,
    HardSigmoid,
    HardSwish,
    Kernel,
    Linear,
    Mish,
    Phase,
    Relu6,
    Selu,
    Silu,
)
from mpcompile_jax.rows import RowContext, tensor

#: Operands by the names of the kernel's fields.
Operands = Mapping[str, Expr]


def _unary(text: str) -> Callable[[RowContext, Any, Operands], Expr]:
    """A function of x alone; `text` has `{x}` in its place."""

    def row(a: RowContext, k: Kernel, args: Operands) -> Expr:
        return Expr(text.format(x=tensor(a, args["x"], DType.FLOAT).text))

    return row


def _linear(a: RowContext, k: Linear, args: Operands) -> Expr:
    # XLA copies what `.T` gives where there is one example: a third of a millisecond for ten products of 256 x 256
    return Expr(f"jnp.inner({args['x'].text}, {args['weight'].text})", heavy=True)


def _elu(a: RowContext, k: Elu, args: Operands) -> Expr:
    alpha = "" if k.alpha == 1.0 else f", {k.alpha!r}"
    return Expr(f"jax.nn.elu({tensor(a, args['x'], DType.FLOAT).text}{alpha})")


def _glu(a: RowContext, k: Glu, args: Operands) -> Expr:
    return Expr(f"jax.nn.glu({args['x'].text}, axis={k.axis})")


def _phase(a: RowContext, k: Phase, args: Operands) -> Expr:
    x = tensor(a, args["x"], DType.INT).text
    return Expr(f"phases({x}, {k.base!r}, {k.count}, {a.kind(DType.FLOAT)})", heavy=True)


HELPERS = {
    "phases": '''def phases(x: Array, base: float, count: int, dtype: jnp.dtype | type) -> Array:
    """Multiply places [..., 1] by base^(-i / count); half precision leaves out whole turns."""
    narrow = jnp.zeros((), dtype).dtype
    wide = jnp.promote_types(narrow, jnp.float32)
    angle = x.astype(wide) * base ** (jnp.arange(count, dtype=wide) / -count)
    if wide != narrow:
        angle = angle - jnp.floor(angle / math.tau + 0.5) * math.tau
    return angle.astype(narrow)
'''
}

KERNELS: dict[str, Callable[[RowContext, Any, Operands], Expr]] = {
    Elu.name: _elu,
    Gelu.name: _unary("jax.nn.gelu({x}, approximate=False)"),
    GeluTanh.name: _unary("jax.nn.gelu({x})"),
    Glu.name: _glu,
    HardSigmoid.name: _unary("jax.nn.hard_sigmoid({x})"),
    HardSwish.name: _unary("jax.nn.hard_swish({x})"),
    Linear.name: _linear,
    Mish.name: _unary("jax.nn.mish({x})"),
    Phase.name: _phase,
    Relu6.name: _unary("jax.nn.relu6({x})"),
    Selu.name: _unary("jax.nn.selu({x})"),
    Silu.name: _unary("jax.nn.silu({x})"),
}


def spells(kernel: Kernel) -> bool:
    """Return whether a kernel is one call in JAX; a bias is an addition of its own there."""
    return kernel.name in KERNELS and not (isinstance(kernel, Linear) and kernel.bias is not None)
