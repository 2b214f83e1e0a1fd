"""Terms of the loss that are no densities: `minimise term weight w`. Where a law is stated no bound sees them."""

from __future__ import annotations

from collections.abc import Iterator

from mpcompile.frontend import ast
from mpcompile.functions.base import real_only
from mpcompile.ir import TERMS, Value
from mpcompile.layers.axes import aligned
from mpcompile.lowering import codebook
from mpcompile.lowering.missing import mark
from mpcompile.lowering.statements import Program, Statements
from mpcompile.lowering.weighted import factor, in_terms
from mpcompile.ops import build as F


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
        (value, weight), axes = aligned(ctx, "`weight`", (value, factor(ctx, p.scope, s.weight)))
        value = ctx.name_axes(F.mul(b, value, weight), axes)
    batch = value.type.rank - len(axes)
    value = real_only(ctx, value, range(batch, value.type.rank), 0.0)
    return F.sum_axes(b, value, range(batch, value.type.rank))


__all__ = ["each", "penalty"]
