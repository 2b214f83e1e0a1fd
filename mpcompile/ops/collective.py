"""Primitives whose results are made by several processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mpcompile.ir import Array, Builder, DType, Positivity, Type, Value
from mpcompile.ops._base import require_dtype
from mpcompile.ops.pointwise import Unary
from mpcompile.ops.traits import Monotone


class AllSum(Monotone, Unary):
    """y = Σ x over the processes that run the program; over one process y = x.

    Its gradient is the sum of the cotangents of all processes. Rules and oracle are those of one process.
    """

    name: ClassVar[str] = "all_sum"
    modular: ClassVar[str] = "same"
    keeps_zero: ClassVar[bool] = True
    keeps_neginf: ClassVar[bool] = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        (x,) = inputs
        require_dtype(x, DType.FLOAT, DType.INT)
        return (x,)

    def function(self, x: Array) -> Array:
        return np.array(x)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return of[0]

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(AllSum(), ct)


__all__ = ["AllSum"]
