"""The codebook posterior `nearest(table, net, commitment = b)`: vector quantisation (van den Oord et al. 2017).

The code of each place is the row of a learned table that lies nearest to the vector of the net there; of rows at the same
distance it is the first. The posterior puts all its mass on that code, so log q is 0, and the bound is log p(x given k) +
log p(k), which is log p(x, k). In training `lookup(k, table)` gives the nearest rows, and passes its gradient straight
through to the net. The table learns from the codebook term and the net from the commitment term, parts of `loss` alone
(their eq. 3, summed over places).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from mpcompile import ops
from mpcompile.diagnostics import Span, error
from mpcompile.distributions import Distribution
from mpcompile.distributions.elementwise import Categorical
from mpcompile.ir import Field, Value
from mpcompile.ir.axes import CHANNEL, CLASS
from mpcompile.layers import Context
from mpcompile.layers.axes import described, ordered, with_batch
from mpcompile.layers.context import Coded
from mpcompile.ops import build as F


@dataclass(frozen=True)
class Codes(Categorical):
    """The point mass at the nearest row; `logits` are z e - e e / 2 of vectors z and rows e, largest at the nearest one.

    `coded` has the vectors [N, ..., channel] and the table [class, channel].
    """

    keyword: ClassVar[str] = "nearest"
    coded: Coded = field(kw_only=True)

    def parameters(self) -> dict[str, Value]:
        return {}


def codes(ctx: Context, table: Value, net: Value, commitment: float, of: Field, span: Span) -> Codes:
    """Build the posterior of a latent of classes from a table [class, channel] and a net's value [N, ..., channel].

    The axes of the net's value are those of the latent, and that of the rows. Raises `SpecError` (MP411) for others.
    """
    z, name = with_batch(ctx, net), of.name
    own, axes = ctx.axes_of(table), ctx.axes_of(z)
    if own != (CLASS, CHANNEL) or table.type.rank != 2 or table.shape[0] != of.classes:
        raise error("MP411", f"the codebook of `{name}` is {described(ctx, table)}, and no row for each class", span,
                    help=f"weight table: real[{CLASS}: {of.classes}, {CHANNEL}: 16]")  # fmt: skip
    wanted = (*of.axes, CHANNEL)
    if set(axes) != set(wanted) or (z := ordered(ctx, z, wanted)).shape != (*of.type.shape, table.shape[1]):
        raise error(
            "MP411", f"the vectors of `{name}` are {described(ctx, z)}, and have its axes and those of a row", span,
            help=f"the net gives {', '.join(wanted)}, with {table.shape[1]} channels",
        )  # fmt: skip
    b = ctx.b
    squares = F.mul(b, F.sum_axes(b, F.mul(b, table, table), [1]), 0.5)
    scores = F.sub(b, b.emit(ops.MatMul(), z, F.transpose(b, table, 1, 0)), squares)
    return Codes(scores, scores.type.rank - 1, coded=Coded(z, table, commitment))


def draw(ctx: Context, q: Codes, p: Distribution, k: Value) -> Value:
    """Return -log p of the codes k, [N], the divergence of the point mass from the prior; note what k stands for."""
    log_p = p.log_prob(ctx, k)  # before: a prior may read the classes themselves
    if ctx.training:
        ctx.coded[k] = q.coded
    return F.neg(ctx.b, log_p)


def terms(ctx: Context, coded: Coded, k: Value) -> tuple[Value, Value]:
    """Return |z - e|^2, and what of it the loss has: the codebook term and the commitment term, [N] each.

    Both are summed over places and channels: |sg(z) - e|^2 + b |z - sg(e)|^2.
    """
    b, z = ctx.b, coded.vectors
    rows = b.emit(ops.Gather(0), coded.table, k)

    def square(x: Value, y: Value) -> Value:
        gap = F.sub(b, x, y)
        return F.event_sum(b, F.mul(b, gap, gap))

    fixed_z, fixed_rows = (b.emit(ops.StopGradient(), v) for v in (z, rows))
    moved, committed = square(fixed_z, rows), square(z, fixed_rows)
    return moved, F.add(b, moved, F.mul(b, committed, coded.commitment))


__all__ = ["Codes", "codes", "draw", "terms"]
