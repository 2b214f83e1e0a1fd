"""A point mass: the code of an autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.distributions.base import Distribution
from mpcompile.distributions.support import POINT, Support
from mpcompile.ir import Shape, Value
from mpcompile.layers.base import Context


@dataclass(frozen=True)
class Delta(Distribution):
    """Point mass at `loc`: as the posterior of a latent it makes the model an autoencoder (notes, section 5.1).

    It has no density, so there is no bound on the likelihood; with a prior p the loss has the penalty -log p(z).

    `loc` has the shape of the latent, [N, ...].
    """

    keyword: ClassVar[str] = "delta"
    support: ClassVar[Support] = POINT
    reparameterised: ClassVar[bool] = True
    loc: Value

    def sample(self, ctx: Context, name: str, shape: Shape) -> Value:
        return self.loc

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return self.loc

    def parameters(self) -> dict[str, Value]:
        return {"loc": self.loc}
