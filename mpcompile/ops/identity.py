"""Primitives that hand on the value of each element: as another kind of element, or without a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile.ir import (
    Abstract,
    Array,
    Builder,
    Domain,
    DType,
    Example,
    Falls,
    Growth,
    Positivity,
    Type,
    Value,
)
from mpcompile.ir.field import Field
from mpcompile.ops._base import sample
from mpcompile.ops.pointwise import Unary
from mpcompile.ops.traits import Free, Monotone, View


class StopGradient(Free, View, Monotone, Unary):
    """y = x, through which no gradient flows. The value still depends on x."""

    name: ClassVar[str] = "stop_gradient"
    modular: ClassVar[str] = "same"
    keeps_zero: ClassVar[bool] = True
    keeps_neginf: ClassVar[bool] = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (inputs[0],)

    def function(self, x: Array) -> Array:
        return x

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return of[0]

    @classmethod
    def examples(cls) -> list[Example]:
        return [Example(e.op, e.inputs, False) for e in super().examples()]


@dataclass(frozen=True)
class Cast(Free, Unary):
    """y = x as another kind of element; floats are cut towards zero, and anything but zero is true."""

    steps: ClassVar[bool] = True
    name: ClassVar[str] = "cast"
    dtype: DType
    keeps_zero: ClassVar[bool] = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (Type(self.dtype, inputs[0].shape),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        if x.dtype.kind == "f" and self.dtype is DType.INT:
            return (field.whole(x),)
        return (field.canon(self.function(x)),)

    def function(self, x: Array) -> Array:
        if self.dtype is DType.FLOAT:
            return x if x.dtype.kind == "f" else x.astype(np.float64)
        return x.astype(np.int64 if self.dtype is DType.INT else np.bool_)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        return (domain.make(x.shape, x.facts, x.zero, x.neginf if self.dtype is DType.FLOAT else None),)

    def aliases(self, operand: int) -> bool:
        return True  # where nothing is to be done

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return min(of[0], Positivity.NOT_NEGATIVE) if self.dtype is DType.INT else of[0]

    def grow(self, of: Sequence[Growth]) -> bool:
        if self.dtype is not DType.FLOAT:
            raise Falls  # constant but for steps
        return of[0].good

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return ct if x.dtype is DType.FLOAT and y.dtype is DType.FLOAT else None

    @classmethod
    def examples(cls) -> list[Example]:
        x = sample(2, 3, low=-2.0, seed=1)
        return [
            Example(cls(DType.FLOAT), (x,)),
            Example(cls(DType.INT), (x * 3,), False),
            Example(cls(DType.FLOAT), (np.array([[3, 0, -2]]),), False),
            Example(cls(DType.FLOAT), (np.array([True, False]),), False),
            Example(cls(DType.BOOL), (np.array([[1], [0]]),), False),
        ]
