"""Latents with a type, of classes or bits, and the ways in which they are inferred.

| posterior | is | what the bound is |
| --- | --- | --- |
| `exact` | none: the model's own, by a sum over all classes | log p(x) itself |
| `enumerate(law)` | an expectation over all classes | the bound, without noise from the posterior |
| `gumbel(logits, temperature)` | a relaxed draw in `loss`, a hard one elsewhere | a bound, but for `loss` |
| `nearest(table, net, commitment)` | the nearest row of a table (`codebook.py`) | a bound, but for `loss` |

Another law of classes is refused (MP411), since no gradient passes through its draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.diagnostics import error
from mpcompile.distributions import DISTRIBUTIONS, Distribution
from mpcompile.distributions.elementwise import Bernoulli, Categorical
from mpcompile.frontend import ast
from mpcompile.functions.changing import Anneal
from mpcompile.ir import Field, Value, product
from mpcompile.layers import Context
from mpcompile.lowering import codebook
from mpcompile.lowering.binding import Arguments
from mpcompile.lowering.declarations import field
from mpcompile.lowering.densities import distribution
from mpcompile.lowering.names import unknown
from mpcompile.lowering.scope import Scope
from mpcompile.ops import build as F
from mpcompile.ranges import NonNegative, Positive

#: Uniform noise lies this far within (0, 1): behind the end of an example anything may stand.
TINY = 1e-7
#: More joint states of summed latents than this are refused.
MAX_STATES = 4096


@dataclass(frozen=True)
class Posterior:
    """A way to infer a latent of classes. Its fields, in order, are its arguments in a spec."""

    keyword: ClassVar[str]
    #: Whether all classes are evaluated, so that there is no draw.
    counted: ClassVar[bool] = False


@dataclass(frozen=True)
class Exact(Posterior):
    """`exact`: the latent is summed out, so there is no posterior to state."""

    keyword: ClassVar[str] = "exact"
    counted: ClassVar[bool] = True


@dataclass(frozen=True)
class Enumerate(Posterior):
    """`enumerate(categorical(net))`: an expectation under this law, exactly."""

    keyword: ClassVar[str] = "enumerate"
    counted: ClassVar[bool] = True
    law: ast.Expr


@dataclass(frozen=True)
class Gumbel(Posterior):
    """`gumbel(logits, temperature)`: a relaxed draw (Jang et al. 2017; Maddison et al. 2017)."""

    keyword: ClassVar[str] = "gumbel"
    logits: ast.Expr
    temperature: ast.Expr


@dataclass(frozen=True)
class Nearest(Posterior):
    """`nearest(table, net, commitment = b)`: the nearest row of a learned table (van den Oord et al. 2017)."""

    keyword: ClassVar[str] = "nearest"
    table: Value
    net: Value
    commitment: NonNegative = 0.25


POSTERIORS: dict[str, type[Posterior]] = {c.keyword: c for c in (Exact, Enumerate, Gumbel, Nearest)}


def way(s: ast.Density) -> type[Posterior] | None:
    """Return the way in which a latent of classes, or what is missing of a variable, is inferred; None for a law."""
    call = ast.called(s.distribution)
    return None if call is None or s.role == "observed" else POSTERIORS.get(call.callee)


def counted(s: ast.Density) -> bool:
    """Return whether all classes of a latent are evaluated: it is summed out, or enumerated."""
    found = way(s)
    return found is not None and found.counted


def latent_field(s: ast.Density, model: ast.Model, numbers: Mapping[str, int | float]) -> Field | None:
    """Return the field of a latent with a type; None without one.

    Raises `SpecError`: MP411 for a type that no latent has, and for a way to infer it that does not fit its type.
    """
    posterior = way(s)
    if s.type is None:
        if posterior is not None:
            raise error("MP411", f"`{posterior.keyword}` is of classes, and `latent {s.name}` has no type", s.span,
                        help=f"latent {s.name}: category(8) ~ ...")  # fmt: skip
        return None
    declared = ast.Declaration.model_construct(span=s.span, role="input", name=s.name, type=s.type)
    made = field(declared, model, numbers)
    if made.kind not in ("real", "binary", "category") or s.type.optional:
        raise error("MP411", f"a latent is real, binary or a category, and `{s.name}` is {made.kind}", s.type.span,
                    help=f"latent {s.name}: category(8) ~ ...")  # fmt: skip
    if posterior is Nearest and made.kind == "binary":
        raise error("MP411", f"`nearest` is of a category, and `{s.name}` is binary", s.type.span,
                    help=f"latent {s.name}: category(2)")  # fmt: skip
    call, place = ast.called(s.distribution), s.distribution.span
    if made.kind != "real" and posterior is None and call is not None and call.callee not in DISTRIBUTIONS:
        raise unknown("posterior", call.callee, list(POSTERIORS), place)
    if (made.kind == "real") != (posterior is None):
        ways = ", ".join(POSTERIORS)
        message = (
            f"`{posterior.keyword}` is of classes, and `{s.name}` is real"
            if posterior is not None
            else f"no gradient passes through draws of classes, and the posterior of `{s.name}` is a law of them"
        )
        raise error("MP411", message, place, help=f"of classes: {ways}")
    return Field(s.name, "latent", made.base, made.type, s.span, made.low, made.classes, axes=made.axes)


def carried_field(c: ast.Carry, model: ast.Model, numbers: Mapping[str, int | float]) -> Field | None:
    """Return the field of a carried value with a type; None without one."""
    if c.type is None:
        return None
    declared = ast.Declaration.model_construct(span=c.span, role="input", name=c.name, type=c.type)
    return field(declared, model, numbers)


def stated(ctx: Context, scope: Scope, s: ast.Density) -> Posterior:
    """Return the posterior with its arguments. Raises `SpecError`."""
    call, kind = ast.called(s.distribution), way(s)
    assert call is not None and kind is not None
    made: Posterior = Arguments(scope, ctx, call).build(kind)
    return made


def law_of(ctx: Context, scope: Scope, s: ast.Density, of: Field) -> Distribution:
    """Build the law of a latent's classes given the data: a categorical or bernoulli one, for `nearest` a point mass.

    Raises `SpecError` (MP411) for a law of another kind.
    """
    posterior = stated(ctx, scope, s)
    if isinstance(posterior, Nearest):
        return codebook.codes(
            ctx, posterior.table, posterior.net, posterior.commitment, of, s.distribution.span
        )
    if isinstance(posterior, Enumerate):
        expr = posterior.law
    else:
        assert isinstance(posterior, Gumbel)
        span, keyword = (
            s.distribution.span,
            Categorical.keyword if of.base == "category" else Bernoulli.keyword,
        )
        logits = ast.Argument(span=span, name="logits", value=posterior.logits)
        expr = ast.Call(span=span, callee=keyword, args=(logits,))
    law = distribution(ctx, scope, expr, of)
    if not isinstance(law, Categorical | Bernoulli):
        raise error("MP411", f"a categorical or a bernoulli law infers `{s.name}`, not {law.keyword}", expr.span,
                    help="enumerate(categorical(logits = ...))")  # fmt: skip
    return law


def single(of: Field) -> bool:
    """Return whether a latent has one element an example."""
    return product(of.type.shape[1:]) == 1


def states_of(of: Field) -> int:
    """Return the number of states of one element of a latent."""
    return 2 if of.classes is None else of.classes


def index(ctx: Context, of: Field, number: Value) -> Value:
    """Return a latent whose elements are all in the state of this number, an INT scalar."""
    b = ctx.b
    value = b.emit(ops.BroadcastTo(tuple(of.type.shape)), F.cast(b, number, of.type.dtype))
    if of.base == "category":
        ctx.classes[value] = states_of(of)
    return ctx.name_axes(value, of.axes)


def over_states(
    ctx: Context, of: Mapping[str, Field], build: Callable[[dict[str, Value]], list[Value]]
) -> list[Value]:
    """Build values [N, ...] at every joint state of some latents, one after another: [N, states, ...] each.

    `build` gets each latent in its state; the last latent changes fastest.
    """
    states = np.stack([a.reshape(-1) for a in np.indices([states_of(f) for f in of.values()])])

    def one(_: list[Value], __: list[Value], number: Value) -> tuple[list[Value], list[Value]]:
        b = ctx.b
        chosen = (b.emit(ops.Gather(0), b.constant(row), number) for row in states)
        return [], build({name: index(ctx, f, k) for (name, f), k in zip(of.items(), chosen, strict=True)})

    return ctx.scan(one, [], [], length=states.shape[1])[1]


def mode(ctx: Context, of: Field, law: Distribution) -> Value:
    """Return the most probable state of each element."""
    if isinstance(law, Categorical):
        value = ctx.b.emit(ops.ArgMax(law.axis), law.logits)
        ctx.classes[value] = states_of(of)
        return value
    assert isinstance(law, Bernoulli)
    return F.to_float(ctx.b, F.less(ctx.b, 0.0, law.logits))


def draw(
    ctx: Context,
    scope: Scope,
    s: ast.Density,
    of: Field,
    q: Distribution,
    p: Distribution | None,
    *,
    exact: bool,
) -> tuple[Value, Value]:
    """Draw a latent that is inferred by `gumbel`, relaxed in the loss; return it with its divergence from the prior, [N].

    The divergence between laws of classes is exact; without `exact` it is that of the draw. The value of a relaxed
    category is the class of its largest share; layers that read a category by its classes (`embedding`) read the shares
    instead (`Context.relaxed`). Raises `SpecError` (MP411) for a prior of another kind, or one that is not known yet.
    """
    if p is None:
        raise error("MP411", f"the prior of `{s.name}` reads a latent whose posterior reads `{s.name}`", s.span,
                    help="a latent of classes is inferred after the latents that its prior reads")  # fmt: skip
    if isinstance(q, codebook.Codes):
        value = mode(ctx, of, q)
        return value, codebook.draw(ctx, q, p, value)
    assert isinstance(q, Categorical | Bernoulli)
    if type(p) is not type(q):
        raise error("MP411", f"the prior of `{s.name}` is {p.keyword}, and a relaxed latent has one of its own kind",
                    s.span, help="prior categorical(logits = 0)")  # fmt: skip
    if not ctx.training:
        value = q.sample(ctx, s.name, of.type.shape)
        if of.base == "category":
            ctx.classes[value] = states_of(of)
        if not exact:
            return value, F.sub(ctx.b, q.log_prob(ctx, value), p.log_prob(ctx, value))
        return value, _divergence(ctx, q, p, of)
    kl = _divergence(ctx, q, p, of)
    b, t = ctx.b, _temperature(ctx, scope, s)
    u = ctx.noise_input(f"noise_{s.name}", q.logits.shape, "uniform")
    u = F.minimum(b, F.maximum(b, u, TINY), 1 - TINY)
    odds = F.sub(b, b.emit(ops.Log(), u), b.emit(ops.Log(), F.sub(b, 1.0, u)))
    if isinstance(q, Bernoulli):
        return b.emit(ops.Sigmoid(), F.div(b, F.add(b, q.logits, odds), t)), kl
    # -log u as the softplus of minus its logit, which is positive by construction
    g = F.neg(b, b.emit(ops.Log(), b.emit(ops.Softplus(), F.neg(b, odds))))
    shares = b.emit(ops.Softmax(q.axis), F.div(b, F.add(b, q.logits, g), t))
    value = b.emit(ops.ArgMax(q.axis), shares)
    ctx.classes[value] = states_of(of)
    ctx.relaxed[value] = shares, q.axis
    return value, kl


def _divergence(ctx: Context, q: Distribution, p: Distribution, of: Field) -> Value:
    """Return KL(q || p) of each example, [N], between laws of classes of one kind."""
    assert isinstance(q, Categorical | Bernoulli)
    kl = q.kl(ctx, p, of.type.shape)
    assert kl is not None
    return kl


def _temperature(ctx: Context, scope: Scope, s: ast.Density) -> Value | float:
    posterior = stated(ctx, scope, s)
    assert isinstance(posterior, Gumbel)
    expr = posterior.temperature
    if isinstance(expr, ast.Call) and expr.callee == Anneal.keyword:
        plan: Anneal = Arguments(scope, None, expr).build(Anneal)
        if min(plan.start, plan.end) <= 0:
            raise error("MP112", f"a temperature is positive, and this one goes from {plan.start:g} to {plan.end:g}",
                        expr.span, help="anneal(1, 0.3, steps = 20000)")  # fmt: skip
        return ctx.b.here(plan(ctx))
    number = ast.Argument(span=expr.span, name="temperature", value=expr)
    call = ast.Call(span=expr.span, callee=Gumbel.keyword, args=(number,))
    fixed: Fixed = Arguments(scope, None, call).build(Fixed)
    return fixed.temperature


@dataclass(frozen=True)
class Fixed:
    """A temperature that does not change."""

    temperature: Positive
