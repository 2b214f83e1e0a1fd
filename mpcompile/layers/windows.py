"""Windows over space, as specs write them: kernel, stride, dilation and padding of convolutions and pooling."""

from __future__ import annotations

from dataclasses import dataclass

from mpcompile.ir import Symbolic, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F
from mpcompile.ranges import Pad, Sizes


@dataclass(frozen=True, slots=True)
class Geometry:
    """The positions of windows, one entry for each spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    @property
    def reach(self) -> list[int]:
        """The distance from the first tap of a window to its last, for each axis."""
        return [(k - 1) * d for k, d in zip(self.kernel, self.dilation, strict=True)]


def spatial(x: Value) -> tuple[int, int]:
    """Return (channels, number of spatial axes) of [N, C, space...], which the layer has declared to take."""
    channels = x.shape[1]
    assert isinstance(channels, int)
    return channels, x.type.rank - 2


def geometry(
    ctx: Context, x: Value, kernel: Sizes, stride: Sizes = 1, dilation: Sizes = 1, pad: Pad = "valid"
) -> Geometry:
    """Return the windows over the spatial axes of x[N, C, space...], with their padding in numbers.

    `same` gives ceil(size / stride) windows, the odd element of padding at the end (as TensorFlow does); `causal`
    pads only before, so that position t sees positions <= t. Raises MP201, MP205 and MP112.
    """
    dims = x.type.rank - 2
    k, s, d = (
        each_axis(ctx, v, dims, w)
        for v, w in ((kernel, "kernel"), (stride, "stride"), (dilation, "dilation"))
    )
    found = Geometry(k, s, d, ((0, 0),) * dims)
    for size, stride in zip(x.shape[2:], s, strict=True):
        if isinstance(size, Symbolic) and any(times % stride for names, times in size.terms if names):
            raise ctx.fail("MP205", f"a stride of {stride} does not divide the length {size}",
                           help=f"declare a multiple of it: [{stride} * time, ...] has time windows")  # fmt: skip
    return Geometry(k, s, d, _padding(ctx, x, pad, found))


def behind_ends(ctx: Context, x: Value, windows: Geometry, instead: float) -> Value:
    """Put a number in the place of what lies behind the ends of x[N, C, space...], where windows reach beyond an end."""
    for axis, (_, after) in enumerate(windows.padding, 2):
        present = ctx.present_along(x.shape[axis]) if after > 0 else None
        if present is not None:
            present = ctx.repeated(present, x.shape[0])
            wide = F.reshape(ctx.b, present, tuple(s if i in (0, axis) else 1 for i, s in enumerate(x.shape)))
            x = F.where(ctx.b, wide, x, instead)
    return x


def fitting(ctx: Context, x: Value, windows: Geometry) -> Geometry:
    """Check that each window fits into its axis, and return the windows. Raises MP201."""
    for size, reach, (before, after) in zip(x.shape[2:], windows.reach, windows.padding, strict=True):
        if isinstance(size, int) and size + before + after <= reach:
            shape = ", ".join(map(str, x.shape[1:]))
            raise ctx.fail(
                "MP201", f"a window of {reach + 1} does not fit into an axis of {size}: the input is [{shape}]",
                help="images are channels first, [channels, height, width], without the batch; or pad = same",
            )  # fmt: skip
    return windows


def each_axis(ctx: Context, value: Sizes, dims: int, what: str) -> tuple[int, ...]:
    """Return `value` for each of `dims` axes. Raises MP201 for another number of them."""
    sizes = (value,) * dims if isinstance(value, int) else value
    if len(sizes) != dims:
        raise ctx.fail("MP201", f"the {what} has {len(sizes)} sizes for {dims} spatial axes")
    return sizes


def _padding(ctx: Context, x: Value, pad: Pad, windows: Geometry) -> tuple[tuple[int, int], ...]:
    if not isinstance(pad, str):
        return pairs(ctx, pad, len(windows.kernel))
    match pad:
        case "valid":
            return windows.padding
        case "causal":
            return tuple((reach, 0) for reach in windows.reach)
        case "same":
            sides = []
            for size, stride, reach in zip(x.shape[2:], windows.stride, windows.reach, strict=True):
                known = size if isinstance(size, int) else 0  # a length is a multiple of the stride
                total = max(-(-known // stride) * stride - stride + reach + 1 - known, 0)
                sides.append((total // 2, total - total // 2))
            return tuple(sides)
    raise AssertionError(pad)  # one of the declared names


def pairs(ctx: Context, pad: int | tuple[tuple[int, int], ...], dims: int) -> tuple[tuple[int, int], ...]:
    """Return (before, after) for each axis of a padding that is given in numbers.

    Raises MP201 for another number of axes.
    """
    found = ((pad, pad),) if isinstance(pad, int) else pad
    if len(found) not in (1, dims):
        raise ctx.fail("MP201", f"the padding has {len(found)} entries for {dims} spatial axes")
    return found * dims if len(found) == 1 else found
