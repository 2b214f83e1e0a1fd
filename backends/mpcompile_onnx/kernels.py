"""Rows of the table for kernels: what of `mpcompile.kernels` is one operator of ONNX.

They stand in graphs of programs alone. onnxruntime has no gradients of them, and their attributes (epsilon, scale) are
numbers of single precision, so graphs of gradients and of double precision are written as primitives. Biases are taken
into products by `products.py`, also there. `Attention` is left out: onnxruntime refuses a batch of none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpcompile.kernels import (
    Elu,
    Gelu,
    GeluTanh,
    HardSigmoid,
    HardSwish,
    LayerNorm,
    Mish,
    RmsNorm,
    Selu,
)
from mpcompile_onnx.writer import Writer

#: Names of operands by the names of the kernel's fields.
Operands = Mapping[str, str]


def _norm(w: Writer, k: LayerNorm | RmsNorm, args: Operands) -> str:
    kind = "LayerNormalization" if isinstance(k, LayerNorm) else "RMSNormalization"
    weight = args.get("weight") or w.literal(np.ones(k.shape))
    bias = [args["bias"]] if "bias" in args else []
    return w.op(kind, args["x"], weight, *bias, axis=-len(k.shape), epsilon=k.eps)


def _gelu(w: Writer, k: Gelu, args: Operands) -> str:
    return w.op("Gelu", args["x"])


def _gelu_tanh(w: Writer, k: GeluTanh, args: Operands) -> str:
    return w.op("Gelu", args["x"], approximate="tanh")


def _elu(w: Writer, k: Elu, args: Operands) -> str:
    return w.op("Elu", args["x"], alpha=k.alpha)


def _hard_sigmoid(w: Writer, k: HardSigmoid, args: Operands) -> str:
    return w.op("HardSigmoid", args["x"], alpha=1.0 / 6.0, beta=0.5)


def _plain(kind: str) -> Callable[[Writer, Any, Operands], str]:
    """An operator of x alone, without attributes."""
    return lambda w, k, args: w.op(kind, args["x"])


#: Each kernel with the first version of the standard's operators that has its own.
KERNELS: dict[str, tuple[Callable[[Writer, Any, Operands], str], int]] = {
    Elu.name: (_elu, 6),
    Gelu.name: (_gelu, 20),
    GeluTanh.name: (_gelu_tanh, 20),
    HardSigmoid.name: (_hard_sigmoid, 6),
    HardSwish.name: (_plain("HardSwish"), 14),
    LayerNorm.name: (_norm, 17),
    Mish.name: (_plain("Mish"), 18),
    RmsNorm.name: (_norm, 23),
    Selu.name: (_plain("Selu"), 6),
}
