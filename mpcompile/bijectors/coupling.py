"""Coupling layers: half of the elements pass, the other half are transformed given the first (notes, section 7.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile.bijectors import conditions
from mpcompile.bijectors.base import Bijector, channels
from mpcompile.bijectors.laws import AFFINE, Law
from mpcompile.ir import Array, Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context, Mask, MaskUse, Net
from mpcompile.layers.convolution import Conv
from mpcompile.layers.dense import Dense


@dataclass(frozen=True)
class Coupling(Bijector):
    """Elements of the mask pass, the others follow a law: affine, additive or spline (Dinh et al. 2015, 2017, eq. 9).

    `net` sees what passes, beside the `condition` (a category, a vector, or an image of the same size). Its features
    are projected to the law's parameters by a zero-initialised layer, so that a fresh coupling is the identity.
    """

    keyword: ClassVar[str] = "coupling"
    function: ClassVar[bool] = True
    mask: Mask
    net: Net
    law: Law = AFFINE
    condition: Value | None = None

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

    def _raw(self, ctx: Context, x: Value, mask: Array) -> Value:
        """Parameters of the law, from what passes."""
        b, outputs = ctx.b, channels(x) * self.law.count()
        passed = F.mul(b, x, b.constant(mask.astype(np.float64)))
        features = self.net(ctx, conditions.join(ctx, passed, self.condition))
        with ctx.frame("project", f"projection to the parameters of {self.law.keyword}", ctx.span):
            layer = (
                Dense(outputs, init="zeros")
                if x.type.rank == 2
                else Conv(outputs, 3, pad="same", init="zeros")
            )
            return layer.forward(ctx, features)

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        mask = self._mask(ctx, x)
        y, log_slope = self.law.forward(ctx, x, self._raw(ctx, seen, mask), ~mask)
        return y, None if log_slope is None else F.event_sum(ctx.b, log_slope)

    def inverse(self, ctx: Context, y: Value) -> Value:
        mask = self._mask(ctx, y)
        return self.law.inverse(ctx, y, self._raw(ctx, y, mask), ~mask)
