"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir.optimizers.base import Moment, Optimizer, Term
from mpcompile.ranges import Fraction, NonNegative, Positive


class _Adaptive:
    """The arithmetic that both share. It is no dataclass: the order of arguments is that of each rule."""

    beta1: float
    beta2: float
    eps: float

    def change(
        self, weight: Term, gradient: Term, kept: Mapping[str, Term], now: Moment
    ) -> tuple[Term, dict[str, Term]]:
        return adaptive(self.beta1, self.beta2, self.eps, gradient, kept, now)


def adaptive(
    beta1: float, beta2: float, eps: float, gradient: Term, kept: Mapping[str, Term], now: Moment
) -> tuple[Term, dict[str, Term]]:
    """Return the change and the slots of Kingma and Ba 2015, algorithm 1, in the form of the end of its section 2.

    Scalars take the corrections.
    """
    m = kept["m"] * beta1 + gradient * (1 - beta1)
    v = kept["v"] * beta2 + gradient * gradient * (1 - beta2)
    root = now.gathered(beta2).sqrt()
    rate = now.rate / now.gathered(beta1) * root
    return m / (v.sqrt() + root * eps) * rate, {"m": m, "v": v}


@dataclass(frozen=True)
class Adam(_Adaptive, Optimizer):
    """Kingma and Ba 2015; `weight_decay` is added to the gradient."""

    keyword: ClassVar[str] = "adam"
    keeps_zeros: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative | None = None


@dataclass(frozen=True)
class AdamW(_Adaptive, Optimizer):
    """Loshchilov and Hutter 2019: `weight_decay` is decoupled, 0.01 unless given."""

    keyword: ClassVar[str] = "adamw"
    keeps_zeros: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    decoupled: ClassVar[bool] = True
    usual_decay: ClassVar[float] = 1e-2
    weight_decay: NonNegative | None = None
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Positive = 1e-8


__all__ = ["Adam", "AdamW", "adaptive"]
