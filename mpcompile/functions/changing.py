"""Numbers that change in the course of training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from mpcompile.functions.base import Function
from mpcompile.ir import Init, Value
from mpcompile.layers.context import Context
from mpcompile.ops import build as F
from mpcompile.ranges import Positive, Real


@dataclass(frozen=True)
class Anneal(Function):
    """A number that goes from `start` to `end` in that many steps of training, linearly; outside of training it is `end`.

    The number of steps done is an untrained parameter, so that a resumed run goes on where it was.
    """

    keyword: ClassVar[str] = "anneal"
    takes: ClassVar[tuple[str, ...]] = ()
    start: Real
    end: Real
    steps: Positive = field(kw_only=True)

    def forward(self, ctx: Context, *values: Value) -> Value:
        if not ctx.training:
            return ctx.b.constant(self.end)
        with ctx.outside():
            b = ctx.b
            done = ctx.param("steps", (), Init("zeros"), trainable=False)
            ctx.update(done, F.add(b, done, 1.0))
            share = F.minimum(b, F.mul(b, done, 1.0 / self.steps), 1.0)
            return F.add(b, F.mul(b, share, self.end - self.start), self.start)


CHANGING: tuple[type[Function], ...] = (Anneal,)

__all__ = ["CHANGING", "Anneal"]
