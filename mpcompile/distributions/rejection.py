"""Draws by rejection with a fixed number of proposals, so that noise stays an input: gamma and Poisson laws."""

from __future__ import annotations

from math import lgamma, log

import numpy as np

from mpcompile import ops
from mpcompile.distributions.slots import Noise
from mpcompile.distributions.special import log_gamma
from mpcompile.ir import Builder, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F

#: Proposals of a gamma draw. One is rejected with a probability of at most 0.048 (shape 1): all with 3e-11.
GAMMA_TRIES = 8
GAMMA_NOISE = (Noise("normal", GAMMA_TRIES), Noise("uniform", GAMMA_TRIES + 1))
#: Proposals of a Poisson draw from a mean of `INVERTED` on. One is rejected with at most 0.25 (at 10): all with 4e-10.
POISSON_TRIES = 16
#: Below this mean a Poisson draw inverts the distribution function, over `TERMS` counts; the rest has at most 1e-12.
INVERTED, TERMS = 10.0, 42
POISSON_NOISE = (Noise("uniform", 1 + 2 * POISSON_TRIES),)


def widened(b: Builder, x: Value) -> Value:
    """Emit x with a last axis of size 1, beside the proposals; a number stays one."""
    return F.reshape(b, x, (*x.shape, 1)) if x.shape else x


def last(b: Builder, x: Value, start: int, stop: int) -> Value:
    """Emit elements start .. stop - 1 along the last axis."""
    return F.slice_axis(b, x, x.type.rank - 1, start, stop)


def first(b: Builder, x: Value, at: int) -> Value:
    """Emit element `at` along the last axis, which goes."""
    return F.reshape(b, last(b, x, at, at + 1), x.shape[:-1])


def first_accepted(b: Builder, accepted: Value, proposals: Value, otherwise: Value | float) -> Value:
    """Emit the first proposal along the last axis that is accepted; where none is, `otherwise`."""
    axis = accepted.type.rank - 1
    taken = F.to_float(b, accepted)
    count = b.emit(ops.CumSum(axis), taken)
    chosen = b.emit(ops.LogicalAnd(), accepted, F.less(b, count, 1.5))
    value = F.sum_axes(b, F.where(b, chosen, proposals, 0.0), [axis])
    return F.where(b, F.less(b, F.sum_axes(b, taken, [axis]), 0.5), otherwise, value)


def log_gamma_draw(ctx: Context, concentration: Value, normal: Value, uniform: Value) -> Value:
    """Emit the logarithm of a draw of the gamma law of rate 1 (Marsaglia and Tsang 2000), from `GAMMA_NOISE`.

    A concentration a below 1 is raised by 1, and the draw multiplied by u^(1/a): in logarithms no draw is 0. Where all
    proposals fail, the draw is the mode of the proposals.
    """
    b = ctx.b
    low = F.less(b, concentration, 1.0)
    raised = F.where(b, low, F.add(b, concentration, 1.0), concentration)
    d = F.sub(b, raised, 1 / 3)
    wide = widened(b, d)
    c = F.div(b, 1 / 3, b.emit(ops.Sqrt(), wide))
    root = F.add(b, F.mul(b, normal, c), 1.0)
    positive = F.less(b, 0.0, root)
    log_v = F.mul(b, b.emit(ops.Log(), F.where(b, positive, root, 1.0)), 3.0)
    squared = F.mul(b, F.mul(b, normal, normal), 0.5)
    bound = F.add(b, squared, F.mul(b, wide, F.add(b, F.sub(b, 1.0, b.emit(ops.Exp(), log_v)), log_v)))
    tries = last(b, uniform, 0, GAMMA_TRIES)
    accepted = b.emit(ops.LogicalAnd(), positive, F.less(b, b.emit(ops.Log(), tries), bound))
    drawn = F.add(b, b.emit(ops.Log(), d), first_accepted(b, accepted, log_v, 0.0))
    boost = F.div(b, b.emit(ops.Log(), first(b, uniform, GAMMA_TRIES)), concentration)
    return F.add(b, drawn, F.where(b, low, boost, 0.0))


def poisson_draw(ctx: Context, mean: Value, uniform: Value) -> Value:
    """Emit a draw of the Poisson law, from `POISSON_NOISE`: inverted below a mean of 10, by rejection from there on.

    The proposals are those of Hoermann (1993, PTRS). Where all fail, the draw is the mean, rounded down.
    """
    b = ctx.b
    small = F.less(b, mean, INVERTED)
    few = _inverted(ctx, F.where(b, small, mean, 1.0), first(b, uniform, 0))
    u = last(b, uniform, 1, 1 + POISSON_TRIES)
    v = last(b, uniform, 1 + POISSON_TRIES, 1 + 2 * POISSON_TRIES)
    return F.where(b, small, few, _transformed(ctx, F.where(b, small, INVERTED, mean), u, v))


def _inverted(ctx: Context, mean: Value, u: Value) -> Value:
    """Count the numbers whose probability, with that of all smaller ones, is below u."""
    b, count = ctx.b, np.arange(TERMS - 1.0)
    factorials = np.array([lgamma(k + 1) for k in count])
    wide = widened(b, mean)
    log_mass = F.sub(b, F.mul(b, b.emit(ops.Log(), F.maximum(b, wide, 1e-30)), b.constant(count)), wide)
    mass = b.emit(ops.Exp(), F.sub(b, log_mass, b.constant(factorials)))
    axis = u.type.rank
    below = F.less(b, b.emit(ops.CumSum(mass.type.rank - 1), mass), widened(b, u))
    return F.sum_axes(b, F.to_float(b, below), [axis])


def _transformed(ctx: Context, mean: Value, u: Value, v: Value) -> Value:
    """Take the first accepted proposal for a mean of at least 10."""
    b, mu = ctx.b, widened(ctx.b, mean)
    spread = F.add(b, F.mul(b, b.emit(ops.Sqrt(), mu), 2.53), 0.931)
    tail = F.sub(b, F.mul(b, spread, 0.02483), 0.059)
    inverse = F.add(b, F.div(b, 1.1328, F.sub(b, spread, 3.4)), 1.1239)
    centred = F.sub(b, u, 0.5)
    edge = F.sub(b, 0.5, b.emit(ops.Abs(), centred))
    slope = F.add(b, F.div(b, F.mul(b, tail, 2.0), edge), spread)
    k = b.emit(ops.Floor(), F.add(b, F.add(b, F.mul(b, slope, centred), mu), 0.43))
    held = F.maximum(b, k, 0.0)
    target = F.sub(
        b, F.sub(b, F.mul(b, held, b.emit(ops.Log(), mu)), mu), log_gamma(ctx, F.add(b, held, 1.0))
    )
    density = F.add(b, F.div(b, tail, F.mul(b, edge, edge)), spread)
    proposed = F.sub(
        b, F.add(b, b.emit(ops.Log(), v), b.emit(ops.Log(), inverse)), b.emit(ops.Log(), density)
    )
    inside = b.emit(ops.LogicalAnd(), F.less(b, -0.5, k), F.less(b, proposed, target))
    corner = b.emit(ops.LogicalAnd(), F.less(b, edge, 0.013), F.less(b, edge, v))
    accepted = b.emit(ops.LogicalAnd(), inside, b.emit(ops.LogicalNot(), corner))
    return first_accepted(b, accepted, held, b.emit(ops.Floor(), mean))


#: The logarithm of the smallest draw of a positive law: float32 holds it and its inverse.
LEAST = log(1e-30)

__all__ = [
    "GAMMA_NOISE", "GAMMA_TRIES", "LEAST", "POISSON_NOISE", "first", "first_accepted", "last", "log_gamma_draw",
    "poisson_draw", "widened",
]  # fmt: skip
