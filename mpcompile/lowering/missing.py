"""`missing y ~ enumerate(categorical(net))`: classes that are not in the data are summed over (M2, Kingma et al. 2014).

An example whose y is missing has the bound sum over y of q(y) (log p(x, y) - log q(y)) (their eq. 7); one whose y is
there has log p(x, y) (their eq. 6). Both stand in one batch. In laws and posteriors y is there: its own class, or the one
that is summed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mpcompile import ops
from mpcompile.diagnostics import error
from mpcompile.distributions import Distribution
from mpcompile.frontend import ast
from mpcompile.ir import Value
from mpcompile.lowering import discrete
from mpcompile.lowering.reading import Hidden
from mpcompile.ops import build as F

if TYPE_CHECKING:
    from mpcompile.lowering.statements import Program, Statements


def check(m: Statements) -> None:
    """Check the `missing` statements of a model.

    Raises `SpecError`: MP110 for an unknown variable, MP411 for one that is never missing, has no law of its own outside
    of recurrences, or is not one class, and MP205 for a law with a weight.
    """
    laws = {s.name: s for s in m.observed}
    for name, s in m.missing.items():
        if name not in m.fields:
            raise error(
                "MP110", f"unknown variable `{name}`", s.span, help=f"declare it: input {name}: category(10)?"
            )
        f = m.fields[name]
        if not f.optional:
            raise error("MP411", f"`{name}` is never missing: its type has no `?`", s.span,
                        help=f"{f.role} {name}: category(10)?")  # fmt: skip
        if f.base not in ("category", "binary") or not discrete.single(f):
            raise error("MP411", f"`{name}` is not one class an example, and no sum over its values is taken", s.span,
                        help=f"{f.role} {name}: category(10)?; or read it by fill({name}, 0)")  # fmt: skip
        if name not in laws:
            raise error("MP411", f"`{name}` has no law outside of recurrences, and what is missing has no probability",
                        s.span, help=f"{name} ~ categorical(logits = 0)")  # fmt: skip
        weight = laws[name].weight
        if weight is not None:
            raise error("MP205", f"the law of `{name}` has a weight, and its missing values are summed over", weight.span,
                        help="leave out the weight")  # fmt: skip


def posterior(m: Statements, p: Program, s: ast.Density) -> Distribution:
    """Build the law of what is missing of a variable; it reads the declared variables that are not summed over."""
    known = {n: v for n, v in p.scope.values.items() if n in m.fields and n not in m.missing}
    help_ = "it reads declared variables that are there: enumerate(categorical(net(x)))"
    hidden: Mapping[str, Hidden] = {
        n: Hidden(f"the posterior of the missing `{s.name}` reads `{n}`", why, help_)
        for names, why in ((m.latent_names, ", a latent"), (m.missing, ", which may be missing"))
        for n in names
    }
    with p.ctx.frame("missing", p.scope.label(s.distribution.span), s.distribution.span):
        return discrete.law_of(p.ctx, replace(p.scope, values=known, hidden=hidden), s, m.fields[s.name])


def mark(p: Program) -> None:
    """State which values are missing, for terms of the loss: they read `fill(y, 0)` and `observed(y)`."""
    for name, there in p.there.items():
        p.ctx.missing[p.scope.values[name]] = there


def complete(m: Statements, p: Program) -> dict[str, Value]:
    """Put the most probable class of its posterior in place of each missing one; return parameters of the posteriors."""
    outputs: dict[str, Value] = {}
    for name, s in m.missing.items():
        with m.within(p, s):
            q = m.posterior(p, s)
            outputs |= {f"{name}_{k}": v for k, v in q.parameters().items()}
            best = F.cast(p.b, discrete.mode(p.ctx, m.fields[name], q), p.scope.values[name].dtype)
            value = p.b.emit(ops.Where(), p.there[name], p.scope.values[name], best)
        m.know(p, name, value)
    return outputs


def shares(m: Statements, p: Program, s: ast.Density, given: Value, value: Value) -> tuple[Value, Value]:
    """Return 1 where the data allow a class, 0 where they have another one, and log q where y is missing, else 0: [N].

    `given` is the data, `value` the class at which the sum is.
    """
    b, there = p.b, p.there[s.name]
    same = F.to_float(b, b.emit(ops.Equal(), value, given))
    log_q = m.posterior(p, s).log_prob(p.ctx, value)
    return F.where(b, there, same, 1.0), F.where(b, there, 0.0, log_q)


__all__ = ["check", "complete", "mark", "posterior", "shares"]
