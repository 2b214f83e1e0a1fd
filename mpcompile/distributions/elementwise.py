"""Likelihoods of single elements. Their negative logs are the usual losses (notes, section 1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.distributions.base import Elementwise, learned, logit, standard_logistic
from mpcompile.distributions.support import BITS, CLASSES, REALS, SIDES, Support
from mpcompile.ir import Builder, DType, Shape, Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context


@dataclass(frozen=True)
class Bernoulli(Elementwise):
    """log p(x) = x a - softplus(a) for logits a: binary cross-entropy, computed from logits."""

    keyword: ClassVar[str] = "bernoulli"
    support: ClassVar[Support] = BITS
    logits: Value

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        return F.sub(b, F.mul(b, x, self.logits), b.emit(ops.Softplus(), self.logits))

    def from_noise(self, ctx: Context, noise: Value) -> Value:
        p = ctx.b.emit(ops.Sigmoid(), self.logits)
        return F.to_float(ctx.b, F.less(ctx.b, noise, p))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return ctx.b.emit(ops.Sigmoid(), self.logits)

    def parameters(self) -> dict[str, Value]:
        return {"logits": self.logits}


@dataclass(frozen=True)
class Perceptron(Elementwise):
    """Rosenblatt's criterion: -(2 x - 1) a on mistakes and 0 elsewhere; sgd with rate 1 on it is his update rule.

    Not a density: it has no sampler and its `log_prob` is minus the criterion.
    """

    keyword: ClassVar[str] = "perceptron"
    support: ClassVar[Support] = SIDES
    activation: Value

    def mean(self, ctx: Context, shape: Shape) -> Value:
        b = ctx.b
        return F.to_float(b, F.less(b, 0.0, self.activation))

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        wrong = F.sub(b, x, b.emit(ops.StopGradient(), self.mean(ctx, x.shape)))  # +1, 0 or -1
        return F.mul(b, wrong, self.activation)

    def parameters(self) -> dict[str, Value]:
        return {"activation": self.activation}


@dataclass(frozen=True)
class Categorical(Elementwise):
    """Softmax over `axis` of the logits; x holds classes in the logits' shape without that axis, numbered from `low`."""

    keyword: ClassVar[str] = "categorical"
    support: ClassVar[Support] = CLASSES
    logits: Value
    axis: int
    low: int = 0

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        if self.low:  # zeros behind the end of a sequence may be no class
            classes = self.logits.shape[self.axis]
            assert isinstance(classes, int)
            x = b.emit(ops.Sub(), F.cast(b, x, DType.INT), b.constant(self.low))
            x = b.emit(ops.Minimum(), b.emit(ops.Maximum(), x, b.constant(0)), b.constant(classes - 1))
        index = F.reshape(b, F.cast(b, x, DType.INT), (*x.shape[: self.axis], 1, *x.shape[self.axis :]))
        picked = b.emit(ops.TakeAlong(self.axis), b.emit(ops.LogSoftmax(self.axis), self.logits), index)
        return F.reshape(b, picked, x.shape)

    def from_noise(self, ctx: Context, noise: Value) -> Value:
        """Inverse of the distribution function: the number of classes whose cumulated probability is below u.

        u is taken on the scale of the total as it is rounded: else a last class of hardly any probability is drawn
        whenever the total of the others is rounded to less than u.
        """
        b, axis = ctx.b, self.axis
        cumulated = b.emit(ops.CumSum(axis), b.emit(ops.Softmax(axis), self.logits))
        inner, total = _split_last(b, cumulated, axis)  # the last is left out, so that no index is too large
        u = F.reshape(b, noise, (*noise.shape[:axis], 1, *noise.shape[axis:]))
        below = F.to_float(b, F.less(b, inner, F.mul(b, u, total)))
        drawn = F.cast(b, F.sum_axes(b, below, [axis]), DType.INT)
        return b.emit(ops.Add(), drawn, b.constant(self.low)) if self.low else drawn

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return ctx.b.emit(ops.Softmax(self.axis), self.logits)

    def parameters(self) -> dict[str, Value]:
        return {"logits": self.logits}


def _split_last(b: Builder, x: Value, axis: int) -> tuple[Value, Value]:
    """All along the axis but the last, and the last, which keeps its axis."""
    size = x.shape[axis]
    assert isinstance(size, int)
    return F.slice_axis(b, x, axis, 0, size - 1), F.slice_axis(b, x, axis, size - 1)


@dataclass(frozen=True)
class LogisticMixture(Elementwise):
    """A mixture of logistics over real elements: logits, locs and log scales each [N, K, ...]."""

    keyword: ClassVar[str] = "logistic_mixture"
    support: ClassVar[Support] = REALS
    logits: Value
    loc: Value
    log_scale: Value
    axis: int

    def sharpens(self, b: Builder) -> bool:
        return learned(b.graph, self.log_scale, b)

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b, axis = ctx.b, self.axis
        wide = F.reshape(b, x, (*x.shape[:axis], 1, *x.shape[axis:]))
        z = F.mul(b, F.sub(b, wide, self.loc), b.emit(ops.Exp(), F.neg(b, self.log_scale)))
        component = F.sub(b, standard_logistic(ctx, z), self.log_scale)
        weighted = F.add(b, b.emit(ops.LogSoftmax(axis), self.logits), component)
        return b.emit(ops.LogSumExp((axis,), False), weighted)

    def from_noise(self, ctx: Context, noise: Value) -> Value:
        """One uniform number picks the component and, rescaled within its share, the draw."""
        b, axis = ctx.b, self.axis
        weights = b.emit(ops.Softmax(axis), self.logits)
        u = F.reshape(b, noise, (*noise.shape[:axis], 1, *noise.shape[axis:]))
        upper = b.emit(ops.CumSum(axis), weights)
        inner, total = _split_last(b, upper, axis)
        u = F.mul(b, u, total)
        # counted, and not compared with both ends: `upper - weights` is not the end of the component before as that is
        # rounded, so that u would fall into none or two
        below = F.to_float(b, F.less(b, inner, u))
        index = F.reshape(b, F.sum_axes(b, below, [axis]), u.shape)
        numbers = np.arange(inner.shape[axis] + 1.0).reshape(-1, *(1,) * (u.type.rank - axis - 1))  # type: ignore[operator]
        inside = F.to_float(b, b.emit(ops.Equal(), index, b.constant(numbers)))
        lower = F.sub(b, upper, weights)
        share = F.minimum(b, F.maximum(b, F.div(b, F.sub(b, u, lower), weights), 1e-6), 1 - 1e-6)
        draw = F.add(b, self.loc, F.mul(b, b.emit(ops.Exp(), self.log_scale), logit(ctx, share)))
        return F.sum_axes(b, F.mul(b, inside, draw), [axis])

    def mean(self, ctx: Context, shape: Shape) -> Value:
        b = ctx.b
        return F.sum_axes(b, F.mul(b, b.emit(ops.Softmax(self.axis), self.logits), self.loc), [self.axis])

    def parameters(self) -> dict[str, Value]:
        return {"logits": self.logits, "loc": self.loc, "log_scale": self.log_scale}
