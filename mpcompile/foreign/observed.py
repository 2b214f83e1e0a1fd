"""An operation that has no rule: what it gave when it was recorded, and a bound of what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile.ir import Abstract, Array, Constant, Domain, Example, Primitive, Type
from mpcompile.ops._base import join_over, lift


@dataclass(frozen=True)
class Observed(Primitive):
    """`of` stands for an operation that no primitive means; `results` are those of the one call that was recorded.

    An element of a result depends on the elements at its own place of all operands, which broadcast to it, joined over
    `joined` axes of the result, and over what comes before it along the axis `running` (behind it if `reverse`); with
    `joined` None on every element of every operand. This bounds any operation whose results have
    such a reach, so the primitive is declared conservative, and it cannot be run on other values.
    """

    name: ClassVar[str] = "observed"
    conservative: ClassVar[bool] = True
    of: str
    results: tuple[Constant, ...]
    joined: tuple[int, ...] | None = None
    running: int | None = None
    reverse: bool = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return tuple(Type(r.dtype, r.stored.shape) for r in self.results)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Return what was recorded, whatever the inputs are: only a check of the recording itself may ask."""
        return tuple(r.stored for r in self.results)

    def depend(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        return tuple(self._bound(domain, r.stored.shape, inputs) for r in self.results)

    def _bound(self, domain: Domain, shape: tuple[int, ...], inputs: Sequence[Abstract]) -> Abstract:
        if self.joined is None:
            words = [join_over(domain, x.facts, range(x.facts.ndim - 1)).reshape(-1) for x in inputs]
            whole = domain.union(*words) if words else np.zeros(domain.words, domain.dtype)
            return domain.make(shape, whole.reshape((1,) * len(shape) + (-1,)))
        rank = len(shape)
        parts = [join_over(domain, lift(x.facts, rank + 1), self.joined) for x in inputs]
        whole = domain.union(*parts)
        if self.running is not None and whole.shape[self.running] > 1:
            turn = (slice(None),) * self.running + (slice(None, None, -1 if self.reverse else 1),)
            whole = domain.join.accumulate(whole[turn], axis=self.running)[turn]
        return domain.make(shape, whole)

    @classmethod
    def examples(cls) -> list[Example]:
        return []
