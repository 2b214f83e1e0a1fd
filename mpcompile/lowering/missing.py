"""`missing y ~ enumerate(categorical(net))`: classes that are not in the data are summed over (M2, Kingma et al. 2014).

An example whose y is missing has the bound sum over y of q(y) (log p(x, y) - log q(y)) (their eq. 7); one whose y is
there has log p(x, y) (their eq. 6). Both stand in one batch. In laws and posteriors y is there: its own class, or the one
that is summed over.
"""

from __future__ import annotations

from mpcompile import ops
from mpcompile.distributions import Distribution, Elementwise
from mpcompile.ir import Value
from mpcompile.lowering import discrete
from mpcompile.lowering.statements import Program, Statements
from mpcompile.ops import build as F


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


def shares(p: Program, name: str, given: Value, value: Value, q: Distribution | None) -> tuple[Value, Value]:
    """Return 1 where the data allow a class, 0 where they have another one, and log q where it is missing, else 0.

    `given` is the data [N, ...], `value` the class at which the sum is; log q is 0 without a posterior. Both have the
    shape of the data.
    """
    b, there = p.b, p.there[name]
    same = F.to_float(b, b.emit(ops.Equal(), value, given))
    if q is None:
        return F.where(b, there, same, 1.0), p.ctx.zeros(given.shape)
    assert isinstance(q, Elementwise)
    log_q = q.element_log_prob(p.ctx, value)
    return F.where(b, there, same, 1.0), F.where(b, there, 0.0, log_q)


__all__ = ["complete", "mark", "shares"]
