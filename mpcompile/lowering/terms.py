"""Parts of a spec that change the loss alone: `minimise term weight w`, and `x ~ law weight w`.

Likelihoods, bounds and evaluations never see them. No gradient goes through a weight: it says how much a term counts, and
is not learned by making it small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mpcompile import ops
from mpcompile.diagnostics import error
from mpcompile.distributions import Distribution, Elementwise
from mpcompile.frontend import ast
from mpcompile.functions import FUNCTIONS
from mpcompile.functions.base import real_only
from mpcompile.functions.losses import LOSSES
from mpcompile.ir import TERMS, Value
from mpcompile.layers.axes import aligned, described
from mpcompile.lowering import codebook
from mpcompile.lowering.missing import mark
from mpcompile.lowering.scope import Scope
from mpcompile.lowering.statements import Program, Statements
from mpcompile.ops import build as F


def weighted(m: Statements, p: Program, s: ast.Density, law: Distribution) -> Value:
    """Build the log-likelihood of a variable [N] as the loss counts it.

    A weight is one number, one for each example, or one for each element. Raises `SpecError`: MP214 for other axes, MP205
    beside latents that are summed out, where probabilities are added up.
    """
    ctx, x = p.ctx, p.scope.values[s.name]
    if s.weight is None or not ctx.training:
        return law.log_prob(ctx, x)
    if m.summed:
        raise error("MP205", "a weight beside latents that are summed out has no meaning: the sum is over probabilities",
                    s.weight.span, help="leave out the weight")  # fmt: skip
    m.out.weighted.add(s.name)
    with ctx.frame("weight", p.scope.label(s.weight.span), s.weight.span):
        factor = _factor(p, s.weight)
        if not ctx.axes_of(factor):
            return F.mul(ctx.b, law.log_prob(ctx, x), factor)
        if not isinstance(law, Elementwise):
            what = f"{law.keyword} is a law of all elements of `{s.name}` together"
            raise error(
                "MP214",
                f"{what}, and takes one weight an example, not {described(ctx, factor)}",
                s.weight.span,
            )
        axes = m.fields[s.name].axes
        each = ctx.name_axes(law.element_log_prob(ctx, x), axes)
        (each, factor), made = aligned(ctx, "`weight`", (each, factor))
        if made != axes:
            raise error(
                "MP214", f"the weight has axes that `{s.name}` lacks: {described(ctx, factor)}", s.weight.span
            )
        return F.event_sum(ctx.b, ctx.kept(F.mul(ctx.b, each, factor)))


def penalty(m: Statements, p: Program) -> tuple[Value | None, dict[str, Value]]:
    """Build the sum of all terms of the loss that are no densities, as one number, and what is reported of them by name.

    Each is summed over its axes and averaged over examples. Behind the end of a sequence nothing counts. The sum is None
    where there are none.
    """
    total: Value | None = None
    outputs: dict[str, Value] = {}
    for value in each(m, p):
        term = F.batch_mean(p.b, value) if value.type.rank else value
        total = term if total is None else F.add(p.b, total, term)
    for latent in m.latents:
        k = p.scope.values.get(latent.name)
        if k is None or k not in p.ctx.coded:
            continue
        with m.within(p, latent):
            distance, of_code = codebook.terms(p.ctx, p.ctx.coded[k], k)
        outputs[f"{latent.name}_distance"], term = F.batch_mean(p.b, distance), F.batch_mean(p.b, of_code)
        total = term if total is None else F.add(p.b, total, term)
    return total, outputs if total is None else {TERMS: total, **outputs}


def each(m: Statements, p: Program) -> Iterator[Value]:
    """Build the terms of the loss in turn: of each example [N], or one number where a term is of weights alone."""
    mark(p)
    for number, s in enumerate(m.terms):
        with p.ctx.frame(f"minimise_{number}", p.scope.label(s.span), s.span):
            value = _term(p, s)
        yield value


def _term(p: Program, s: ast.Term) -> Value:
    """A term of each example [N], or one number where it is of weights alone."""
    ctx, b = p.ctx, p.b
    value = in_terms(p.scope).value(ctx, s.value)
    axes = ctx.axes_of(value)
    if s.weight is not None:
        (value, factor), axes = aligned(ctx, "`weight`", (value, _factor(p, s.weight)))
        value = ctx.name_axes(F.mul(b, value, factor), axes)
    batch = value.type.rank - len(axes)
    value = real_only(ctx, value, range(batch, value.type.rank), 0.0)
    return F.sum_axes(b, value, range(batch, value.type.rank))


def _factor(p: Program, weight: ast.Expr) -> Value:
    return p.ctx.name_axes(
        p.b.emit(ops.StopGradient(), value := in_terms(p.scope).value(p.ctx, weight)), p.ctx.axes_of(value)
    )


def in_terms(scope: Scope) -> Scope:
    """Return the scope of a term, where the functions of losses have their names."""
    return replace(scope, functions={**FUNCTIONS, **LOSSES})


__all__ = ["penalty", "weighted"]
