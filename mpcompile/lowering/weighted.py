"""Weights of laws: `x ~ law weight w`, at the top and in a step of a recurrence. They change the loss alone.

Likelihoods, bounds and evaluations never see them. No gradient goes through a weight: it says how much a law counts, and
is not learned by making it small. That of a step reads what is declared, and the latents that are drawn by then.
"""

from __future__ import annotations

from dataclasses import replace

from mpcompile import ops
from mpcompile.diagnostics import error
from mpcompile.distributions import Distribution, Elementwise
from mpcompile.frontend import ast
from mpcompile.functions import FUNCTIONS
from mpcompile.functions.losses import LOSSES
from mpcompile.ir import Value
from mpcompile.ir.axes import Axes
from mpcompile.layers import Context
from mpcompile.layers.axes import aligned, described
from mpcompile.lowering.divergence import divergence
from mpcompile.lowering.scope import Scope
from mpcompile.ops import build as F


def log_prob(ctx: Context, scope: Scope, s: ast.Density, law: Distribution, x: Value, axes: Axes) -> Value:
    """Build the log-likelihood of a variable [N] as the loss counts it; `axes` are those of its value x.

    A weight is one number, one for each example, or one for each element. Raises `SpecError` (MP214) for other axes.
    """
    if s.weight is None or not ctx.training:
        return law.log_prob(ctx, x)
    with ctx.frame("weight", scope.label(s.weight.span), s.weight.span):
        weight = factor(ctx, scope, s.weight)
        if not ctx.axes_of(weight):
            return F.mul(ctx.b, law.log_prob(ctx, x), weight)
        if not isinstance(law, Elementwise):
            what = f"{law.keyword} is a law of all elements of `{s.name}` together"
            raise error(
                "MP214",
                f"{what}, and takes one weight an example, not {described(ctx, weight)}",
                s.weight.span,
            )
        each = ctx.name_axes(law.there_log_prob(ctx, x), axes)
        (each, weight), made = aligned(ctx, "`weight`", (each, weight))
        if made != axes:
            raise error(
                "MP214", f"the weight has axes that `{s.name}` lacks: {described(ctx, weight)}", s.weight.span
            )
        return F.event_sum(ctx.b, ctx.kept(F.mul(ctx.b, each, weight)))


def check_not_summed(s: ast.Density, summed: bool) -> None:
    """Raise `SpecError` (MP205) for a weight beside latents that are summed out, where probabilities are added up."""
    if s.weight is not None and summed:
        raise error("MP205", "a weight beside latents that are summed out has no meaning: the sum is over probabilities",
                    s.weight.span, help="leave out the weight")  # fmt: skip


def factor(ctx: Context, scope: Scope, weight: ast.Expr) -> Value:
    """Build a weight, through which no gradient goes."""
    value = ctx.b.here(in_terms(scope).value(ctx, weight))
    return ctx.name_axes(ctx.b.emit(ops.StopGradient(), value), ctx.axes_of(value))


def in_terms(scope: Scope) -> Scope:
    """Return the scope of a term or a weight, where the functions of losses have their names."""
    return replace(scope, functions={**FUNCTIONS, **LOSSES}, of_laws=divergence)


__all__ = ["check_not_summed", "factor", "in_terms", "log_prob"]
