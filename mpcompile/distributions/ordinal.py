"""The law of ordered classes: a logistic variable between cut points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.distributions.base import Distribution, Elementwise, logit
from mpcompile.distributions.family import Family
from mpcompile.distributions.rejection import widened
from mpcompile.distributions.slots import Parameters, Slot
from mpcompile.distributions.special import log1m_exp
from mpcompile.distributions.subject import Subject
from mpcompile.distributions.support import LEVELS, Support
from mpcompile.ir import DType, Field, Init, Shape, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F


@dataclass(frozen=True)
class Location:
    """The arguments of `ordinal`."""

    loc: Value


@dataclass(frozen=True)
class Ordinal(Elementwise):
    """P(x <= level k) = sigmoid(cut_k - loc): the cut points between levels are weights, which rise (McCullagh 1980).

    The first cut is a weight, and each next one lies the exponential of a weight above it. They start where loc = 0 makes
    all levels equally probable. `loc` has the shape of x.
    """

    keyword: ClassVar[str] = "ordinal"
    support: ClassVar[Support] = LEVELS
    arguments: ClassVar[type | None] = Location
    shared: ClassVar[bool] = True
    slots: ClassVar[tuple[Slot, ...]] = (Slot("loc"),)
    loc: Value
    cuts: Value
    widths: Value | None
    low: int

    @classmethod
    def stated(cls, ctx: Context, given: Location, subject: Subject) -> Distribution:
        assert subject.field is not None, "it is no law of a latent"
        return cls.with_cuts(ctx, subject.fit(ctx, given.loc), subject.field)

    @classmethod
    def read(cls, parameters: Parameters, family: Family, field: Field) -> Ordinal:
        return cls.with_cuts(parameters.ctx, parameters.one(), field)

    @classmethod
    def with_cuts(cls, ctx: Context, loc: Value, field: Field) -> Ordinal:
        """Declare the cut points of the levels of a variable, weights of the current scope: [levels - 1]."""
        assert field.classes is not None, "its support has levels"
        share = np.arange(1, field.classes) / field.classes
        start = np.log(share) - np.log(1 - share)
        lowest = ctx.param("lowest", (1,), Init("array", array=start[:1]))
        if field.classes == 2:
            return cls(loc, lowest, None, field.low)
        gaps = ctx.param("gaps", (field.classes - 2,), Init("array", array=np.log(np.diff(start))))
        b = ctx.b
        widths = b.emit(ops.Exp(), gaps)
        return cls(loc, b.emit(ops.CumSum(0), F.concat(b, [lowest, widths], 0)), widths, field.low)

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        """log of s(upper) - s(lower) for the cuts beside a level: log s(upper) + log s(-lower) + log(1 - exp(-width))."""
        b, (count,) = ctx.b, self.cuts.shape
        assert isinstance(count, int)
        zero = b.constant(np.zeros(1))
        index = b.emit(ops.Sub(), F.cast(b, x, DType.INT), b.constant(self.low))
        index = b.emit(ops.Minimum(), b.emit(ops.Maximum(), index, b.constant(0)), b.constant(count))
        upper, lower = (
            b.emit(ops.Gather(0), F.concat(b, parts, 0), index)
            for parts in ([self.cuts, zero], [zero, self.cuts])
        )
        below = F.neg(b, b.emit(ops.Softplus(), F.sub(b, self.loc, upper)))
        above = F.neg(b, b.emit(ops.Softplus(), F.sub(b, lower, self.loc)))
        below = F.where(b, b.emit(ops.Less(), index, b.constant(count)), below, 0.0)
        total = F.add(b, below, F.where(b, b.emit(ops.Less(), b.constant(0), index), above, 0.0))
        if self.widths is None:
            return total
        shares = F.concat(b, [zero, log1m_exp(ctx, F.neg(b, self.widths)), zero], 0)
        return F.add(b, total, b.emit(ops.Gather(0), shares, index))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        b = ctx.b
        at = F.add(b, self.loc, logit(ctx, noise[0]))
        above = F.count(b, F.less(b, self.cuts, widened(b, at)), [at.type.rank])
        return F.to_float(b, b.emit(ops.Add(), above, b.constant(self.low)))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        b = ctx.b
        beyond = b.emit(ops.Sigmoid(), F.sub(b, widened(b, self.loc), self.cuts))
        return F.add(b, F.sum_axes(b, beyond, [self.loc.type.rank]), float(self.low))

    def parameters(self) -> dict[str, Value]:
        return {"loc": self.loc}


__all__ = ["Ordinal"]
