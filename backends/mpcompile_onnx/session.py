"""A module live in stock onnxruntime: evaluation, gradients, optimiser steps, and state that moves between backends."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from mpcompile.backend import SINGLE, OptimizerSpec, SessionOptions
from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, Graph, Module, Value
from mpcompile.passes.gradient import gradient_name, loss_gradient
from mpcompile.passes.train_step import (
    NEXT,
    PARAMETER,
    RATE,
    SKIPPED,
    STEP,
    loss_name,
    slot_name,
    stacks,
    train_step,
    units,
)
from mpcompile_onnx.emit import Emitted, emit_graph, numpy_type


def require_plain(device: str, mixed: bool = False) -> None:
    """Raise `SpecError` (MP511) for what this backend does not do."""
    if device != "cpu":
        raise error("MP511", f"the onnx backend runs on the cpu, not on {device!r}", Span.none(),
                    help="--device cpu, or another backend")  # fmt: skip
    if mixed:
        raise error("MP511", "the onnx backend has no mixed precision", Span.none(),
                    help="onnxruntime has no bfloat16 arithmetic on the cpu: leave --mixed out")  # fmt: skip


def session_options() -> ort.SessionOptions:
    """Return options with as many threads as OMP_NUM_THREADS says.

    None of them spins, so that several sessions get along.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit():
        options.intra_op_num_threads = int(threads)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class Program:
    """One emitted graph, loaded."""

    def __init__(self, emitted: Emitted, graph: Graph, double: bool) -> None:
        self.emitted, self.graph, self.double = emitted, graph, double
        self.session = ort.InferenceSession(
            emitted.data, session_options(), providers=["CPUExecutionProvider"]
        )
        self.options = ort.RunOptions()
        self.options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def convert(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The program's inputs as the runtime wants them. Raises `KeyError` for a missing one."""
        return {name: self._array(inputs[name], self.graph.inputs[name]) for name in self.emitted.inputs}

    def _array(self, array: Array, value: Value) -> Array:
        contiguous = np.ascontiguousarray(array, dtype=numpy_type(value.dtype, self.double))
        return contiguous.reshape(np.shape(array))  # which keeps scalars scalars

    def run(self, inputs: Mapping[str, Array], live: Side | None = None) -> dict[str, Array]:
        """Outputs by name. What the runtime allocated goes back to the system after the run.

        Each loaded program has an arena of its own, which would keep the most it ever held: with VGG-16 in double
        precision 2.6 GB for each program and 6 GB for the gradients. Blocks of the first allocation stay, so that small
        programs lose no time.
        """
        feed = {name: ort.OrtValue.ortvalue_from_numpy(a) for name, a in self.convert(inputs).items()}
        feed |= {name: live.at(name) for name in self.emitted.parameters} if live is not None else {}
        results = self.session.run_with_ort_values(list(self.emitted.outputs.values()), feed, self.options)
        return {name: v.numpy() for name, v in zip(self.emitted.outputs, results, strict=True)}


class OnnxSession:
    """See `mpcompile.backend.Session`. Weights and slots stay on the runtime's side."""

    def __init__(
        self,
        module: Module,
        parameters: Mapping[str, Array],
        optimizer: OptimizerSpec | None = None,
        options: SessionOptions = SINGLE,
    ) -> None:
        require_plain(options.device, options.mixed)
        self.module, self.spec = module, optimizer
        self.double = options.precision == "float64"
        self.float = np.float64 if self.double else np.float32
        self.trained = [name for name, spec in module.parameters.items() if spec.trained]
        kept = optimizer.kept if optimizer is not None else ()
        slots = {
            slot_name(slot, name): np.zeros(module.parameters[name].shape)
            for slot in kept
            for name in self.trained
            if optimizer is not None and slot in optimizer.kept_for(module.parameters[name].shape)
        }
        self.stacks = stacks(module, optimizer) if "loss" in module.regions else {}
        self.live = self._side({name: parameters[name] for name in module.parameters}, slots)
        self.count = 0
        self.programs: dict[str, Program] = {}
        self.stepper: Stepper | None = None

    def _side(self, weights: Mapping[str, Array], slots: Mapping[str, Array]) -> Side:
        """Copies of weights and slots on the side of the runtime; those of a stack lie one behind the other."""
        kept = self.spec.kept if self.spec is not None else ()
        groups = {path: op.names for path, op in self.stacks.items()}
        groups |= {
            slot_name(slot, path): tuple(slot_name(slot, name) for name in op.names)
            for slot in kept
            for path, op in self.stacks.items()
        }
        return Side.of({**weights, **slots}, groups, slots.keys(), self.float)

    def _program(self, name: str, graph: Graph, kernels: bool = False) -> Program:
        if name not in self.programs:
            emitted = emit_graph(self.module, graph, double=self.double, kernels=kernels, whole=self.stacks)
            self.programs[name] = Program(emitted, graph, self.double)
        return self.programs[name]

    # --- programs ---

    def run(self, program: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._program(program, self.module.regions[program], kernels=True).run(inputs, self.live)

    def gradients(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        program = self.module.regions["loss"]
        read = [
            name
            for name in units(self.module, self.spec)
            if name in program.parameters() or name in self.stacks
        ]
        if "gradients" not in self.programs:
            self._program("gradients", loss_gradient(self.module.with_regions(), loss_name(program), read))
        results = self.programs["gradients"].run(inputs, self.live)
        outputs = {name: results[name] for name in program.outputs}
        found = {name: results[gradient_name(name)] for name in read}
        for path in [name for name in read if name in self.stacks]:
            found |= dict(zip(self.stacks[path].names, found.pop(path), strict=True))
        for name in self.trained:
            if name not in found:
                found[name] = np.zeros(self.module.parameters[name].shape, self.float)
        return outputs, {name: found[name] for name in self.trained}

    def step(self, inputs: Mapping[str, Array], rate: float, norm: bool = True) -> Mapping[str, float]:
        if self.spec is None:
            raise ValueError("a session without an optimiser cannot take a step")
        if self.stepper is None:
            graph = train_step(self.module, self.spec)
            self.stepper = Stepper(
                Program(
                    emit_graph(self.module, graph, double=self.double, whole=self.stacks), graph, self.double
                )
            )
        told, self.live = self.stepper.step(inputs, rate, self.count + 1, self.live)
        self.count += not told.get(SKIPPED)
        return told

    # --- state ---

    def state(self) -> dict[str, Array]:
        live = self.live
        found = {f"{PARAMETER}{name}": np.array(live.at(name).numpy()) for name in live.weights}
        if self.spec is not None:
            found["optimizer/step"] = np.asarray(self.count, np.int64)
            found |= {name: np.array(live.at(name).numpy()) for name in live.slots}
        return found

    def load_state(self, state: Mapping[str, Array]) -> None:
        weights = {name: state[f"{PARAMETER}{name}"] for name in self.live.weights}
        self.live = self._side(weights, {name: state[name] for name in self.live.slots})
        if self.spec is not None:
            self.count = int(state["optimizer/step"])

    def exchange(self, values: Sequence[float]) -> list[list[float]]:
        return [list(values)]


@dataclass(frozen=True, eq=False, slots=True)
class Side:
    """Values of the runtime by name: weights, arrays of the optimiser under their keys in state, and stacks of both.

    On the CPU a value shares memory with its array. A stack lies where its rows do, so that either may be used.
    """

    values: Mapping[str, ort.OrtValue]
    groups: Mapping[str, Sequence[str]]
    weights: tuple[str, ...]
    slots: tuple[str, ...]

    @staticmethod
    def of(
        arrays: Mapping[str, Array],
        groups: Mapping[str, Sequence[str]],
        slots: Collection[str],
        dtype: type[np.generic],
    ) -> Side:
        """Copy arrays to the side of the runtime; `groups` are the rows of each stack."""
        stacks = {
            path: np.stack([arrays[name] for name in names]).astype(dtype) for path, names in groups.items()
        }
        rows = {name: stacks[path][k] for path, names in groups.items() for k, name in enumerate(names)}
        own = {n: rows[n] if n in rows else np.array(a, dtype=dtype, order="C") for n, a in arrays.items()}
        values = {n: ort.OrtValue.ortvalue_from_numpy(a) for n, a in {**own, **stacks}.items()}
        return Side(values, groups, tuple(n for n in arrays if n not in slots), tuple(slots))

    def at(self, key: str) -> ort.OrtValue:
        """The value of a name, or under a key of state."""
        return self.values[key.removeprefix(PARAMETER)]

    def other(self, written: Collection[str]) -> Side:
        """Another side, with new buffers for what is `written`, and the same for all else."""
        new = {key: np.empty_like(self.at(key).numpy()) for key in written}
        for path in new.keys() & self.groups.keys():
            new |= {name: new[path][k] for k, name in enumerate(self.groups[path])}
        made = {name: ort.OrtValue.ortvalue_from_numpy(a) for name, a in new.items()}
        return Side({**self.values, **made}, self.groups, self.weights, self.slots)


class Stepper:
    """Runs `train_step` with two sides of buffers, used in turn: an output must not lie in the buffer of an input.

    The runtime orders nodes as it likes, so that a new weight may be written before the old one was read last. What is
    read and written where is bound once for each side; a step binds its data, and hands over the other side.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        emitted, outputs = program.emitted, program.graph.outputs
        self.data = [n for n in emitted.inputs if not n.startswith("optimizer/")]
        floats = np.float64 if program.double else np.float32
        self.rate, self.number = np.zeros((), floats), np.zeros((), np.int64)
        scalars = [n for n in emitted.outputs if not n.startswith(NEXT)]
        self.results = {n: np.zeros((), numpy_type(outputs[n].dtype, program.double)) for n in scalars}
        self.sides: tuple[Side, ...] = ()
        self.bindings: tuple[Any, ...] = ()

    def step(
        self, inputs: Mapping[str, Array], rate: float, number: int, live: Side
    ) -> tuple[dict[str, float], Side]:
        """One update of what is live: scalars, and what is live after it. The values of `live` are then no more."""
        if live not in self.sides:
            self._bind(live)
        turn = self.sides.index(live)
        binding, held = self.bindings[turn], []
        for name in self.data:
            array = self.program._array(inputs[name], self.program.graph.inputs[name])
            held.append(ort.OrtValue.ortvalue_from_numpy(array))
            binding.bind_ortvalue_input(name, held[-1])
        self.rate[...], self.number[...] = rate, number
        self.program.session.run_with_iobinding(binding)
        return {name: float(a) for name, a in self.results.items()}, self.sides[1 - turn]

    def _bind(self, live: Side) -> None:
        """Make the other side, and bind both ways. State that was loaded begins anew."""
        emitted = self.program.emitted
        replaced = {n: n.removeprefix(NEXT) for n in emitted.outputs if n.startswith(NEXT)}
        other = live.other([key.removeprefix(PARAMETER) for key in replaced.values()])
        self.sides = live, other
        self.bindings = self._binding(live, other, replaced), self._binding(other, live, replaced)

    def _binding(self, read: Side, written: Side, replaced: Mapping[str, str]) -> Any:
        """A binding that takes its state from one side, and leaves it on the other."""
        emitted, binding = self.program.emitted, self.program.session.io_binding()
        loose = {RATE: self.rate, STEP: self.number}
        for name in emitted.parameters:
            binding.bind_ortvalue_input(name, read.at(name))
        for name in emitted.inputs:
            if name in loose:
                binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(loose[name]))
            elif name.startswith("optimizer/"):
                binding.bind_ortvalue_input(name, read.at(name))
        for name, array in self.results.items():
            binding.bind_ortvalue_output(emitted.outputs[name], ort.OrtValue.ortvalue_from_numpy(array))
        for name, key in replaced.items():
            binding.bind_ortvalue_output(emitted.outputs[name], written.at(key))
        return binding
