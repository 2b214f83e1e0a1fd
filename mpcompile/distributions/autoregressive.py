"""p(x) = prod_i p(x_i | x_<i), all conditionals from one masked network (notes, chapter 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.distributions.base import Distribution, Elementwise
from mpcompile.distributions.likelihoods import Likelihood
from mpcompile.distributions.sampling import LAW_ITSELF, Sampling, adjusted
from mpcompile.ir import Array, DType, Shape, Symbolic, Type, Value, float_type, product
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context


@dataclass(frozen=True)
class Autoregressive(Distribution):
    """An autoregressive density.

    net     the network: x -> parameters of every conditional (x as its type says; categories as integers)
    ranks   rank of each element of x in the order, flattened; None for a sequence, whose order is time
    options of its sampler
    """

    keyword: ClassVar[str] = "autoregressive"
    has_mean: ClassVar[bool] = False
    net: Callable[[Context, Value], Value]
    likelihood: Likelihood
    ranks: Array | None
    options: Sampling = LAW_ITSELF

    def conditionals(self, ctx: Context, x: Value) -> Elementwise:
        """The law of every element given those before it, by teacher forcing: one pass of the network."""
        before, ctx.order = ctx.order, self.ranks
        if self.ranks is not None and x.type.rank == 2:
            ctx.degrees[ctx.b.here(x)] = self.ranks + 1
        try:
            output = self.net(ctx, x)
        finally:
            ctx.order = before
        return split_parameters(ctx, output, x, self.likelihood)

    def log_prob(self, ctx: Context, x: Value) -> Value:
        return self.conditionals(ctx, x).log_prob(ctx, x)

    def sample(self, ctx: Context, name: str, shape: Shape) -> Value:
        """The reference sampler: the whole network once per element, in order, each draw from its own noise."""
        dtype = DType.INT if self.likelihood.name == "categorical" else DType.FLOAT
        kind = "normal" if self.likelihood.name == "normal" else "uniform"
        noise = ctx.noise_input(f"noise_{name}", shape, kind)
        given, kept = self._given(ctx, name, Type(dtype, shape))
        start = F.cast(ctx.b, ctx.zeros(shape), dtype)
        event = shape[1:]
        steps = shape[1] if self.ranks is None else int(self.ranks.max()) + 1

        def step(state: list[Value], _: list[Value], t: Value) -> tuple[list[Value], list[Value]]:
            b, (x,) = ctx.b, state
            law = adjusted(ctx, self.conditionals(ctx, x), self.options)
            drawn = F.cast(b, law.from_noise(ctx, b.here(noise)), dtype)
            if given is not None and kept is not None:
                drawn = F.where(b, b.here(kept), b.here(given), drawn)
            if self.ranks is None:
                now = b.emit(ops.Equal(), b.emit(ops.Iota((shape[1],), 0)), t)
                now = F.reshape(b, now, (1, shape[1], *(1,) * (len(event) - 1)))
            else:
                now = b.emit(ops.Equal(), b.constant(self.ranks.reshape(1, *_numbers(event))), t)
            return [b.emit(ops.Where(), now, drawn, x)], []

        (x,), _ = ctx.scan(step, [start], [], length=steps)
        return x

    def _given(self, ctx: Context, name: str, type_: Type) -> tuple[Value | None, Value | None]:
        """What is given of x, and where (bool)."""
        if not self.options.given:
            return None, None
        keep = ctx.b.input(f"keep_{name}", float_type(*type_.shape))
        return ctx.b.input(f"given_{name}", type_), F.less(ctx.b, 0.5, keep)


def _numbers(shape: Shape) -> tuple[int, ...]:
    return tuple(s for s in shape if isinstance(s, int))


def element_ranks(order: str, event: Shape, seed: int) -> Array | None:
    """Ranks of the elements of one example; None when its first axis is a symbolic time, which then is the order.

    `pixel` takes all channels of a pixel before the next pixel (R, G, B); `natural` is the order in memory.
    """
    from mpcompile.layers.masks import ranks

    if event and isinstance(event[0], Symbolic):
        if order != "natural":
            raise ValueError("a sequence is ordered by time: order=natural")
        return None
    size = product(event)
    assert isinstance(size, int)
    if order == "pixel":
        if len(event) != 3:
            raise ValueError("order=pixel is that of an image [channels, height, width]")
        channels, height, width = _numbers(event)
        return np.arange(size).reshape(height, width, channels).transpose(2, 0, 1).reshape(-1).copy()
    return np.asarray(ranks(order, size, seed))


def split_parameters(ctx: Context, output: Value, x: Value, likelihood: Likelihood) -> Elementwise:
    """The law of each element of x from the network's output.

    The output is x's shape with the parameters either as a new last axis ([N, time, k]), or folded into the
    features, parameter-major: [N, k D] for vectors, [N, k C, H, W] for images, [N, time, k D] for sequences.
    """
    b, k, shape = ctx.b, likelihood.count, x.shape
    if output.shape == (*shape, k) and (k > 1 or output.type.rank > x.type.rank):
        if likelihood.stacked:
            return likelihood.make(ctx, [output], x.type.rank)
        parts = [F.reshape(b, p, shape) for p in F.split(b, output, x.type.rank, k)] if k > 1 else []
        return likelihood.make(ctx, parts or [F.reshape(b, output, shape)], x.type.rank)
    axis = x.type.rank - 1 if x.type.rank == 3 and isinstance(shape[1], Symbolic) else 1
    wanted = (*shape[:axis], shape[axis] * k, *shape[axis + 1 :])
    if output.shape != wanted:
        raise ctx.fail(
            "MP207",
            f"the network gives {list(output.shape[1:])} for x of shape {list(shape[1:])}: "
            f"{likelihood.name} needs {k} parameter{'s' if k > 1 else ''} an element",
            help=f"end the network with an output of shape {list(wanted[1:])}",
        )
    if likelihood.stacked:
        wide = F.reshape(b, output, (*shape[:axis], k, *shape[axis:]))
        return likelihood.make(ctx, [wide], axis)
    return likelihood.make(ctx, F.split(b, output, axis, k) if k > 1 else [output], axis)
