"""Coupling layers: half of the elements pass, the other half are transformed given the first (notes, section 7.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.bijectors.base import Bijector
from mpcompile.ir import Array, Init, Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context, Mask, MaskUse, Net
from mpcompile.layers.convolution import Conv
from mpcompile.layers.dense import Dense


@dataclass(frozen=True)
class Coupling(Bijector):
    """y = m x + (1 - m) (x exp(s) + t) with s, t from net(m x) (Dinh et al. 2015, 2017, eq. 9).

    `mask` is true on the elements that pass. `law=additive` leaves out s (NICE). The net's features are projected
    to s and t by a zero-initialised layer, so that a fresh coupling is the identity; s = g tanh(.) with a learned
    bound g for each channel.
    """

    keyword: ClassVar[str] = "coupling"
    function: ClassVar[bool] = True
    mask: Mask
    net: Net
    law: str = "affine"

    def _mask(self, ctx: Context, x: Value) -> Array:
        shape = x.shape[1:]
        if not all(isinstance(s, int) for s in shape):
            raise ctx.fail("MP405", f"a coupling needs a fixed shape, got {x.type}")
        try:
            mask = self.mask.array(MaskUse("partition", tuple(int(str(s)) for s in shape)))
        except ValueError as problem:
            raise ctx.fail("MP206", f"the mask does not fit: {problem}") from problem
        if mask.all() or not mask.any():
            raise ctx.fail(
                "MP406", "the coupling's mask leaves nothing to transform or nothing to condition on"
            )
        return mask

    def _law(self, ctx: Context, passed: Value, moved: Array) -> tuple[Value | None, Value]:
        """s (None when additive) and t, zero on the elements that pass."""
        b, channels = ctx.b, passed.shape[1]
        assert isinstance(channels, int)
        if self.law not in ("affine", "additive"):
            raise ctx.fail("MP205", f"no coupling law is named '{self.law}'", help="affine or additive")
        features = self.net(ctx, passed)
        outputs = channels * (2 if self.law == "affine" else 1)
        with ctx.frame("project", "projection to scale and shift", ctx.span):
            layer = (
                Dense(outputs, init="zeros")
                if passed.type.rank == 2
                else Conv(outputs, 3, pad="same", init="zeros")
            )
            raw = layer.forward(ctx, features)
        weight = b.constant(moved)
        if self.law == "additive":
            return None, F.mul(b, raw, weight)
        s, t = F.split(b, raw, 1, 2)
        bound = ctx.param("log_bound", (channels,), Init("zeros"))
        bound = F.reshape(b, b.emit(ops.Exp(), bound), (channels, *(1,) * (passed.type.rank - 2)))
        s = F.mul(b, F.mul(b, b.emit(ops.Tanh(), s), bound), weight)
        return s, F.mul(b, t, weight)

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        b, mask = ctx.b, self._mask(ctx, x)
        s, t = self._law(ctx, F.mul(b, seen, b.constant(mask.astype(np.float64))), (~mask).astype(np.float64))
        if s is None:
            return F.add(b, x, t), None
        return F.add(b, F.mul(b, x, b.emit(ops.Exp(), s)), t), F.event_sum(b, s)

    def inverse(self, ctx: Context, y: Value) -> Value:
        b, mask = ctx.b, self._mask(ctx, y)
        s, t = self._law(ctx, F.mul(b, y, b.constant(mask.astype(np.float64))), (~mask).astype(np.float64))
        x = F.sub(b, y, t)
        return x if s is None else F.mul(b, x, b.emit(ops.Exp(), F.neg(b, s)))
