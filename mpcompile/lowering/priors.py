"""Priors on weights: their log-density in the loss, which makes it a negative log posterior."""

from __future__ import annotations

from mpcompile.analysis.kept import kept
from mpcompile.diagnostics import error
from mpcompile.distributions.parametric import Parametric
from mpcompile.distributions.support import REALS
from mpcompile.ir import EXAMPLES, Constant, Value, float_type
from mpcompile.lowering.densities import distribution
from mpcompile.lowering.statements import Program, Statements
from mpcompile.ops import build as F


def weight_prior(m: Statements, p: Program) -> Value:
    """Build log p(weights) / examples: with it the loss is the negative log posterior of one example (MAP).

    Raises `SpecError`: MP205 for another law, MP105 for weights with two priors, MP110 for unknown names.
    """
    b = p.b
    total: Value | None = None
    stated: dict[str, str] = {}
    for s in m.weight_priors:
        law = distribution(p.ctx, p.scope, s.distribution, None)
        if not isinstance(law, Parametric) or law.support is not REALS or law.parameters():
            raise error("MP205", "a prior on weights is normal, laplace, logistic or student_t, with numbers alone",
                        s.distribution.span, help="normal(0, 1)")  # fmt: skip
        for name in [n for n in m.out.parameters if ".weight" in f".{n}"]:
            if s.name != "weights" and not name.startswith(f"{s.name}."):
                continue
            value = p.ctx.read(name)
            if value is None:
                continue
            if name in stated:
                raise error("MP105", f"`{name}` has two priors, of `{stated[name]}` and of `{s.name}`", s.span,
                            help="leave one of them out, or state one for each net")  # fmt: skip
            stated[name] = s.name
            lp = F.sum_axes(b, _of_live(p, law, value), range(value.type.rank))
            total = lp if total is None else F.add(b, total, lp)
        if total is None:
            raise error("MP110", f"no weights are named `{s.name}`", s.span)
    assert total is not None
    return F.div(b, total, p.ctx.own_input(EXAMPLES, float_type()))


def _of_live(p: Program, law: Parametric, weight: Value) -> Value:
    """The log-density of the elements of a weight that the program reads; zero for those that masks remove."""
    live = kept(p.b.graph, weight)
    if live.all():
        return law.element_log_prob(p.ctx, weight)
    mask = p.b.emit(Constant.mask(live))
    return F.mul(p.b, law.element_log_prob(p.ctx, F.mul(p.b, weight, mask)), mask)


__all__ = ["weight_prior"]
