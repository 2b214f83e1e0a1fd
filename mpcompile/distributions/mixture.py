"""Mixtures of normals over whole vectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import ClassVar

from mpcompile import ops
from mpcompile.distributions.base import Distribution, learned
from mpcompile.distributions.family import Family
from mpcompile.distributions.sampling import Sampling
from mpcompile.distributions.subject import Subject
from mpcompile.distributions.support import REALS, Support
from mpcompile.ir import Builder, Init, Shape, Symbolic, Value, product
from mpcompile.layers.base import Context
from mpcompile.ops import build as F
from mpcompile.ranges import Components

#: Means start uniform in this half-width, apart from each other: components that start equal stay equal.
SPREAD = 2.0


@dataclass(frozen=True)
class OfComponents:
    """The arguments of `mixture`: with a law and a net it is one over single elements (`combinators.MixtureOf`)."""

    law: Family | None = None
    net: Value | None = None
    components: Components = 5


@dataclass(frozen=True)
class Mixture(Distribution):
    """p(x) = sum_k softmax(logits)_k N(x; loc_k, diag(exp(log_scale_k))^2), all learned, for a whole variable x.

    As the base of a flow it gives the latents several modes; as the prior of a latent it is that of a Gaussian-mixture
    VAE. logits [K], loc and log_scale [K, D].
    """

    keyword: ClassVar[str] = "mixture"
    support: ClassVar[Support] = REALS
    arguments: ClassVar[type | None] = OfComponents
    logits: Value
    loc: Value
    log_scale: Value

    @classmethod
    def stated(cls, ctx: Context, given: OfComponents, subject: Subject) -> Distribution:
        field = subject.field
        if field is None or any(isinstance(s, Symbolic) for s in field.type.shape[1:]):
            raise subject.fail("MP209", "`mixture` is a law of real numbers in a fixed shape",
                               help="over single elements: mixture(normal, net, components = 5)")  # fmt: skip
        size = product(field.type.shape[1:])
        assert isinstance(size, int)
        return cls.learned(ctx, given.components, size)

    @classmethod
    def learned(cls, ctx: Context, components: int, size: int) -> Mixture:
        """Declare a mixture of so many components over vectors of this size, its weights in the current scope."""
        return cls(
            ctx.param("logits", (components,), Init("zeros")),
            ctx.param("loc", (components, size), Init("uniform", SPREAD)),
            ctx.param("log_scale", (components, size), Init("zeros")),
        )

    def sharpens(self, b: Builder) -> bool:
        return learned(b.graph, self.log_scale, b)

    def log_prob(self, ctx: Context, x: Value) -> Value:
        b, flat = ctx.b, F.flatten(ctx.b, x)
        wide = F.reshape(b, flat, (flat.shape[0], 1, flat.shape[1]))
        z = F.mul(b, F.sub(b, wide, self.loc), b.emit(ops.Exp(), F.neg(b, self.log_scale)))
        each = F.add(b, F.mul(b, F.mul(b, z, z), -0.5), -0.5 * log(2 * pi))
        component = F.sum_axes(b, F.sub(b, each, self.log_scale), [2])
        weighted = F.add(b, component, b.emit(ops.LogSoftmax(0), self.logits))
        return b.emit(ops.LogSumExp((1,), False), weighted)

    def sample(self, ctx: Context, name: str, shape: Shape) -> Value:
        """One uniform number an example picks the component, a normal one an element draws from it."""
        b, (components, size) = ctx.b, self.loc.shape
        assert isinstance(components, int)
        u = ctx.noise_input(f"noise_{name}_component", (shape[0], 1), "uniform")
        noise = ctx.noise_input(f"noise_{name}", (shape[0], size), "normal")
        upper = b.emit(ops.CumSum(0), b.emit(ops.Softmax(0), self.logits))
        below = F.less(b, F.slice_axis(b, upper, 0, 0, components - 1), u)  # the last is 1
        index = F.count(b, below, [1])
        loc, log_scale = (b.emit(ops.Gather(0), rows, index) for rows in (self.loc, self.log_scale))
        return F.reshape(b, F.add(b, loc, F.mul(b, noise, b.emit(ops.Exp(), log_scale))), shape)

    def adjusted(self, ctx: Context, options: Sampling) -> Distribution:
        return self if options.temperature == 1.0 else self.tempered(ctx, options.temperature)

    def tempered(self, ctx: Context, t: float) -> Mixture:
        """Return the mixture at a temperature: logits divided by it, scales multiplied by it."""
        b = ctx.b
        return Mixture(F.mul(b, self.logits, 1.0 / t), self.loc, F.add(b, self.log_scale, log(t)))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        b, (components, size) = ctx.b, self.loc.shape
        weights = F.reshape(b, b.emit(ops.Softmax(0), self.logits), (components, 1))
        mean = F.sum_axes(b, F.mul(b, weights, self.loc), [0])
        wide = b.emit(ops.BroadcastTo((shape[0], size)), mean)
        assert product(shape[1:]) == size
        return F.reshape(b, wide, shape)
