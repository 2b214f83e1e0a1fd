"""Layers over time: sequences are time first, [N, time, features]."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Init, Symbolic, Value, symbol
from mpcompile.layers.base import SEQUENCE, Context, Layer, Takes, fan_in_uniform
from mpcompile.ops import build as F
from mpcompile.ranges import Choice, Length, Steps, Width, Window

Visible = Annotated[str, Choice(("none", "causal"))]


@dataclass(frozen=True)
class Shift(Layer):
    """Delay a sequence by `steps`: position t of the result is position t - steps of the input, zeros before.

    The shape stays: [N, time, ...].
    """

    keyword: ClassVar[str] = "shift"
    takes: ClassVar[Takes] = Takes("a real sequence", 1)
    steps: Steps = 1

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        before = tuple(self.steps if a == 1 else 0 for a in range(x.type.rank))
        padded = b.emit(ops.Pad(before, (0,) * x.type.rank), x)
        return b.emit(ops.Slice(1, 0, x.shape[1], 1), padded)


@dataclass(frozen=True)
class Stretch(Layer):
    """Every step of a sequence `factor` times, as controls of faster steps: [N, time, ...] -> [N, factor * time, ...]."""

    keyword: ClassVar[str] = "stretch"
    takes: ClassVar[Takes] = Takes("a sequence", 1, kind=None)
    factor: Window

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        n, time, *rest = x.shape
        wide = F.reshape(b, x, (n, time, 1, *rest))
        wide = b.emit(ops.BroadcastTo((n, time, self.factor, *rest)), wide)
        return F.reshape(b, wide, (n, time * self.factor, *rest))


@dataclass(frozen=True)
class Position(Layer):
    """Add a learned vector for each position, up to `longest` of them.

    The shape stays: [N, time, D]; the weight is [longest, D].
    """

    keyword: ClassVar[str] = "position"
    takes: ClassVar[Takes] = SEQUENCE
    longest: Width

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        time, features = x.shape[1:]
        if isinstance(time, int) and time > self.longest:
            raise ctx.fail("MP201", f"position has {self.longest} vectors for {time} steps")
        table = ctx.param("weight", (self.longest, features), Init("normal", 0.02))  # type: ignore[arg-type]  # declared fixed
        index = b.emit(ops.Iota((time,), 0))
        return F.add(b, x, b.emit(ops.Gather(0), table, index))


@dataclass(frozen=True)
class Attention(Layer):
    """Multi-head scaled dot-product self-attention (Vaswani et al. 2017, eq. 1). [N, time, D] -> [N, time, D].

    `mask=causal` lets position t attend to positions <= t: other scores are minus infinity, so their weights are
    exactly zero; so are those of positions behind the end of a sequence that states its length.
    """

    keyword: ClassVar[str] = "attention"
    takes: ClassVar[Takes] = SEQUENCE
    heads: Width
    mask: Visible = "none"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        time, width = x.shape[1:]
        assert isinstance(width, int)
        n, h = x.shape[0], self.heads
        if width % h:
            raise ctx.fail("MP201", f"{h} heads do not divide {width} features")
        w = ctx.param("weight_qkv", (3 * width, width), fan_in_uniform(width))
        bias = ctx.param("bias_qkv", (3 * width,), Init("zeros"))
        packed = F.reshape(b, F.linear(b, x, w, bias), (n, time, 3, h, width // h))
        packed = F.transpose(b, packed, 2, 0, 3, 1, 4)  # [3, N, heads, time, width / heads]
        shape = packed.shape[1:]
        q, k, v = (F.reshape(b, part, shape) for part in F.split(b, packed, 0, 3))
        scores = F.mul(b, b.emit(ops.MatMul(), q, F.transpose(b, k, 0, 1, 3, 2)), (width // h) ** -0.5)
        if self.mask == "causal":
            scores = F.where(b, causal_mask(ctx, time), scores, float("-inf"))
        present = ctx.present_at(x)
        if present is not None:  # keys behind the end of a sequence that states its length
            scores = F.where(b, F.reshape(b, present, (n, 1, 1, time)), scores, float("-inf"))
        mixed = b.emit(ops.MatMul(), b.emit(ops.Softmax(3), scores), v)
        joined = F.reshape(b, F.transpose(b, mixed, 0, 2, 1, 3), x.shape)
        out = ctx.param("weight_out", (width, width), fan_in_uniform(width))
        return F.linear(b, joined, out, ctx.param("bias_out", (width,), Init("zeros")))


def causal_mask(ctx: Context, time: object) -> Value:
    """Return the mask bool [time, time] by which query i may see key j when j <= i."""
    b = ctx.b
    if isinstance(time, Symbolic):
        i, j = (b.emit(ops.Iota((time, time), axis)) for axis in (0, 1))
        return b.emit(ops.LessEqual(), j, i)
    assert isinstance(time, int)
    return b.constant(_triangle(time))


@lru_cache(maxsize=4)
def _triangle(time: int) -> Array:
    """One array for all layers and programs: each constant of 4096 steps would take 16 MB."""
    triangle: Array = np.tri(time, dtype=bool)
    triangle.setflags(write=False)
    return triangle


class Last(Layer):
    """The last position of a sequence, at its length where it states one: [N, time, D] -> [N, D] (many-to-one)."""

    keyword: ClassVar[str] = "last"
    takes: ClassVar[Takes] = Takes("a real sequence", 1)

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        length = ctx.length_of(x)
        if length is None:
            flipped = b.emit(ops.Flip(1), x)
            return F.reshape(b, b.emit(ops.Slice(1, 0, 1, 1), flipped), (x.shape[0], *x.shape[2:]))
        final = b.emit(
            ops.Equal(), F.add(b, F.steps(b, x.shape[1]), 1.0), F.reshape(b, length, (x.shape[0], 1))
        )
        final = F.reshape(b, final, (*final.shape, *(1,) * (x.type.rank - 2)))
        return F.sum_axes(b, F.where(b, final, x, 0.0), [1])


@dataclass(frozen=True)
class Over(Layer):
    """One vector at every step: [N, D] -> [N, steps, D] (one-to-many). `steps` is a number or a declared length."""

    keyword: ClassVar[str] = "over"
    takes: ClassVar[Takes] = Takes("a vector [features]", 1, 1)
    steps: Length

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        if self.steps == "N":
            raise ctx.fail(
                "MP211", "`N` counts the examples of a batch, and is no length",
                help="a number of steps, or the length of a variable: over(time)",
            )  # fmt: skip
        if isinstance(self.steps, str) and self.steps not in ctx.root.graph.symbols():
            raise ctx.fail(
                "MP202",
                f"no input gives the length `{self.steps}` here",
                help="a number of steps, or the length of a variable that this program reads",
            )
        steps = symbol(self.steps) if isinstance(self.steps, str) else self.steps
        wide = F.reshape(b, x, (x.shape[0], 1, x.shape[1]))
        return b.emit(ops.BroadcastTo((x.shape[0], steps, x.shape[1])), wide)
