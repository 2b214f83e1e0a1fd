"""Functions of single elements. Activations are functions of values as well: they are layers without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.functions.base import Function
from mpcompile.ir import DType, Primitive, Value
from mpcompile.layers.axes import aligned
from mpcompile.layers.context import Context
from mpcompile.ops import build as F
from mpcompile.ranges import Real


@dataclass(frozen=True)
class _Primitive(Function):
    """One primitive, element by element."""

    op: ClassVar[Primitive]

    def forward(self, ctx: Context, *values: Value) -> Value:
        return ctx.name_axes(ctx.b.emit(self.op, values[0]), ctx.axes_of(values[0]))


class Exp(_Primitive):
    """e^x."""

    keyword: ClassVar[str] = "exp"
    op: ClassVar[Primitive] = ops.Exp()


class Log(_Primitive):
    """The natural logarithm, of positive numbers."""

    keyword: ClassVar[str] = "log"
    op: ClassVar[Primitive] = ops.Log()


class Sqrt(_Primitive):
    """The square root, of numbers from 0 on; its gradient at 0 is infinite."""

    keyword: ClassVar[str] = "sqrt"
    op: ClassVar[Primitive] = ops.Sqrt()


class Abs(_Primitive):
    """|x|."""

    keyword: ClassVar[str] = "abs"
    op: ClassVar[Primitive] = ops.Abs()


class Sin(_Primitive):
    """sin x, x in radians."""

    keyword: ClassVar[str] = "sin"
    op: ClassVar[Primitive] = ops.Sin()


class Cos(_Primitive):
    """cos x, x in radians."""

    keyword: ClassVar[str] = "cos"
    op: ClassVar[Primitive] = ops.Cos()


@dataclass(frozen=True)
class Square(Function):
    """x^2."""

    keyword: ClassVar[str] = "square"

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,) = values
        return ctx.name_axes(F.mul(ctx.b, x, x), ctx.axes_of(x))


@dataclass(frozen=True)
class Clip(Function):
    """min(max(x, low), high); the gradient is zero outside."""

    keyword: ClassVar[str] = "clip"
    low: Real
    high: Real

    def __post_init__(self) -> None:
        """Raise `ValueError` for an empty interval."""
        if self.low >= self.high:
            raise ValueError(f"`low` must be below `high`, and {self.low:g} is not below {self.high:g}")

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x,), b = values, ctx.b
        return ctx.name_axes(F.minimum(b, F.maximum(b, x, self.low), self.high), ctx.axes_of(x))


@dataclass(frozen=True)
class Where(Function):
    """a where the mask is not 0, else b, element by element: axes of one name are one axis."""

    keyword: ClassVar[str] = "where"
    takes: ClassVar[tuple[str, ...]] = ("mask", "a", "b")
    kind: ClassVar[DType | None] = None

    def forward(self, ctx: Context, *values: Value) -> Value:
        b = ctx.b
        (mask, x, y), axes = aligned(ctx, self.keyword, values)
        if x.dtype != y.dtype:
            raise ctx.fail(
                "MP204", "where chooses between values of one kind", help="onehot(k), or embedding(dim)"
            )
        if mask.dtype is DType.BOOL:
            return ctx.name_axes(b.emit(ops.Where(), mask, x, y), axes)
        nothing = b.emit(ops.Equal(), F.to_float(b, mask), b.constant(0.0))
        return ctx.name_axes(b.emit(ops.Where(), nothing, y, x), axes)


POINTWISE: tuple[type[Function], ...] = (Exp, Log, Sqrt, Square, Abs, Sin, Cos, Clip, Where)

__all__ = ["POINTWISE"]
