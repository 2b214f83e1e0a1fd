"""Monotonic rational-quadratic splines (Gregory and Delbourgo 1982; Durkan et al. 2019, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, log, pi
from typing import ClassVar

from mpcompile import ops
from mpcompile.bijectors.base import CIRCLE, REALS, Interval
from mpcompile.bijectors.laws import Law
from mpcompile.ir import Array, DType, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F
from mpcompile.ranges import Bins, Positive

#: Least width and height of a bin, as a share of the box, and least slope at a knot.
LEAST = 1e-3
#: softplus(UNIT_SLOPE) + LEAST = 1
UNIT_SLOPE = log(exp(1 - LEAST) - 1)


@dataclass(frozen=True)
class _Bin:
    """The bin that each element falls in: its lower left corner, sizes, and slopes at both knots."""

    x: Value
    width: Value
    y: Value
    height: Value
    left: Value
    right: Value


@dataclass(frozen=True)
class Spline(Law):
    """A rational-quadratic spline of `bins` bins in the box [-bound, bound]^2; outside of it the identity.

    Parameters of an element: widths and heights of the bins, through a softmax, and the slopes at the inner knots,
    through a softplus; slopes at the ends are 1, so that the whole has a continuous derivative.

    With `circular` it is a map of the circle, of angles in [-pi, pi) (Rezende et al. 2020, section 2.1.2): the slope at
    the end of the turn is that at its beginning, and another parameter.
    """

    keyword: ClassVar[str] = "spline"
    bins: Bins = 8
    bound: Positive = 3.0
    circular: bool = False

    def __post_init__(self) -> None:
        """Raise `ValueError` for a circular spline with a bound of its own."""
        if self.circular and self.bound != Spline.bound:
            raise ValueError("a circular spline is one of a whole turn, and takes no `bound`")

    @property
    def reach(self) -> float | None:
        return None if self.circular else self.bound

    @property
    def domain(self) -> Interval:
        return CIRCLE if self.circular else REALS

    @property
    def _half(self) -> float:
        """Half the side of the box."""
        return pi if self.circular else self.bound

    def count(self) -> int:
        return 3 * self.bins - (not self.circular)

    def forward(self, ctx: Context, x: Value, raw: Value, moved: Array | None) -> tuple[Value, Value | None]:
        b, (inside, held) = ctx.b, self._inside(ctx, x)
        bin = self._bin(ctx, raw, held, by_height=False)
        slope = F.div(b, bin.height, bin.width)
        theta = F.div(b, F.sub(b, held, bin.x), bin.width)
        rest = F.sub(b, 1.0, theta)
        mixed = F.mul(b, theta, rest)
        below = F.add(b, slope, F.mul(b, self._bend(ctx, bin, slope), mixed))
        square = F.mul(b, theta, theta)
        above = F.add(b, F.mul(b, slope, square), F.mul(b, bin.left, mixed))
        y = F.add(b, bin.y, F.div(b, F.mul(b, bin.height, above), below))
        # eq. 5: dy/dx = s^2 (d_right theta^2 + 2 s theta (1 - theta) + d_left (1 - theta)^2) / below^2
        rise = F.add(b, F.mul(b, bin.right, square), F.mul(b, F.mul(b, slope, mixed), 2.0))
        rise = F.add(b, rise, F.mul(b, bin.left, F.mul(b, rest, rest)))
        ratio = b.emit(ops.Log(), F.div(b, slope, below))
        log_slope = F.add(b, F.mul(b, ratio, 2.0), b.emit(ops.Log(), rise))
        if inside is not None:
            y, log_slope = F.where(b, inside, y, x), F.where(b, inside, log_slope, 0.0)
        if moved is None:
            return y, log_slope
        where = b.constant(
            moved
        )  # a constant, so that the analysis knows that what is left alone reads nothing else
        return F.where(b, where, y, x), F.where(b, where, log_slope, 0.0)

    def inverse(self, ctx: Context, y: Value, raw: Value, moved: Array | None) -> Value:
        b, (inside, held) = ctx.b, self._inside(ctx, y)
        bin = self._bin(ctx, raw, held, by_height=True)
        slope = F.div(b, bin.height, bin.width)
        up = F.div(b, F.sub(b, held, bin.y), bin.height)
        # eqs. 6 to 8, divided by the height: (s - linear) theta^2 + linear theta - s up = 0
        linear = F.sub(b, bin.left, F.mul(b, up, self._bend(ctx, bin, slope)))
        # linear^2 + 4 (s - linear) s up, written as a sum of squares: the difference loses digits where the curve is flat
        rest = F.sub(b, 1.0, up)
        skew = F.sub(b, F.mul(b, bin.left, rest), F.mul(b, bin.right, up))
        square = F.mul(b, F.mul(b, slope, slope), F.mul(b, F.mul(b, up, rest), 4.0))
        root = b.emit(ops.Sqrt(), F.add(b, F.mul(b, skew, skew), F.maximum(b, square, 0.0)))
        # of the two forms of the root the one that adds what has one sign
        size, falls = b.emit(ops.Abs(), linear), F.less(b, linear, 0.0)
        both = F.add(b, size, root)
        over = F.where(b, falls, both, F.mul(b, F.mul(b, slope, up), 2.0))
        under = F.where(b, falls, F.mul(b, F.add(b, slope, size), 2.0), both)
        theta = F.div(b, over, under)
        x = F.add(b, bin.x, F.mul(b, theta, bin.width))
        x = x if inside is None else F.where(b, inside, x, y)
        return x if moved is None else F.where(b, b.constant(moved), x, y)

    def _bend(self, ctx: Context, bin: _Bin, slope: Value) -> Value:
        """d_left + d_right - 2 s"""
        return F.sub(ctx.b, F.add(ctx.b, bin.left, bin.right), F.mul(ctx.b, slope, 2.0))

    def _inside(self, ctx: Context, x: Value) -> tuple[Value | None, Value]:
        """Return which elements lie within the box, None for all, and x held there, so that all have a bin."""
        b = ctx.b
        if self.circular:
            x = F.wrapped(b, x)
            return None, F.maximum(b, F.minimum(b, x, pi), -pi)
        inside = F.less(b, b.emit(ops.Abs(), x), self.bound)
        return inside, F.maximum(b, F.minimum(b, x, self.bound), -self.bound)

    def _bin(self, ctx: Context, raw: Value, held: Value, by_height: bool) -> _Bin:
        """Return the knots around each element of x (or, by height, of y), of those that `raw` gives."""
        b, bins = ctx.b, self.bins
        size = held.shape[1]
        assert isinstance(size, int)
        ends = (0, bins * size, 2 * bins * size, self.count() * size)
        # cut first and unfold then: a derived sampler follows the units of a flat axis
        widths, heights, slopes = (
            F.reshape(b, F.slice_axis(b, raw, 1, lo, hi), (raw.shape[0], (hi - lo) // size, *held.shape[1:]))
            for lo, hi in pairwise(ends)
        )
        widths, heights = self._shares(ctx, widths), self._shares(ctx, heights)
        right_x, right_y = (self._edges(ctx, w) for w in (widths, heights))
        wide = F.reshape(b, held, (held.shape[0], 1, *held.shape[1:]))
        edges = right_y if by_height else right_x
        passed = F.to_float(b, b.emit(ops.LessEqual(), edges, wide))
        index = F.minimum(b, F.sum_axes(b, passed, [1]), float(bins - 1))

        def pick(values: Value, index: Value = index) -> Value:
            row = F.cast(b, F.reshape(b, index, wide.shape), DType.INT)
            return F.sum_axes(b, b.emit(ops.TakeAlong(1), values, row), [1])  # of one row

        slopes = F.add(b, b.emit(ops.Softplus(), F.add(b, slopes, UNIT_SLOPE)), LEAST)
        first, last = F.less(b, index, 0.5), F.less(b, bins - 1.5, index)
        if self.circular:
            left, right = pick(slopes), pick(slopes, F.where(b, last, 0.0, F.add(b, index, 1.0)))
        else:
            left = pick(slopes, F.maximum(b, F.sub(b, index, 1.0), 0.0))
            right = pick(slopes, F.minimum(b, index, float(bins - 2)))
        corner = (
            pick(F.sub(b, right_x, widths)), pick(widths), pick(F.sub(b, right_y, heights)), pick(heights),
        )  # fmt: skip
        if not self.circular:
            left, right = F.where(b, first, 1.0, left), F.where(b, last, 1.0, right)
        return _Bin(*corner, left, right)

    def _shares(self, ctx: Context, logits: Value) -> Value:
        """Sizes of the bins along axis 1, which sum to the side of the box."""
        share = F.mul(ctx.b, ctx.b.emit(ops.Softmax(1), logits), 1 - LEAST * self.bins)
        return F.mul(ctx.b, F.add(ctx.b, share, LEAST), 2 * self._half)

    def _edges(self, ctx: Context, sizes: Value) -> Value:
        """Upper ends of the bins."""
        return F.sub(ctx.b, ctx.b.emit(ops.CumSum(1), sizes), self._half)
