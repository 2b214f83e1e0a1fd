"""Mixtures of logistics over the levels of an ordered integer (Salimans et al. 2017, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import log
from typing import ClassVar

from mpcompile import ops
from mpcompile.distributions.elementwise import LogisticMixture, OfNetwork
from mpcompile.distributions.family import Family
from mpcompile.distributions.slots import Parameters
from mpcompile.distributions.support import LEVELS, Support
from mpcompile.ir import Field, Shape, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F

#: Scales below exp(-7) of the range's half say no more about 256 levels (the authors' code has the same bound).
MIN_LOG_SCALE = -7.0

#: Below this tanh(w / 2) is w / 2 in double precision.
LEAST_WIDTH = 1e-8


@dataclass(frozen=True)
class DiscretizedLogisticMixture(OfNetwork):
    """The levels low .. low + classes - 1, scaled to [-1, 1], as bins of a mixture of logistics.

    A level has the mass of its bin, half a level to both sides; the first and the last bin reach to infinity. So a
    draw of the mixture, rounded and clipped, has this law exactly.

    Parameters are [N, K, ...] for K components and x [N, ...].
    """

    keyword: ClassVar[str] = "discretized_logistic_mixture"
    support: ClassVar[Support] = LEVELS
    mixture: LogisticMixture
    low: int
    classes: int

    @classmethod
    def read(cls, parameters: Parameters, family: Family, field: Field) -> DiscretizedLogisticMixture:
        assert field.classes is not None, "its support has levels"
        return cls(LogisticMixture.read(parameters, family, field), field.low, field.classes)

    @property
    def parameter_axis(self) -> int | None:
        return self.axis

    @cached_property
    def half(self) -> float:
        """Half the width of a bin, of a range of 2."""
        return 1.0 / max(1, self.classes - 1)

    def _bounded(self, ctx: Context) -> LogisticMixture:
        return replace(self.mixture, log_scale=F.maximum(ctx.b, self.mixture.log_scale, MIN_LOG_SCALE))

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b, axis = ctx.b, self.axis
        bins = self.component_log_prob(ctx, x)
        weighted = F.add(b, b.emit(ops.LogSoftmax(axis), self.mixture.logits), bins)
        return b.emit(ops.LogSumExp((axis,), False), weighted)

    def component_log_prob(self, ctx: Context, x: Value) -> Value:
        """Log mass of the levels x under each component, along the axis of the mixture.

        For z-values a > b of a bin's borders, log(s(a) - s(b)) = log s(a) + log s(-b) + log(1 - exp(b - a)).

        For w = a - b the last term is log tanh(w / 2) + softplus(-w), which keeps its digits where the bin is narrow.
        """
        b, m = ctx.b, self._bounded(ctx)
        level = F.sub(b, x, float(self.low))
        scaled = F.sub(b, F.mul(b, level, 2 * self.half), 1.0)
        wide = F.reshape(b, scaled, (*x.shape[: m.axis], 1, *x.shape[m.axis :]))
        level = F.reshape(b, level, wide.shape)
        centred, inverse = F.sub(b, wide, m.loc), b.emit(ops.Exp(), F.neg(b, m.log_scale))
        upper = F.mul(b, F.add(b, centred, self.half), inverse)
        lower = F.mul(b, F.sub(b, centred, self.half), inverse)
        below = F.neg(b, b.emit(ops.Softplus(), F.neg(b, upper)))  # log of the mass up to the bin's end
        above = F.neg(b, b.emit(ops.Softplus(), lower))  # log of the mass from the bin's start
        width = F.mul(b, inverse, 2 * self.half)
        ratio = F.add(b, self._log_tanh_half(ctx, m, width), b.emit(ops.Softplus(), F.neg(b, width)))
        inside = F.add(b, F.add(b, below, above), ratio)
        last = b.emit(ops.LessEqual(), b.constant(self.classes - 1.5), level)
        return F.where(b, F.less(b, level, 0.5), below, F.where(b, last, above, inside))

    def _log_tanh_half(self, ctx: Context, m: LogisticMixture, width: Value) -> Value:
        """log tanh(w / 2) for w = 2 half / scale: below 1 as log(w / 2) + log(tanh(w / 2) / (w / 2)).

        There log w = log(2 half) - log_scale stays finite, with its gradient, where w itself underflows. Each form is
        held where it is used, so that neither has a gradient that is not a number.
        """
        b, small = ctx.b, F.less(ctx.b, width, 1.0)
        held = F.mul(b, F.minimum(b, F.maximum(b, width, LEAST_WIDTH), 1.0), 0.5)
        share = b.emit(ops.Log(), F.div(b, b.emit(ops.Tanh(), held), held))
        narrow = F.add(b, F.sub(b, log(self.half), m.log_scale), share)
        wide = b.emit(ops.Log(), b.emit(ops.Tanh(), F.mul(b, F.maximum(b, width, 1.0), 0.5)))
        return F.where(b, small, narrow, wide)

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        b = ctx.b
        drawn = self._bounded(ctx).draw(ctx, noise)
        level = F.mul(b, F.add(b, drawn, 1.0), 0.5 / self.half)
        rounded = b.emit(ops.Floor(), F.add(b, level, 0.5))
        return F.add(b, F.minimum(b, F.maximum(b, rounded, 0.0), self.classes - 1.0), float(self.low))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        """The mixture's mean on the scale of the levels: that of the law but for rounding and clipping."""
        b = ctx.b
        scaled = F.add(b, self.mixture.mean(ctx, shape), 1.0)
        return F.add(b, F.mul(b, scaled, 0.5 / self.half), float(self.low))

    def parameters(self) -> dict[str, Value]:
        return self.mixture.parameters()

    @property
    def axis(self) -> int:
        return self.mixture.axis

    def tempered(self, ctx: Context, t: float) -> DiscretizedLogisticMixture:
        return replace(self, mixture=self.mixture.tempered(ctx, t))
