"""Options of sampling beside the law: temperature, the most probable classes, given elements."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """Options of a sampler; the default is the law itself.

    temperature  of every conditional, or of the base of a flow: logits are divided by it, scales multiplied by it
    top_k        draw categories among the k most probable ones only (all that tie with the k-th)
    given        take inputs `given_<x>` and `keep_<x>` in the shape of x: where keep is 1, x is what is given
    """

    temperature: float = 1.0
    top_k: int | None = None
    given: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"a temperature is a positive number, not {self.temperature:g}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k keeps at least one class, not {self.top_k}")


LAW_ITSELF = Sampling()
