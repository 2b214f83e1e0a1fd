"""`divergence(q, p)`: a term of two laws, which are stated as those of a variable are."""

from __future__ import annotations

from collections.abc import Sequence

from mpcompile.diagnostics import error
from mpcompile.distributions import COMBINATORS, Elementwise
from mpcompile.distributions.elementwise import Categorical, Logits
from mpcompile.frontend import ast
from mpcompile.functions.losses import Divergence
from mpcompile.ir import Value
from mpcompile.ir.axes import CHANNEL, CLASS
from mpcompile.layers import Context
from mpcompile.layers.axes import described, ordered, with_batch
from mpcompile.lowering.binding import Arguments
from mpcompile.lowering.densities import distribution, named
from mpcompile.lowering.scope import Scope


def divergence(ctx: Context, scope: Scope, call: ast.Call, current: Sequence[Value]) -> Value:
    """Build the divergence of two laws, with the axes of their parameters.

    Raises `SpecError`: MP208 for another number of laws, and those of `Divergence.between`.
    """
    if current or len(call.args) != 2 or any(a.name is not None for a in call.args):
        raise error(
            "MP208", "`divergence` takes two laws", call.span, help="divergence(normal(f(x)), normal(0, 1))"
        )
    with ctx.frame(ctx.unique(call.callee), scope.label(call.span), call.span):
        q, p = (_law(ctx, scope, role, a.value) for role, a in zip("qp", call.args, strict=True))
        return Divergence().between(ctx, q, p)


def _law(ctx: Context, scope: Scope, role: str, expr: ast.Expr) -> Elementwise:
    """Build one of the laws. Raises `SpecError` (MP205) for one that is not of single elements by itself."""
    call, kind = ast.called(expr), named(expr)
    if (
        call is not None
        and kind is not None
        and (call.callee in COMBINATORS or not issubclass(kind, Elementwise))
    ):
        raise error("MP205", f"no divergence of {call.callee} has a closed form here", expr.span,
                    help="laws of single elements, such as normal, bernoulli or categorical")  # fmt: skip
    with ctx.frame(role, scope.label(expr.span), expr.span):
        if call is not None and kind is Categorical:
            return _categorical(ctx, Arguments(scope, ctx, call).build(Logits), call)
        law = distribution(ctx, scope, expr, None)
    assert isinstance(law, Elementwise)
    return law


def _categorical(ctx: Context, given: Logits, call: ast.Call) -> Categorical:
    """Build a law of the classes along the axis `class`, or else the channels, of its logits. Raises MP207 without."""
    axes = ctx.axes_of(given.logits)
    over = next((name for name in (CLASS, CHANNEL) if name in axes), None)
    if over is None:
        raise error("MP207", f"the logits {described(ctx, given.logits)} have no axis of classes", call.span,
                    help="end the network with dense(classes)")  # fmt: skip
    kept = (*(n for n in axes if n != over), over)
    logits = ctx.name_axes(ordered(ctx, with_batch(ctx, given.logits), kept), kept)
    return Categorical(logits, logits.type.rank - 1)


__all__ = ["divergence"]
