"""Functions of categories: rows of a table, and classes as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.functions.base import Function
from mpcompile.ir import DType, Value
from mpcompile.ir.axes import CHANNEL, CLASS
from mpcompile.layers.axes import described
from mpcompile.layers.classes import depth, rows, shares_of
from mpcompile.layers.context import Context
from mpcompile.ops import build as F
from mpcompile.ranges import Classes


@dataclass(frozen=True)
class OneHot(Function):
    """1 at the class and 0 at the others, along a new axis: that of channels, or `class` where there are channels."""

    keyword: ClassVar[str] = "onehot"
    kind: ClassVar[DType | None] = DType.INT
    by_shares: ClassVar[bool] = True
    classes: Classes | None = None

    def forward(self, ctx: Context, *values: Value) -> Value:
        (k,) = values
        classes = depth(ctx, self.keyword, k, self.classes, "onehot(x, 10)")
        axes = ctx.axes_of(k)
        new = CHANNEL if not axes else CLASS
        shares = shares_of(ctx, k)
        return ctx.name_axes(ctx.b.emit(ops.OneHot(classes), k) if shares is None else shares, (*axes, new))


@dataclass(frozen=True)
class Lookup(Function):
    """The row of a table for each category, along the table's axis `class`: a gather. The table is a weight."""

    keyword: ClassVar[str] = "lookup"
    takes: ClassVar[tuple[str, ...]] = ("k", "table")
    kind: ClassVar[DType | None] = None
    by_shares: ClassVar[bool] = True

    def forward(self, ctx: Context, *values: Value) -> Value:
        k, table = values
        own = ctx.axes_of(table)
        if k.dtype is not DType.INT:
            raise ctx.fail("MP204", "lookup reads the rows of categories", help="declare k: category(8)")
        if CLASS not in own or table.type.rank != len(own):
            raise ctx.fail("MP213", f"lookup reads a weight along its axis `{CLASS}`, not {described(ctx, table)}",
                           help=f"weight table: real[{CLASS}: 8, {CHANNEL}: 16]")  # fmt: skip
        at, known = own.index(CLASS), ctx.classes_of(k)
        if known is not None and table.shape[at] != known:
            raise ctx.fail("MP205", f"lookup of {known} categories in a table of {table.shape[at]} rows")
        axes, rest = ctx.axes_of(k), tuple(n for n in own if n != CLASS)
        if both := set(axes) & set(rest):
            raise ctx.fail(
                "MP214", f"lookup gives each category the axes of a row, and both have `{min(both)}`"
            )
        if at != 0:
            table = F.transpose(ctx.b, table, at, *(i for i in range(len(own)) if i != at))
        if k in ctx.relaxed and len(rest) != 1:
            raise ctx.fail("MP411", "a relaxed category is looked up in a table of rows with one axis",
                           help=f"weight table: real[{CLASS}: 8, {CHANNEL}: 16]")  # fmt: skip
        return ctx.name_axes(rows(ctx, k, table), (*axes, *rest))


TABLES: tuple[type[Function], ...] = (OneHot, Lookup)

__all__ = ["TABLES"]
