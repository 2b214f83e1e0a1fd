"""Latent variables: `latent z ~ q prior p`, with what their divergence weighs in the objective.

The objective is E_q[log p(x | z)] - beta KL(q || p): the bound on log p(x) for beta = 1 (Kingma and Welling 2014), the
beta-VAE for another (Higgins et al. 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

from mpcompile import ops
from mpcompile.diagnostics import Span, error
from mpcompile.distributions import DISTRIBUTIONS, Autoregressive, Delta, Distribution, Flow, Normal
from mpcompile.distributions.location_scale import LOCATION_SCALE
from mpcompile.frontend import ast
from mpcompile.ir import Field, Init, Shape, Value, float_type
from mpcompile.layers import Context
from mpcompile.layers import functional as F
from mpcompile.lowering.binding import Arguments
from mpcompile.lowering.densities import distribution
from mpcompile.lowering.names import unknown
from mpcompile.lowering.scope import Scope
from mpcompile.lowering.signatures import WEIGHTS, Constant

#: Laws whose draws are differentiable functions of their parameters (Kingma and Welling 2014, section 2.4).
POSTERIORS: tuple[type[Distribution], ...] = (*LOCATION_SCALE.values(), Flow, Delta)


def posterior(ctx: Context, scope: Scope, s: ast.Density) -> Distribution:
    """The law of a latent given what is observed. MP411 for one through which no gradient reaches its parameters."""
    stated = s.distribution
    named = (
        stated.callee if isinstance(stated, ast.Call) else stated.id if isinstance(stated, ast.Name) else ""
    )
    if not issubclass(DISTRIBUTIONS.get(named, Normal), (*POSTERIORS, Autoregressive)):  # which says more
        raise error(
            "MP411", f"the posterior of {s.name} cannot be {named}: the gradient ends at its draws",
            s.distribution.span, help=f"one of {', '.join(c.keyword for c in POSTERIORS)}",
        )  # fmt: skip
    law = distribution(ctx, scope, stated, None)
    if not law.parameters():
        raise error("MP411", f"the posterior of {s.name} has no parameters of its own", s.span,
                    help="let a net read what is observed: normal(x -> dense(2))")  # fmt: skip
    return law


def is_point(s: ast.Density) -> bool:
    """Whether a latent is the code of an autoencoder."""
    return isinstance(s.distribution, ast.Call) and s.distribution.callee == Delta.keyword


def prior(ctx: Context, scope: Scope, s: ast.Density, shape: Shape) -> Distribution | None:
    """The law of a latent of this shape; None where none is stated, as for the code of an autoencoder."""
    if s.prior is None:
        if not is_point(s):
            raise error("MP123", f"`latent {s.name}` needs its prior", s.span, help="prior normal(0, 1)")
        return None
    field = Field(s.name, "latent", "real", float_type(*shape), s.span)
    with ctx.frame("prior", scope.label(s.prior.span), s.prior.span):
        law = distribution(ctx, scope, s.prior, field)
    return law


def draw(
    ctx: Context, q: Distribution, p: Distribution | None, name: str, shape: Shape, *, exact: bool = True
) -> tuple[Value, Value | None]:
    """A draw z of q, and KL(q || p) of each example [N]: in closed form between normals, unless `exact` is false.

    Else it is its estimate from that one draw, log q(z) - log p(z); of a point mass only -log p(z) is left. None where
    there is no prior.
    """
    if isinstance(q, Delta) or p is None:
        z = q.sample(ctx, name, shape)
        return z, None if p is None else F.neg(ctx.b, p.log_prob(ctx, z))
    if exact and isinstance(q, Normal) and isinstance(p, Normal):
        return q.sample(ctx, name, shape), q.kl(ctx, p)
    z, log_q = q.sample_and_log_prob(ctx, name, shape)
    return z, F.sub(ctx.b, log_q, p.log_prob(ctx, z))


@dataclass(frozen=True)
class Weight:
    """What the divergence is multiplied with in the loss: `beta` of the objective.

    constant     `beta: 4`
    warmup       `beta: warmup(steps, final = 1)`: from 0 to `final` in that many steps, linearly (Bowman et al. 2016)
    constrained  `beta: constrained(threshold, rate = 0.01)`: the multiplier of KL <= threshold (notes, section 5.4)

    The number of steps done and the multiplier are untrained parameters, which the loss gives their next values: it
    stays a pure function, and a resumed run goes on where it was.
    """

    kind: str = "constant"
    final: float = 1.0
    steps: float = 0.0
    threshold: float = 0.0
    rate: float = 0.0
    label: str = ""
    span: Span | None = None

    @property
    def is_one(self) -> bool:
        return self.kind == "constant" and self.final == 1

    def penalty(self, ctx: Context, kl: Value) -> tuple[Value, Value | None]:
        """beta KL, or beta (KL - threshold), from KL [N], and beta where it changes. In the loss it moves on."""
        if self.kind == "constant":
            return (kl if self.final == 1 else F.mul(ctx.b, kl, self.final)), None
        with ctx.frame("objective", self.label, self.span or ctx.span):
            beta, excess = (self._constrained if self.kind == "constrained" else self._warmed)(ctx, kl)
            return F.mul(ctx.b, beta, excess), beta

    def _warmed(self, ctx: Context, kl: Value) -> tuple[Value, Value]:
        if not ctx.training:
            return ctx.b.constant(self.final), kl
        done = ctx.param("steps", (), Init("zeros"), trainable=False)
        ctx.update(done, F.add(ctx.b, done, 1.0))
        return F.mul(ctx.b, F.minimum(ctx.b, F.div(ctx.b, done, self.steps), 1.0), self.final), kl

    def _constrained(self, ctx: Context, kl: Value) -> tuple[Value, Value]:
        """Dual ascent in log beta on (KL - threshold) / threshold, at most 1 (Rezende and Viola 2018, algorithm 1)."""
        b = ctx.b
        beta = ctx.param("beta", (), Init("ones"), trainable=False)
        excess = F.sub(b, kl, self.threshold)
        if ctx.training:
            share = F.minimum(b, F.div(b, F.batch_mean(b, excess), self.threshold), 1.0)
            ctx.update(beta, F.mul(b, beta, b.emit(ops.Exp(), F.mul(b, share, self.rate))))
        return beta, excess


def weight(objective: tuple[ast.Let, ...], scope: Scope) -> Weight:
    """The weight that the `objective` section states. Raises `SpecError` for another option or form."""
    found = Weight()
    for let in objective:
        if let.name != "beta":
            raise unknown("part of the objective", let.name, ["beta"], let.span)
        found = _weight(let, scope)
    return found


def _weight(let: ast.Let, scope: Scope) -> Weight:
    expr = let.value
    if isinstance(expr, ast.Call) and expr.callee in WEIGHTS:
        given = Arguments(scope, None, expr).build(WEIGHTS[expr.callee])
        return Weight(expr.callee, **vars(given), label=f"beta: {expr.callee}", span=expr.span)
    stated = ast.Argument(span=let.span, name=let.name, value=expr)
    call = ast.Call(span=let.span, callee="objective", args=(stated,))
    return Weight(final=Arguments(scope, None, call).build(Constant).beta)
