"""What a bijector is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Shape, Value
from mpcompile.layers.base import Context


@dataclass(frozen=True)
class Bijector:
    """An invertible map with the log-determinant of its Jacobian.

    The structure of the Jacobian is derived from the graph of `forward` (`mpcompile.analysis.jacobian`); the
    log-determinant that `forward` gives is only used when that structure bears it out:

    * `structure = "triangular"`: the log-determinant is the sum of the log-diagonal; diagonal is a case of it;
    * `structure = "dense"`: the map has a closed form of its own.
    """

    keyword: ClassVar[str]
    structure: ClassVar[str] = "triangular"
    #: Whether backends may emit it as a function of its own.
    function: ClassVar[bool] = False

    def forward(self, ctx: Context, x: Value) -> tuple[Value, Value | None]:
        """y and log |det dy/dx| [N]; None where the determinant is 1."""
        raise NotImplementedError

    def inverse(self, ctx: Context, y: Value) -> Value:
        raise NotImplementedError

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of y, with the batch axis, from the shape of x."""
        return shape
