"""Layers that change the size of space without weights. Layouts are channels first: [N, C, space...]."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import numpy as np

from mpcompile import ops
from mpcompile.ir import Shape, Value, numbers
from mpcompile.layers.base import IMAGE, SPACE, Acting, Acts, Context, Lift
from mpcompile.ops import build as F
from mpcompile.ranges import Choice, Window

#: What interpolation by straight lines is called over one, two and three axes.
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
Mode = Annotated[str, Choice(("nearest", "bed_of_nails", *LINEAR.values()))]


@dataclass(frozen=True)
class Upsample(Acting):
    """`factor` times as many elements along each spatial axis (notes, section 3.1).

    `nearest` repeats every element; `bed_of_nails` sets zeros after it; `bilinear` (`linear`, `trilinear`) draws
    straight lines between centres of elements and goes on level beyond the outermost ones; with `align_corners` the
    outermost elements of the result are those of the input, and lines join the others at equal distances.

    [N, C, *S] -> [N, C, *(factor S)].
    """

    keyword: ClassVar[str] = "upsample"
    acts: ClassVar[Acts] = SPACE
    factor: Window
    mode: Mode = "nearest"
    align_corners: bool = False

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        dims, f = x.type.rank - 2, self.factor
        if self.mode == LINEAR[dims]:
            for axis in range(2, 2 + dims):
                x = _between_corners(ctx, x, axis, f) if self.align_corners else _lines(ctx, x, axis, f)
            return x
        if self.align_corners:
            raise ctx.fail("MP205", f"`align_corners` is about straight lines: upsample({f}, {LINEAR[dims]})")
        if self.mode not in ("nearest", "bed_of_nails"):
            raise ctx.fail(
                "MP205",
                f"no upsampling of {dims} spatial axes is named '{self.mode}'",
                help=f"nearest, bed_of_nails or {LINEAR[dims]}",
            )
        n, c, *space = x.shape
        y = F.reshape(b, x, (n, c, *(size for s in space for size in (s, 1))))
        if self.mode == "nearest":
            y = b.emit(ops.BroadcastTo((n, c, *(size for s in space for size in (s, f)))), y)
        else:
            y = b.emit(ops.Pad((0,) * (2 + 2 * dims), (0, 0, *(0, f - 1) * dims)), y)
        return F.reshape(b, y, (n, c, *(s * f for s in space)))


def _lines(ctx: Context, x: Value, axis: int, f: int) -> Value:
    """Linear interpolation along one axis: result o lies at (o + 1/2) / f - 1/2 of x, its ends repeated.

    With both ends repeated once, that is a transposed convolution with the tent 1 - |(u + 1/2) / f - 1/2| at
    the offsets u = o - f i where it is positive.
    """
    b, (_, channels, *space), dims = ctx.b, x.shape, x.type.rank - 2
    assert isinstance(channels, int)
    first, taps = f // 2, 2 * f - f % 2
    tent = 1 - np.abs((np.arange(taps) - first + 0.5) / f - 0.5)
    kernel = tent.reshape([taps if a == axis else 1 for a in range(2, 2 + dims)])
    size = space[axis - 2]
    ends = F.slice_axis(b, x, axis, 0, 1), b.emit(ops.Slice(axis, size - 1, size, 1), x)
    op = ops.ConvTranspose(
        tuple(f if a == axis else 1 for a in range(2, 2 + dims)),
        tuple((f + first, taps - first) if a == axis else (0, 0) for a in range(2, 2 + dims)),
        (1,) * dims,
        channels,
        (0,) * dims,
    )
    weight = b.constant(np.broadcast_to(kernel, (channels, 1, *kernel.shape)))
    return b.emit(op, F.concat(b, [ends[0], x, ends[1]], axis), weight)


def _between_corners(ctx: Context, x: Value, axis: int, f: int) -> Value:
    """Linear interpolation along one axis: result o of f s lies at o (s - 1) / (f s - 1) of s, ends on ends."""
    b, size = ctx.b, x.shape[axis]
    if not isinstance(size, int):
        raise ctx.fail("MP202", f"`align_corners` needs a fixed size, got {size}")
    place = np.arange(f * size) * (size - 1) / max(f * size - 1, 1)
    tents = np.maximum(1 - np.abs(place - np.arange(size)[:, None]), 0.0)  # [size, f size]
    last = x.type.rank - 1
    order = [last if a == axis else axis if a == last else a for a in range(last + 1)]
    turned = x if axis == last else F.transpose(b, x, *order)
    drawn = b.emit(ops.MatMul(), turned, b.constant(tents))
    return drawn if axis == last else F.transpose(b, drawn, *order)


@dataclass(frozen=True)
class Crop(Acting):
    """The centre of an image, of the spatial size of `like`; an odd element too many is cut at the end.

    For the skips of a U-Net without padding: `concat(skip -> crop(wide))`.

    [N, C, *S] -> [N, C, *R], where R are the spatial sizes of `like`.
    """

    keyword: ClassVar[str] = "crop"
    acts: ClassVar[Acts] = SPACE
    like: Value

    def beside(self, lift: Lift) -> Self:
        return replace(self, like=lift.beside(SPACE, self.like, self.over))

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        for axis in range(2, x.type.rank):
            size, wanted = x.shape[axis], self.like.shape[axis]
            if size == wanted:
                continue
            if not isinstance(size, int) or not isinstance(wanted, int) or wanted > size:
                raise ctx.fail("MP201", f"crop cannot cut {list(x.shape[2:])} to {list(self.like.shape[2:])}")
            start = (size - wanted) // 2
            x = F.slice_axis(ctx.b, x, axis, start, start + wanted)
        return x


class ShiftDown(Acting):
    """Move an image one row down: row r of the result is row r - 1 of the input, row 0 is zero.

    The shape stays: [N, C, H, W].
    """

    keyword: ClassVar[str] = "shift_down"
    acts: ClassVar[Acts] = IMAGE

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        height = x.shape[2]
        assert isinstance(height, int)
        padded = b.emit(ops.Pad((0, 0, 1, 0), (0, 0, 0, 0)), x)
        return F.slice_axis(b, padded, 2, 0, height)


@dataclass(frozen=True)
class Squeeze(Acting):
    """Space to depth: [N, C, H, W] -> [N, C f^2, H/f, W/f] (Dinh et al. 2017, section 3.6)."""

    keyword: ClassVar[str] = "space_to_depth"
    acts: ClassVar[Acts] = IMAGE
    factor: Window = 2

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        divided_by(ctx, self.keyword, self.factor, inputs[0].shape)
        return space_to_depth(ctx, inputs[0], self.factor)


@dataclass(frozen=True)
class Unsqueeze(Acting):
    """Depth to space, the inverse of `space_to_depth`: [N, C f^2, H, W] -> [N, C, f H, f W] (Shi et al. 2016, eq. 4)."""

    keyword: ClassVar[str] = "depth_to_space"
    acts: ClassVar[Acts] = IMAGE
    factor: Window = 2

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), f = inputs, self.factor
        channels = x.shape[1]
        assert isinstance(channels, int)
        if channels % (f * f):
            raise ctx.fail(
                "MP201", f"depth_to_space({f}) needs a multiple of {f * f} channels, got {channels}"
            )
        return depth_to_space(ctx, x, f)


def divided_by(ctx: Context, who: str, f: int, shape: Shape) -> None:
    """Check that f divides the height and the width of an image [N, C, H, W]. Raises MP201."""
    height, width = numbers(shape[2:])
    if height % f or width % f:
        raise ctx.fail(
            "MP201", f"{who}({f}) needs a height and width divisible by {f}, got {height} x {width}"
        )


def space_to_depth(ctx: Context, x: Value, f: int) -> Value:
    """Move f x f patches to channels: [N, C, H, W] -> [N, C f^2, H/f, W/f].

    Channel c, offset (i, j) of a patch becomes channel c f^2 + i f + j.
    """
    n, c, h, w = x.shape
    y = F.reshape(ctx.b, x, (n, c, h // f, f, w // f, f))
    return F.reshape(ctx.b, F.transpose(ctx.b, y, 0, 1, 3, 5, 2, 4), (n, c * f * f, h // f, w // f))


def depth_to_space(ctx: Context, y: Value, f: int) -> Value:
    """Undo `space_to_depth`: [N, C f^2, H/f, W/f] -> [N, C, H, W]."""
    n, c, h, w = y.shape
    x = F.reshape(ctx.b, y, (n, c // (f * f), f, f, h, w))
    return F.reshape(ctx.b, F.transpose(ctx.b, x, 0, 1, 4, 2, 5, 3), (n, c // (f * f), h * f, w * f))
