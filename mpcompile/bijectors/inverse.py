"""A bijector run backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.bijectors.base import Bijector, Extent, Interval, Part
from mpcompile.ir import Shape, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F


@dataclass(frozen=True)
class Inverse(Bijector):
    """The inverse of a bijector: `inverse(autoregressive(...))` is IAF, with sampling in one pass."""

    keyword: ClassVar[str] = "inverse"
    function: ClassVar[bool] = True
    of: Bijector

    def __post_init__(self) -> None:
        if not self.of.reversible:
            raise ValueError(f"`{self.of.keyword}` cannot be run backwards within a flow")

    @property
    def reach(self) -> float | None:  # type: ignore[override]  # a class's there, that of the map here
        return self.of.reach

    @property
    def domain(self) -> Interval | None:  # type: ignore[override]  # a field there, derived here
        return self.of.codomain

    @property
    def codomain(self) -> Interval | None:  # type: ignore[override]  # a field there, derived here
        return self.of.domain

    def forward(self, ctx: Context, x: Value) -> tuple[Value, Value | None]:
        y = ctx.name_axes(self.of.inverse(ctx, x), ctx.axes_of(x))
        log_det = self.of.forward(ctx, y)[1]
        return y, None if log_det is None else F.neg(ctx.b, log_det)

    def inverse(self, ctx: Context, y: Value) -> Value:
        return self.of.forward(ctx, y)[0]

    def inverse_and_log_det(self, ctx: Context, y: Value) -> tuple[Value, Value | None]:
        return self.of.forward(ctx, y)

    @property
    def takes(self) -> Extent:  # type: ignore[override]  # a class's there, that of the map here
        return self.of.takes

    def checked_shape(self, ctx: Context, shape: Shape) -> Shape:
        return self.of.checked_shape(ctx, shape)

    def parts(self) -> tuple[Part, ...]:
        return self.of.parts()
