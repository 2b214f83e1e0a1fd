"""Windows over space, as specs write them: kernel, stride, dilation and padding of convolutions and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpcompile.ir import DType, Value
from mpcompile.layers.base import Context

#: The largest kernel, stride, dilation, padding or upsampling factor.
MAX_WINDOW = 1 << 10

#: One number for every spatial axis, or a list with one for each.
Sizes = int | tuple[int, ...]
#: A name; elements before and after every spatial axis; or a pair of them for each (one pair: for all).
Pad = str | int | tuple[tuple[int, int], ...]

NAMED = ("valid", "same", "causal")


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where windows lie, one entry for each spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    @property
    def reach(self) -> list[int]:
        """From the first tap of a window to its last."""
        return [(k - 1) * d for k, d in zip(self.kernel, self.dilation, strict=True)]


def spatial(ctx: Context, x: Value, who: str) -> tuple[int, int]:
    """(channels, number of spatial axes) of [N, C, space...]. Raises MP201 for anything else."""
    dims = x.type.rank - 2
    channels = x.shape[1] if dims > 0 else None
    if not isinstance(channels, int) or not 1 <= dims <= 3 or x.dtype != DType.FLOAT:
        raise ctx.fail("MP201", f"{who} needs real [channels, space...], got {x.type}")
    return channels, dims


def geometry(
    ctx: Context, x: Value, kernel: Sizes, stride: Sizes = 1, dilation: Sizes = 1, pad: Pad = "valid"
) -> Geometry:
    """Windows over the spatial axes of x[N, C, space...], with their padding in numbers.

    `same` gives ceil(size / stride) windows, the odd element of padding at the end (as TensorFlow does); `causal`
    pads only before, so that position t sees positions <= t. Raises MP201, MP205 and MP112.
    """
    dims = x.type.rank - 2
    k, s, d = (
        each_axis(ctx, v, dims, w)
        for v, w in ((kernel, "kernel"), (stride, "stride"), (dilation, "dilation"))
    )
    found = Geometry(k, s, d, ((0, 0),) * dims)
    return Geometry(k, s, d, _padding(ctx, x, pad, found))


def fitting(ctx: Context, x: Value, windows: Geometry) -> Geometry:
    """The windows, where each finds a place in its axis. Raises MP201."""
    for size, reach, (before, after) in zip(x.shape[2:], windows.reach, windows.padding, strict=True):
        if isinstance(size, int) and size + before + after <= reach:
            shape = ", ".join(map(str, x.shape[1:]))
            raise ctx.fail(
                "MP201", f"a window of {reach + 1} does not fit into an axis of {size}: the input is [{shape}]",
                help="images are channels first, [channels, height, width], without the batch; or pad = same",
            )  # fmt: skip
    return windows


def each_axis(ctx: Context, value: Sizes, dims: int, what: str, least: int = 1) -> tuple[int, ...]:
    """`value` for each of `dims` axes. Raises MP201 for another number of them or one below `least`, and MP112."""
    sizes = (value,) * dims if isinstance(value, int) else value
    if len(sizes) != dims:
        raise ctx.fail("MP201", f"the {what} has {len(sizes)} sizes for {dims} spatial axes")
    if min(sizes) < least:
        raise ctx.fail("MP201", f"a {what} is at least {least}, not {min(sizes)}")
    bounded(ctx, sizes, what)
    return sizes


def bounded(ctx: Context, sizes: Sequence[int], what: str) -> None:
    """Raises MP112 for a size beyond `MAX_WINDOW`, before anything is allocated."""
    for size in sizes:
        if abs(size) > MAX_WINDOW:
            raise ctx.fail("MP112", f"a {what} of {size} is larger than {MAX_WINDOW}")


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
                total = reach  # at stride 1, whatever the size
                if stride != 1:
                    if not isinstance(size, int):
                        raise ctx.fail(
                            "MP205", f"`same` at stride {stride} depends on the size, and {size} is not known",
                            help="give the padding in numbers",
                        )  # fmt: skip
                    total = max(-(-size // stride) * stride - stride + reach + 1 - size, 0)
                sides.append((total // 2, total - total // 2))
            return tuple(sides)
    raise ctx.fail("MP205", f"no padding is named '{pad}'", help=f"{', '.join(NAMED)}, or numbers")


def pairs(ctx: Context, pad: int | tuple[tuple[int, int], ...], dims: int) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis of a padding that is given in numbers."""
    found = ((pad, pad),) if isinstance(pad, int) else pad
    if len(found) not in (1, dims):
        raise ctx.fail("MP201", f"the padding has {len(found)} entries for {dims} spatial axes")
    bounded(ctx, [side for pair in found for side in pair], "padding")
    return found * dims if len(found) == 1 else found
