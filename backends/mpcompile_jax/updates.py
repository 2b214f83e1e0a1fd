"""Update rules, with state under the slot names that all backends share.

The direction of sgd, adam and adamw comes from optax, whose arithmetic is torch's and whose state maps one-to-one
(`trace` to momentum, `mu` and `nu` to m and v, `count` to the step). Adagrad is written out: optax adds eps inside
of the square root, torch outside.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jax import Array

from mpcompile.backend import OptimizerSpec

Tree = dict[str, Array]
Slots = dict[str, Tree]
#: (gradients, slots, steps done) -> (directions, slots)
Rule = Callable[[Tree, Slots, Array], tuple[Tree, Slots]]


def update(
    spec: OptimizerSpec, weights: Tree, gradients: Tree, slots: Slots, count: Array, rate: Array
) -> tuple[Tree, Slots]:
    """New weights and slots after one step; `count` steps were done before."""
    decay = spec.weight_decay
    if decay and not spec.decoupled:
        gradients = {n: g + decay * weights[n] for n, g in gradients.items()}
    directions, slots = _rule(spec)(gradients, slots, count)
    if decay and spec.decoupled:
        directions = {n: d + decay * weights[n] for n, d in directions.items()}
    return {n: w - rate.astype(w.dtype) * directions[n] for n, w in weights.items()}, slots


def clipped(gradients: Tree, threshold: float | None) -> tuple[Tree, Array]:
    """Gradients scaled to a global norm of at most `threshold`, and their norm before that."""
    squares = [jnp.sum(g * g) for g in gradients.values()]
    norm = jnp.sqrt(sum(squares[1:], squares[0])) if squares else jnp.zeros(())
    if threshold is None:
        return gradients, norm
    scale = jnp.minimum(threshold / norm, 1.0)
    return {n: g * scale for n, g in gradients.items()}, norm


def _rule(spec: OptimizerSpec) -> Rule:
    if "m" in spec.slots:
        return _adam(spec)
    if "sum" in spec.slots:
        return _adagrad(spec)
    return _momentum(spec) if spec.slots else lambda gradients, slots, _: (gradients, slots)


def _adam(spec: OptimizerSpec) -> Rule:
    rule = optax.scale_by_adam(*spec.betas, spec.eps)

    def apply(gradients: Tree, slots: Slots, count: Array) -> tuple[Tree, Slots]:
        state = optax.ScaleByAdamState(count, slots["m"], slots["v"])
        directions, after = rule.update(gradients, state)
        return directions, {"m": after.mu, "v": after.nu}

    return apply


def _momentum(spec: OptimizerSpec) -> Rule:
    rule = optax.trace(spec.momentum)

    def apply(gradients: Tree, slots: Slots, count: Array) -> tuple[Tree, Slots]:
        directions, after = rule.update(gradients, optax.TraceState(slots["momentum"]))
        return directions, {"momentum": after.trace}

    return apply


def _adagrad(spec: OptimizerSpec) -> Rule:
    def apply(gradients: Tree, slots: Slots, count: Array) -> tuple[Tree, Slots]:
        total = {n: s + gradients[n] * gradients[n] for n, s in slots["sum"].items()}
        return {n: g / (jnp.sqrt(total[n]) + spec.eps) for n, g in gradients.items()}, {"sum": total}

    return apply
