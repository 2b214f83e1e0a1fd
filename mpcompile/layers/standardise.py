"""Standardisation by statistics of the whole training split, which are measured before training.

A value is (x - mean) / deviation for each channel. The statistics are an untrained part of the state. The program
`statistics` (`lowering/statistics.py`) gives those of a batch, and the runner adds the batches up before the first step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Init, Value
from mpcompile.layers.base import CHANNELS, Acting, Acts, Context
from mpcompile.layers.context import Standardised
from mpcompile.ops import build as F

#: Names of the statistics, behind the path of a layer.
MEAN, DEVIATION = "mean", "deviation"


@dataclass(frozen=True)
class Standardise(Acting):
    """(x - mean) / deviation of each channel, with the statistics of the whole training split.

    They are taken over the batch and all axes but the channels, without missing values and padding, before the first
    step, and stay as they are. x is made of variables alone, without weights: a variable, `fill(v, 0)`, `log(v)`.

    The shape stays. `mean` and `deviation` are [C] and untrained; the deviation is the biased one. A channel without
    spread has the deviation 1.
    """

    keyword: ClassVar[str] = "standardise"
    acts: ClassVar[Acts] = CHANNELS

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        axis = self.place(ctx, x)
        shape = (x.shape[axis], *(1,) * (x.type.rank - axis - 1))
        mean, deviation = (F.reshape(ctx.b, v, shape) for v in statistics(ctx, x, axis))
        return F.div(ctx.b, F.sub(ctx.b, x, mean), deviation)


def statistics(ctx: Context, x: Value, axis: int) -> tuple[Value, Value]:
    """Return the mean and the deviation of each channel of x, [C], and note that x is what they are taken of."""
    size = x.shape[axis]
    assert isinstance(size, int)
    mean = ctx.param(MEAN, (size,), Init("zeros"), trainable=False)
    deviation = ctx.param(DEVIATION, (size,), Init("ones"), trainable=False)
    seen = Standardised(x, axis, ctx.b.outer is not None, ctx.span)
    ctx.standardised.setdefault(ctx.path, []).append(seen)
    return mean, deviation


__all__ = ["DEVIATION", "MEAN", "Standardise", "statistics"]
