"""The choice between two values by a third, element by element. Functions of one value are layers without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.functions.base import Function
from mpcompile.ir import DType, Value
from mpcompile.layers.axes import aligned
from mpcompile.layers.context import Context
from mpcompile.ops import build as F


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


CHOICES: tuple[type[Function], ...] = (Where,)

__all__ = ["CHOICES"]
