"""Categories as layers and functions read them: how many classes there are, and rows of a table.

A relaxed category (`gumbel`, in training) stands for shares of its classes. Whatever reads it by its shares passes a
gradient; whatever would read its class passes none, and is refused. So it is with the code of a table (`nearest`).
"""

from __future__ import annotations

from collections.abc import Sequence

from mpcompile import ops
from mpcompile.ir import Value
from mpcompile.layers.context import Context
from mpcompile.ops import build as F


def depth(ctx: Context, who: str, k: Value, given: int | None, usage: str) -> int:
    """Return the number of classes of a category, those that are `given` or its own.

    Raises `SpecError`: MP204 where neither is known, MP205 where fewer are given than there are.
    """
    known = ctx.classes_of(k)
    if given is None and known is None:
        raise ctx.fail("MP204", f"{who} does not know how many categories there are", help=usage)
    if given is not None and known is not None and given < known:
        raise ctx.fail("MP205", f"{who} has {given} rows for {known} categories")
    found = given or known
    assert found is not None
    return found


def shares_of(ctx: Context, k: Value) -> Value | None:
    """Return the shares of the classes of a relaxed category, [N, ..., classes]; None for another one.

    Raises `SpecError` (MP411) for a code of a table, which has no shares: rows of its own table pass its gradient.
    """
    check_no_code(ctx, k)
    if k not in ctx.relaxed:
        return None
    shares, axis = ctx.relaxed[k]
    return F.transpose(ctx.b, shares, *(i for i in range(shares.type.rank) if i != axis), axis)


def rows(ctx: Context, k: Value, table: Value) -> Value:
    """Read the row of a table [classes, dim] of each category; of a relaxed one the mean of rows by its shares.

    Of a code of this table the nearest row, whose gradient passes straight through to the vector (Bengio et al. 2013),
    and not to the table.
    """
    coded = ctx.coded.get(k)
    if coded is not None and coded.table == table:
        b = ctx.b
        nearest = b.emit(ops.StopGradient(), b.emit(ops.Gather(0), table, k))
        return F.add(b, nearest, F.sub(b, coded.vectors, b.emit(ops.StopGradient(), coded.vectors)))
    shares = shares_of(ctx, k)
    return ctx.b.emit(ops.Gather(0), table, k) if shares is None else ctx.b.emit(ops.MatMul(), shares, table)


def check_not_relaxed(ctx: Context, who: str, values: Sequence[Value]) -> None:
    """Raise `SpecError` (MP411) for a relaxed category or a code, of which only its class would be read."""
    for v in values:
        check_no_code(ctx, v)
    if any(v in ctx.relaxed for v in values):
        raise ctx.fail("MP411", f"{who} reads the class of a relaxed category, through which no gradient passes",
                       help="onehot(k), lookup(k, table) and embedding(dim) read its shares")  # fmt: skip


def check_no_code(ctx: Context, k: Value) -> None:
    """Raise `SpecError` (MP411) for a code of a table, through whose class no gradient passes."""
    if k in ctx.coded:
        raise ctx.fail("MP411", "the class of a code passes no gradient: only rows of its own table do",
                       help="lookup(k, table), with the table of `nearest(table, net)`")  # fmt: skip


__all__ = ["check_no_code", "check_not_relaxed", "depth", "rows", "shares_of"]
