"""Densities by change of variables: log p(x) = log p(z) + log |det dz/dx| (notes, section 7.1)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar

from mpcompile.bijectors import Bijector, FactorOut
from mpcompile.bijectors.base import inner
from mpcompile.diagnostics import Span
from mpcompile.distributions.base import Distribution
from mpcompile.distributions.sampling import LAW_ITSELF, Sampling
from mpcompile.distributions.support import DEQUANTIZED, Support
from mpcompile.ir import Builder, Shape, Value, product
from mpcompile.ir.axes import CHANNEL, Axes
from mpcompile.ir.names import part
from mpcompile.layers.axes import ordered
from mpcompile.layers.base import Context
from mpcompile.ops import build as F


@dataclass(frozen=True)
class Placed:
    """A bijector of a flow with its name and its place in the spec; `former` is its name in files of before."""

    bijector: Bijector
    name: str
    label: str
    span: Span
    former: str

    def within(self, ctx: Context, role: str = "forward") -> AbstractContextManager[None]:
        """Enter the scope of the bijector."""
        ctx.naming.formerly(ctx.b.scope, self.name, f".{part(self.former)}")
        return ctx.frame(self.name, self.label, self.span, function=self.bijector.function, role=role)


@dataclass(frozen=True)
class Flow(Distribution):
    """A base distribution pushed through a chain of bijectors, listed from the data to the latents.

    `log_prob` maps x [N, ...] to [N]: the log density of its latents [N, D] under the base, plus all
    log-determinants [N].
    """

    keyword: ClassVar[str] = "flow"
    support: ClassVar[Support] = DEQUANTIZED
    implies: ClassVar[str] = "jacobian"
    reparameterised: ClassVar[bool] = True
    base: Distribution
    chain: tuple[Placed, ...]
    axes: Axes  # of the variable, as it is declared

    @property
    def inner(self) -> Axes:
        """The axes of the variable in the order that bijectors have, channels first."""
        return inner(self.axes)

    def arranged(self, shape: Shape) -> Shape:
        """The shape of the variable in the order that bijectors have; without an axis of channels it is one channel."""
        sizes = dict(zip(self.axes, shape[1:], strict=True))
        return (shape[0], *(sizes.get(name, 1) for name in self.inner))

    def forward(self, ctx: Context, x: Value) -> tuple[Value, Value]:
        """x[N, ...] -> z[N, D] and log |det dz/dx| [N]. Latents factored out come first in z."""
        return self._forwards(ctx, x, scored=False)

    def _forwards(self, ctx: Context, x: Value, scored: bool) -> tuple[Value, Value]:
        """`forward`, with the noise that dequantises drawn and counted where it is `scored`."""
        b, h, done = ctx.b, ordered(ctx, ctx.name_axes(x, self.axes), self.inner), []
        total: Value | None = None
        for placed in self.chain:
            bijector = placed.bijector
            with placed.within(ctx):
                if isinstance(bijector, FactorOut):
                    out, h = bijector.split(ctx, h)
                    h = ctx.name_axes(h, self.inner)
                    done.append(F.flatten(b, out))
                    continue
                h, log_det = bijector.score(ctx, h) if scored else bijector.forward(ctx, h)
                h = ctx.name_axes(h, self.inner)
            if log_det is not None:
                total = log_det if total is None else F.add(b, total, log_det)
        z = F.concat(b, [*done, F.flatten(b, h)], 1)
        found = z, total if total is not None else ctx.zeros((x.shape[0],))
        if not (scored and any(placed.bijector.draws for placed in self.chain)):
            ctx.mapped[x] = found
        return found

    @property
    def data_dependent(self) -> bool:
        """Whether some parameters are set from the first batch."""
        return any(placed.bijector.data_dependent for placed in self.chain)

    def initialize(self, ctx: Context, x: Value) -> None:
        """`forward`, each bijector with the parameters that it sets from what reaches it (`ctx.updates`)."""
        h = ordered(ctx, ctx.name_axes(x, self.axes), self.inner)
        for placed in self.chain:
            with placed.within(ctx):
                if isinstance(placed.bijector, FactorOut):
                    h = placed.bijector.split(ctx, h)[1]
                else:
                    h = placed.bijector.initialize(ctx, h)
                h = ctx.name_axes(h, self.inner)

    def shapes(self, shape: Shape) -> list[Shape]:
        """Shape of the value before each bijector, and after the last, for a variable of this shape."""
        out = [self.arranged(shape)]
        for placed in self.chain:
            out.append(placed.bijector.output_shape(out[-1]))
        return out

    def inverse(self, ctx: Context, z: Value, shape: Shape) -> Value:
        """z[N, D] -> x of the given shape."""
        return self._backwards(ctx, z, shape, counted=False)[0]

    def _backwards(self, ctx: Context, z: Value, shape: Shape, counted: bool) -> tuple[Value, Value | None]:
        """`inverse` and, where it is `counted`, log |det dx/dz| [N]; None for 0."""
        b, shapes, start = ctx.b, self.shapes(shape), 0
        total: Value | None = None
        parts: dict[int, tuple[int, int]] = {}
        for i, placed in enumerate(self.chain):
            if isinstance(placed.bijector, FactorOut):
                size = product(placed.bijector.factored_shape(shapes[i])[1:])
                assert isinstance(size, int)
                parts[i] = (start, start + size)
                start += size
        rest = F.slice_axis(b, z, 1, start) if start else z
        h = ctx.name_axes(F.reshape(b, rest, shapes[-1]), self.inner)
        for i in reversed(range(len(self.chain))):
            placed = self.chain[i]
            with placed.within(ctx, "inverse"):
                if isinstance(placed.bijector, FactorOut):
                    factored = F.slice_axis(b, z, 1, *parts[i])
                    h = placed.bijector.join(
                        ctx, F.reshape(b, factored, placed.bijector.factored_shape(shapes[i])), h
                    )
                elif not counted:
                    h = placed.bijector.inverse(ctx, h)
                else:
                    h, log_det = placed.bijector.inverse_and_log_det(ctx, h)
                    if log_det is not None:
                        total = log_det if total is None else F.add(b, total, log_det)
                h = ctx.name_axes(h, self.inner)
        if CHANNEL not in self.axes:
            h = ctx.name_axes(F.reshape(b, h, (h.shape[0], *h.shape[2:])), self.inner[1:])
        return ordered(ctx, h, self.axes), total

    def sharpens(self, b: Builder) -> bool:
        """Ask the base; the bijectors are asked as steps of their own (`Module.flow_steps`)."""
        return self.base.sharpens(b)

    def log_prob(self, ctx: Context, x: Value) -> Value:
        z, log_det = self._forwards(ctx, x, scored=True)
        return F.add(ctx.b, self.base.log_prob(ctx, z), log_det)

    def sample(self, ctx: Context, name: str, shape: Shape) -> Value:
        z = self.base.sample(ctx, name, (shape[0], product(shape[1:])))
        return self.inverse(ctx, z, shape)

    def sample_and_log_prob(self, ctx: Context, name: str, shape: Shape) -> tuple[Value, Value]:
        """The log density is taken on the way back: one pass where `inverse` is one (Kingma et al. 2016, eq. 12)."""
        z, log_base = self.base.sample_and_log_prob(ctx, name, (shape[0], product(shape[1:])))
        x, log_det = self._backwards(ctx, z, shape, counted=True)
        return x, log_base if log_det is None else F.sub(ctx.b, log_base, log_det)

    def mean(self, ctx: Context, shape: Shape) -> Value:
        """Map the mean of the base to data: the centre of the law, which as a rule is not its mean."""
        return self.inverse(ctx, self.base.mean(ctx, (shape[0], product(shape[1:]))), shape)

    def parameters(self) -> dict[str, Value]:
        return self.base.parameters()

    def adjusted(self, ctx: Context, options: Sampling) -> Distribution:
        """Return the flow with its base under the options (Kingma and Dhariwal 2018, section 6)."""
        return self if options == LAW_ITSELF else replace(self, base=self.base.adjusted(ctx, options))
