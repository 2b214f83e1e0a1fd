"""Learning rates: the rate of a step, as a pure function of the step."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sqrt

KINDS = ("constant", "linear", "cosine", "step", "exponential", "inverse_sqrt")


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the rate changes over training.

    warmup  steps of linear growth before anything else
    final   fraction of the rate that linear and cosine end at
    every, factor  `step` multiplies the rate by `factor` after each `every` steps, `exponential` smoothly
    """

    kind: str = "constant"
    warmup: int = 0
    final: float = 0.0
    every: int = 1000
    factor: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a schedule is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.warmup < 0 or self.every < 1 or self.factor <= 0 or not 0 <= self.final <= 1:
            raise ValueError("a schedule needs warmup >= 0, every >= 1, factor > 0 and 0 <= final <= 1")

    def rate(self, base: float, step: int, total: int) -> float:
        """Rate of 0-based `step` out of `total`."""
        if step < self.warmup:
            return base * (step + 1) / self.warmup
        after = step - self.warmup
        part = min(1.0, after / max(1, total - self.warmup))
        match self.kind:
            case "linear":
                return base * (1 - (1 - self.final) * part)
            case "cosine":
                return base * (self.final + (1 - self.final) * (1 + cos(pi * part)) / 2)
            case "step":
                return float(base * self.factor ** (after // self.every))
            case "exponential":
                return float(base * self.factor ** (after / self.every))
            case "inverse_sqrt":
                return base * sqrt(max(1, self.warmup) / max(1, step + 1))
        return base
