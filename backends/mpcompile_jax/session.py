"""A module live in JAX: evaluation, gradients, optimiser steps, and state that moves between backends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mpcompile.backend import SINGLE, OptimizerSpec, Scalars, SessionOptions
from mpcompile.group import ALONE, inputs_of, tree_sum
from mpcompile.ir import STATE, Array, Graph, Module, Parameter
from mpcompile.passes.gradient import gradient_name
from mpcompile.passes.train_step import decaying, stacks, units
from mpcompile.ranges import HUGE
from mpcompile_jax.gradients import gradient_program
from mpcompile_jax.loading import Placement, Program, import_programs
from mpcompile_jax.mesh import MeshPlacement, waiting
from mpcompile_jax.updates import Slots, Tree, Updates, clipped, global_norm


class JaxSession:
    """See `mpcompile.backend.Session`."""

    def __init__(
        self,
        module: Module,
        parameters: Mapping[str, Array],
        optimizer: OptimizerSpec | None = None,
        options: SessionOptions = SINGLE,
    ) -> None:
        self.module = module
        self.spec = optimizer
        self.group = group = options.group
        self.place = (
            Placement(options.device, options.precision, options.mixed)
            if group == ALONE
            else MeshPlacement(options.device, options.precision, options.mixed, group)
        )
        names = optimizer.kept if optimizer else ()
        with self.place.active():
            #: Weights of a region are one array, from which what is compiled does not grow with depth.
            self.stacks = (
                {p: op.names for p, op in stacks(module, optimizer).items()}
                if "loss" in module.programs
                else {}
            )
            self.units = (
                units(module, optimizer)
                if "loss" in module.programs
                else [n for n, s in module.parameters.items() if s.trained]
            )
            #: Dicts come back sorted from compiled functions: order is taken from the module and from these.
            self.trainable = [n for n, spec in module.parameters.items() if spec.trained]
            self.slot_names = names
            self.trained: Tree = self._stacked(parameters)
            self.fixed: Tree = {
                n: self.place.array(parameters[n]) for n, s in module.parameters.items() if not s.trained
            }
            self.slots: Slots = {
                slot: {
                    n: self.place.array(np.zeros(a.shape))
                    for n, a in self.trained.items()
                    if optimizer is not None and slot in optimizer.kept_for(a.shape)
                }
                for slot in names
            }
        #: The number of steps that were taken, on the device: it does not grow with a skipped step.
        self.count: Any = np.int32(0)
        functions = import_programs(module)
        named = {
            name: _named(functions[name], list(p.inputs), list(p.outputs), self._single(p))
            for name, p in module.programs.items()
        }
        self.programs = {name: jax.jit(function) for name, function in named.items()}
        if "loss" in module.programs:  # else a module for inference
            self._compile(named["loss"])

    def _compile(self, loss: Callable[[Tree, Tree, Tree], Tree]) -> None:
        """Jit gradient and step of a loss."""
        module, optimizer = self.module, self.spec
        outputs = module.programs["loss"].outputs
        self.scalars = [n for n, v in outputs.items() if not v.shape and not n.startswith(STATE)]
        normed = optimizer is not None and (optimizer.clip is not None or optimizer.skip is not None)
        skips = ["skipped"] if optimizer is not None and optimizer.skip else []
        #: Names of what a step tells, by whether the norm is asked for.
        self.told = {
            asked: (*self.scalars, *(["gradient_norm"] if asked or normed else []), *skips)
            for asked in (False, True)
        }
        shapes = {n: a.shape for n, a in self.trained.items()}
        updates = Updates(optimizer, shapes, decaying(module, optimizer)) if optimizer else None
        # off the CPU, jax differentiates what is spelled for that device (dilated kernels as products)
        backward = _backward(module, optimizer) if self.place.device.platform == "cpu" else None
        supports = {
            n: p.support.stored
            for n, p in module.parameters.items()
            if p.trained and p.fused and p.support is not None
        }
        training = _Training(
            loss,
            backward,
            list(outputs),
            updates,
            optimizer,
            self.scalars,
            supports,
            module.updates("loss"),
        )
        self._gradients = jax.jit(training.gradients)
        self._step = jax.jit(training.update, donate_argnums=(0, 2))
        if isinstance(self.place, MeshPlacement):
            lie = self.place.sharding
            weights = {n: lie(a.shape) for n, a in self.trained.items()}
            slots = {slot: {n: weights[n] for n in kept} for slot, kept in self.slots.items()}
            whole = self.place.whole
            self._shard = jax.jit(training.shard, out_shardings=(whole, weights))
            after = (weights, slots, whole, whole, whole)
            self._finish = jax.jit(training.finish, donate_argnums=(0, 2), out_shardings=after)

    # --- the protocol ---

    def run(self, program: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with self.place.active():
            graph = self.module.programs[program]
            if isinstance(self.place, MeshPlacement):  # each process by itself, on one device
                here = {n: self.place.local(a) for n, a in (self.trained | self.fixed).items()}
                trained, fixed = ({n: here[n] for n in tree} for tree in (self.trained, self.fixed))
                given = {
                    n: Placement.argument(self.place, inputs[n], v.type) for n, v in graph.inputs.items()
                }
            else:
                trained, fixed, given = self.trained, self.fixed, self._inputs(graph, inputs)
            outputs = self.programs[program](trained, fixed, given)
            return {name: Placement.numpy(self.place, outputs[name]) for name in graph.outputs}

    def gradients(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        program = self.module.programs["loss"]
        with self.place.active():
            if isinstance(self.place, MeshPlacement):
                outputs, gradients = self._mean(inputs)
            else:
                given = self._inputs(program, inputs)
                outputs, gradients = self._gradients(self.trained, self.fixed, given)
            told = {name: self.place.numpy(outputs[name]) for name in program.outputs if name in outputs}
            return told, self._rows(gradients)

    def _mean(self, inputs: Mapping[str, Array]) -> tuple[Tree, Tree]:
        """Return scalar and written outputs of `loss` and its gradient over the batch of all processes.

        Shards for which there are no devices follow one another, and are summed in a tree.
        """
        assert isinstance(self.place, MeshPlacement)
        program, turns = self.module.programs["loss"], self.place.turns

        def shard(number: int) -> tuple[Tree, Tree]:
            part = inputs_of(program, inputs, turns, number) if turns > 1 else inputs
            found: tuple[Tree, Tree] = self._shard(self.trained, self.fixed, self._inputs(program, part))
            return found

        total = tree_sum(map(shard, range(turns)), lambda a, b: jax.tree.map(jnp.add, a, b))
        mean: tuple[Tree, Tree] = total if turns == 1 else jax.tree.map(lambda a: a / turns, total)
        return mean

    def step(self, inputs: Mapping[str, Array], rate: float, norm: bool = True) -> Mapping[str, float]:
        if self.spec is None:
            raise ValueError("a session without an optimiser cannot take a step")
        with self.place.active():
            before = self.trained, self.fixed, self.slots, self.count
            now = self.place.floats.type(rate), np.bool_(norm)
            if isinstance(self.place, MeshPlacement):
                with waiting():
                    after = self._finish(*before, *now, *self._mean(inputs))
            else:
                after = self._step(*before, *now, self._inputs(self.module.programs["loss"], inputs))
            self.trained, self.slots, written, self.count, told = after
            self.fixed |= written
        names = self.told[norm]

        def fetch() -> list[float]:
            with waiting():
                found: list[float] = np.asarray(told, np.float64).tolist()
            return found[: len(names)]

        return Scalars(names, fetch)

    def _inputs(self, graph: Graph, inputs: Mapping[str, Array]) -> Tree:
        return {name: self.place.argument(inputs[name], v.type) for name, v in graph.inputs.items()}

    # --- state ---

    def state(self) -> dict[str, Array]:
        live = self._rows(self.trained) | {n: self.place.numpy(a) for n, a in self.fixed.items()}
        found = {f"parameter/{name}": live[name] for name in self.module.parameters}
        if self.spec is not None:
            found["optimizer/step"] = np.asarray(int(self.count), np.int64)
            for slot in self.slot_names:
                found |= {f"optimizer/{slot}/{n}": a for n, a in self._rows(self.slots[slot]).items()}
        return found

    def load_state(self, state: Mapping[str, Array]) -> None:
        with self.place.active():
            self.trained = self._stacked({n: state[f"parameter/{n}"] for n in self.trainable})
            self.fixed |= {name: self.place.array(state[f"parameter/{name}"]) for name in self.fixed}
            if self.spec is None:
                return
            self.count = np.int32(state["optimizer/step"])
            for slot in self.slots:
                prefix = f"optimizer/{slot}/"
                own = {k.removeprefix(prefix): a for k, a in state.items() if k.startswith(prefix)}
                self.slots[slot] = self._stacked(own, self.slots[slot])

    def exchange(self, values: Sequence[float]) -> list[list[float]]:
        return self.place.exchange(values) if isinstance(self.place, MeshPlacement) else [list(values)]

    def _stacked(self, arrays: Mapping[str, Array], units: Collection[str] = ()) -> Tree:
        """Put arrays of units, by default of all trained weights, on the device; those of a stack as one."""
        return {
            unit: self.place.array(
                np.stack([arrays[n] for n in self.stacks[unit]]) if unit in self.stacks else arrays[unit]
            )
            for unit in units or self.units
        }

    def _rows(self, tree: Tree) -> dict[str, Array]:
        """Return arrays of each trained weight, which are rows of those of stacks."""
        found: dict[str, Array] = {}
        for unit, array in tree.items():
            whole = self.place.numpy(array)
            found |= (
                dict(zip(self.stacks[unit], map(np.array, whole), strict=True))
                if unit in self.stacks
                else {unit: whole}
            )
        return {name: found[name] for name in self.trainable if name in found}

    def _single(self, graph: Graph) -> dict[str, tuple[str, ...]]:
        """Return the stacks of which a program reads weights otherwise than as that stack."""
        leaves = [n.op for n in graph.nodes() if isinstance(n.op, Parameter) and n.op.path not in self.stacks]
        read = {name for op in leaves for name in op.names}
        return {path: names for path, names in self.stacks.items() if not read.isdisjoint(names)}


# --- what is compiled: it holds no session, so that the weights of a session go with it ---


def _named(
    function: Program, given: list[str], outputs: list[str], single: Mapping[str, tuple[str, ...]]
) -> Callable[[Tree, Tree, Tree], Tree]:
    """A program that takes a dict of its inputs, and gives a dict in any case.

    It has the weights of stacks in `single` by their own names.
    """
    only, *more = outputs

    def run(trained: Tree, fixed: Tree, inputs: Tree) -> Tree:
        rows = {name: trained[path][k] for path, names in single.items() for k, name in enumerate(names)}
        results = function({**trained, **rows, **fixed}, *(inputs[name] for name in given))
        return results if more else {only: results}

    return run


def _backward(module: Module, spec: OptimizerSpec | None) -> Callable[[Tree, Tree, Tree], Tree] | None:
    """The loss with its gradients as one program; None where jax differentiates."""
    graph = gradient_program(module, spec)
    if graph is None:
        return None
    function = import_programs(replace(module, programs={"loss_gradient": graph}))["loss_gradient"]
    return _named(function, list(graph.inputs), list(graph.outputs), {})


@dataclass(frozen=True)
class _Training:
    """The gradient of a loss, and one update.

    run       the loss
    backward  the loss with `grad(<parameter>)` for what it reads; None where jax differentiates `run`
    outputs   of the loss, by name; `scalars` are those that a step tells
    supports  of weights that are read without their masks, whose gradients are zero elsewhere
    written   untrained parameters that a step updates, each with the output that carries it
    """

    run: Callable[[Tree, Tree, Tree], Tree]
    backward: Callable[[Tree, Tree, Tree], Tree] | None
    outputs: list[str]
    updates: Updates | None
    spec: OptimizerSpec | None
    scalars: list[str]
    supports: Mapping[str, np.ndarray]
    written: Mapping[str, str]

    def gradients(self, trained: Tree, fixed: Tree, inputs: Tree) -> tuple[Tree, Tree]:
        """Return the outputs of `loss`, and its gradient."""
        outputs, gradients = self.differentiate(trained, fixed, inputs)
        return outputs, self.supported(gradients)

    def supported(self, gradients: Tree) -> Tree:
        return gradients | {n: gradients[n] * live for n, live in self.supports.items()}

    def differentiate(self, trained: Tree, fixed: Tree, inputs: Tree) -> tuple[Tree, Tree]:
        """Return the outputs of `loss`, and its gradient without regard to supports."""
        if self.backward is not None:
            made = self.backward(trained, fixed, inputs)
            gradients = {n: made.get(gradient_name(n), jnp.zeros_like(w)) for n, w in trained.items()}
            return {n: made[n] for n in self.outputs}, gradients

        def loss(trained: Tree) -> tuple[jax.Array, Tree]:
            outputs = self.run(trained, fixed, inputs)
            return outputs["loss"] if "loss" in outputs else next(iter(outputs.values())), outputs

        gradients, outputs = jax.grad(loss, has_aux=True)(trained)
        return outputs, gradients

    def update(
        self,
        trained: Tree,
        fixed: Tree,
        slots: Slots,
        count: jax.Array,
        rate: jax.Array,
        asked: jax.Array,
        inputs: Tree,
    ) -> tuple[Tree, Slots, Tree, jax.Array, jax.Array]:
        """Return new weights, slots, fixed parameters, the count, and the scalars of the loss with the gradient's norm.

        Without clipping the norm is zero unless it is `asked` for: a small model would spend a tenth of its step on it.
        The branch takes gradients before their masks, which need not be written to memory otherwise.
        """
        outputs, gradients = self.differentiate(trained, fixed, inputs)
        return self.finish(trained, fixed, slots, count, rate, asked, outputs, gradients)

    def shard(self, trained: Tree, fixed: Tree, inputs: Tree) -> tuple[Tree, Tree]:
        """Return what a step needs of the outputs of `loss`, and its gradient without regard to supports."""
        outputs, gradients = self.differentiate(trained, fixed, inputs)
        kept = {*self.scalars, *self.written.values()}
        return {n: a for n, a in outputs.items() if n in kept}, gradients

    def finish(
        self,
        trained: Tree,
        fixed: Tree,
        slots: Slots,
        count: jax.Array,
        rate: jax.Array,
        asked: jax.Array,
        outputs: Tree,
        gradients: Tree,
    ) -> tuple[Tree, Slots, Tree, jax.Array, jax.Array]:
        """Return what `update` does, from outputs and gradient of the loss."""
        assert self.updates is not None and self.spec is not None
        clip, skip = self.spec.clip, self.spec.skip
        if clip is None and skip is None:
            norm = lax.cond(
                asked,
                lambda g: global_norm(self.supported(g)),
                lambda g: jnp.zeros((), rate.dtype),
                gradients,
            )
            gradients = self.supported(gradients)
        else:
            gradients = self.supported(gradients)
            norm = global_norm(gradients)
            gradients = gradients if clip is None else clipped(gradients, norm, clip)
        after = (
            *self.updates(trained, gradients, slots, count, rate),
            {n: outputs[o] for n, o in self.written.items()},
        )
        told = [*(outputs[n].astype(norm.dtype) for n in self.scalars), norm]
        if skip is None:
            return *after, count + 1, jnp.stack(told)
        loss = outputs["loss"] if "loss" in outputs else next(iter(outputs.values()))
        taken = (norm <= skip) & (jnp.abs(loss) <= HUGE)
        before = trained, slots, {n: fixed[n] for n in self.written}
        after = jax.tree.map(lambda new, old: jnp.where(taken, new, old), after, before)
        return *after, count + taken, jnp.stack([*told, 1 - taken.astype(norm.dtype)])
