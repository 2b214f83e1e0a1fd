"""The base class of bijectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi
from typing import ClassVar, Protocol

from mpcompile.ir import Init, Shape, Value, product
from mpcompile.ir.axes import CHANNEL, Axes, shown
from mpcompile.layers.base import Context
from mpcompile.ops import build as F
from mpcompile.ranges import MAX_AXES

#: An open interval of the reals, element by element: where a map is defined, or what it reaches.
Interval = tuple[float, float]

REALS: Interval = (-inf, inf)
POSITIVE: Interval = (0.0, inf)
UNIT: Interval = (0.0, 1.0)
#: Angles, real numbers modulo 2 pi; maps of them are of a whole turn, and periodic.
CIRCLE: Interval = (-pi, pi)


class Part(Protocol):
    """A map whose Jacobian is analysed: what `Bijector.apply` says."""

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]: ...


@dataclass(frozen=True, slots=True)
class Extent:
    """The axes of the values that a map takes, besides the batch: `what` names them, `least` and `most` count them."""

    what: str = "channels"
    least: int = 1
    most: int = MAX_AXES

    def check(self, ctx: Context, who: str, shape: Shape, axes: Axes) -> None:
        """Raises MP201 for another number of axes."""
        if not self.least <= len(shape) - 1 <= self.most:
            raise ctx.fail("MP201", f"{who} needs {self.what}, got {shown(axes, shape[1:])}")


@dataclass(frozen=True)
class Bijector:
    """An invertible map with the log-determinant of its Jacobian.

    The structure of the Jacobian is derived from the graph of `apply` (`mpcompile.analysis.jacobian`); the
    log-determinant that it gives is the sum of the log-diagonal, and is only used when that structure bears it out.

    A flow brings its variable to it with the channels first, and what it conditions on by name (`inner`).

    `forward` maps x [N, C, ...] to y of the same shape, unless `output_shape` says otherwise, and gives log |det
    dy/dx| [N].
    """

    keyword: ClassVar[str]
    #: The axes that it takes, of a variable of fixed shape.
    takes: ClassVar[Extent] = Extent()
    #: Whether backends may emit it as a function of its own.
    function: ClassVar[bool] = False
    #: Where `forward` is defined, and where `inverse` is: None where the map keeps whatever interval it is given.
    domain: ClassVar[Interval | None] = REALS
    codomain: ClassVar[Interval | None] = REALS
    #: Whether `inverse(...)` may be written around it.
    reversible: ClassVar[bool] = True
    #: |x| from which on the map is the identity whatever it learns; None where it has no such bound.
    reach: ClassVar[float | None] = None
    #: Whether it has no parameters, so that it undoes its own inverse beside it.
    fixed: ClassVar[bool] = False
    #: Whether `score` draws y, and is not `forward`.
    draws: ClassVar[bool] = False
    #: Whether `initialize` sets parameters from the data it sees.
    data_dependent: ClassVar[bool] = False

    def forward(self, ctx: Context, x: Value) -> tuple[Value, Value | None]:
        """y and log |det dy/dx| [N]; None where the determinant is 1."""
        return self.apply(ctx, x, x)

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        """`forward`, with x as the conditioner sees it apart from x as it is transformed.

        Given `seen`, the map is element-wise in x, and its log-determinant is that of this element-wise map; the
        whole is a bijection with the same log-determinant when y_i never reads seen_i (see the analysis).
        """
        raise NotImplementedError

    def score(self, ctx: Context, x: Value) -> tuple[Value, Value | None]:
        """y and what is to be added to its log density for that of x [N]: the log-determinant, unless y is drawn."""
        return self.forward(ctx, x)

    def inverse(self, ctx: Context, y: Value) -> Value:
        raise NotImplementedError

    def inverse_and_log_det(self, ctx: Context, y: Value) -> tuple[Value, Value | None]:
        """x and log |det dx/dy| [N]; None where the determinant is 1."""
        x = ctx.name_axes(self.inverse(ctx, y), ctx.axes_of(y))
        log_det = self.forward(ctx, x)[1]
        return x, None if log_det is None else F.neg(ctx.b, log_det)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of y, with the batch axis, from the shape of x."""
        return shape

    def checked_shape(self, ctx: Context, shape: Shape) -> Shape:
        """`output_shape` of a shape that the map takes. Raises `SpecError` for one that it does not."""
        return self.output_shape(shape)

    def parts(self) -> tuple[Part, ...]:
        """Maps whose composition this is, or the inverse of this: their Jacobians are analysed in its place."""
        return (self,)

    def initialize(self, ctx: Context, x: Value) -> Value:
        """`forward` with parameters that are set from x, a batch of data, in `ctx.updates`."""
        return self.forward(ctx, x)[0]

    @property
    def preimage(self) -> Interval | None:
        """The interval of the results of `inverse`: the domain, or more where a map is stretched to avoid its ends.

        None for a map of angles, which takes all numbers modulo 2 pi.
        """
        return None if self.domain == CIRCLE else self.domain

    @property
    def image(self) -> Interval | None:
        """The interval that `forward` reaches; for a map that rounds on its way back it is smaller than the codomain."""
        return self.codomain


def elements(shape: Shape) -> int:
    """Return the number of elements of one example."""
    size = product(shape[1:])
    assert isinstance(size, int)
    return size


def inner(axes: Axes) -> Axes:
    """Return the axes of a flow's variable in the order in which bijectors have them: channels first."""
    return (CHANNEL, *(name for name in axes if name != CHANNEL))


def channels(x: Value) -> int:
    """Return the number of channels: within a flow they are the first axis."""
    size = x.shape[1]
    assert isinstance(size, int)
    return size


def along_channels(ctx: Context, vector: Value, x: Value) -> Value:
    """Reshape vector[C] so that it broadcasts along the channels of x[N, C, ...]."""
    return F.reshape(ctx.b, vector, (*vector.shape, *(1,) * (x.type.rank - 2)))


def for_each_channel(ctx: Context, name: str, x: Value) -> Value:
    """Return the parameter `name` [C], initially zero, in a shape that broadcasts along the channels of x[N, C, ...]."""
    return along_channels(ctx, ctx.param(name, (channels(x),), Init("zeros")), x)


def spread(ctx: Context, x: Value, log_slope: Value) -> Value:
    """Return the log-determinant [N] of a scale for each channel, which is the same for every example of x."""
    places = elements(x.shape) // channels(x)
    total = F.mul(ctx.b, F.sum_axes(ctx.b, log_slope, range(log_slope.type.rank)), float(places))
    return F.add(ctx.b, ctx.zeros((x.shape[0],)), total)
