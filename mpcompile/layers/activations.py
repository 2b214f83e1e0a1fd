"""Element-wise functions, gates and dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Primitive, Value
from mpcompile.layers.base import Context, Layer, Takes
from mpcompile.ops import build as F
from mpcompile.ranges import Axis, Fraction, Real

#: Element by element: a number of the spec will do as well.
ELEMENTS = Takes(least=-1)


class _Pointwise(Layer):
    """One primitive, element by element: [N, ...] -> [N, ...]."""

    takes: ClassVar[Takes] = ELEMENTS
    op: ClassVar[Primitive]

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return ctx.b.emit(self.op, *inputs)


class Relu(_Pointwise):
    """max(x, 0)."""

    keyword: ClassVar[str] = "relu"
    merges: ClassVar[str] = "it sends every negative number to 0"
    op: ClassVar[Primitive] = ops.Relu()


class Tanh(_Pointwise):
    """(e^x - e^-x) / (e^x + e^-x)."""

    keyword: ClassVar[str] = "tanh"
    op: ClassVar[Primitive] = ops.Tanh()


class Sigmoid(_Pointwise):
    """1 / (1 + e^-x)."""

    keyword: ClassVar[str] = "sigmoid"
    op: ClassVar[Primitive] = ops.Sigmoid()


class Softplus(_Pointwise):
    """log(1 + e^x)."""

    keyword: ClassVar[str] = "softplus"
    op: ClassVar[Primitive] = ops.Softplus()


class Silu(Layer):
    """x sigmoid(x).

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "silu"
    merges: ClassVar[str] = "it falls before it rises"
    takes: ClassVar[Takes] = ELEMENTS

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.mul(ctx.b, inputs[0], ctx.b.emit(ops.Sigmoid(), inputs[0]))


class Gelu(Layer):
    """x Phi(x), exact (Hendrycks and Gimpel 2016).

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "gelu"
    merges: ClassVar[str] = "it falls before it rises"
    takes: ClassVar[Takes] = ELEMENTS

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        phi = F.mul(b, F.add(b, b.emit(ops.Erf(), F.mul(b, x, 0.5**0.5)), 1.0), 0.5)
        return F.mul(b, x, phi)


@dataclass(frozen=True)
class LeakyRelu(Layer):
    """max(x, slope x).

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "leaky_relu"
    takes: ClassVar[Takes] = ELEMENTS
    slope: Real = 0.01

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.maximum(ctx.b, inputs[0], F.mul(ctx.b, inputs[0], self.slope))


class Step(Layer):
    """1 where x > 0, else 0 (the perceptron's threshold); its gradient is zero.

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "step"
    merges: ClassVar[str] = "it sends all numbers to 0 and 1"
    takes: ClassVar[Takes] = ELEMENTS

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.to_float(ctx.b, F.less(ctx.b, 0.0, inputs[0]))


@dataclass(frozen=True)
class Gate(Layer):
    """tanh(a) sigmoid(b), a and b the halves of the channels (van den Oord et al. 2016, eq. 2).

    Channels are axis 1 of an image or audio [N, C, ...], the last axis of [N, D] and of sequences [N, time, D].
    """

    keyword: ClassVar[str] = "gate"
    takes: ClassVar[Takes] = Takes("real channels", 1)
    axis: Axis | None = None

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        axis = channel_axis(x) if self.axis is None else self.axis
        if axis >= x.type.rank:
            raise ctx.fail("MP205", f"gate halves axis {axis}, and {x.type} has {x.type.rank - 1} axes")
        size = x.shape[axis]
        if not isinstance(size, int) or size % 2:
            raise ctx.fail("MP201", f"gate halves its channels and got {size} of them")
        h, g = F.split(b, x, axis, 2)
        return F.mul(b, b.emit(ops.Tanh(), h), b.emit(ops.Sigmoid(), g))


def channel_axis(x: Value) -> int:
    """Return axis 1 for images and volumes [N, C, H, W], the last axis for vectors [N, D] and sequences [N, time, D]."""
    return 1 if x.type.rank > 3 or (x.type.rank == 3 and isinstance(x.shape[1], int)) else x.type.rank - 1


@dataclass(frozen=True)
class Dropout(Layer):
    """Zero each element with probability `rate` while training, scaled by 1 / (1 - rate) (Srivastava et al. 2014).

    The shape stays: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "dropout"
    rate: Fraction = 0.5

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if not ctx.training or self.rate == 0:
            return x
        u = ctx.noise_input("noise_dropout", x.shape, "uniform")
        keep = F.to_float(b, F.less(b, u, 1.0 - self.rate))
        return F.mul(b, x, F.mul(b, keep, 1.0 / (1.0 - self.rate)))
