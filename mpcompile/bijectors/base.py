"""What a bijector is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Shape, Value
from mpcompile.layers.base import Context


@dataclass(frozen=True)
class Bijector:
    """An invertible map with the log-determinant of its Jacobian.

    The structure of the Jacobian is derived from the graph of `apply` (`mpcompile.analysis.jacobian`); the
    log-determinant that it gives is the sum of the log-diagonal, and is only used when that structure bears it out.
    """

    keyword: ClassVar[str]
    #: Whether backends may emit it as a function of its own.
    function: ClassVar[bool] = False

    def forward(self, ctx: Context, x: Value) -> tuple[Value, Value | None]:
        """y and log |det dy/dx| [N]; None where the determinant is 1."""
        return self.apply(ctx, x, x)

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        """`forward`, with x as the conditioner sees it apart from x as it is transformed.

        Given `seen`, the map is element-wise in x, and its log-determinant is that of this element-wise map; the
        whole is a bijection with the same log-determinant when y_i never reads seen_i (see the analysis).
        """
        raise NotImplementedError

    def inverse(self, ctx: Context, y: Value) -> Value:
        raise NotImplementedError

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of y, with the batch axis, from the shape of x."""
        return shape
