"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir.optimizers.base import Moment, Optimizer, Term
from mpcompile.ranges import Fraction, NonNegative, Positive


@dataclass(frozen=True)
class RmsProp(Optimizer):
    """Tieleman and Hinton 2012, with momentum, as in torch.optim; `weight_decay` is added to the gradient."""

    keyword: ClassVar[str] = "rmsprop"
    keeps_zeros: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("v", "momentum")
    rate: NonNegative = 1e-2
    alpha: Fraction = 0.99
    eps: Positive = 1e-8
    momentum: Fraction = 0.0
    weight_decay: NonNegative | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        return self.slots if self.momentum else self.slots[:1]

    def change(
        self, weight: Term, gradient: Term, kept: Mapping[str, Term], now: Moment
    ) -> tuple[Term, dict[str, Term]]:
        """A running mean of squares divides each element; `eps` is outside of the root, as in torch.optim."""
        v = kept["v"] * self.alpha + gradient * gradient * (1 - self.alpha)
        step = gradient / (v.sqrt() + self.eps)
        if not self.momentum:
            return step * now.rate, {"v": v}
        velocity = kept["momentum"] * self.momentum + step
        return velocity * now.rate, {"v": v, "momentum": velocity}


__all__ = ["RmsProp"]
