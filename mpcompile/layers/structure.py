"""Layers that combine values, and layers made of nets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Value
from mpcompile.layers.activations import Relu, channel_axis
from mpcompile.layers.base import SPACE, Context, Layer, Net, Takes
from mpcompile.layers.convolution import Conv
from mpcompile.layers.starts import HE, ZERO, Start
from mpcompile.ops import build as F
from mpcompile.ranges import Blocks, Width


@dataclass(frozen=True)
class Concat(Layer):
    """Join the pipeline's value with others along the channels (U-Net's skips).

    Other axes are equal: [N, C, ...] and [N, D, ...] give [N, C + D, ...]; channels are the last axis of
    sequences.
    """

    keyword: ClassVar[str] = "concat"
    takes: ClassVar[Takes] = Takes("values with channels", 1, kind=None, inputs=(0, 64))
    others: tuple[Value, ...]

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        values = [*inputs, *self.others]
        if not values:
            raise ctx.fail("MP123", "concat needs something to join")
        self.takes.check(ctx, self.keyword, self.others)
        axis = channel_axis(values[0])
        for other in values[1:]:
            sizes = [(*v.shape[1:axis], *v.shape[axis + 1 :]) for v in (values[0], other)]
            if sizes[0] != sizes[1]:
                here, there = (f"[{', '.join(map(str, v.shape[1:]))}]" for v in (values[0], other))
                raise ctx.fail(
                    "MP201", f"concat joins along the channels, and the other axes of {here} and {there} differ",
                    help="`skip -> crop(wide)` is the centre of `skip` in the size of `wide`" if axis == 1 else "",
                )  # fmt: skip
        return F.concat(ctx.b, values, axis)


@dataclass(frozen=True)
class Add(Layer):
    """Add others to the pipeline's value.

    All values broadcast to one shape.
    """

    keyword: ClassVar[str] = "add"
    takes: ClassVar[Takes] = Takes("real numbers", -1, inputs=(0, 64))
    others: tuple[Value, ...]

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        values = [*inputs, *self.others]
        if not values:
            raise ctx.fail("MP123", "add needs something to add")
        self.takes.check(ctx, self.keyword, self.others)
        total, *rest = values
        for value in rest:
            total = F.add(ctx.b, total, value)
        return total


@dataclass(frozen=True)
class Residual(Layer):
    """x + net(x), or shortcut(x) + net(x) where the net changes the shape (He et al. 2016, eqs. 1 and 2)."""

    keyword: ClassVar[str] = "residual"
    takes: ClassVar[Takes] = Takes(least=-1)
    net: Net
    shortcut: Net | None = None

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        y = self.net(ctx, x)
        if self.shortcut is not None:
            with ctx.frame("shortcut", "shortcut", ctx.span):  # its weights are not those of the net
                x = self.shortcut(ctx, x)
        return F.add(ctx.b, x, y)


@dataclass(frozen=True)
class Resnet(Layer):
    """A 3x3 convolution to `width` channels and `blocks` pre-activation residual blocks of two 3x3 convolutions.

    [N, C, *S] -> [N, width, *S].
    """

    keyword: ClassVar[str] = "resnet"
    takes: ClassVar[Takes] = SPACE
    width: Width
    blocks: Blocks
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs

        label = f"resnet({self.width}, {self.blocks})"

        def conv(name: str, x: Value, init: Start = HE) -> Value:
            with ctx.frame(name, label, ctx.span):
                return Conv(self.width, 3, pad="same", bias=self.bias, init=init)(ctx, x)

        relu = Relu()
        h = conv("stem", x)
        for i in range(self.blocks):
            ctx.naming.formerly(ctx.b.scope, f"block.{i}", f".block_{i}")
            with ctx.frame(f"block.{i}", label, ctx.span):
                for name in "ab":
                    ctx.naming.formerly(ctx.b.scope, name, f"_{name}")
                inner = conv("a", relu(ctx, h))
                h = F.add(ctx.b, h, conv("b", relu(ctx, inner), ZERO))
        return relu(ctx, h)
