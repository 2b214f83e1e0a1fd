"""From a distribution as a spec writes it to a `Distribution` over values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import log
from typing import Any

from mpcompile import ops
from mpcompile.bijectors import BIJECTORS, Dequantize
from mpcompile.diagnostics import Span, error
from mpcompile.distributions import (
    DISTRIBUTIONS,
    Autoregressive,
    Delta,
    Distribution,
    Elementwise,
    Flow,
    Mixture,
    Normal,
    Placed,
)
from mpcompile.distributions.autoregressive import member_ranks, split_parameters
from mpcompile.distributions.elementwise import Bernoulli, Categorical, Perceptron
from mpcompile.distributions.likelihoods import Likelihood, likelihood
from mpcompile.distributions.location_scale import LOCATION_SCALE
from mpcompile.distributions.sampling import LAW_ITSELF, Sampling, adjusted
from mpcompile.frontend import ast
from mpcompile.ir import Field, Shape, Symbolic, Value, broadcast_shapes, float_type, product
from mpcompile.layers import LAYERS, Context
from mpcompile.layers import functional as F
from mpcompile.layers.activations import channel_axis
from mpcompile.lowering.bijections import (
    check_intervals,
    check_noise,
    check_shapes,
    not_bijective,
    without_inverses,
)
from mpcompile.lowering.binding import Arguments
from mpcompile.lowering.names import unknown
from mpcompile.lowering.scope import MAX_LAYERS, Scope
from mpcompile.lowering.signatures import SIGNATURES, WITH_BODY
from mpcompile.lowering.supports import check_support


def distribution(ctx: Context, scope: Scope, expr: ast.Expr, field: Field | None) -> Distribution:
    """The law that an expression states, in the caller's frame; `field` is None for a latent."""
    call = expr if isinstance(expr, ast.Call) else None
    if isinstance(expr, ast.Name):
        call = ast.Call(span=expr.span, callee=expr.id)
    if call is None or call.callee not in DISTRIBUTIONS:
        raise unknown("distribution", call.callee if call else "", list(DISTRIBUTIONS), expr.span)
    if field is not None:
        check_support(call.callee, field, call.span)
    if call.callee == "flow":
        return _flow(ctx, scope, call, field)
    if call.callee == "autoregressive":
        if field is None:
            raise error(
                "MP411", "a posterior cannot be autoregressive: its draws would take a pass for each element",
                call.span, help="flow(base = normal(net)) { inverse(autoregressive(...)) }",
            )  # fmt: skip
        return _autoregressive(ctx, scope, call, field)
    if call.callee == "mixture":
        return _mixture(ctx, scope, call, field)
    if call.callee == "delta":
        return Delta(_arguments(ctx, scope, call).loc)
    return _elementwise(ctx, scope, call, field)


def sampled(ctx: Context, law: Distribution, options: Sampling) -> Distribution:
    """An autoregressive density or a flow under options: of a flow its base (Kingma and Dhariwal 2018, section 6)."""
    match law:
        case Autoregressive():
            return replace(law, options=options)
        case Flow() if options != LAW_ITSELF:
            base = law.base
            inner = (
                adjusted(ctx, base, options) if isinstance(base, Elementwise) else sampled(ctx, base, options)
            )
            return replace(law, base=inner)
        case Mixture() if options.temperature != 1.0:
            return law.tempered(ctx, options.temperature)
    return law


def _arguments(ctx: Context, scope: Scope, call: ast.Call) -> Any:
    """The arguments of a distribution, as its signature declares them."""
    bound = Arguments(scope, ctx, call, body=call.callee in WITH_BODY)
    return bound.build(SIGNATURES[call.callee])


def _elementwise(ctx: Context, scope: Scope, call: ast.Call, field: Field | None) -> Distribution:
    b = ctx.b
    if call.callee in ("bernoulli", "perceptron"):
        given = _arguments(ctx, scope, call)
        if call.callee == "bernoulli":
            return Bernoulli(_fit(ctx, given.logits, field, call.span))
        return Perceptron(_fit(ctx, given.activation, field, call.span))
    if call.callee == "categorical":
        logits = _arguments(ctx, scope, call).logits
        if field is None or field.classes is None:
            raise error("MP209", "categorical needs a variable of type category(k)", call.span)
        rank = field.type.rank
        axis = rank if rank == 1 or isinstance(field.type.shape[1], Symbolic) else 1
        wanted = (*field.type.shape[:axis], field.classes, *field.type.shape[axis:])
        if logits.shape != wanted:
            raise error(
                "MP207",
                f"logits of shape {list(logits.shape[1:])} for {field.name}, "
                f"a category of {field.classes} in shape {list(field.type.shape[1:])}",
                call.span,
                help=_ending(logits.shape, wanted),
            )
        return Categorical(logits, axis, field.low)
    if call.callee in LOCATION_SCALE:
        given = _arguments(ctx, scope, call)
        loc: Value | float = 0.0 if given.loc is None else given.loc
        log_scale: Value | float = 0.0
        if given.log_scale is not None:
            if given.scale is not None:
                raise error("MP124", f"{call.callee} has a `scale` and a `log_scale`", call.span)
            log_scale = given.log_scale
        elif given.scale is not None:
            scale = given.scale
            log_scale = b.emit(ops.Log(), scale) if isinstance(scale, Value) else log(scale)
        elif isinstance(loc, Value) and (field is None or loc.shape != field.type.shape):
            loc, log_scale = _halves(ctx, call, loc, field)
        if isinstance(loc, Value):
            loc = _fit(ctx, loc, field, call.span)
        if isinstance(log_scale, Value) and field is not None and not _spreads(log_scale, field):
            log_scale = _fit(ctx, log_scale, field, call.span)
        return LOCATION_SCALE[call.callee](loc, log_scale)
    return _logistic_mixture(ctx, scope, call, field)


def _halves(ctx: Context, call: ast.Call, made: Value, field: Field | None) -> tuple[Value, Value]:
    """Location and log scale of a law whose net gives both, one after the other along the channels."""
    axis = channel_axis(made)
    size = made.shape[axis] if made.type.rank > 1 else 1
    each = field.type.shape[axis] if field is not None and field.type.rank == made.type.rank else None
    if isinstance(size, int) and size % 2 == 0 and (not isinstance(each, int) or size == 2 * each):
        loc, log_scale = F.split(ctx.b, made, axis, 2)
        return loc, log_scale
    ends = f"end the network with {2 * each} of them, or " if isinstance(each, int) else ""
    raise error(
        "MP207",
        f"{call.callee}(net) halves the net's output into location and log scale, and it has {size} channels",
        call.span,
        help=f"{ends}state both: {call.callee}(loc = ..., log_scale = ...)",
    )


def _logistic_mixture(ctx: Context, scope: Scope, call: ast.Call, field: Field | None) -> Distribution:
    """`logistic_mixture(net, components)` or its discretised form, parameters folded into the net's output."""
    if field is None:
        raise error("MP209", f"{call.callee} is a law of a variable", call.span, help="normal(0, 1)")
    given = _arguments(ctx, scope, call)
    law = _likelihood(call, field, call.callee, given.components)
    return split_parameters(ctx, given.net, field.type.shape, law)


def _likelihood(call: ast.Call, field: Field, name: str, components: int) -> Likelihood:
    """The likelihood of this name for a variable. MP205 for an unknown one, MP209 for a variable that it is no law of."""
    if name in DISTRIBUTIONS:
        check_support(name, field, call.span)
    try:
        return likelihood(name, field.classes, components, field.low)
    except ValueError as problem:
        raise error("MP205", str(problem), call.span) from problem


def _mixture(ctx: Context, scope: Scope, call: ast.Call, field: Field | None) -> Mixture:
    given = _arguments(ctx, scope, call)
    if field is None or any(isinstance(s, Symbolic) for s in field.type.shape[1:]):
        raise error("MP209", "`mixture` is a law of real numbers in a fixed shape", call.span,
                    help="in a sequence: logistic_mixture(net, components = 5)")  # fmt: skip
    size = product(field.type.shape[1:])
    assert isinstance(size, int)
    return Mixture.learned(ctx, given.components, size)


def _fit(ctx: Context, value: Value, field: Field | None, span: Span) -> Value:
    """A parameter in the shape of its variable; [N, 1] and [N, D] are read as [N] and images of D elements."""
    if field is None or value.shape == field.type.shape:
        return value
    if value.type.size == field.type.size:
        return F.reshape(ctx.b, value, field.type.shape)
    raise error(
        "MP207",
        f"the parameter has shape {list(value.shape[1:])}, {field.name} has {list(field.type.shape[1:])}",
        span,
        help=_ending(value.shape, field.type.shape),
    )


def _spreads(value: Value, field: Field) -> bool:
    """Whether a value is repeated to the shape of a variable by an elementwise operation."""
    try:
        return broadcast_shapes(value.shape, field.type.shape) == field.type.shape
    except ValueError:
        return False


def _ending(found: Shape, wanted: Shape) -> str:
    """How a network gets from the shape that it has to the one that is wanted."""
    shape = f"an output of shape {list(wanted[1:])}"
    if len(found) == len(wanted) + 1 == 3 and isinstance(found[1], Symbolic):
        return f"`last` takes the last step of a sequence: end the network with {shape}"
    if len(found) > len(wanted) == 2:
        return f"`flatten` or `global_avgpool` makes a vector: end the network with {shape}"
    return f"end the network with {shape}"


def _autoregressive(ctx: Context, scope: Scope, call: ast.Call, field: Field) -> Autoregressive:
    given = _arguments(ctx, scope, call)
    default = {"binary": "bernoulli", "category": "categorical", "integer": "categorical", "real": "normal"}
    name = given.likelihood or default[field.base]
    body = call.body if call.body is not None else given.net
    if body is None:
        raise error("MP123", "`autoregressive` needs a network: { dense(...) -> ... }", call.span)
    law = _likelihood(call, field, name, given.components)
    try:
        ranks = member_ranks(given.order, field.type.shape[1:], given.seed, given.orders, given.masks)
    except ValueError as problem:
        raise error("MP205", str(problem), call.span) from problem
    path, span = ctx.b.scope, body.span

    def net(ctx: Context, x: Value) -> Value:
        before, ctx.b.scope = ctx.b.scope, path
        with ctx.frame("net", f"network of {field.name}", span, function=True):
            value = x
            if field.base == "integer":
                value = F.mul(ctx.b, F.to_float(ctx.b, x), 1.0 / max(1, (field.classes or 2) - 1))
            if field.classes is not None:
                ctx.classes[value] = field.classes
            results = scope.child(values={field.name: value}).run(ctx, body, (value,))
        ctx.b.scope = before
        if len(results) != 1:
            raise error("MP208", f"the network gives {len(results)} values", span)
        return results[0]

    return Autoregressive(net, law, ranks, turns=given.masks, order=given.order)


def _base(ctx: Context, scope: Scope, expr: ast.Expr | None, field: Field | None, span: Span) -> Distribution:
    """The base of a flow over `field`: a density of flat real vectors; the posterior of a latent sets its own size."""
    if expr is None or (isinstance(expr, ast.Name) and expr.id == "normal"):
        if field is None:
            raise error(
                "MP411", "a posterior reads what is observed", span, help="flow(base = normal(net(x)))"
            )
        return Normal(0.0, 0.0)
    flat = None
    if field is not None:
        size = product(field.type.shape[1:])
        flat = replace(
            field, role="base", base="real", type=float_type(field.type.shape[0], size), classes=None
        )
    with ctx.frame("base", scope.label(expr.span), expr.span):
        law = distribution(ctx, scope, expr, flat)
    if "real" not in law.support.types:
        raise error(
            "MP205", "the base of a flow is a density of real numbers", expr.span, help="normal(net(y))"
        )
    return law


def _flow(ctx: Context, scope: Scope, call: ast.Call, variable: Field | None) -> Flow:
    base = _base(ctx, scope, _arguments(ctx, scope, call).base, variable, call.span)
    if variable is None:
        shape = next((v.shape for v in base.parameters().values()), ())
        if len(shape) != 2:
            raise error(
                "MP411", "the base of a posterior is a vector whose net reads what is observed", call.span
            )
    field = variable or Field("latent", "latent", "real", float_type(*shape), call.span)
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
    check_shapes(chain, field.type.shape, ctx)
    check_intervals(chain)
    return Flow(base, without_inverses(chain))


def _chain(ctx: Context, scope: Scope, body: ast.Pipeline, field: Field) -> tuple[Placed, ...]:
    """The bijectors of a pipeline over a variable, each with its name and place."""
    chain: list[Placed] = []
    counts: dict[str, int] = {}

    def walk(scope: Scope, pipeline: ast.Pipeline) -> None:
        for step in pipeline.steps:
            layer = step.layer
            if isinstance(layer, ast.Repeat):
                start, stop = scope.integer(layer.start), scope.integer(layer.stop)
                if stop - start >= MAX_LAYERS:
                    raise error(
                        "MP120", f"repeat runs {stop - start + 1} times, more than {MAX_LAYERS}", layer.span
                    )
                for i in range(start, stop + 1):
                    scope.budget.spend(layer.span)
                    walk(scope.child({layer.variable: i}), layer.body)
                continue
            if isinstance(layer, ast.Name):
                layer = ast.Call(span=layer.span, callee=layer.id)
            if not isinstance(layer, ast.Call) or layer.callee not in BIJECTORS:
                name = layer.callee if isinstance(layer, ast.Call) else ""
                if name in LAYERS:
                    raise not_bijective(name, step.span)
                raise unknown("bijector", name, list(BIJECTORS), step.span)
            scope.budget.spend(layer.span)
            preset: dict[str, object] = {}
            if layer.callee == "dequantize":
                if field.base == "real":
                    raise error("MP209", f"`dequantize` is for values in levels, and {field.name} is real", layer.span,
                                help="remove it; or declare the variable as `integer(a..b)` or `binary`")  # fmt: skip
                noise = None if layer.body is None else _noise(scope, layer, field)
                preset = {"low": field.low, "levels": _levels(field), "posterior": noise}
            n = counts[layer.callee] = counts.get(layer.callee, -1) + 1
            arguments = Arguments(scope, ctx, layer, body=layer.callee == "dequantize")
            bijector = arguments.build(BIJECTORS[layer.callee], **preset)
            chain.append(Placed(bijector, f"{layer.callee}_{n}", scope.label(layer.span), layer.span))

    walk(scope, body)
    return tuple(chain)


def _levels(field: Field) -> int:
    """How many levels a variable has that is dequantised."""
    return 2 if field.classes is None else field.classes


def _noise(scope: Scope, call: ast.Call, field: Field) -> Callable[[Context, Value], Flow]:
    """The law of a dequantiser's noise given the integers, which its body sees under their own name, in [0, 1]."""
    noise = replace(field, base="real", low=0, classes=None)
    body, levels = call.body, _levels(field)
    assert body is not None

    def posterior(ctx: Context, x: Value) -> Flow:
        shifted = x if field.low == 0 else F.sub(ctx.b, x, float(field.low))
        seen = F.mul(ctx.b, shifted, 1.0 / (levels - 1))
        chain = _chain(ctx, scope.child(values={field.name: seen}), body, noise)
        check_shapes(chain, x.shape, ctx)
        check_intervals(chain)
        check_noise(chain, call.span)
        return Flow(Normal(0.0, 0.0), without_inverses(chain))

    return posterior
