"""Rosenblatt's rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir.optimizers.base import Moment, Optimizer, Term
from mpcompile.ranges import NonNegative


@dataclass(frozen=True)
class PerceptronRule(Optimizer):
    """Rosenblatt 1958: the step that the loss of `perceptron` says."""

    keyword: ClassVar[str] = "perceptron"
    keeps_zeros: ClassVar[bool] = True
    rate: NonNegative = 1.0

    def change(
        self, weight: Term, gradient: Term, kept: Mapping[str, Term], now: Moment
    ) -> tuple[Term, dict[str, Term]]:
        return gradient * now.rate, {}


__all__ = ["PerceptronRule"]
