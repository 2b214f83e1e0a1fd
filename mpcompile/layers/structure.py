"""Layers that combine values, and layers made of nets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Value
from mpcompile.ir.axes import CHANNEL, Role, role
from mpcompile.layers.activations import Relu
from mpcompile.layers.axes import aligned, described, ordered, with_batch
from mpcompile.layers.base import SPACE, Acting, Acts, Context, Layer, Net, Takes
from mpcompile.layers.convolution import Conv
from mpcompile.layers.starts import HE, ZERO, Start
from mpcompile.ops import build as F
from mpcompile.ranges import Blocks, Width


@dataclass(frozen=True)
class Concat(Acting):
    """Join the pipeline's value with others along the channels (U-Net's skips), or along the axis that `over` names.

    All other axes are the same; a value without the axis is one element of it. [..., C] and [..., D] give [..., C + D].
    """

    keyword: ClassVar[str] = "concat"
    takes: ClassVar[Takes] = Takes(kind=None, inputs=(0, 64))
    others: tuple[Value, ...]

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        values = [with_batch(ctx, v) for v in (*inputs, *self.others)]
        if not values:
            raise ctx.fail("MP123", "concat needs something to join")
        self.takes.check(ctx, self.keyword, self.others)
        along = self.over[0] if self.over else CHANNEL
        first = next((v for v in values if along in ctx.axes_of(v)), values[0])
        axes = ctx.axes_of(first) if along in ctx.axes_of(first) else (*ctx.axes_of(first), along)
        sizes = dict(zip(ctx.axes_of(first), ctx.sizes_of(first), strict=True))
        for other in values:
            own = dict(zip(ctx.axes_of(other), ctx.sizes_of(other), strict=True))
            if {*own, along} != set(axes):
                raise ctx.fail(
                    "MP214", f"concat joins along `{along}`, and the other axes of {described(ctx, first)} and "
                    f"{described(ctx, other)} differ", help="spread(...) repeats a value along an axis",
                )  # fmt: skip
            if any(own[n] != sizes[n] for n in own if n != along):
                space = any(role(n, sizes[n]) is Role.SPACE for n in own)
                raise ctx.fail(
                    "MP214", f"concat joins along `{along}`, and the other axes of {described(ctx, first)} and "
                    f"{described(ctx, other)} have other sizes",
                    help="`skip -> crop(wide)` is the centre of `skip` in the size of `wide`" if space else "",
                )  # fmt: skip
        joined = F.concat(ctx.b, [ordered(ctx, v, axes) for v in values], 1 + axes.index(along))
        return ctx.name_axes(joined, axes)


@dataclass(frozen=True)
class Add(Layer):
    """Add others to the pipeline's value.

    The largest of them has the axes of all, by name, and the result has its shape: [N, ...] -> [N, ...].
    """

    keyword: ClassVar[str] = "add"
    takes: ClassVar[Takes] = Takes(inputs=(0, 64))
    others: tuple[Value, ...]

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        self.takes.check(ctx, self.keyword, self.others)
        if not (*inputs, *self.others):
            raise ctx.fail("MP123", "add needs something to add")
        (total, *rest), axes = aligned(ctx, self.keyword, (*inputs, *self.others))
        for value in rest:
            total = F.add(ctx.b, total, value)
        return ctx.name_axes(total, axes)


@dataclass(frozen=True)
class Residual(Layer):
    """x + net(x), or shortcut(x) + net(x) where the net changes the shape (He et al. 2016, eqs. 1 and 2)."""

    keyword: ClassVar[str] = "residual"
    net: Net
    shortcut: Net | None = None

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        y = self.net(ctx, x)
        if self.shortcut is not None:
            with ctx.frame("shortcut", "shortcut", ctx.span):  # its weights are not those of the net
                x = self.shortcut(ctx, x)
        if set(ctx.axes_of(x)) != set(ctx.axes_of(y)):
            raise ctx.fail("MP214", f"residual adds {described(ctx, y)} to {described(ctx, x)}, which has other axes",
                           help="`shortcut = ...` is another net beside it")  # fmt: skip
        (x, y), axes = aligned(ctx, self.keyword, (x, y))
        return ctx.name_axes(F.add(ctx.b, x, y), axes)


@dataclass(frozen=True)
class Resnet(Acting):
    """A 3x3 convolution to `width` channels and `blocks` pre-activation residual blocks of two 3x3 convolutions.

    [N, C, *S] -> [N, width, *S].
    """

    keyword: ClassVar[str] = "resnet"
    acts: ClassVar[Acts] = SPACE
    width: Width
    blocks: Blocks
    bias: bool = True

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs

        label = f"resnet({self.width}, {self.blocks})"

        def conv(name: str, x: Value, init: Start = HE) -> Value:
            with ctx.frame(name, label, ctx.span):
                return Conv(self.width, 3, pad="same", bias=self.bias, init=init).forward(ctx, x)

        relu = Relu().forward
        h = conv("stem", x)
        for i in range(self.blocks):
            ctx.naming.formerly(ctx.b.scope, f"block.{i}", f".block_{i}")
            with ctx.frame(f"block.{i}", label, ctx.span):
                for name in "ab":
                    ctx.naming.formerly(ctx.b.scope, name, f"_{name}")
                inner = conv("a", relu(ctx, h))
                h = F.add(ctx.b, h, conv("b", relu(ctx, inner), ZERO))
        return relu(ctx, h)
