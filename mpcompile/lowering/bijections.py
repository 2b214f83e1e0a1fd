"""Check that a chain of bijectors composes: each element is a bijector, and each codomain fits the next domain."""

from __future__ import annotations

from collections.abc import Sequence

from mpcompile.bijectors import CIRCLE, REALS, UNIT, Bijector, FactorOut, Interval
from mpcompile.bijectors.inverse import Inverse
from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.distributions import Placed
from mpcompile.ir import Field, Shape
from mpcompile.ir.axes import Axes
from mpcompile.layers import LAYERS, Context


def not_bijective(name: str, span: Span) -> SpecError:
    """Return the finding (MP407) for a layer in the place of a bijector, ready to raise."""
    if merges := LAYERS[name].merges:
        near = "leaky_relu, softplus, sigmoid and tanh have an inverse"
        return error("MP407", f"`{name}` is not injective: {merges}", span, help=near)
    inside = f"it may stand in the net of a coupling: coupling(mask = ..., net = {name}(...) -> ...)"
    return error("MP407", f"`{name}` is a layer, and a flow is made of bijectors", span, help=inside)


def check_shapes(chain: Sequence[Placed], shape: Shape, axes: Axes, ctx: Context) -> None:
    """Check that each map takes the shape that reaches it, channels first. Raises MP201, MP401 for one that does not."""
    for placed in chain:
        bijector = placed.bijector
        with ctx.b.within(ctx.b.scope, placed.span):
            bijector.takes.check(ctx, bijector.keyword, shape, axes)
            shape = bijector.checked_shape(ctx, shape)


def check_intervals(chain: Sequence[Placed], field: Field) -> None:
    """Check that each map is defined on what the one before reaches, and reaches all that the next is defined on.

    Else the density does not integrate to one, and a draw has no inverse. What reaches the base, a standard normal,
    is all reals.

    Maps of angles have their place in flows of angles, and no others there but those that move elements.

    Raises `SpecError` (MP408).
    """
    for placed in chain:
        _check_turn(placed, field)
    if field.angle:
        return
    reached: Interval | None = None
    for placed in chain:
        domain = placed.bijector.domain
        if reached is not None and domain is not None and not _within(reached, domain):
            raise error("MP408", f"`{placed.bijector.keyword}` is defined on {_shown(domain)}, and the bijector "
                        f"before it gives {_shown(reached)}", placed.span)  # fmt: skip
        reached = placed.bijector.image or reached
    wanted, who = REALS, "the base is defined"
    for placed in reversed(chain):
        bijector = placed.bijector
        if isinstance(bijector, FactorOut) and wanted != REALS:
            raise error("MP408", f"`factor_out` gives latents, which lie in all reals, among values in "
                        f"{_shown(wanted)}", placed.span)  # fmt: skip
        if bijector.codomain is not None and not _within(wanted, bijector.codomain):
            raise error("MP408", f"`{bijector.keyword}` reaches {_shown(bijector.codomain)} only, and {who} on "
                        f"{_shown(wanted)}: the density would not integrate to 1", placed.span)  # fmt: skip
        if bijector.domain is not None:
            wanted, who = bijector.domain, f"`{bijector.keyword}` after it is defined"


def _check_turn(placed: Placed, field: Field) -> None:
    ends = {placed.bijector.domain, placed.bijector.codomain}
    if not field.angle and CIRCLE in ends:
        raise error("MP408", f"`{_written(placed.bijector)}` is a map of angles, and {field.name} is not an angle",
                    placed.span, help=f"declare `{field.name}: angle[...]`, or use a map of the reals")  # fmt: skip
    if field.angle and ends - {CIRCLE, None}:
        interval = _shown(placed.bijector.domain)
        said = f"`{_written(placed.bijector)}` is a map of {interval}, and {field.name} is an angle"
        raise error("MP408", said, placed.span, help="`rotate`, `permute`, and couplings and `autoregressive` with "
                    "`law = spline(8, circular = true)` map angles to angles")  # fmt: skip


def _written(bijector: Bijector) -> str:
    return _written(bijector.of) if isinstance(bijector, Inverse) else bijector.keyword


def check_noise(chain: Sequence[Placed], span: Span) -> None:
    """Check that the flow of a dequantiser's noise fills (0, 1) and stays within: else a draw falls into another bin.

    Raises `SpecError` (MP408).
    """
    first = next((p for p in chain if p.bijector.domain is not None), None)
    if first is None or first.bijector.preimage != UNIT:
        reached = REALS if first is None else first.bijector.preimage
        raise error("MP408", f"the noise of `dequantize` lies in (0, 1), and its flow gives {_shown(reached)}",
                    span if first is None else first.span, help="begin its body with `logit(alpha = 0)`")  # fmt: skip
    for placed in chain:
        if placed.bijector.data_dependent:
            raise error("MP407", f"`{placed.bijector.keyword}` starts from data, and the noise of `dequantize` has none",
                        placed.span, help="`affine` is the same map, with a start of its own")  # fmt: skip


def without_inverses(chain: Sequence[Placed]) -> tuple[Placed, ...]:
    """Return the chain without maps that undo each other: `tanh -> inverse(tanh)` is the identity.

    Run one after the other they are not, where the first rounds to the end of its interval: in float32 `tanh` gives 1
    from 9.02 on, and what comes back from 8.5 is off by 0.16.
    """
    kept: list[Placed] = []
    for placed in chain:
        if kept and _undoes(placed.bijector, kept[-1].bijector):
            kept.pop()
        else:
            kept.append(placed)
    return tuple(kept)


def _undoes(second: Bijector, first: Bijector) -> bool:
    if isinstance(first, Inverse):
        return first.of.fixed and first.of == second
    return isinstance(second, Inverse) and second.of.fixed and second.of == first


def _within(inner: Interval, outer: Interval) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _shown(interval: Interval | None) -> str:
    return "the reals" if interval in (REALS, None) else f"({interval[0]:g}, {interval[1]:g})"
