"""Layers over time: sequences are time first, [N, time, features]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import DType, Init, Symbolic, Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context, Layer, fan_in_uniform


def _sequence(ctx: Context, x: Value, who: str) -> tuple[object, int]:
    if x.type.rank != 3 or not isinstance(x.shape[2], int) or x.dtype != DType.FLOAT:
        raise ctx.fail("MP201", f"{who} needs a real sequence [time, features], got {x.type}")
    return x.shape[1], x.shape[2]


@dataclass(frozen=True)
class Shift(Layer):
    """Delay a sequence by `steps`: position t of the result is position t - steps of the input, zeros before."""

    keyword: ClassVar[str] = "shift"
    steps: int = 1

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if x.type.rank < 2 or x.dtype != DType.FLOAT:
            raise ctx.fail(
                "MP201", f"shift needs a real sequence, got {x.type}", help="embed first, then shift"
            )
        before = tuple(self.steps if a == 1 else 0 for a in range(x.type.rank))
        padded = b.emit(ops.Pad(before, (0,) * x.type.rank), x)
        return b.emit(ops.Slice(1, 0, x.shape[1], 1), padded)


@dataclass(frozen=True)
class Position(Layer):
    """Add a learned vector for each position, up to `longest` of them."""

    keyword: ClassVar[str] = "position"
    longest: int

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        time, features = _sequence(ctx, x, "position")
        table = ctx.param("weight", (self.longest, features), Init("normal", 0.02))
        index = b.emit(ops.Iota((time,), 0))  # type: ignore[arg-type]  # an int or a symbol, by construction
        return F.add(b, x, b.emit(ops.Gather(0), table, index))


@dataclass(frozen=True)
class Rnn(Layer):
    """Elman's network: h_t = tanh(W x_t + U h_{t-1} + b) (notes, section 4.1). [N, time, in] -> [N, time, units]."""

    keyword: ClassVar[str] = "rnn"
    units: int

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        _, features = _sequence(ctx, x, "rnn")
        w = ctx.param("weight_ih", (self.units, features), fan_in_uniform(self.units))
        u = ctx.param("weight_hh", (self.units, self.units), fan_in_uniform(self.units))
        bias = ctx.param("bias", (self.units,), fan_in_uniform(self.units))
        driven = F.linear(b, x, w, bias)

        def step(state: list[Value], slices: list[Value], _: Value) -> tuple[list[Value], list[Value]]:
            h = ctx.b.emit(ops.Tanh(), F.add(ctx.b, slices[0], F.linear(ctx.b, state[0], u, None)))
            return [h], [h]

        _, (ys,) = ctx.scan(step, [ctx.zeros((x.shape[0], self.units))], [driven])
        return ys


@dataclass(frozen=True)
class Lstm(Layer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; notes, section 4.2).

    i, f, g, o = W x_t + U h_{t-1} + b;  c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g);  h_t = sigmoid(o) tanh(c_t).
    Gates are stacked in torch's order i, f, g, o. [N, time, in] -> [N, time, units].
    """

    keyword: ClassVar[str] = "lstm"
    units: int

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        _, features = _sequence(ctx, x, "lstm")
        w = ctx.param("weight_ih", (4 * self.units, features), fan_in_uniform(self.units))
        u = ctx.param("weight_hh", (4 * self.units, self.units), fan_in_uniform(self.units))
        bias = ctx.param("bias", (4 * self.units,), fan_in_uniform(self.units))
        driven = F.linear(b, x, w, bias)

        def step(state: list[Value], slices: list[Value], _: Value) -> tuple[list[Value], list[Value]]:
            b, (h, c) = ctx.b, state
            i, f, g, o = F.split(b, F.add(b, slices[0], F.linear(b, h, u, None)), 1, 4)
            kept = F.mul(b, b.emit(ops.Sigmoid(), f), c)
            c = F.add(b, kept, F.mul(b, b.emit(ops.Sigmoid(), i), b.emit(ops.Tanh(), g)))
            h = F.mul(b, b.emit(ops.Sigmoid(), o), b.emit(ops.Tanh(), c))
            return [h, c], [h]

        zero = ctx.zeros((x.shape[0], self.units))
        _, (ys,) = ctx.scan(step, [zero, zero], [driven])
        return ys


@dataclass(frozen=True)
class Attention(Layer):
    """Multi-head scaled dot-product self-attention (Vaswani et al. 2017, eq. 1). [N, time, D] -> [N, time, D].

    `mask=causal` lets position t attend to positions <= t: other scores are minus infinity, so their weights are
    exactly zero.
    """

    keyword: ClassVar[str] = "attention"
    heads: int
    mask: str = "none"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        time, width = _sequence(ctx, x, "attention")
        n, h = x.shape[0], self.heads
        if width % h:
            raise ctx.fail("MP201", f"{h} heads do not divide {width} features")
        if self.mask not in ("none", "causal"):
            raise ctx.fail("MP205", f"no attention mask is named '{self.mask}'", help="causal or none")
        w = ctx.param("weight_qkv", (3 * width, width), fan_in_uniform(width))
        bias = ctx.param("bias_qkv", (3 * width,), Init("zeros"))
        packed = F.reshape(b, F.linear(b, x, w, bias), (n, time, 3, h, width // h))  # type: ignore[arg-type]
        packed = F.transpose(b, packed, 2, 0, 3, 1, 4)  # [3, N, heads, time, width / heads]
        shape = packed.shape[1:]
        q, k, v = (F.reshape(b, part, shape) for part in F.split(b, packed, 0, 3))
        scores = F.mul(b, b.emit(ops.MatMul(), q, F.transpose(b, k, 0, 1, 3, 2)), (width // h) ** -0.5)
        if self.mask == "causal":
            scores = F.where(b, causal_mask(ctx, time), scores, float("-inf"))
        mixed = b.emit(ops.MatMul(), b.emit(ops.Softmax(3), scores), v)
        joined = F.reshape(b, F.transpose(b, mixed, 0, 2, 1, 3), x.shape)
        out = ctx.param("weight_out", (width, width), fan_in_uniform(width))
        return F.linear(b, joined, out, ctx.param("bias_out", (width,), Init("zeros")))


def causal_mask(ctx: Context, time: object) -> Value:
    """Bool [time, time]: query i may see key j when j <= i."""
    b = ctx.b
    if isinstance(time, Symbolic):
        i, j = (b.emit(ops.Iota((time, time), axis)) for axis in (0, 1))
        return b.emit(ops.LessEqual(), j, i)
    assert isinstance(time, int)
    return b.constant(np.tri(time, dtype=bool))


class Last(Layer):
    """The last position of a sequence: [N, time, D] -> [N, D] (many-to-one)."""

    keyword: ClassVar[str] = "last"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        flipped = b.emit(ops.Flip(1), x)
        return F.reshape(b, b.emit(ops.Slice(1, 0, 1, 1), flipped), (x.shape[0], *x.shape[2:]))
