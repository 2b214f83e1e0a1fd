"""Element-wise functions, gates and dropout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Annotated, ClassVar

from mpcompile import ops
from mpcompile.ir import Init, Primitive, Value
from mpcompile.layers.base import CHANNELS, Acting, Acts, Context, Layer
from mpcompile.layers.elementwise import Pointwise
from mpcompile.ops import build as F
from mpcompile.ranges import Choice, Fraction, Positive, Real


class Relu(Pointwise):
    """max(x, 0)."""

    keyword: ClassVar[str] = "relu"
    merges: ClassVar[str] = "it sends every negative number to 0"
    op: ClassVar[Primitive] = ops.Relu()


class Tanh(Pointwise):
    """(e^x - e^-x) / (e^x + e^-x)."""

    keyword: ClassVar[str] = "tanh"
    op: ClassVar[Primitive] = ops.Tanh()


class Sigmoid(Pointwise):
    """1 / (1 + e^-x)."""

    keyword: ClassVar[str] = "sigmoid"
    op: ClassVar[Primitive] = ops.Sigmoid()


class Softplus(Pointwise):
    """log(1 + e^x)."""

    keyword: ClassVar[str] = "softplus"
    op: ClassVar[Primitive] = ops.Softplus()


class Silu(Layer):
    """x sigmoid(x).

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "silu"
    merges: ClassVar[str] = "it falls before it rises"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.mul(ctx.b, inputs[0], ctx.b.emit(ops.Sigmoid(), inputs[0]))


@dataclass(frozen=True)
class Gelu(Layer):
    """x Phi(x), exact, or x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) by `approximate = tanh`.

    Both are of Hendrycks and Gimpel 2016. Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "gelu"
    merges: ClassVar[str] = "it falls before it rises"
    approximate: Annotated[str, Choice(("none", "tanh"))] = "none"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if self.approximate == "tanh":
            cube = F.mul(b, F.mul(b, x, x), x)
            inner = F.mul(b, F.add(b, x, F.mul(b, cube, 0.044715)), (2.0 / pi) ** 0.5)
            return F.mul(b, F.mul(b, x, 0.5), F.add(b, b.emit(ops.Tanh(), inner), 1.0))
        phi = F.mul(b, F.add(b, b.emit(ops.Erf(), F.mul(b, x, 0.5**0.5)), 1.0), 0.5)
        return F.mul(b, x, phi)


class Mish(Layer):
    """x tanh(log(1 + e^x)) (Misra 2019).

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "mish"
    merges: ClassVar[str] = "it falls before it rises"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        return F.mul(b, x, b.emit(ops.Tanh(), b.emit(ops.Softplus(), x)))


class Relu6(Layer):
    """min(max(x, 0), 6) (Krizhevsky 2010).

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "relu6"
    merges: ClassVar[str] = "it sends every negative number to 0"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return _relu6(ctx, inputs[0])


def _relu6(ctx: Context, x: Value) -> Value:
    return F.minimum(ctx.b, ctx.b.emit(ops.Relu(), x), 6.0)


class HardSigmoid(Layer):
    """relu6(x + 3) / 6: a line from 0 at -3 to 1 at 3 (Howard et al. 2019, section 5.2).

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "hard_sigmoid"
    merges: ClassVar[str] = "it sends every number below -3 to 0"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.div(ctx.b, _relu6(ctx, F.add(ctx.b, inputs[0], 3.0)), 6.0)


class HardSwish(Layer):
    """x relu6(x + 3) / 6 (Howard et al. 2019, section 5.2).

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "hard_swish"
    merges: ClassVar[str] = "it sends every number below -3 to 0"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        return F.mul(b, x, F.div(b, _relu6(ctx, F.add(b, x, 3.0)), 6.0))


@dataclass(frozen=True)
class Elu(Layer):
    """x where x > 0, else alpha (e^x - 1) (Clevert et al. 2016, eq. 15).

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "elu"
    alpha: Positive = 1.0

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return _elu(ctx, inputs[0], self.alpha)


class Selu(Layer):
    """1.0507 elu(x) with alpha 1.6733, whose mean 0 and variance 1 are a fixed point (Klambauer et al. 2017, eq. 2).

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "selu"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.mul(ctx.b, _elu(ctx, inputs[0], SELU_ALPHA), SELU_SCALE)


#: The two numbers of `selu`, to all digits of double precision.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _elu(ctx: Context, x: Value, alpha: float) -> Value:
    """elu(x): the exponential is taken of min(x, 0), so that neither it nor its gradient overflows."""
    b = ctx.b
    below = F.sub(b, b.emit(ops.Exp(), F.minimum(b, x, 0.0)), 1.0)
    if alpha != 1.0:
        below = F.mul(b, below, alpha)
    return F.where(b, F.less(b, 0.0, x), x, below)


@dataclass(frozen=True)
class LeakyRelu(Layer):
    """max(x, slope x).

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "leaky_relu"
    slope: Real = 0.01

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.maximum(ctx.b, inputs[0], F.mul(ctx.b, inputs[0], self.slope))


@dataclass(frozen=True)
class Prelu(Acting):
    """max(x, 0) + slope min(x, 0), with a learned slope for each channel (He et al. 2015, eq. 1).

    `shared` has one slope for all. Slopes start at 0.25. The shape stays; the weight is [C] or [1].
    """

    keyword: ClassVar[str] = "prelu"
    acts: ClassVar[Acts] = CHANNELS
    shared: bool = False

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        at = self.place(ctx, x)
        size = 1 if self.shared else x.shape[at]
        assert isinstance(size, int)
        slope = ctx.param("weight", (size,), Init("constant", 0.25))
        if not self.shared:
            slope = F.reshape(b, slope, (size, *(1,) * (x.type.rank - 1 - at)))
        return F.add(b, b.emit(ops.Relu(), x), F.mul(b, F.minimum(b, x, 0.0), slope))


class Step(Layer):
    """1 where x > 0, else 0 (the perceptron's threshold); its gradient is zero.

    Element by element: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "step"
    merges: ClassVar[str] = "it sends all numbers to 0 and 1"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        return F.to_float(ctx.b, F.less(ctx.b, 0.0, inputs[0]))


@dataclass(frozen=True)
class Gate(Acting):
    """tanh(a) sigmoid(b), a and b the halves of the channels (van den Oord et al. 2016, eq. 2).

    [..., 2 C] -> [..., C] along the channels; the other axes stay.
    """

    keyword: ClassVar[str] = "gate"
    acts: ClassVar[Acts] = CHANNELS

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        h, g = _halves(ctx, self.keyword, x, self.place(ctx, x))
        return F.mul(b, b.emit(ops.Tanh(), h), b.emit(ops.Sigmoid(), g))


#: What a half of the channels may be multiplied by.
GATES: dict[str, Callable[[], Layer | None]] = {
    "sigmoid": Sigmoid, "silu": Silu, "gelu": Gelu, "relu": Relu, "tanh": Tanh, "none": lambda: None,
}  # fmt: skip


@dataclass(frozen=True)
class Glu(Acting):
    """a f(b), a and b the halves of the channels (Dauphin et al. 2017; `silu` is SwiGLU, Shazeer 2020).

    [..., 2 C] -> [..., C] along the channels; the other axes stay.
    """

    keyword: ClassVar[str] = "glu"
    acts: ClassVar[Acts] = CHANNELS
    activation: Annotated[str, Choice(tuple(GATES))] = "sigmoid"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        h, g = _halves(ctx, self.keyword, inputs[0], self.place(ctx, inputs[0]))
        activation = GATES[self.activation]()
        return F.mul(ctx.b, h, g if activation is None else activation.forward(ctx, g))


def _halves(ctx: Context, who: str, x: Value, axis: int) -> list[Value]:
    """The halves of x along an axis. Raises MP201 where its size is odd."""
    size = x.shape[axis]
    if not isinstance(size, int) or size % 2:
        raise ctx.fail("MP201", f"{who} halves its channels and got {size} of them")
    return F.split(ctx.b, x, axis, 2)


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


@dataclass(frozen=True)
class StochasticDepth(Layer):
    """Zero a whole example with probability `rate` while training, else scale it by 1 / (1 - rate) (Huang et al. 2016).

    At the end of the net of a `residual` it drops the branch: `residual(dense(8) -> stochastic_depth(0.1))`.

    The shape stays: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "stochastic_depth"
    rate: Fraction = 0.5

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if not ctx.training or self.rate == 0:
            return x
        u = ctx.noise_input("noise_depth", (x.shape[0], *(1,) * (x.type.rank - 1)), "uniform")
        keep = F.to_float(b, F.less(b, u, 1.0 - self.rate))
        return F.mul(b, x, F.mul(b, keep, 1.0 / (1.0 - self.rate)))
