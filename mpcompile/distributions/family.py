"""Laws without their parameters: what a likelihood names, and what combinators combine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpcompile.distributions.slots import Noise, Parameters
from mpcompile.distributions.support import Support
from mpcompile.ir import Field, Shape, Value
from mpcompile.layers.base import Context

if TYPE_CHECKING:
    from mpcompile.distributions.base import Elementwise


@dataclass(frozen=True)
class Family:
    """A law of the table whose parameters are to come, with `components` components where it is a mixture."""

    law: type[Elementwise]
    components: int = 5

    @property
    def name(self) -> str:
        """The family as a spec writes it."""
        return self.law.keyword

    @property
    def support(self) -> Support:
        return self.law.support

    @property
    def noise(self) -> tuple[Noise, ...]:
        return self.law.noise

    @property
    def scaled(self) -> bool:
        """Whether a network gives a scale among the parameters, which may become as small as it likes."""
        return self.law.scaled

    def count(self, field: Field) -> int:
        """Return how many parameters an element of a variable has."""
        return self.law.count(self, field)

    def read(self, ctx: Context, output: Value, shape: Shape, field: Field) -> Elementwise:
        """Build the law of each element of a variable, of this shape, from the output of a network.

        Raises `SpecError` (MP207) for an output of another shape.
        """
        parameters = Parameters.of(ctx, output, shape, self.count(field), self.law.stacked, self.name)
        return self.law.read(parameters, self, field)


__all__ = ["Family"]
