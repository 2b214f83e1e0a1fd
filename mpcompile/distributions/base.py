"""What a distribution is. One object answers for loss, log_prob and sampler, so they cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.distributions.support import Support
from mpcompile.ir import Builder, Graph, Parameter, Shape, Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context


@dataclass(frozen=True)
class Distribution:
    """The law of one variable, given values of its parameters."""

    keyword: ClassVar[str]
    #: The values it is a law of.
    support: ClassVar[Support]
    #: Whether `mean` has a closed form; programs that give means give a draw where it has not.
    has_mean: ClassVar[bool] = True

    def log_prob(self, ctx: Context, x: Value) -> Value:
        """Log density (nats) of each example: [N, ...] -> [N]."""
        raise NotImplementedError

    def sample(self, ctx: Context, name: str, shape: Shape) -> Value:
        """A draw of the given shape, from noise inputs named after `name`."""
        raise NotImplementedError

    def sample_and_log_prob(self, ctx: Context, name: str, shape: Shape) -> tuple[Value, Value]:
        """A draw and its log density [N]."""
        x = self.sample(ctx, name, shape)
        return x, self.log_prob(ctx, x)

    def mean(self, ctx: Context, shape: Shape) -> Value:
        """The mean, or what stands for it (class probabilities)."""
        raise NotImplementedError

    def sharpens(self, b: Builder) -> bool:
        """Whether a weight is its scale, so that its density at one point has no bound. Of real numbers alone."""
        return False

    def parameters(self) -> dict[str, Value]:
        """Values of its parameters by name: what `conditionals` and `encode` give."""
        return {}


class Elementwise(Distribution):
    """Independent elements."""

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        """Log density of each element, in the shape of x."""
        raise NotImplementedError

    def log_prob(self, ctx: Context, x: Value) -> Value:
        return F.event_sum(ctx.b, ctx.kept(self.element_log_prob(ctx, x)))

    def noise_kind(self) -> str:
        """The noise of one element: `normal` or `uniform`."""
        return "uniform"

    def from_noise(self, ctx: Context, noise: Value) -> Value:
        """A draw of each element from one noise number each: the same function at every step of a sampler."""
        raise NotImplementedError

    def sample(self, ctx: Context, name: str, shape: Shape) -> Value:
        return self.from_noise(ctx, ctx.noise_input(f"noise_{name}", shape, self.noise_kind()))


def learned(graph: Graph, value: Value, b: Builder | None = None) -> bool:
    """Whether a weight leads to a value; of one within a loop `b`, its builder, also from outside of it."""
    outside = {inner: outer for outer, inner in b.captured.items()} if b else {}
    seen, open_ = set[Value](), [value]
    while open_:
        v = open_.pop()
        node = graph.node(v)
        if isinstance(node.op, Parameter):
            return True
        if v in outside and b and b.outer and learned(b.outer.graph, outside[v], b.outer):
            return True
        open_ += [u for u in node.inputs if u not in seen]
        seen.update(node.inputs)
    return False


def logit(ctx: Context, u: Value) -> Value:
    """log u - log(1 - u): a standard logistic draw from a uniform one."""
    b = ctx.b
    return F.sub(b, b.emit(ops.Log(), u), b.emit(ops.Log(), F.sub(b, 1.0, u)))


def standard_logistic(ctx: Context, z: Value) -> Value:
    """Log density of the standard logistic: -softplus(z) - softplus(-z), which keeps its digits in both tails."""
    b = ctx.b
    return F.neg(b, F.add(b, b.emit(ops.Softplus(), z), b.emit(ops.Softplus(), F.neg(b, z))))
