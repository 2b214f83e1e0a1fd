"""Build a `Distribution` over values from a distribution as a spec writes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from mpcompile.bijectors import BIJECTORS, Dequantize
from mpcompile.bijectors.base import inner
from mpcompile.diagnostics import Span, error
from mpcompile.distributions import (
    COMBINATORS,
    DISTRIBUTIONS,
    REMOVED,
    USUAL,
    Autoregressive,
    Distribution,
    Flow,
    Mixture,
    Normal,
    Placed,
)
from mpcompile.distributions.autoregressive import member_ranks
from mpcompile.distributions.combinators import MixtureOf, OverLaw
from mpcompile.distributions.elementwise import Categorical
from mpcompile.distributions.family import Family
from mpcompile.distributions.interval import Uniform, bounds_of
from mpcompile.distributions.orders import NATURAL, Order
from mpcompile.distributions.subject import Subject
from mpcompile.frontend import ast
from mpcompile.ir import Field, Symbolic, Value, float_type, product
from mpcompile.ir.axes import CHANNEL
from mpcompile.layers import LAYERS, Context
from mpcompile.layers.naming import numbered
from mpcompile.lowering.bijections import (
    check_intervals,
    check_noise,
    check_shapes,
    not_bijective,
    without_inverses,
)
from mpcompile.lowering.binding import Arguments, family_over
from mpcompile.lowering.names import unknown
from mpcompile.lowering.scope import Scope
from mpcompile.lowering.supports import check_support
from mpcompile.ops import build as F
from mpcompile.ranges import Components, Fraction, Members, Seed, slots


@dataclass(frozen=True)
class Ordered:
    """The arguments of `autoregressive`, whose network stands in braces or is `net`."""

    order: Order = NATURAL
    likelihood: Family | None = None
    components: Components = 5
    seed: Seed = 0
    net: ast.Expr | None = None
    orders: Members = 1
    masks: Members = 1
    smoothing: Fraction = 0.0

    def __post_init__(self) -> None:
        """Raise `ValueError` for smoothed labels of a law without classes."""
        if self.smoothing and self.likelihood is not None and self.likelihood.name != Categorical.keyword:
            raise ValueError(
                f"`smoothing` is of categorical labels, and the likelihood is {self.likelihood.name}"
            )


@dataclass(frozen=True)
class Based:
    """The argument of `flow`, whose bijectors stand in braces."""

    base: ast.Expr | None = None


def distribution(ctx: Context, scope: Scope, expr: ast.Expr, field: Field | None) -> Distribution:
    """Build the law that an expression states, in the caller's frame; `field` is None for a latent.

    Raises `SpecError`.
    """
    call = ast.called(expr)
    law = named(expr)
    if call is not None and call.callee in REMOVED:
        raise error("MP110", f"unknown distribution `{call.callee}`", call.span, help=_now(scope, call))
    if call is None or law is None:
        raise unknown("distribution", call.callee if call else "", list(DISTRIBUTIONS), expr.span)
    if field is not None and not _over(call):
        check_support(call.callee, field, call.span)
    if law in FORMS:
        return FORMS[law].lowered(ctx, scope, call, field)
    given = Arguments(scope, ctx, _net_by_name(scope, law, call)).build(signature(law))
    if _over(call):
        return _combined(ctx, call, given, field)
    return law.stated(ctx, given, Subject(field, call.span))


def _now(scope: Scope, call: ast.Call) -> str:
    """Return how a law that was removed is stated now, with the arguments of the call."""
    outer = REMOVED[call.callee].split("(")[0]
    size = [a for i, a in enumerate(call.args) if a.name == "components" or (a.name is None and i == 1)]
    net = [scope.label(a.span) for a in call.args if a not in size] or ["net"]
    components = [scope.label(a.span) for a in size]
    if outer == MixtureOf.keyword:
        return f"{outer}({', '.join(['logistic', *net, *components])})"
    return f"{outer}(mixture({', '.join(['logistic', *components])}), {', '.join(net)})"


def _over(call: ast.Call) -> bool:
    """Whether a call is of a law over another one; a `mixture` without a law is one of whole vectors."""
    mixed = [a for a in call.args if a.name in (None, "law", "net")]
    return call.callee in COMBINATORS and bool(mixed or call.callee != Mixture.keyword)


def _combined(ctx: Context, call: ast.Call, given: OverLaw, field: Field | None) -> Distribution:
    """Build a law over another one, of each element of a variable, from the net that gives all parameters."""
    if given.law is None:
        raise error("MP123", f"`{call.callee}` needs `law`", call.span, help=f"{call.callee}(normal, net)")
    family = family_over(COMBINATORS[call.callee], given, call.span)
    if field is None:
        raise error("MP209", f"{family.name} is a law of a variable", call.span, help="normal(0, 1)")
    check_support(family.name, field, call.span, family.support)
    if given.net is None:
        stated = f"{call.callee}({family.over.name}, net)"
        raise error("MP123", f"`{call.callee}` needs `net`", call.span,
                    help=f"{stated}, of {family.count(field)} numbers an element")  # fmt: skip
    return family.read(ctx, given.net, field)


def _net_by_name(scope: Scope, law: type[Distribution], call: ast.Call) -> ast.Call:
    """A call whose only argument by place, a value, is by the name `net`, where the law has one."""
    by_place = [a for a in call.args if a.name is None]
    has_net = any(s.name == "net" for s in slots(signature(law)))
    if _over(call) or not has_net or len(by_place) != 1 or scope.is_number(by_place[0].value):
        return call
    args = (a.model_copy(update={"name": "net"}) if a is by_place[0] else a for a in call.args)
    return call.model_copy(update={"args": tuple(args)})


def named(expr: ast.Expr) -> type[Distribution] | None:
    """Return the class of the law that an expression names; None where it names none."""
    call = ast.called(expr)
    return None if call is None else DISTRIBUTIONS.get(call.callee)


def signature(law: type[Distribution]) -> type:
    """Return the dataclass whose fields are the arguments of a law in a spec."""
    return FORMS[law].arguments if law in FORMS else law.arguments or law


def _autoregressive(ctx: Context, scope: Scope, call: ast.Call, field: Field | None) -> Autoregressive:
    if field is None:
        raise error(
            "MP411", "a posterior cannot be autoregressive: its draws would take a pass for each element",
            call.span, help="flow(base = normal(net)) { inverse(autoregressive(...)) }",
        )  # fmt: skip
    given: Ordered = Arguments(scope, ctx, call, body=True).build(Ordered)
    likelihood = (given.likelihood or Family(USUAL[field.kind])).with_components(given.components)
    body = call.body if call.body is not None else given.net
    if body is None:
        raise error("MP123", "`autoregressive` needs a network: { dense(...) -> ... }", call.span)
    check_support(likelihood.name, field, call.span, likelihood.support)
    try:
        order = given.order.of(field)
        ranks = member_ranks(order, field, given.seed, given.orders, given.masks)
    except ValueError as problem:
        raise error("MP205", str(problem), call.span) from problem
    path, span = ctx.b.scope, body.span

    def net(ctx: Context, x: Value) -> Value:
        before, ctx.b.scope = ctx.b.scope, path
        with ctx.frame("net", f"network of {field.name}", span, function=True):
            value = x
            if field.base == "integer" and field.classes is not None:
                value = F.mul(ctx.b, F.to_float(ctx.b, x), 1.0 / max(1, field.classes - 1))
            if field.classes is not None:
                ctx.classes[value] = field.classes
            value = ctx.name_axes(value, field.axes)
            results = scope.child(values={field.name: value}).run(ctx, body, (value,))
        ctx.b.scope = before
        if len(results) != 1:
            raise error("MP208", f"the network gives {len(results)} values", span)
        return results[0]

    return Autoregressive(
        net, likelihood, field, ranks, mask_sets=given.masks, order=order.name, smoothing=given.smoothing
    )


def _base(ctx: Context, scope: Scope, expr: ast.Expr | None, field: Field | None, span: Span) -> Distribution:
    """The base of a flow over `field`: a density of flat real vectors; the posterior of a latent sets its own size."""
    angle = field is not None and field.angle
    if angle and expr is None:
        return Uniform(*bounds_of(field))
    if not angle and (expr is None or (isinstance(expr, ast.Name) and expr.id == Normal.keyword)):
        if field is None:
            raise error(
                "MP411",
                "a posterior reads what is observed, or its type says what it is",
                span,
                help="flow(base = normal(net(x))); or latent z: real[2]",
            )
        return Normal(0.0, 0.0)
    flat = None
    assert expr is not None
    if field is not None:
        size = product(field.type.shape[1:])
        flat = replace(
            field,
            role="base",
            base="real",
            type=float_type(field.type.shape[0], size),
            classes=None,
            axes=(CHANNEL,),
        )
    with ctx.frame("base", scope.label(expr.span), expr.span):
        law = distribution(ctx, scope, expr, flat)
    if ("angle" if angle else "real") not in law.support.types:
        raise error(
            "MP205", "the base of a flow is a density of real numbers", expr.span, help="normal(net(y))"
        )
    return law


def _flow(ctx: Context, scope: Scope, call: ast.Call, variable: Field | None) -> Flow:
    given: Based = Arguments(scope, ctx, call, body=True).build(Based)
    base = _base(ctx, scope, given.base, variable, call.span)
    if variable is None:
        shape = next((v.shape for v in base.parameters().values()), ())
        if len(shape) != 2:
            raise error(
                "MP411", "the base of a posterior is a vector whose net reads what is observed", call.span
            )
    field = variable or Field("latent", "latent", "real", float_type(*shape), call.span, axes=(CHANNEL,))
    if call.body is None:
        raise error("MP123", "`flow` needs its bijectors: { coupling(...) -> ... }", call.span)
    if len(field.type.shape) < 2 or any(isinstance(s, Symbolic) for s in field.type.shape[1:]):
        raise error("MP405", "a flow needs a variable of fixed shape, of one axis or more", call.span)
    chain = _chain(ctx, scope, call.body, field)
    discrete = field.base != "real"
    if discrete and not (chain and isinstance(chain[0].bijector, Dequantize)):
        raise error(
            "MP404",
            f"{field.name} is discrete and a flow has a density on the reals",
            call.span,
            help="start the flow with `dequantize`",
        )
    flow = Flow(base, without_inverses(chain), field.axes)
    check_shapes(chain, flow.arranged(field.type.shape), flow.inner, ctx)
    check_intervals(chain, field)
    return flow


def _chain(ctx: Context, scope: Scope, body: ast.Pipeline, field: Field) -> tuple[Placed, ...]:
    """The bijectors of a pipeline over a variable, each with its name and place."""
    chain: list[Placed] = []
    counts, repeated = Counter[str](), Counter[str]()

    def walk(scope: Scope, pipeline: ast.Pipeline, within: bool) -> None:
        for step in pipeline.steps:
            if isinstance(step.layer, ast.Repeat):
                for i in scope.iterations(step.layer):
                    scope.budget.spend(step.layer.span)
                    walk(scope.child({step.layer.variable: i}), step.layer.body, True)
                continue
            call = ast.called(step.layer)
            if call is None or call.callee not in BIJECTORS:
                name = "" if call is None else call.callee
                if name in LAYERS:
                    raise not_bijective(name, step.span)
                raise unknown("bijector", name, list(BIJECTORS), step.span)
            scope.budget.spend(call.span)
            preset: dict[str, object] = {}
            if call.callee == "dequantize":
                if field.base == "real":
                    raise error("MP209", f"`dequantize` is for values in levels, and {field.name} is real", call.span,
                                help="remove it; or declare the variable as `integer(a..b)` or `binary`")  # fmt: skip
                noise = None if call.body is None else _noise(scope, call, field)
                preset = {"low": field.low, "levels": _levels(field), "posterior": noise}
            name, former = numbered(call.callee, counts, repeated, within)
            arguments = Arguments(scope, ctx, call, body=call.callee == "dequantize")
            bijector = arguments.build(BIJECTORS[call.callee], **preset)
            chain.append(Placed(bijector, name, scope.label(call.span), call.span, former))

    walk(scope, body, False)
    return tuple(chain)


def _levels(field: Field) -> int:
    """Return the levels of a variable that is dequantised."""
    return 2 if field.classes is None else field.classes


def _noise(scope: Scope, call: ast.Call, field: Field) -> Callable[[Context, Value], Flow]:
    """The law of a dequantiser's noise given the integers, which its body sees under their own name, in [0, 1]."""
    noise = replace(field, base="real", low=0, classes=None)
    axes = inner(field.axes)
    body, levels = call.body, _levels(field)
    assert body is not None

    def posterior(ctx: Context, x: Value) -> Flow:
        shifted = x if field.low == 0 else F.sub(ctx.b, x, float(field.low))
        seen = ctx.name_axes(F.mul(ctx.b, shifted, 1.0 / (levels - 1)), axes)
        chain = _chain(ctx, scope.child(values={field.name: seen}), body, noise)
        check_shapes(chain, x.shape, axes, ctx)
        check_intervals(chain, noise)
        check_noise(chain, call.span)
        return Flow(Normal(0.0, 0.0), without_inverses(chain), axes)

    return posterior


@dataclass(frozen=True)
class Form:
    """A law that is made of networks of the spec: its arguments, and how it is lowered."""

    arguments: type
    lowered: Callable[[Context, Scope, ast.Call, Field | None], Distribution]


FORMS: dict[type[Distribution], Form] = {
    Autoregressive: Form(Ordered, _autoregressive),
    Flow: Form(Based, _flow),
}


def sum_of(ctx: Context, values: list[Value]) -> Value | None:
    """Return the sum of some values; None of none."""
    total: Value | None = None
    for value in values:
        total = value if total is None else F.add(ctx.b, total, value)
    return total
