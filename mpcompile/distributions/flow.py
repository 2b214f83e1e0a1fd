"""Densities by change of variables: log p(x) = log p(z) + log |det dz/dx| (notes, section 7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.bijectors import Bijector, FactorOut
from mpcompile.diagnostics import Span
from mpcompile.distributions.base import Distribution
from mpcompile.distributions.elementwise import Normal
from mpcompile.ir import Shape, Value, product
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context


@dataclass(frozen=True)
class Placed:
    """A bijector of a flow with its name and its place in the spec."""

    bijector: Bijector
    name: str
    label: str
    span: Span


@dataclass(frozen=True)
class Flow(Distribution):
    """A standard base distribution pushed through a chain of bijectors, listed from the data to the latents."""

    keyword: ClassVar[str] = "flow"
    base: Normal
    chain: tuple[Placed, ...]

    def forward(self, ctx: Context, x: Value) -> tuple[Value, Value]:
        """x[N, ...] -> z[N, D] and log |det dz/dx| [N]. Latents factored out come first in z."""
        b, h, done = ctx.b, x, []
        total: Value | None = None
        for placed in self.chain:
            bijector = placed.bijector
            with ctx.frame(placed.name, placed.label, placed.span, function=bijector.function):
                if isinstance(bijector, FactorOut):
                    out, h = bijector.split(ctx, h)
                    done.append(F.flatten(b, out))
                    continue
                h, log_det = bijector.forward(ctx, h)
            if log_det is not None:
                total = log_det if total is None else F.add(b, total, log_det)
        z = F.concat(b, [*done, F.flatten(b, h)], 1)
        return z, total if total is not None else ctx.zeros((x.shape[0],))

    def shapes(self, shape: Shape) -> list[Shape]:
        """Shape of the value before each bijector, and after the last."""
        out = [shape]
        for placed in self.chain:
            out.append(placed.bijector.output_shape(out[-1]))
        return out

    def inverse(self, ctx: Context, z: Value, shape: Shape) -> Value:
        """z[N, D] -> x of the given shape."""
        b, shapes, start = ctx.b, self.shapes(shape), 0
        parts: dict[int, tuple[int, int]] = {}
        for i, placed in enumerate(self.chain):
            if isinstance(placed.bijector, FactorOut):
                size = product(placed.bijector.factored_shape(shapes[i])[1:])
                assert isinstance(size, int)
                parts[i] = (start, start + size)
                start += size
        rest = F.slice_axis(b, z, 1, start) if start else z
        h = F.reshape(b, rest, shapes[-1])
        for i in reversed(range(len(self.chain))):
            placed = self.chain[i]
            with ctx.frame(
                placed.name, placed.label, placed.span, function=placed.bijector.function, role="inverse"
            ):
                if isinstance(placed.bijector, FactorOut):
                    factored = F.slice_axis(b, z, 1, *parts[i])
                    h = placed.bijector.join(
                        ctx, F.reshape(b, factored, placed.bijector.factored_shape(shapes[i])), h
                    )
                else:
                    h = placed.bijector.inverse(ctx, h)
        return h

    def log_prob(self, ctx: Context, x: Value) -> Value:
        z, log_det = self.forward(ctx, x)
        return F.add(ctx.b, self.base.log_prob(ctx, z), log_det)

    def sample(self, ctx: Context, name: str, shape: Shape) -> Value:
        z = self.base.sample(ctx, name, (shape[0], product(shape[1:])))
        return self.inverse(ctx, z, shape)
