"""Laws of couplings and autoregressive bijectors: y = f(x; parameters), increasing in x, element by element.

The parameters come from a network, flat along axis 1 and parameter by parameter: raw[N, count * C, ...] for x[N, C, ...].
Where they are zero the law is the identity (up to rounding), so that a fresh bijector is, if its net starts at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import e, log
from typing import Annotated, ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.bijectors.base import REALS, Bijector, Interval, along_channels, channels
from mpcompile.ir import Array, Init, Value
from mpcompile.layers.base import Context
from mpcompile.layers.starts import ZERO, Start
from mpcompile.ops import build as F
from mpcompile.ranges import Choice

#: softplus(UNIT_SLOPE) = 1, the slope of a fresh law.
UNIT_SLOPE = log(e - 1)
#: Below it log softplus(x) and x differ by less than e^x / 2, a rounding of doubles.
LINEAR = -40.0


@dataclass(frozen=True)
class Law:
    """The map of the elements that a coupling transforms, given its parameters.

    x is [N, C, ...] and `raw` [N, count C, ...] the parameters of its elements; `forward` gives y and the log
    slope of every element, or None for slopes of one. `moved` [C, ...] is false on elements that the law leaves
    alone; None where it moves all.
    """

    keyword: ClassVar[str]
    #: Parameters of one number an element that nets of their own may give to a coupling, in their order in `raw`.
    slots: ClassVar[tuple[str, ...]] = ()
    #: How the last layer before the parameters starts.
    start: ClassVar[Start] = ZERO

    @property
    def reach(self) -> float | None:
        """|x| from which on the law is the identity, whatever its parameters; None where it has no such bound."""
        return None

    @property
    def domain(self) -> Interval:
        """The numbers that it maps onto themselves: the reals, or angles."""
        return REALS

    def count(self) -> int:
        """Parameters of one element."""
        raise NotImplementedError

    def forward(self, ctx: Context, x: Value, raw: Value, moved: Array | None) -> tuple[Value, Value | None]:
        """y and log dy/dx, both in the shape of x; None where the slope is 1."""
        raise NotImplementedError

    def inverse(self, ctx: Context, y: Value, raw: Value, moved: Array | None) -> Value:
        raise NotImplementedError


def weighed(ctx: Context, value: Value, moved: Array | None) -> Value:
    """Multiply a value by zero on elements that are left alone."""
    return value if moved is None else F.mul(ctx.b, value, ctx.b.constant(moved.astype(np.float64)))


def _log_softplus(ctx: Context, x: Value) -> Value:
    """log log(1 + e^x), which is x to the last bit where log(1 + e^x) might be rounded to 0."""
    b = ctx.b
    near = b.emit(ops.Log(), b.emit(ops.Softplus(), F.maximum(b, x, LINEAR)))
    return F.where(b, F.less(b, x, LINEAR), x, near)


class Additive(Law):
    """y = x + t (NICE, Dinh et al. 2015, eq. 7): the volume stays."""

    keyword: ClassVar[str] = "additive"
    slots: ClassVar[tuple[str, ...]] = ("shift",)

    def count(self) -> int:
        return 1

    def forward(self, ctx: Context, x: Value, raw: Value, moved: Array | None) -> tuple[Value, Value | None]:
        return F.add(ctx.b, x, weighed(ctx, raw, moved)), None

    def inverse(self, ctx: Context, y: Value, raw: Value, moved: Array | None) -> Value:
        return F.sub(ctx.b, y, weighed(ctx, raw, moved))


class OfLaw(Bijector):
    """A bijector whose elements a law moves: it reaches as far, and maps the same numbers onto themselves."""

    law: Law

    @property
    def reach(self) -> float | None:  # type: ignore[override]  # a class's there, that of the law here
        return self.law.reach

    @property
    def domain(self) -> Interval | None:  # type: ignore[override]  # a class's there, that of the law here
        return self.law.domain

    @property
    def codomain(self) -> Interval | None:  # type: ignore[override]  # a class's there, that of the law here
        return self.law.domain


@dataclass(frozen=True)
class Affine(Law):
    """y = x exp(s) + t (Dinh et al. 2017, eq. 4), s = g tanh(.) with a learned bound g for each channel.

    By `scale = exp` s is what the network gives, a, without a bound (notes, section 7.5). By `softplus` the slope exp(s)
    is softplus(a + log(e - 1)), which grows linearly, and by `sigmoid` it is 2 sigmoid(a), below 2.
    """

    keyword: ClassVar[str] = "affine"
    slots: ClassVar[tuple[str, ...]] = ("log_scale", "shift")
    scale: Annotated[str, Choice(("tanh_exp", "exp", "softplus", "sigmoid"))] = "tanh_exp"

    def count(self) -> int:
        return 2

    def _parameters(self, ctx: Context, raw: Value, moved: Array | None) -> tuple[Value, Value]:
        s, t = F.split(ctx.b, raw, 1, 2)
        if self.scale == "tanh_exp":
            bound = along_channels(ctx, ctx.param("bound", (channels(s),), Init("ones")), s)
            s = F.mul(ctx.b, ctx.b.emit(ops.Tanh(), s), bound)
        elif self.scale == "softplus":
            s = _log_softplus(ctx, F.add(ctx.b, s, UNIT_SLOPE))
        elif self.scale == "sigmoid":
            s = F.sub(ctx.b, log(2), ctx.b.emit(ops.Softplus(), F.neg(ctx.b, s)))
        return weighed(ctx, s, moved), weighed(ctx, t, moved)

    def forward(self, ctx: Context, x: Value, raw: Value, moved: Array | None) -> tuple[Value, Value | None]:
        b, (s, t) = ctx.b, self._parameters(ctx, raw, moved)
        return F.add(b, F.mul(b, x, b.emit(ops.Exp(), s)), t), s

    def inverse(self, ctx: Context, y: Value, raw: Value, moved: Array | None) -> Value:
        b, (s, t) = ctx.b, self._parameters(ctx, raw, moved)
        return F.mul(b, F.sub(b, y, t), b.emit(ops.Exp(), F.neg(b, s)))


#: What a bijector does where no law is named.
AFFINE = Affine()
