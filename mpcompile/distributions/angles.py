"""Laws of angles: real numbers modulo 2 pi."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, pi
from typing import ClassVar

from mpcompile import ops
from mpcompile.distributions.base import spread
from mpcompile.distributions.parametric import Parametric
from mpcompile.distributions.rejection import first_accepted, last, widened
from mpcompile.distributions.slots import Noise, Operand, Slot
from mpcompile.distributions.special import log_bessel
from mpcompile.distributions.support import ANGLES, Support
from mpcompile.ir import Builder, Shape, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F

#: Proposals of a draw. One is rejected with a probability of at most 0.54: all with 3e-9.
TRIES = 32


@dataclass(frozen=True)
class VonMises(Parametric):
    """Density exp(k cos(x - loc)) / (2 pi I0(k)) for a concentration k: the normal law of a circle.

    Draws are by ratio of uniforms (Barabesi 1995) with 32 proposals, which all fail with a probability of at most 3e-9;
    they lie in [-pi, pi). `mean` is `loc`.
    """

    keyword: ClassVar[str] = "von_mises"
    support: ClassVar[Support] = ANGLES
    slots: ClassVar[tuple[Slot, ...]] = (Slot("loc", default=0.0), Slot("concentration", "positive"))
    noise: ClassVar[tuple[Noise, ...]] = (Noise("uniform", 2 * TRIES),)
    scaled: ClassVar[bool] = True
    loc: Operand
    log_concentration: Operand

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b, k = ctx.b, self.positive(ctx, "concentration")
        away = _versed(b, F.sub(b, x, self.loc))
        return F.sub(b, F.sub(b, F.mul(b, F.neg(b, k), away), log_bessel(ctx, k)), log(2 * pi))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        b, k = ctx.b, widened(ctx.b, self.positive(ctx, "concentration"))
        u, v = last(b, noise[0], 0, TRIES), last(b, noise[0], TRIES, 2 * TRIES)
        flat = F.mul(b, b.emit(ops.Exp(), F.neg(b, k)), pi)
        narrow = F.minimum(b, F.div(b, 0.93, b.emit(ops.Sqrt(), k)), pi)
        bound = F.maximum(b, flat, narrow)  # of |t| exp(k (cos t - 1) / 2) over a turn
        t = F.div(b, F.mul(b, bound, F.sub(b, F.mul(b, v, 2.0), 1.0)), u)
        inside = F.less(b, b.emit(ops.Abs(), t), pi)
        held = F.where(b, inside, t, 0.0)
        below = F.less(b, F.mul(b, b.emit(ops.Log(), u), 2.0), F.mul(b, F.neg(b, k), _versed(b, held)))
        accepted = b.emit(ops.LogicalAnd(), inside, below)
        return F.wrapped(b, F.add(b, first_accepted(b, accepted, held, 0.0), self.loc))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return spread(ctx, self.loc, shape)


def _versed(b: Builder, t: Value) -> Value:
    """Emit 1 - cos t as 2 sin(t / 2)^2, which keeps the digits of small angles."""
    half = b.emit(ops.Sin(), F.mul(b, t, 0.5))
    return F.mul(b, F.mul(b, half, half), 2.0)


__all__ = ["VonMises"]
