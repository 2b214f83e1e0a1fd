"""A model of latents and terms alone: its posteriors are fitted to an unnormalised density, from draws and no data.

With priors p and terms U the target is p(z) exp(-U(z)) / Z. `loss` is the reverse Kullback-Leibler divergence from the
posteriors q to it, less log Z: E_q[log q(z) - log p(z) + U(z)] (Rezende and Mohamed 2015, eq. 15). So `elbo` is a lower
bound of log Z, the mean of exp(`log_weight`) is Z, and `sample` draws of q. A term of weights alone is no part of the
target, and a term that compares the examples of a batch has none.
"""

from __future__ import annotations

from mpcompile.analysis.batch import WHOLE
from mpcompile.ir import TERMS, Value
from mpcompile.lowering import discrete, latents, terms
from mpcompile.lowering.inference import objective
from mpcompile.lowering.statements import Program, Statements
from mpcompile.ops import build as F


def is_target(m: Statements) -> bool:
    """Return whether a model states a density of its latents alone, from all of which the posteriors are drawn."""
    drawn = all(discrete.way(s) in (None, discrete.Gumbel) and not latents.is_point(s) for s in m.latents)
    return bool(m.latents) and drawn and not m.states_laws()


def programs(m: Statements) -> None:
    """Add `elbo`, `log_weight` and `sample` of a model of latents and terms."""
    p = m.start("elbo")
    m.read(p, *m.fields)
    _, divergence = objective(m, p)
    energy = _energy(m, p)
    assert divergence is not None, "every latent has a prior"
    if not any(frame.role == WHOLE for node in p.b.graph.nodes() for frame in node.scope):
        m.finish(p, {"elbo": F.neg(p.b, F.add(p.b, divergence, energy)), TERMS: energy, "kl": divergence})
        p = m.start("log_weight")
        m.read(p, *m.fields)
        _, divergence = objective(m, p, exact=False)
        assert divergence is not None
        m.finish(p, {"log_weight": F.neg(p.b, F.add(p.b, divergence, _energy(m, p)))})
    p = m.start("sample")
    m.read(p, *m.fields)
    for s in m.inferred:
        with m.within(p, s):
            z = m.posterior(p, s).sample(p.ctx, s.name, m.latent_fields[s.name].type.shape)
        m.bring(p, s.name, z)
    m.finish(p, {s.name: p.scope.values[s.name] for s in m.latents})


def _energy(m: Statements, p: Program) -> Value:
    """The sum of the terms of each draw, [N]."""
    total = p.ctx.zeros(next(iter(m.latent_fields.values())).type.shape[:1])
    for each in terms.each(m, p):
        total = F.add(p.b, total, each) if each.type.rank else total
    return total


__all__ = ["is_target", "programs"]
