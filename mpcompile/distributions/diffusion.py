"""Denoising diffusion (Ho et al. 2020): noise is taken away in steps; its law has a bound, of which one step is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import cos, log, pi
from typing import Annotated, ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.distributions.base import Distribution
from mpcompile.distributions.bins import Discretized
from mpcompile.distributions.location_scale import Normal
from mpcompile.distributions.subject import Subject, axes_of, ending
from mpcompile.distributions.support import SCALED, Support
from mpcompile.ir import Array, DType, Field, Shape, Symbolic, Value, product
from mpcompile.layers.axes import described, ordered
from mpcompile.layers.base import Context, Net
from mpcompile.ops import build as F
from mpcompile.ranges import Choice, Inner, NonNegative, Range


@dataclass(frozen=True)
class Variances:
    """Base of the schedules: the share of noise that each step adds."""

    keyword: ClassVar[str]

    def betas(self, steps: int) -> Array:
        """The share of noise that each step adds, in (0, 1): [steps]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Linear(Variances):
    """Shares that rise by equal steps (Ho et al. 2020, section 4)."""

    keyword: ClassVar[str] = "linear"
    first: Inner
    last: Inner

    def betas(self, steps: int) -> Array:
        return np.asarray(np.linspace(self.first, self.last, steps))


@dataclass(frozen=True)
class Cosine(Variances):
    """Shares by which the data falls as a squared cosine (Nichol and Dhariwal 2021, eq. 17), at most 0.999."""

    keyword: ClassVar[str] = "cosine"
    offset: NonNegative = 0.008

    def betas(self, steps: int) -> Array:
        turn = [(t / steps + self.offset) / (1 + self.offset) * pi / 2 for t in range(steps + 1)]
        left = np.array([cos(angle) ** 2 for angle in turn])
        return np.asarray(np.minimum(1 - left[1:] / left[:-1], 0.999))


#: The schedules of noise by their names.
NOISES: dict[str, type[Variances]] = {c.keyword: c for c in (Linear, Cosine)}


@dataclass(frozen=True)
class Denoised:
    """The arguments of `diffusion`."""

    net: Net
    steps: Annotated[int, Range(2, 1 << 16)]
    noise: Variances = Linear(1e-4, 0.02)
    predicts: Annotated[str, Choice(("noise", "data", "velocity"))] = "noise"
    weights: Annotated[str, Choice(("simple", "bound"))] = "simple"


@dataclass(frozen=True)
class Diffusion(Distribution):
    """Noise is added in steps until nothing of x is left; `net(x, t)` learns to take it away, from the last step on.

    The levels of a range are moved to [-1, 1]; real numbers stay as they are. With a share a_t of the data left after a
    step, x_t = sqrt(a_t) x + sqrt(1 - a_t) e. `net` is given x_t and the step, a category of so many steps. In the shape
    of x it gives what it `predicts`: e, x, or the velocity sqrt(a_t) e - sqrt(1 - a_t) x (Salimans and Ho 2022). A step
    back is the posterior of x_{t-1} with the predicted x in the place of x, clipped to the range of levels. The last one
    is normal with the variance of the first step, for levels in bins.

    `log_prob` is a bound (eq. 5), estimated without bias from one step, drawn uniformly, and one noise an example. With
    `weights = simple` the training loss is the mean square error of e instead (eq. 14).
    """

    keyword: ClassVar[str] = "diffusion"
    support: ClassVar[Support] = SCALED
    arguments: ClassVar[type | None] = Denoised
    has_mean: ClassVar[bool] = False
    net: Callable[..., Value]
    field: Field
    betas: Array
    predicts: str
    weights: str

    @classmethod
    def stated(cls, ctx: Context, given: Denoised, subject: Subject) -> Distribution:
        field = subject.field
        if field is None or field.role in ("latent", "base"):
            raise subject.fail(
                "MP209", "diffusion has a bound and no density: it is a law of data", help="normal(0, 1)"
            )
        if any(isinstance(s, Symbolic) for s in field.type.shape[1:]):
            raise subject.fail("MP209", "diffusion is a law of a variable of fixed shape, and "
                               f"{field.name} has a length", help="give its axes numbers")  # fmt: skip
        return cls(given.net, field, given.noise.betas(given.steps), given.predicts, given.weights)

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.betas)

    @cached_property
    def left(self) -> Array:
        """The share of the data after each step: [steps]."""
        return np.asarray(np.cumprod(1 - self.betas))

    @cached_property
    def left_before(self) -> Array:
        """The share of the data before each step: [steps]."""
        return np.concatenate([[1.0], self.left[:-1]])

    @property
    def bins(self) -> Discretized | None:
        """The levels of a range as bins; None for real numbers."""
        if self.field.classes is None:
            return None
        low = self.field.low
        return Discretized(Normal(0.0, 0.5 * log(self.betas[0])), low, low + self.field.classes - 1)

    def _predicted(self, ctx: Context, noisy: Value, step: Value, *, clip: bool) -> tuple[Value, Value]:
        """The noise in x_t and the x that the network sees behind it, in the shape of x."""
        b = ctx.b
        ctx.classes[step] = self.steps
        axes, sizes = self.field.axes, noisy.shape[1:]
        made = self.net(ctx, ctx.name_axes(noisy, axes), ctx.name_axes(step, ()))
        own = dict(zip(ctx.axes_of(made), ctx.sizes_of(made), strict=True))
        if own != dict(zip(axes, sizes, strict=True)):
            raise ctx.fail(
                "MP207", f"the network gives {described(ctx, made)}, {self.field.name} has {axes_of(self.field)}",
                help=ending(ctx, made, axes, sizes),
            )  # fmt: skip
        made = ordered(ctx, made, axes)
        signal, rest = (self._at(ctx, np.sqrt(v), step, noisy) for v in (self.left, 1 - self.left))
        if self.predicts == "noise":
            noise, data = made, F.div(b, F.sub(b, noisy, F.mul(b, rest, made)), signal)
        elif self.predicts == "data":
            noise, data = F.div(b, F.sub(b, noisy, F.mul(b, signal, made)), rest), made
        else:
            noise = F.add(b, F.mul(b, signal, made), F.mul(b, rest, noisy))
            data = F.sub(b, F.mul(b, signal, noisy), F.mul(b, rest, made))
        if clip and self.bins is not None:
            data = F.minimum(b, F.maximum(b, data, -1.0), 1.0)
        return noise, data

    def _at(self, ctx: Context, table: Array, step: Value, like: Value) -> Value:
        """The number of a table for the step of each example, beside a value: [N, 1, ...]."""
        b = ctx.b
        found = b.emit(ops.Gather(0), b.constant(table), step)
        return F.reshape(b, found, (step.shape[0], *(1,) * (like.type.rank - 1)))

    def log_prob(self, ctx: Context, x: Value) -> Value:
        b, name, n = ctx.b, self.field.name, x.shape[0]
        data = x if self.bins is None else self.bins.centred(ctx, x)
        u = ctx.noise_input(f"noise_{name}_step", (n,), "uniform")
        noise = ctx.noise_input(f"noise_{name}", x.shape, "normal")
        step = F.cast(b, F.mul(b, u, float(self.steps)), DType.INT)
        step = b.emit(ops.Minimum(), step, b.constant(self.steps - 1))
        signal, rest = (self._at(ctx, np.sqrt(v), step, x) for v in (self.left, 1 - self.left))
        noisy = F.add(b, F.mul(b, signal, data), F.mul(b, rest, noise))
        found, seen = self._predicted(ctx, noisy, step, clip=not ctx.training)
        if self.weights == "simple" and ctx.training:
            size = product(x.shape[1:])
            assert isinstance(size, int)
            return F.mul(b, _squares(ctx, noise, found), -1.0 / size)
        terms = F.where(
            b,
            b.emit(ops.Less(), step, b.constant(1)),
            self._decoded(ctx, x, seen),
            self._taken(ctx, data, seen, step),
        )
        return F.sub(b, F.mul(b, terms, float(self.steps)), self._at_start(ctx, data))

    def _decoded(self, ctx: Context, x: Value, seen: Value) -> Value:
        """log p(x given x_1): [N]."""
        bins, law = self.bins, Normal(seen, 0.5 * log(self.betas[0]))
        return (
            law.log_prob(ctx, x) if bins is None else Discretized(law, bins.low, bins.high).log_prob(ctx, x)
        )

    def _taken(self, ctx: Context, data: Value, seen: Value, step: Value) -> Value:
        """Minus the divergence of a step back from the posterior: half what its signal-to-noise ratio falls by."""
        before = self.left_before / np.maximum(1 - self.left_before, 1e-30)
        falls = np.concatenate([[0.0], (before - self.left / (1 - self.left))[1:]])
        weight = ctx.b.emit(ops.Gather(0), ctx.b.constant(-0.5 * falls), step)
        return F.mul(ctx.b, weight, _squares(ctx, data, seen))

    def _at_start(self, ctx: Context, data: Value) -> Value:
        """Divergence of x after all steps from the standard normal: [N]."""
        b, last = ctx.b, float(self.left[-1])
        each = F.mul(b, F.mul(b, data, data), 0.5 * last)
        return F.event_sum(b, F.add(b, each, -0.5 * (last + log(1 - last))))

    def sample(self, ctx: Context, name: str, shape: Shape) -> Value:
        """Take noise away step by step: a scan of the steps."""
        left, before, betas = self.left, self.left_before, self.betas
        of_data = np.sqrt(before) * betas / (1 - left)
        of_noisy = np.sqrt(1 - betas) * (1 - before) / (1 - left)
        scale = np.sqrt(np.concatenate([betas[:1], (betas * (1 - before) / (1 - left))[1:]]))
        start = ctx.noise_input(f"noise_{name}_start", shape, "normal")

        def back(state: list[Value], _: list[Value], t: Value) -> tuple[list[Value], Sequence[Value]]:
            b, (noisy,) = ctx.b, state
            step = b.emit(ops.Sub(), b.constant(self.steps - 1), t)
            step = b.emit(ops.BroadcastTo((shape[0],)), step)
            seen = self._predicted(ctx, noisy, step, clip=True)[1]
            mean = F.add(
                b,
                F.mul(b, self._at(ctx, of_data, step, noisy), seen),
                F.mul(b, self._at(ctx, of_noisy, step, noisy), noisy),
            )
            noise = ctx.noise_input(f"noise_{name}", shape, "normal")
            return [F.add(b, mean, F.mul(b, self._at(ctx, scale, step, noisy), noise))], []

        (end,), _ = ctx.scan(back, [start], [], length=self.steps, noise=True)
        return end if self.bins is None else self.bins.rounded(ctx, end)


def _squares(ctx: Context, x: Value, y: Value) -> Value:
    """Emit the sum of the squared differences of each example: [N]."""
    away = F.sub(ctx.b, x, y)
    return F.event_sum(ctx.b, F.mul(ctx.b, away, away))


__all__ = ["NOISES", "Diffusion", "Variances"]
