"""One update of all weights: what an optimiser's graph says, emitted and compiled as every program is."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array

from mpcompile.backend import OptimizerSpec
from mpcompile.passes.update import update_module
from mpcompile_jax.loading import import_programs

Tree = dict[str, Array]
Slots = dict[str, Tree]


class Updates:
    """The update of each weight, by the program of its shape. Raises `ValueError` for a rule that is not known."""

    def __init__(
        self, spec: OptimizerSpec, shapes: Mapping[str, tuple[int, ...]], decays: Mapping[str, bool]
    ) -> None:
        of = {name: (shape, decays[name]) for name, shape in shapes.items()}
        module, names = update_module(spec, list(dict.fromkeys(of.values())))
        programs = import_programs(module)
        self.kept = {name: spec.kept_for(shape) for name, shape in shapes.items()}
        self.slots = spec.kept
        self.programs = {name: programs[names[weight]] for name, weight in of.items()}

    def __call__(
        self, weights: Tree, gradients: Tree, slots: Slots, count: Array, rate: Array
    ) -> tuple[Tree, Slots]:
        """New weights and slots after one step; `count` steps were done before."""
        after: Tree = {}
        changed: Slots = {slot: {} for slot in self.slots}
        for name, program in self.programs.items():
            own = {f"slot_{slot}": slots[slot][name] for slot in self.kept[name]}
            made = program(
                {}, weight=weights[name], gradient=gradients[name], **own, rate=rate, step=count + 1
            )
            made = made if isinstance(made, dict) else {"next_weight": made}
            after[name] = made["next_weight"]
            for slot in self.kept[name]:
                changed[slot][name] = made[f"next_slot_{slot}"]
        return after, changed


def global_norm(gradients: Tree) -> Array:
    """Return the norm of all gradients together."""
    squares = [jnp.sum(g * g) for g in gradients.values()]
    return jnp.sqrt(sum(squares[1:], squares[0])) if squares else jnp.zeros(())


def clipped(gradients: Tree, norm: Array, threshold: float) -> Tree:
    """Scale gradients of this global norm to one of at most `threshold`."""
    scale = jnp.minimum(threshold / norm, 1.0)
    return {n: g * scale for n, g in gradients.items()}
