"""Functions of single elements without weights, each one primitive or two; activations are in a file of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Primitive, Value
from mpcompile.layers.base import Context, Layer
from mpcompile.ops import build as F
from mpcompile.ranges import Real


class Pointwise(Layer):
    """One primitive, element by element: [N, ...] -> [N, ...]."""

    op: ClassVar[Primitive]

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return ctx.b.emit(self.op, *inputs)


class Exp(Pointwise):
    """e^x.

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "exp"
    op: ClassVar[Primitive] = ops.Exp()


class Log(Pointwise):
    """The natural logarithm, of positive numbers.

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "log"
    op: ClassVar[Primitive] = ops.Log()


class Sqrt(Pointwise):
    """The square root, of numbers from 0 on; its gradient at 0 is infinite.

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "sqrt"
    op: ClassVar[Primitive] = ops.Sqrt()


class Abs(Pointwise):
    """|x|.

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "abs"
    merges: ClassVar[str] = "it sends x and -x to one number"
    op: ClassVar[Primitive] = ops.Abs()


class Sin(Pointwise):
    """sin x, x in radians.

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "sin"
    merges: ClassVar[str] = "it repeats itself"
    op: ClassVar[Primitive] = ops.Sin()


class Cos(Pointwise):
    """cos x, x in radians.

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "cos"
    merges: ClassVar[str] = "it repeats itself"
    op: ClassVar[Primitive] = ops.Cos()


class Square(Layer):
    """x^2.

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "square"
    merges: ClassVar[str] = "it sends x and -x to one number"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        return F.mul(ctx.b, x, x)


@dataclass(frozen=True)
class Clip(Layer):
    """min(max(x, low), high); the gradient is zero outside.

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "clip"
    merges: ClassVar[str] = "it sends all numbers beyond an end to it"
    low: Real
    high: Real

    def __post_init__(self) -> None:
        """Raise `ValueError` for an empty interval."""
        if self.low >= self.high:
            raise ValueError(f"`low` must be below `high`, and {self.low:g} is not below {self.high:g}")

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        return F.minimum(b, F.maximum(b, x, self.low), self.high)


__all__ = ["Abs", "Clip", "Cos", "Exp", "Log", "Pointwise", "Sin", "Sqrt", "Square"]
