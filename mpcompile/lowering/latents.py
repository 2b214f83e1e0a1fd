"""Latent variables: `latent z ~ q prior p`.

The objective is E_q[log p(x | z)] - beta KL(q || p): the bound on log p(x) for beta = 1 (Kingma and Welling 2014), the
beta-VAE for another (Higgins et al. 2017); `weights.py` has beta.
"""

from __future__ import annotations

from mpcompile.diagnostics import error
from mpcompile.distributions import DISTRIBUTIONS, Autoregressive, Delta, Distribution, Elementwise, Flow
from mpcompile.distributions.subject import Subject
from mpcompile.frontend import ast
from mpcompile.ir import Field, Value, float_type
from mpcompile.layers import Context
from mpcompile.lowering.densities import distribution, named
from mpcompile.lowering.scope import Scope
from mpcompile.ops import build as F


def posterior(ctx: Context, scope: Scope, s: ast.Density, typed: Field | None = None) -> Distribution:
    """Build the law of a latent given what is observed, in the shape of its type where it has one (`typed`).

    Raises `SpecError` (MP411) for a law through which no gradient reaches its parameters.
    """
    kind = named(s.distribution)
    if (
        kind is not None and not kind.reparameterised and kind is not Autoregressive
    ):  # whose own message says more
        others = (k for k, c in DISTRIBUTIONS.items() if c.reparameterised)
        raise error(
            "MP411", f"the posterior of {s.name} cannot be {kind.keyword}: the gradient ends at its draws",
            s.distribution.span, help=f"one of {', '.join(others)}",
        )  # fmt: skip
    stated = typed if kind not in (Autoregressive, Delta) else None
    law = distribution(ctx, scope, s.distribution, stated)
    if isinstance(law, Delta) and typed is not None:
        law = Delta(Subject(typed, s.distribution.span).fit(ctx, law.loc))
    if not (law.parameters() or isinstance(law, Flow)):
        raise error("MP411", f"the posterior of {s.name} has no parameters of its own", s.span,
                    help="let a net read what is observed: normal(x -> dense(2)); or weights")  # fmt: skip
    return law


def field_of(ctx: Context, s: ast.Density, law: Distribution, typed: Field | None = None) -> Field:
    """Return a latent as a variable: of its type, or with the shape and the axes of its posterior's first parameter."""
    if typed is not None:
        return typed
    first = next(iter(law.parameters().values()))
    return Field(s.name, "latent", "real", float_type(*first.shape), s.span, axes=ctx.axes_of(first))


def is_point(s: ast.Density) -> bool:
    """Return whether a latent is the code of an autoencoder."""
    return named(s.distribution) is Delta


def prior(ctx: Context, scope: Scope, s: ast.Density, field: Field) -> Distribution | None:
    """Build the law of a latent, a variable of this field; None where none is stated, as for the code of an autoencoder.

    Raises `SpecError` (MP123) for another latent without a prior.
    """
    if s.prior is None:
        if not is_point(s):
            raise error("MP123", f"`latent {s.name}` needs its prior", s.span, help="prior normal(0, 1)")
        return None
    coded, ctx.coded = (
        ctx.coded,
        {},
    )  # a prior is learned from the codes themselves, and no gradient goes to their nets
    try:
        with ctx.frame("prior", scope.label(s.prior.span), s.prior.span):
            return distribution(ctx, scope, s.prior, field)
    finally:
        ctx.coded = coded


def draw(
    ctx: Context, q: Distribution, p: Distribution | None, field: Field, *, exact: bool = True
) -> tuple[Value, Value | None]:
    """Draw z of q, named, and return it with KL(q || p) of each example [N], or None where there is no prior.

    KL is in closed form where the table of laws has one, unless `exact` is false. Else it is estimated from that one
    draw, as log q(z) - log p(z); for a point mass only -log p(z) is left.
    """
    if exact and isinstance(q, Elementwise) and p is not None:
        z = ctx.name_axes(q.sample(ctx, field.name, field.type.shape), field.axes)
        kl = q.kl(ctx, p, field.type.shape)
        return z, divergence(ctx, q.log_prob(ctx, z), p, z) if kl is None else kl
    z, log_q = drawn(ctx, q, field)
    return z, divergence(ctx, log_q, p, z)


def drawn(ctx: Context, q: Distribution, field: Field) -> tuple[Value, Value | None]:
    """Draw z of q, named, and return it with log q(z), [N], or None for a point mass."""
    name, shape = field.name, field.type.shape
    z, log_q = (
        (q.sample(ctx, name, shape), None)
        if isinstance(q, Delta)
        else q.sample_and_log_prob(ctx, name, shape)
    )
    return ctx.name_axes(z, field.axes), log_q


def divergence(ctx: Context, log_q: Value | None, p: Distribution | None, z: Value) -> Value | None:
    """Return log q(z) - log p(z), [N], of a draw z; None where there is no prior."""
    if p is None:
        return None
    log_p = p.log_prob(ctx, z)
    return F.neg(ctx.b, log_p) if log_q is None else F.sub(ctx.b, log_q, log_p)
