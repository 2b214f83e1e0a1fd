"""The neural autoregressive distribution estimator (Larochelle and Murray 2011)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, DType, Init, Value
from mpcompile.layers.axes import described
from mpcompile.layers.base import Acting, Acts, Context, Part, fan_in_uniform
from mpcompile.ops import build as F
from mpcompile.ranges import Width


@dataclass(frozen=True)
class Nade(Acting):
    """A hidden layer for each variable, all sharing one matrix (Larochelle and Murray 2011, eqs. 5 to 8).

    h_d = sigmoid(c + sum of W[i] x_i over i before d), logit_d = b_d + V[d] . h_d. The sums of all d are one running
    sum, so that n variables and `hidden` units cost O(n hidden) rather than O(n^2 hidden). [N, n] -> [N, n].
    """

    keyword: ClassVar[str] = "nade"
    acts: ClassVar[Acts] = Acts((Part.CHANNEL,))
    hidden: Width
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if ctx.order is None:
            raise ctx.fail("MP201", "nade has its place in an autoregressive density, whose order it follows")
        size = ctx.order.shape[-1]
        if x.shape[1:] != (size,) or x.dtype != DType.FLOAT:
            raise ctx.fail(
                "MP201",
                f"nade needs the {size} elements of the variable as a vector, got {described(ctx, x)}",
            )
        start = fan_in_uniform(size)
        w = ctx.param("weight", (size, self.hidden), start)
        c = ctx.param("bias", (self.hidden,), Init("zeros")) if self.bias else None
        v = ctx.param("weight_out", (size, self.hidden), fan_in_uniform(self.hidden))
        bias = ctx.param("bias_out", (size,), Init("zeros")) if self.bias else None
        terms = F.mul(b, F.reshape(b, x, (x.shape[0], size, 1)), w)
        natural = np.array_equal(ctx.order, np.arange(size))
        if not natural:
            terms = _moved(ctx, terms, np.argsort(ctx.order))
        late = b.emit(ops.Pad((0, 1, 0), (0, 0, 0)), terms)
        before = b.emit(ops.CumSum(1), F.slice_axis(b, late, 1, 0, size))
        if not natural:
            before = _moved(ctx, before, ctx.order)
        hidden = b.emit(ops.Sigmoid(), before if c is None else F.add(b, before, c))
        logits = F.sum_axes(b, F.mul(b, hidden, v), [2])
        return logits if bias is None else F.add(b, logits, bias)


def _moved(ctx: Context, x: Value, places: Array) -> Value:
    """The elements at the given places along axis 1; of several rows of places, the member's."""
    index = ctx.b.constant(places)
    if ctx.member is not None:
        index = ctx.b.emit(ops.Gather(0), index, ctx.member)
    return ctx.b.emit(ops.Gather(1), x, index)
