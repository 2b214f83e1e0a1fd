"""Likelihoods of single elements. Their negative logs are the usual losses (notes, section 1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, pi
from typing import ClassVar

from mpcompile import ops
from mpcompile.distributions.base import Elementwise, logit
from mpcompile.ir import DType, Shape, Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context

Operand = Value | float


@dataclass(frozen=True)
class Bernoulli(Elementwise):
    """log p(x) = x a - softplus(a) for logits a: binary cross-entropy, computed from logits."""

    keyword: ClassVar[str] = "bernoulli"
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
    activation: Value

    def mean(self, ctx: Context, shape: Shape) -> Value:
        b = ctx.b
        return F.to_float(b, b.emit(ops.LogicalNot(), F.less(b, self.activation, 0.0)))

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        wrong = F.sub(b, x, b.emit(ops.StopGradient(), self.mean(ctx, x.shape)))  # +1, 0 or -1
        return F.mul(b, wrong, self.activation)

    def parameters(self) -> dict[str, Value]:
        return {"activation": self.activation}


@dataclass(frozen=True)
class Normal(Elementwise):
    """Gaussian with mean `loc` and log standard deviation `log_scale`: squared error when the scale is fixed."""

    keyword: ClassVar[str] = "normal"
    loc: Operand
    log_scale: Operand

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        z = self.standardise(ctx, x)
        lp = F.add(b, F.mul(b, F.mul(b, z, z), -0.5), -0.5 * log(2 * pi))
        return lp if self.log_scale == 0.0 else F.sub(b, lp, self.log_scale)

    def standardise(self, ctx: Context, x: Value) -> Value:
        """(x - loc) / scale."""
        b = ctx.b
        centred = x if self.loc == 0.0 else F.sub(b, x, self.loc)
        if isinstance(self.log_scale, Value):
            return F.mul(b, centred, b.emit(ops.Exp(), F.neg(b, self.log_scale)))
        return centred if self.log_scale == 0.0 else F.mul(b, centred, 2.718281828459045**-self.log_scale)

    def noise_kind(self) -> str:
        return "normal"

    def from_noise(self, ctx: Context, noise: Value) -> Value:
        b = ctx.b
        if isinstance(self.log_scale, Value):
            noise = F.mul(b, b.emit(ops.Exp(), self.log_scale), noise)
        elif self.log_scale != 0.0:
            noise = F.mul(b, noise, 2.718281828459045**self.log_scale)
        return noise if self.loc == 0.0 else F.add(b, self.loc, noise)

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return self.loc if isinstance(self.loc, Value) else F.add(ctx.b, ctx.zeros(shape), self.loc)

    def parameters(self) -> dict[str, Value]:
        pairs = {"loc": self.loc, "log_scale": self.log_scale}
        return {k: v for k, v in pairs.items() if isinstance(v, Value)}

    def kl(self, ctx: Context, other: Normal) -> Value:
        """KL(self || other) of each example, in closed form (Kingma and Welling 2014, appendix B): [N]."""
        b = ctx.b
        loc, other_loc = self.mean(ctx, self._shape()), other.loc
        difference = loc if other_loc == 0.0 else F.sub(b, loc, other_loc)
        log_ratio = F.sub(b, self.log_scale, other.log_scale) if other.log_scale != 0.0 else self.log_scale
        ratio = (
            b.emit(ops.Exp(), F.mul(b, log_ratio, 2.0))
            if isinstance(log_ratio, Value)
            else exp(2 * log_ratio)
        )
        square = F.mul(b, difference, difference)
        if isinstance(other.log_scale, Value):
            square = F.mul(b, square, b.emit(ops.Exp(), F.mul(b, other.log_scale, -2.0)))
        elif other.log_scale != 0.0:
            square = F.mul(b, square, 2.718281828459045 ** (-2 * other.log_scale))
        inner = F.add(b, F.add(b, ratio, square), -1.0)
        return F.event_sum(b, ctx.kept(F.sub(b, F.mul(b, inner, 0.5), log_ratio)))

    def _shape(self) -> Shape:
        for v in (self.loc, self.log_scale):
            if isinstance(v, Value):
                return v.shape
        return ()


@dataclass(frozen=True)
class Laplace(Elementwise):
    """exp(-|x - loc| / scale) / (2 scale): absolute error when the scale is fixed."""

    keyword: ClassVar[str] = "laplace"
    loc: Operand
    log_scale: Operand

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        distance = b.emit(ops.Abs(), F.sub(b, x, self.loc))
        if isinstance(self.log_scale, Value):
            distance = F.mul(b, distance, b.emit(ops.Exp(), F.neg(b, self.log_scale)))
        elif self.log_scale != 0.0:
            distance = F.mul(b, distance, 2.718281828459045**-self.log_scale)
        lp = F.sub(b, -log(2.0), distance)
        return lp if self.log_scale == 0.0 else F.sub(b, lp, self.log_scale)

    def from_noise(self, ctx: Context, noise: Value) -> Value:
        b = ctx.b
        centred = F.sub(b, noise, 0.5)
        tail = b.emit(ops.Log(), F.sub(b, 1.0, F.mul(b, b.emit(ops.Abs(), centred), 2.0)))
        draw = F.neg(b, F.mul(b, b.emit(ops.Sign(), centred), tail))
        scale = (
            b.emit(ops.Exp(), self.log_scale)
            if isinstance(self.log_scale, Value)
            else 2.718281828459045**self.log_scale
        )
        return F.add(b, self.loc, F.mul(b, draw, scale))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return self.loc if isinstance(self.loc, Value) else F.add(ctx.b, ctx.zeros(shape), self.loc)

    def parameters(self) -> dict[str, Value]:
        pairs = {"loc": self.loc, "log_scale": self.log_scale}
        return {k: v for k, v in pairs.items() if isinstance(v, Value)}


@dataclass(frozen=True)
class Categorical(Elementwise):
    """Softmax over `axis` of the logits; x holds class indices in the logits' shape without that axis."""

    keyword: ClassVar[str] = "categorical"
    logits: Value
    axis: int

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        index = F.reshape(b, F.cast(b, x, DType.INT), (*x.shape[: self.axis], 1, *x.shape[self.axis :]))
        picked = b.emit(ops.TakeAlong(self.axis), b.emit(ops.LogSoftmax(self.axis), self.logits), index)
        return F.reshape(b, picked, x.shape)

    def from_noise(self, ctx: Context, noise: Value) -> Value:
        """Inverse of the distribution function: the number of classes whose cumulated probability is below u."""
        b, axis = ctx.b, self.axis
        cumulated = b.emit(ops.CumSum(axis), b.emit(ops.Softmax(axis), self.logits))
        classes = self.logits.shape[axis]
        assert isinstance(classes, int)
        inner = F.slice_axis(
            b, cumulated, axis, 0, classes - 1
        )  # the last is 1: left out, so no index is too large
        u = F.reshape(b, noise, (*noise.shape[:axis], 1, *noise.shape[axis:]))
        below = F.to_float(b, F.less(b, inner, u))
        return F.cast(b, F.sum_axes(b, below, [axis]), DType.INT)

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return ctx.b.emit(ops.Softmax(self.axis), self.logits)

    def parameters(self) -> dict[str, Value]:
        return {"logits": self.logits}


@dataclass(frozen=True)
class LogisticMixture(Elementwise):
    """A mixture of logistics over real elements: logits, locs and log scales each [N, K, ...]."""

    keyword: ClassVar[str] = "logistic_mixture"
    logits: Value
    loc: Value
    log_scale: Value
    axis: int

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b, axis = ctx.b, self.axis
        wide = F.reshape(b, x, (*x.shape[:axis], 1, *x.shape[axis:]))
        z = F.mul(b, F.sub(b, wide, self.loc), b.emit(ops.Exp(), F.neg(b, self.log_scale)))
        both = F.add(b, b.emit(ops.Softplus(), z), b.emit(ops.Softplus(), F.neg(b, z)))
        component = F.neg(b, F.add(b, both, self.log_scale))
        weighted = F.add(b, b.emit(ops.LogSoftmax(axis), self.logits), component)
        return b.emit(ops.LogSumExp((axis,), False), weighted)

    def from_noise(self, ctx: Context, noise: Value) -> Value:
        """One uniform number picks the component and, rescaled within its share, the draw."""
        b, axis = ctx.b, self.axis
        weights = b.emit(ops.Softmax(axis), self.logits)
        u = F.reshape(b, noise, (*noise.shape[:axis], 1, *noise.shape[axis:]))
        upper = b.emit(ops.CumSum(axis), weights)
        lower = F.sub(b, upper, weights)
        components = upper.shape[axis]
        assert isinstance(components, int)
        u = F.mul(b, u, F.slice_axis(b, upper, axis, components - 1))  # rounding may leave the total beside 1
        inside = F.mul(
            b, F.to_float(b, b.emit(ops.LessEqual(), lower, u)), F.to_float(b, F.less(b, u, upper))
        )
        share = F.minimum(b, F.maximum(b, F.div(b, F.sub(b, u, lower), weights), 1e-6), 1 - 1e-6)
        draw = F.add(b, self.loc, F.mul(b, b.emit(ops.Exp(), self.log_scale), logit(ctx, share)))
        return F.sum_axes(b, F.mul(b, inside, draw), [axis])

    def mean(self, ctx: Context, shape: Shape) -> Value:
        b = ctx.b
        return F.sum_axes(b, F.mul(b, b.emit(ops.Softmax(self.axis), self.logits), self.loc), [self.axis])

    def parameters(self) -> dict[str, Value]:
        return {"logits": self.logits, "loc": self.loc, "log_scale": self.log_scale}
