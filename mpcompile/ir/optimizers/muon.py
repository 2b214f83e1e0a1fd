"""Muon."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir.optimizers.adam import adaptive
from mpcompile.ir.optimizers.base import Moment, Optimizer, Term
from mpcompile.ranges import FewTimes, Fraction, NonNegative, Positive

#: Coefficients of the quintic iteration (Jordan 2024): singular values come between 0.7 and 1.2 in five steps.
QUINTIC = (3.4445, -4.7750, 2.0315)


@dataclass(frozen=True)
class Muon(Optimizer):
    """Jordan et al. 2024: matrices move along orthogonalised means of gradients, all other weights as in adamw.

    A kernel [out, in, ...] is the matrix [out, in * ...]. An orthogonal step is scaled by 0.2 sqrt(max(rows, columns)),
    so that one rate and one decay are good for both kinds (Liu et al. 2025, equation 4).
    """

    keyword: ClassVar[str] = "muon"
    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    decoupled: ClassVar[bool] = True
    joint: ClassVar[bool] = True
    usual_decay: ClassVar[float] = 1e-2
    momentum: Fraction = 0.95
    iterations: FewTimes = 5
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative | None = None

    def kept_for(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """The mean of gradients of a matrix; both of adam's arrays of any other weight."""
        return self.slots[:1] if len(shape) > 1 else self.slots

    def change(
        self, weight: Term, gradient: Term, kept: Mapping[str, Term], now: Moment
    ) -> tuple[Term, dict[str, Term]]:
        """A mean with Nesterov's look ahead, made orthogonal by `iterations` of X <- a X + (b A + c A A) X, A = X X'."""
        if len(weight.shape) < 2:
            return adaptive(self.beta1, self.beta2, self.eps, gradient, kept, now)
        m = kept["m"] * self.momentum + gradient * (1 - self.momentum)
        ahead = m * self.momentum + gradient * (1 - self.momentum)
        rows, columns = weight.shape[0], math.prod(weight.shape[1:])
        x = ahead.reshaped((rows, columns))
        x = x / ((x * x).total().sqrt() + 1e-7)
        x = x.transposed() if rows > columns else x
        a, b, c = QUINTIC
        for _ in range(self.iterations):
            square = x.matmul(x.transposed())
            x = x * a + (square * b + square.matmul(square) * c).matmul(x)
        x = x.transposed() if rows > columns else x
        scale = 0.2 * math.sqrt(max(rows, columns))
        return x.reshaped(weight.shape) * (now.rate * scale), {"m": m}


__all__ = ["QUINTIC", "Muon"]
