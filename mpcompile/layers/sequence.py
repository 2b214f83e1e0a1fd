"""Layers over an ordered axis, which stands first: [N, time, ...]."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Init, Value, symbol
from mpcompile.ir.axes import TIME
from mpcompile.layers.axes import described, with_batch
from mpcompile.layers.base import STEPS, TOKENS, Acting, Acts, Context, Layer, Part, Takes
from mpcompile.ops import build as F
from mpcompile.ranges import Length, Steps, Width, Window


@dataclass(frozen=True)
class Shift(Acting):
    """Delay a sequence by `steps`: position t of the result is position t - steps of the input, zeros before.

    The shape stays: [N, time, ...].
    """

    keyword: ClassVar[str] = "shift"
    acts: ClassVar[Acts] = STEPS
    steps: Steps = 1

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        before = tuple(self.steps if a == 1 else 0 for a in range(x.type.rank))
        padded = b.emit(ops.Pad(before, (0,) * x.type.rank), x)
        return b.emit(ops.Slice(1, 0, x.shape[1], 1), padded)


@dataclass(frozen=True)
class Stretch(Acting):
    """Every step of a sequence `factor` times, as controls of faster steps: [N, time, ...] -> [N, factor * time, ...]."""

    keyword: ClassVar[str] = "stretch"
    takes: ClassVar[Takes] = Takes(kind=None)
    acts: ClassVar[Acts] = STEPS
    factor: Window

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        n, time, *rest = x.shape
        wide = F.reshape(b, x, (n, time, 1, *rest))
        wide = b.emit(ops.BroadcastTo((n, time, self.factor, *rest)), wide)
        return F.reshape(b, wide, (n, time * self.factor, *rest))


@dataclass(frozen=True)
class Position(Acting):
    """Add a learned vector for each position, up to `longest` of them: as many as there are, where that is a number.

    The shape stays: [N, time, D]; the weight is [longest, D].
    """

    keyword: ClassVar[str] = "position"
    acts: ClassVar[Acts] = TOKENS
    longest: Width | None = None

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        time, features = x.shape[1:]
        longest = self.longest or time
        if not isinstance(longest, int):
            raise ctx.fail("MP123", f"`position` needs `longest`: {time} is no number", help="position(512)")
        if isinstance(time, int) and time > longest:
            raise ctx.fail("MP201", f"position has {longest} vectors for {time} steps")
        table = ctx.param("weight", (longest, features), Init("normal", 0.02))  # type: ignore[arg-type]  # declared fixed
        index = b.emit(ops.Iota((time,), 0))
        return F.add(b, x, b.emit(ops.Gather(0), table, index))


class Last(Acting):
    """The last position of a sequence, at its length where it states one: [N, time, D] -> [N, D] (many-to-one)."""

    keyword: ClassVar[str] = "last"
    acts: ClassVar[Acts] = replace(STEPS, gives=(Part.REST,))

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        length = ctx.length_of(x)
        if length is None:
            flipped = b.emit(ops.Flip(1), x)
            return F.reshape(b, b.emit(ops.Slice(1, 0, 1, 1), flipped), (x.shape[0], *x.shape[2:]))
        ends = F.reshape(b, length, (x.shape[0], 1))
        after = b.emit(ops.Add(), b.emit(ops.Iota((x.shape[1],), 0)), b.constant(1))
        final = b.emit(ops.Equal(), after, ends)
        final = F.reshape(b, final, (*final.shape, *(1,) * (x.type.rank - 2)))
        return F.sum_axes(b, F.where(b, final, x, 0.0), [1])


@dataclass(frozen=True)
class Over(Layer):
    """One value at every step: [N, ...] -> [N, steps, ...] (one-to-many). `steps` is a number or a declared length."""

    keyword: ClassVar[str] = "over"
    steps: Length

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        x, b = with_batch(ctx, inputs[0]), ctx.b
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
        name, axes = self.steps if isinstance(self.steps, str) else TIME, ctx.axes_of(x)
        if name in axes:
            raise ctx.fail(
                "MP213", f"over({self.steps}) makes an axis `{name}`, and {described(ctx, x)} has one"
            )
        wide = F.reshape(b, x, (x.shape[0], 1, *x.shape[1:]))
        return ctx.name_axes(b.emit(ops.BroadcastTo((x.shape[0], steps, *x.shape[1:])), wide), (name, *axes))
