"""Laws without their parameters: what a likelihood names, and what combinators combine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mpcompile.distributions.slots import Noise, Parameters
from mpcompile.distributions.support import Support
from mpcompile.ir import DType, Field, Value
from mpcompile.layers.base import Context

if TYPE_CHECKING:
    from mpcompile.distributions.base import Elementwise

#: Components of a mixture of which a spec does not say how many.
USUAL_COMPONENTS = 5


@dataclass(frozen=True)
class Family:
    """A law of the table whose parameters are to come, with `components` components where it is a mixture."""

    law: type[Elementwise]
    components: int | None = None
    inner: Family | None = None

    @property
    def over(self) -> Family:
        """The law within, of a combinator."""
        assert self.inner is not None
        return self.inner

    @property
    def size(self) -> int:
        """The number of components of a mixture."""
        return USUAL_COMPONENTS if self.components is None else self.components

    @property
    def name(self) -> str:
        """The family as a spec writes it."""
        return self.law.keyword if self.inner is None else f"{self.law.keyword}({self.inner.name})"

    @property
    def support(self) -> Support:
        return self.law.support if self.inner is None else self.law.supports(self.inner)

    @property
    def noise(self) -> tuple[Noise, ...]:
        return self.law.noise if self.inner is None else self.law.noise_over(self.inner)

    @property
    def scaled(self) -> bool:
        """Whether a network gives a scale among the parameters, which may become as small as it likes."""
        dense = self.support.measure == "density"
        return self.law.scaled if self.inner is None else dense and self.inner.scaled

    @property
    def stacked(self) -> bool:
        """Whether there are several parameters of one name an element, along an axis of their own."""
        return self.law.stacked or (self.inner is not None and self.inner.stacked)

    @property
    def dtype(self) -> DType:
        return self.law.dtype

    def with_components(self, components: int) -> Family:
        """Return the family with as many components where it does not say how many."""
        inner = None if self.inner is None else self.inner.with_components(components)
        return replace(self, components=self.components or components, inner=inner)

    def count(self, field: Field) -> int:
        """Return how many parameters an element of a variable has."""
        return self.law.count(self, field)

    def read(self, ctx: Context, output: Value, field: Field) -> Elementwise:
        """Build the law of each element of a variable from the output of a network.

        Raises `SpecError` (MP207) for an output with other axes.
        """
        parameters = Parameters.of(ctx, output, field, self.count(field), self.stacked, self.name)
        return self.law.read(parameters, self, field)


__all__ = ["Family"]
