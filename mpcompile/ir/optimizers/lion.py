"""Lion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir.optimizers.base import Moment, Optimizer, Term
from mpcompile.ranges import Fraction, NonNegative


@dataclass(frozen=True)
class Lion(Optimizer):
    """Chen et al. 2023, algorithm 2: every element moves by the rate; `weight_decay` is decoupled."""

    keyword: ClassVar[str] = "lion"
    keeps_zeros: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("m",)
    decoupled: ClassVar[bool] = True
    rate: NonNegative = 1e-4
    beta1: Fraction = 0.9
    beta2: Fraction = 0.99
    weight_decay: NonNegative | None = None

    def change(
        self, weight: Term, gradient: Term, kept: Mapping[str, Term], now: Moment
    ) -> tuple[Term, dict[str, Term]]:
        """The sign of one mean moves the weight, another mean is kept; the sign of zero is zero."""
        m = kept["m"]
        direction = (m * self.beta1 + gradient * (1 - self.beta1)).sign()
        return direction * now.rate, {"m": m * self.beta2 + gradient * (1 - self.beta2)}


__all__ = ["Lion"]
