"""A module live in torch: evaluation, gradients, optimiser steps, and state that moves between backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mpcompile.backend import SINGLE, OptimizerSpec, Scalars, SessionOptions
from mpcompile.group import ALONE
from mpcompile.ir import STATE, Array, DType, Module
from mpcompile.passes.across import shared
from mpcompile.ranges import HUGE
from mpcompile_torch.emit import emit_module
from mpcompile_torch.loading import build_model, find_device
from mpcompile_torch.optimizers import Updater
from mpcompile_torch.processes import exchange, join, mean

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class TorchSession:
    """See `mpcompile.backend.Session`."""

    def __init__(
        self,
        module: Module,
        parameters: Mapping[str, Array],
        optimizer: OptimizerSpec | None = None,
        options: SessionOptions = SINGLE,
    ) -> None:
        self.group = group = options.group
        self.module = module = shared(module, group)
        self.spec = optimizer
        self.device = find_device(join(group, options.device))
        self.dtype = DTYPES[options.precision]
        self.mixed = options.mixed
        emitted = emit_module(module)
        self.methods = emitted.methods
        self.model = build_model(emitted, parameters, self.dtype).to(self.device)
        held = self._place().state_dict(keep_vars=True)
        self.tensors: dict[str, Tensor] = {name: held[name] for name in module.parameters}
        self.trained = {n: t for n, t in self.tensors.items() if module.parameters[n].trained}
        for name in self.tensors.keys() - self.trained.keys():
            self.tensors[name].requires_grad_(False)
        self.dead = _dead_regions(module, list(self.trained), self.device)
        self.updater = (
            Updater(
                optimizer,
                self._owned(self.trained),
                decays=[module.parameters[n].decays for n in self.trained],
            )
            if optimizer
            else None
        )
        self.count = 0
        #: The loss as a step differentiates it: by torch's compiler, or as the text says.
        self.loss: Any = None
        if "loss" in self.methods:
            method = getattr(self.model, self.methods["loss"])
            self.loss = torch.compile(method) if options.compiled else method

    # --- programs ---

    def run(self, program: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with torch.no_grad(), self._all_digits(), self._autocast():
            outputs = self._call(program, inputs)
        return {name: _numpy(t, self.dtype) for name, t in outputs.items()}

    def gradients(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        outputs, gradients = self._mean(inputs)
        named = zip(self.trained, gradients, strict=True)
        return (
            {name: _numpy(t.detach(), self.dtype) for name, t in outputs.items()},
            {name: _numpy(self._whole(name, g), self.dtype) for name, g in named},
        )

    def step(self, inputs: Mapping[str, Array], rate: float, norm: bool = True) -> Mapping[str, float]:
        if self.spec is None or self.updater is None:
            raise ValueError("a session without an optimiser cannot take a step")
        outputs, gradients = self._mean(inputs)
        scalars = {n: t.detach() for n, t in outputs.items() if t.ndim == 0 and not n.startswith(STATE)}
        with torch.no_grad():
            if norm or self.spec.clip is not None or self.spec.skip is not None:
                scalars["gradient_norm"] = self._norm(gradients)
            if self.spec.skip is not None:
                taken = self._taken(scalars, self.spec.skip)
                scalars["skipped"] = torch.tensor(float(not taken))
                if not taken:
                    return Scalars(list(scalars), partial(_numbers, list(scalars.values())))
            if self.spec.clip is not None:
                torch._foreach_mul_(gradients, (self.spec.clip / scalars["gradient_norm"]).clamp(max=1.0))
            self.count += 1
            self.updater.step(gradients, rate, self.count)
            for name, output in self.module.updates("loss").items():
                self._put(name, self._own(self.tensors[name]), outputs[output])
        return Scalars(list(scalars), partial(_numbers, list(scalars.values())))

    @staticmethod
    def _taken(scalars: Mapping[str, Tensor], limit: float) -> bool:
        """Whether loss and gradient are finite, and its norm is within the limit. It waits for the device."""
        loss = scalars["loss"] if "loss" in scalars else next(iter(scalars.values()))
        return bool((scalars["gradient_norm"] <= limit) & (loss.abs() <= HUGE))

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        """The norm of the whole gradient; on a device without waiting for it."""
        if not gradients:
            return torch.zeros((), dtype=self.dtype, device=self.device)
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        return norm

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.mixed else nullcontext()

    def _all_digits(self) -> AbstractContextManager[Any]:
        """Left alone, cuDNN drops thirteen bits of float32 (tf32); who can do without says `mixed`."""
        exact = self.device.type == "cuda" and not self.mixed
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if exact else nullcontext()

    def _call(self, program: str, inputs: Mapping[str, Array], method: Any = None) -> dict[str, Tensor]:
        graph = self.module.programs[program]
        given = [self._tensor(inputs[name], value.dtype) for name, value in graph.inputs.items()]
        results = (method or getattr(self.model, self.methods[program]))(*given)
        return results if isinstance(results, dict) else {next(iter(graph.outputs)): results}

    def _tensor(self, array: Array, kind: DType) -> Tensor:
        dtype = {DType.FLOAT: self.dtype, DType.INT: torch.int64, DType.BOOL: torch.bool}[kind]
        array = np.asarray(array)
        if not array.flags.writeable or not array.flags.c_contiguous:
            array = np.array(array)
        return torch.from_numpy(array).to(device=self.device, dtype=dtype)

    def _differentiate(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Outputs of `loss` and its gradient; a parameter that it does not read has gradient zero.

        `backward` hands a weight whose `grad` is None the array that it computed, laid out as the weight, which the
        fused kernels need. The arrays live until the next step begins, as in the usual loop: were all of them freed at
        once, the allocator would give their pages back to the system, and fetch them again.
        """
        for weight in self.trained.values():
            weight.grad = None
        with self._all_digits():
            with self._autocast():
                outputs = self._call("loss", inputs, self.loss)
            loss = outputs["loss"] if "loss" in outputs else next(iter(outputs.values()))
            if self.trained and loss.requires_grad:
                torch.autograd.backward(loss)
        found = [torch.zeros_like(w) if w.grad is None else w.grad for w in self.trained.values()]
        for i, region, dead in self.dead:
            found[i][region].masked_fill_(dead, 0.0)
        return outputs, found

    def _mean(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return outputs of `loss` and its gradient, as means over the shards of the batch.

        Of several shards: the scalar outputs, and those that are written back.
        """
        if self.group == ALONE:
            return self._differentiate(inputs)
        shapes: dict[str, torch.Size] = {}

        def shard(part: Mapping[str, Array]) -> Tensor:
            outputs, gradients = self._differentiate(part)
            told = {n: t.detach() for n, t in outputs.items() if t.ndim == 0 or n.startswith(STATE)}
            shapes.update({n: t.shape for n, t in told.items()})
            return torch.cat([t.reshape(-1).to(self.dtype) for t in (*gradients, *told.values())])

        parts = self.group.parts(self.module.programs["loss"], inputs)
        vector = mean(self.group, map(shard, parts))
        weights = list(self.trained.values())
        pieces = torch.split(vector, [w.numel() for w in weights] + [s.numel() for s in shapes.values()])
        gradients = [p.view_as(w) for p, w in zip(pieces, weights, strict=False)]
        rest = pieces[len(weights) :]
        return {n: p.view(s) for (n, s), p in zip(shapes.items(), rest, strict=True)}, gradients

    # --- state ---

    def state(self) -> dict[str, Array]:
        weights = self._owned(self.tensors)
        found = {f"parameter/{n}": _numpy(self._whole(n, t.detach()), self.dtype) for n, t in weights.items()}
        if self.updater is not None:
            found["optimizer/step"] = np.asarray(self.count, np.int64)
            for slot, arrays in self.updater.slots.items():
                found |= {
                    f"optimizer/{slot}/{n}": _numpy(self._whole(n, a), self.dtype) for n, a in arrays.items()
                }
        return found

    def load_state(self, state: Mapping[str, Array]) -> None:
        with torch.no_grad():
            for name, tensor in self._owned(self.tensors).items():
                self._put(name, tensor, torch.from_numpy(np.array(state[f"parameter/{name}"])))
            if self.updater is None:
                return
            self.count = int(state["optimizer/step"])
            for slot, arrays in self.updater.slots.items():
                for name, array in arrays.items():
                    self._put(name, array, torch.from_numpy(np.array(state[f"optimizer/{slot}/{name}"])))

    # --- where weights are: all of each, unless the layout says otherwise ---

    def _place(self) -> nn.Module:
        """Return the model, with its weights where this process keeps them."""
        return self.model

    def _own(self, tensor: Tensor) -> Tensor:
        """Return the part of a weight that this process keeps; a step writes into it."""
        return tensor

    def _owned(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._own(tensor) for name, tensor in tensors.items()}

    def _whole(self, name: str, part: Tensor) -> Tensor:
        """Return the whole of an array of the weight `name`, from the parts of all processes."""
        return part

    def _put(self, name: str, part: Tensor, value: Tensor) -> None:
        """Write the whole of an array of the weight `name` into this process's part."""
        part.copy_(value)

    def exchange(self, values: Sequence[float]) -> list[list[float]]:
        return exchange(self.group, values)


def _dead_regions(
    module: Module, names: list[str], device: torch.device
) -> list[tuple[int, tuple[slice, ...], Tensor]]:
    """The dead elements of weights that are read without their masks: number of the weight, a box around them, a mask."""
    found = []
    for i, spec in enumerate(module.parameters[name] for name in names):
        if spec.fused and spec.support is not None:
            dead = ~spec.support.stored
            region = tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(dead))
            found.append((i, region, torch.from_numpy(dead[region].copy()).to(device)))
    return found


def _numbers(scalars: list[Tensor]) -> list[float]:
    """Return the values of scalars, in one transfer."""
    found: list[float] = torch.stack([t.to(torch.float64) for t in scalars]).tolist() if scalars else []
    return found


def _numpy(tensor: Tensor, floats: torch.dtype) -> Array:
    """A copy that nothing else writes to."""
    kept = tensor.to(floats) if tensor.is_floating_point() else tensor
    return np.array(kept.cpu().numpy())
