"""The weight of the divergence of the latents in the loss: `beta` of the objective.

The number of steps done and the multiplier are untrained parameters, which the loss gives their next values: it stays a
pure function, and a resumed run goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from mpcompile import ops
from mpcompile.diagnostics import Span
from mpcompile.frontend import ast
from mpcompile.ir import Init, Value
from mpcompile.layers import Context
from mpcompile.lowering.binding import Arguments
from mpcompile.lowering.names import unknown
from mpcompile.lowering.scope import Scope
from mpcompile.ops import build as F
from mpcompile.ranges import NonNegative, Positive


@dataclass(frozen=True)
class Weight:
    """A weight of the divergence. Its fields, in order, are its arguments in a spec."""

    is_one: ClassVar[bool] = False

    def penalty(self, ctx: Context, kl: Value) -> tuple[Value, Value | None]:
        """beta KL, or beta (KL - threshold), from KL [N], and beta where it changes. In the loss it moves on."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Weight):
    """`beta: 4`."""

    beta: NonNegative = 1.0

    @property
    def is_one(self) -> bool:  # type: ignore[override]  # of this value
        return self.beta == 1

    def penalty(self, ctx: Context, kl: Value) -> tuple[Value, Value | None]:
        return (kl if self.beta == 1 else F.mul(ctx.b, kl, self.beta)), None


@dataclass(frozen=True, kw_only=True)
class Changing(Weight):
    """A weight that is another in each step; `span` is where it is stated."""

    keyword: ClassVar[str]
    span: Span = field(default=Span.none(), metadata={"argument": False})

    def penalty(self, ctx: Context, kl: Value) -> tuple[Value, Value | None]:
        with ctx.frame("objective", f"beta: {self.keyword}", self.span):
            beta, excess = self.step(ctx, kl)
            return F.mul(ctx.b, beta, excess), beta

    def step(self, ctx: Context, kl: Value) -> tuple[Value, Value]:
        """beta, and what it is multiplied with [N]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Warmup(Changing):
    """`beta: warmup(steps, final = 1)`: from 0 to `final` in that many steps, linearly (Bowman et al. 2016)."""

    keyword: ClassVar[str] = "warmup"
    steps: Positive
    final: NonNegative = 1.0

    def step(self, ctx: Context, kl: Value) -> tuple[Value, Value]:
        if not ctx.training:
            return ctx.b.constant(self.final), kl
        done = ctx.param("steps", (), Init("zeros"), trainable=False)
        ctx.update(done, F.add(ctx.b, done, 1.0))
        return F.mul(ctx.b, F.minimum(ctx.b, F.div(ctx.b, done, self.steps), 1.0), self.final), kl


@dataclass(frozen=True)
class Constrained(Changing):
    """`beta: constrained(threshold, rate = 0.01)`: the multiplier of KL <= threshold (notes, section 5.4).

    Dual ascent in log beta on (KL - threshold) / threshold, at most 1 (Rezende and Viola 2018, algorithm 1).
    """

    keyword: ClassVar[str] = "constrained"
    threshold: Positive
    rate: Positive = 0.01

    def step(self, ctx: Context, kl: Value) -> tuple[Value, Value]:
        b = ctx.b
        beta = ctx.param("beta", (), Init("ones"), trainable=False)
        excess = F.sub(b, kl, self.threshold)
        if ctx.training:
            share = F.minimum(b, F.div(b, F.batch_mean(b, excess), self.threshold), 1.0)
            ctx.update(beta, F.mul(b, beta, b.emit(ops.Exp(), F.mul(b, share, self.rate))))
        return beta, excess


#: Weights that a spec names.
WEIGHTS: dict[str, type[Changing]] = {c.keyword: c for c in (Warmup, Constrained)}


def weight(objective: tuple[ast.Let, ...], scope: Scope) -> Weight:
    """Return the weight that the `objective` section states. Raises `SpecError` for another option or form."""
    found: Weight = Constant()
    for let in objective:
        if let.name != "beta":
            raise unknown("part of the objective", let.name, ["beta"], let.span.head(let.name))
        found = _stated(let, scope)
    return found


def _stated(let: ast.Let, scope: Scope) -> Weight:
    expr = let.value
    if isinstance(expr, ast.Call) and expr.callee in WEIGHTS:
        changing: Weight = Arguments(scope, None, expr).build(WEIGHTS[expr.callee], span=expr.span)
        return changing
    number = ast.Argument(span=let.span, name=let.name, value=expr)
    call = ast.Call(span=let.span, callee="objective", args=(number,))
    constant: Weight = Arguments(scope, None, call).build(Constant)
    return constant


__all__ = ["WEIGHTS", "Constant", "Weight", "weight"]
