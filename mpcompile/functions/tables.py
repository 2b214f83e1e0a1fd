"""Functions of categories: rows of a table, and classes as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.functions.base import Function
from mpcompile.ir import DType, Value
from mpcompile.ir.axes import CHANNEL, CLASS
from mpcompile.layers.axes import described
from mpcompile.layers.context import Context
from mpcompile.ops import build as F
from mpcompile.ranges import Classes


@dataclass(frozen=True)
class OneHot(Function):
    """1 at the class and 0 at the others, along a new axis: that of channels, or `class` where there are channels."""

    keyword: ClassVar[str] = "onehot"
    kind: ClassVar[DType | None] = DType.INT
    classes: Classes | None = None

    def forward(self, ctx: Context, *values: Value) -> Value:
        (k,) = values
        known = ctx.classes_of(k)
        depth = self.classes or known
        if depth is None:
            raise ctx.fail(
                "MP204", "onehot does not know how many categories there are", help="onehot(x, 10)"
            )
        if known is not None and depth < known:
            raise ctx.fail("MP205", f"onehot has {depth} places for {known} categories")
        axes = ctx.axes_of(k)
        new = CHANNEL if not axes else CLASS
        if k in ctx.relaxed:
            return ctx.name_axes(shares_last(ctx, k), (*axes, new))
        return ctx.name_axes(ctx.b.emit(ops.OneHot(depth), k), (*axes, new))


@dataclass(frozen=True)
class Lookup(Function):
    """The row of a table for each category, along the table's axis `class`: a gather. The table is a weight."""

    keyword: ClassVar[str] = "lookup"
    takes: ClassVar[tuple[str, ...]] = ("k", "table")
    kind: ClassVar[DType | None] = None

    def forward(self, ctx: Context, *values: Value) -> Value:
        k, table = values
        rows = ctx.axes_of(table)
        if k.dtype is not DType.INT:
            raise ctx.fail("MP204", "lookup reads the rows of categories", help="declare k: category(8)")
        if CLASS not in rows or table.type.rank != len(rows):
            raise ctx.fail("MP213", f"lookup reads a weight along its axis `{CLASS}`, not {described(ctx, table)}",
                           help=f"weight table: real[{CLASS}: 8, {CHANNEL}: 16]")  # fmt: skip
        at, known = rows.index(CLASS), ctx.classes_of(k)
        if known is not None and table.shape[at] != known:
            raise ctx.fail("MP205", f"lookup of {known} categories in a table of {table.shape[at]} rows")
        axes, rest = ctx.axes_of(k), tuple(n for n in rows if n != CLASS)
        if both := set(axes) & set(rest):
            raise ctx.fail(
                "MP214", f"lookup gives each category the axes of a row, and both have `{min(both)}`"
            )
        if at != 0:
            table = F.transpose(ctx.b, table, at, *(i for i in range(len(rows)) if i != at))
        if k in ctx.relaxed:  # the mean of the rows by their shares
            if len(rest) != 1:
                raise ctx.fail("MP411", "a relaxed category is looked up in a table of rows with one axis")
            return ctx.name_axes(ctx.b.emit(ops.MatMul(), shares_last(ctx, k), table), (*axes, *rest))
        return ctx.name_axes(ctx.b.emit(ops.Gather(0), table, k), (*axes, *rest))


def shares_last(ctx: Context, k: Value) -> Value:
    """Return the shares of the classes of a relaxed category, the axis of classes last."""
    shares, axis = ctx.relaxed[k]
    return F.transpose(ctx.b, shares, *(i for i in range(shares.type.rank) if i != axis), axis)


TABLES: tuple[type[Function], ...] = (OneHot, Lookup)

__all__ = ["TABLES"]
