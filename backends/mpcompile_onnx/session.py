"""A module live in stock onnxruntime: evaluation, gradients, optimiser steps, and state that moves between backends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort

from mpcompile.backend import OptimizerSpec
from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, Graph, Module, Value
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.passes.train_step import NEXT, PARAMETER, RATE, STEP, loss_name, slot_name, train_step
from mpcompile_onnx.emit import Emitted, emit_graph, numpy_type

PRECISIONS = ("float32", "float64")


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

    def run(self, inputs: Mapping[str, Array], weights: Mapping[str, ort.OrtValue]) -> dict[str, Array]:
        """Outputs by name. What the runtime allocated goes back to the system after the run.

        Each loaded program has an arena of its own, which would keep the most it ever held: with VGG-16 in double
        precision 2.6 GB for each program and 6 GB for the gradients. Blocks of the first allocation stay, so that small
        programs lose no time.
        """
        feed = {name: ort.OrtValue.ortvalue_from_numpy(a) for name, a in self.convert(inputs).items()}
        feed |= {name: weights[name] for name in self.emitted.parameters}
        results = self.session.run_with_ort_values(list(self.emitted.outputs.values()), feed, self.options)
        return {name: v.numpy() for name, v in zip(self.emitted.outputs, results, strict=True)}


class OnnxSession:
    """See `mpcompile.backend.Session`. Weights and slots stay on the runtime's side."""

    def __init__(
        self,
        module: Module,
        parameters: Mapping[str, Array],
        optimizer: OptimizerSpec | None = None,
        *,
        device: str = "cpu",
        precision: str = "float32",
        mixed: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
        require_plain(device, mixed)
        self.module, self.spec = module, optimizer
        self.double = precision == "float64"
        self.float = np.float64 if self.double else np.float32
        self.trained = [name for name, spec in module.parameters.items() if spec.trainable]
        self.weights = {name: self._owned(parameters[name]) for name in module.parameters}
        self.slots: dict[str, ort.OrtValue] = {}
        if optimizer is not None:
            for slot in optimizer.rule.kept:
                for name in self.trained:
                    shape = module.parameters[name].shape
                    self.slots[slot_name(slot, name)] = self._owned(np.zeros(shape))
        self.count = 0
        self.programs: dict[str, Program] = {}
        self.stepper: Stepper | None = None

    def _owned(self, array: Array) -> ort.OrtValue:
        """A value of the runtime. On the CPU it shares memory with its array, so this is a copy of its own."""
        copy = np.array(array, dtype=self.float, order="C")
        return ort.OrtValue.ortvalue_from_numpy(copy)

    def _program(self, name: str, graph: Graph, kernels: bool = False) -> Program:
        if name not in self.programs:
            emitted = emit_graph(self.module, graph, double=self.double, kernels=kernels)
            self.programs[name] = Program(emitted, graph, self.double)
        return self.programs[name]

    # --- programs ---

    def run(self, program: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._program(program, self.module.programs[program], kernels=True).run(inputs, self.weights)

    def gradients(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        program = self.module.programs["loss"]
        read = [name for name in self.trained if name in program.parameters()]
        if "gradients" not in self.programs:
            self._program("gradients", differentiate(program, loss_name(program), read))
        results = self.programs["gradients"].run(inputs, self.weights)
        outputs = {name: results[name] for name in program.outputs}
        found = {name: results[gradient_name(name)] for name in read}
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
                Program(emit_graph(self.module, graph, double=self.double), graph, self.double)
            )
        self.count += 1
        return self.stepper.step(inputs, rate, self.count, self.weights, self.slots)

    # --- state ---

    def state(self) -> dict[str, Array]:
        found = {f"{PARAMETER}{name}": np.array(v.numpy()) for name, v in self.weights.items()}
        if self.spec is not None:
            found["optimizer/step"] = np.asarray(self.count, np.int64)
            found |= {name: np.array(v.numpy()) for name, v in self.slots.items()}
        return found

    def load_state(self, state: Mapping[str, Array]) -> None:
        self.weights = {name: self._owned(state[f"{PARAMETER}{name}"]) for name in self.weights}
        if self.spec is not None:
            self.count = int(state["optimizer/step"])
            self.slots = {name: self._owned(state[name]) for name in self.slots}


class Stepper:
    """Runs `train_step` with two sets of buffers, used in turn: an output must not lie in the buffer of an input.

    The runtime orders nodes as it likes, so that a new weight may be written before the old one was read last.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.double = program.double
        self.scalars = [n for n in program.emitted.outputs if not n.startswith(NEXT)]
        self.replaced = {n: n.removeprefix(NEXT) for n in program.emitted.outputs if n.startswith(NEXT)}
        self.data = [n for n in program.emitted.inputs if not n.startswith("optimizer/")]
        self.slots = [
            n for n in program.emitted.inputs if n.startswith("optimizer/") and n not in (RATE, STEP)
        ]
        floats = np.float64 if self.double else np.float32
        self.rate, self.number = np.zeros((), floats), np.zeros((), np.int64)
        outputs = program.graph.outputs
        kinds = {n: numpy_type(outputs[n].dtype, self.double) for n in self.scalars}
        self.results = {n: np.zeros((), kinds[n]) for n in self.scalars}
        self.spare: dict[str, ort.OrtValue] = {}
        self.bindings: dict[tuple[int, ...], tuple[Any, tuple[Any, ...]]] = {}

    def step(
        self, inputs: Mapping[str, Array], rate: float, number: int, weights: dict[str, ort.OrtValue],
        kept: dict[str, ort.OrtValue],
    ) -> dict[str, float]:  # fmt: skip
        """One update; `weights` and `kept` are then the new ones."""
        if not self.spare:
            for name in self.replaced.values():
                old = weights[name.removeprefix(PARAMETER)] if name.startswith(PARAMETER) else kept[name]
                self.spare[name] = ort.OrtValue.ortvalue_from_numpy(np.empty_like(old.numpy()))
        binding = self._binding(weights, kept)
        held = {}
        for name in self.data:
            array = self.program._array(inputs[name], self.program.graph.inputs[name])
            held[name] = ort.OrtValue.ortvalue_from_numpy(array)
            binding.bind_ortvalue_input(name, held[name])
        self.rate[...], self.number[...] = rate, number
        self.program.session.run_with_iobinding(binding)
        for name in self.replaced.values():
            if name.startswith(PARAMETER):
                key = name.removeprefix(PARAMETER)
                weights[key], self.spare[name] = self.spare[name], weights[key]
            else:
                kept[name], self.spare[name] = self.spare[name], kept[name]
        return {name: float(a) for name, a in self.results.items()}

    def _binding(self, weights: Mapping[str, ort.OrtValue], kept: Mapping[str, ort.OrtValue]) -> Any:
        """What is read and written where. There are two of them, made once: they alternate."""
        read = [weights[n] for n in self.program.emitted.parameters] + [kept[n] for n in self.slots]
        key = (*map(id, read), *map(id, self.spare.values()))
        if key not in self.bindings:
            if len(self.bindings) == 2:  # state was loaded: other buffers
                self.bindings.clear()
            emitted, binding = self.program.emitted, self.program.session.io_binding()
            for name, value in zip((*emitted.parameters, *self.slots), read, strict=True):
                binding.bind_ortvalue_input(name, value)
            loose = {RATE: self.rate, STEP: self.number}
            for name, array in loose.items():
                if name in emitted.inputs:
                    binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
            for name in self.scalars:
                binding.bind_ortvalue_output(
                    emitted.outputs[name], ort.OrtValue.ortvalue_from_numpy(self.results[name])
                )
            for name, target in self.replaced.items():
                binding.bind_ortvalue_output(emitted.outputs[name], self.spare[target])
            # the buffers of `read` live as long as their key
            self.bindings[key] = binding, (*read, *self.spare.values())
        return self.bindings[key][0]
