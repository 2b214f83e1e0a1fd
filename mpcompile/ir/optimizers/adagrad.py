"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir.optimizers.base import Moment, Optimizer, Term
from mpcompile.ranges import NonNegative, Positive


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Duchi et al. 2011."""

    keyword: ClassVar[str] = "adagrad"
    keeps_zeros: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("sum",)
    rate: NonNegative = 1e-2
    eps: Positive = 1e-10
    weight_decay: NonNegative | None = None

    def change(
        self, weight: Term, gradient: Term, kept: Mapping[str, Term], now: Moment
    ) -> tuple[Term, dict[str, Term]]:
        """The root of the sum of squares divides each element; `eps` is outside of the root, as in torch.optim."""
        total = kept["sum"] + gradient * gradient
        return gradient * now.rate / (total.sqrt() + self.eps), {"sum": total}


__all__ = ["Adagrad"]
