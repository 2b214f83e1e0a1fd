"""A torch module and a call of it, as `mpcompile.foreign` asks for it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from mpcompile.diagnostics import Span
from mpcompile.foreign.arguments import Planted, arrays_of
from mpcompile.foreign.recording import Recording
from mpcompile.ir import Array
from mpcompile_torch.reader.export import Exported, exported
from mpcompile_torch.reader.record import failed, outputs_of, record, untouched
from mpcompile_torch.reader.tape import array, tensor


def _nested(planted: Planted, call: Callable[..., Any] | None) -> Callable[..., Any]:
    """A call that takes tensors by name, and hands them over where they were."""

    def called(module: nn.Module, **tensors: torch.Tensor) -> Any:
        arguments = planted(tensors)
        return call(module, **arguments) if call else module(**arguments)

    return called


class TorchModel:
    """A module and the inputs of one call, by name; `call(module, **inputs)` where that is not `module(**inputs)`.

    Tensors are inputs, also those in lists, tuples and dicts (`xs_0`); other arguments are what they are.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Mapping[str, Any],
        call: Callable[..., Any] | None = None,
        name: str = "",
    ) -> None:
        self.module = module
        self.inputs, planted = arrays_of(inputs, torch.Tensor)
        self.call = call if self.inputs.keys() == inputs.keys() else _nested(planted, call)
        self.name = name or type(module).__name__
        self._doubles: dict[int, nn.Module] = {}
        self._program: Exported | None = None

    def record(self) -> Recording:
        torch.manual_seed(0)
        return record(self.module, self.inputs, self.call, self.name)

    def batched(self, count: int) -> TorchModel | None:
        size = next((x.shape[0] for x in self.inputs.values() if x.ndim), 0)
        if not size:
            return None
        rows = torch.arange(count) % size
        inputs = {k: x[rows] if x.ndim and x.shape[0] == size else x for k, x in self.inputs.items()}
        return TorchModel(self.module, inputs, self.call, self.name)

    def run(self, inputs: Mapping[str, Array], trial: int) -> dict[str, Array]:
        given = {k: tensor(v, self.inputs[k].dtype) for k, v in inputs.items()}
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            try:
                result = self._called(self._double(trial), given)
            except Exception:  # a cast that the model does itself, or weights that are not the module's
                given = {k: v.to(self.inputs[k].dtype) for k, v in given.items()}
                try:
                    result = self._called(self._single(trial), given)
                except Exception as reason:  # it runs where it is recorded, and not by itself
                    raise failed(reason) from reason
        return {k: array(v).astype(np.float64) for k, v in outputs_of(result).items()}

    def _called(self, module: nn.Module, given: Mapping[str, torch.Tensor]) -> Any:
        """Call a copy of the module, which starts from the same state each time."""
        torch.manual_seed(0)
        held = [(x, x.clone()) for x in (*module.buffers(), *module.parameters())]
        with untouched(module):
            try:
                return self.call(module, **given) if self.call else module(**given)
            finally:
                for x, before in held:
                    x.copy_(before)

    def exported(
        self, inputs: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array], tuple[Span, ...]]:
        given = {k: torch.from_numpy(np.array(v)).to(self.inputs[k].dtype) for k, v in inputs.items()}
        if self._program is None:
            self._program = exported(self.module, self.inputs, self.call)
        program, asked = self._program
        with torch.no_grad():
            torch.manual_seed(0)
            eager = self.call(self.module, **given) if self.call else self.module(**given)
            torch.manual_seed(0)
            other = program(**given)
        one, two = ({k: array(v) for k, v in outputs_of(r).items()} for r in (eager, other))
        return one, two, asked

    def _double(self, trial: int) -> nn.Module:
        if trial not in self._doubles:
            self._doubles[trial] = self._single(trial).double()
        return self._doubles[trial]

    def _single(self, trial: int) -> nn.Module:
        """A copy, with larger random weights at trials behind the first."""
        # what a hook computes from weights (as of `weight_norm`) is no leaf, and is not copied by itself
        held = [v for m in self.module.modules() for v in vars(m).values() if isinstance(v, torch.Tensor)]
        module = copy.deepcopy(self.module, {id(v): v.detach().clone() for v in held if not v.is_leaf})
        if trial:
            generator = torch.Generator().manual_seed(trial)
            with torch.no_grad():
                for p in module.parameters():
                    if p.dtype.is_floating_point:
                        p.copy_(
                            0.3 * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
                        )
        return module
