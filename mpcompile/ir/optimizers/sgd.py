"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir.optimizers.base import Moment, Optimizer, Term
from mpcompile.ranges import Fraction, NonNegative


@dataclass(frozen=True)
class Sgd(Optimizer):
    """Stochastic gradient descent with momentum, as in torch.optim."""

    keyword: ClassVar[str] = "sgd"
    keeps_zeros: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("momentum",)
    rate: NonNegative = 1e-2
    momentum: Fraction = 0.0
    weight_decay: NonNegative | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        return self.slots if self.momentum else ()

    def change(
        self, weight: Term, gradient: Term, kept: Mapping[str, Term], now: Moment
    ) -> tuple[Term, dict[str, Term]]:
        if not self.momentum:
            return gradient * now.rate, {}
        velocity = kept["momentum"] * self.momentum + gradient
        return velocity * now.rate, {"momentum": velocity}


__all__ = ["Sgd"]
