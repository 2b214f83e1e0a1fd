"""Updates of weights in place: an optimiser's graph, emitted and run; or torch's kernel for it where there is a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mpcompile.backend import OptimizerSpec
from mpcompile.ir.optimizers import Adagrad, Adam, AdamW, Optimizer, PerceptronRule, Sgd
from mpcompile.passes.update import update_module
from mpcompile_torch.emit import emit_module
from mpcompile_torch.loading import build_model

Tensors = list[Tensor]
#: Updates in place, from (rule, weight decay, rate, number of the step from one, weights, gradients, slots by name).
Kernel = Callable[[Any, float, float, int, Tensors, Tensors, Mapping[str, Tensors]], None]


class Updater:
    """One step of a rule on weights, by torch's kernel where there is one, else by the graph of the rule.

    slots  slot -> parameter -> its array, which a step writes into
    Raises `ValueError` for a rule that is not known.
    """

    def __init__(
        self,
        spec: OptimizerSpec,
        weights: Mapping[str, Tensor],
        kernels: Mapping[type[Optimizer], Kernel] | None = None,
    ) -> None:
        self.rule, self.decay = spec.rule, spec.weight_decay
        self.weights = list(weights.values())
        self.slots = {s: {n: torch.zeros_like(w) for n, w in weights.items()} for s in self.rule.kept}
        self._kept = {slot: list(arrays.values()) for slot, arrays in self.slots.items()}
        # by class: what is registered under the name of a known rule has its own arithmetic
        known = KERNELS if kernels is None else kernels
        self._kernel = known.get(type(self.rule)) or _graph(spec, self.weights)

    @torch.no_grad()
    def step(self, gradients: Tensors, rate: float, number: int) -> None:
        """Take the step of this number, counted from one."""
        if self.weights:
            self._kernel(self.rule, self.decay, rate, number, self.weights, gradients, self._kept)


# --- the graph, for every rule ---


def _graph(spec: OptimizerSpec, weights: Tensors) -> Kernel:
    """The rule's arithmetic from its graph: an operation of torch for each of its own."""
    first = weights[0] if weights else torch.zeros(())
    shapes = [tuple(w.shape) for w in weights]
    module, names = update_module(spec, list(dict.fromkeys(shapes)))
    emitted = emit_module(module)
    model = build_model(emitted, {}, first.dtype).to(first.device)
    programs = {shape: getattr(model, emitted.methods[program]) for shape, program in names.items()}

    def run(
        rule: Optimizer, decay: float, rate: float, number: int, weights: Tensors, gradients: Tensors,
        kept: Mapping[str, Tensors],
    ) -> None:  # fmt: skip
        now = {"rate": first.new_tensor(rate), "step": torch.tensor(number, device=first.device)}
        for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            own = {f"slot_{slot}": arrays[i] for slot, arrays in kept.items()}
            made = programs[shapes[i]](weight=weight, gradient=gradient, **own, **now)
            made = made if isinstance(made, dict) else {"next_weight": made}
            weight.copy_(made["next_weight"])
            for slot, arrays in kept.items():
                arrays[i].copy_(made[f"next_slot_{slot}"])

    return run


# --- torch's kernels: faster, never needed; a law holds each to the graph ---


def _adam(
    rule: Adam | AdamW, decay: float, rate: float, number: int, weights: Tensors, gradients: Tensors,
    kept: Mapping[str, Tensors],
) -> None:  # fmt: skip
    kernel = torch._fused_adamw_ if rule.decoupled else torch._fused_adam_
    kernel(
        weights, gradients, kept["m"], kept["v"], [], _steps(number, weights), lr=rate, beta1=rule.beta1,
        beta2=rule.beta2, weight_decay=decay, eps=rule.eps, amsgrad=False, maximize=False,
    )  # fmt: skip


def _sgd(
    rule: Optimizer, decay: float, rate: float, number: int, weights: Tensors, gradients: Tensors,
    kept: Mapping[str, Tensors],
) -> None:  # fmt: skip
    momentum = rule.momentum if isinstance(rule, Sgd) else 0.0
    # the buffers are there from the start, at zero, so that no step is the first
    torch._fused_sgd_(
        weights, gradients, kept.get("momentum", []), weight_decay=decay, momentum=momentum, lr=rate,
        dampening=0.0, nesterov=False, maximize=False, is_first_step=False,
    )  # fmt: skip


def _adagrad(
    rule: Adagrad, decay: float, rate: float, number: int, weights: Tensors, gradients: Tensors,
    kept: Mapping[str, Tensors],
) -> None:  # fmt: skip
    torch._fused_adagrad_(
        weights, gradients, kept["sum"], _steps(number, weights), lr=rate, lr_decay=0.0, weight_decay=decay,
        eps=rule.eps, maximize=False,
    )  # fmt: skip


def _steps(number: int, weights: Tensors) -> Tensors:
    """The number of the step as the kernels read it: one for each weight, which none of them writes."""
    return [torch.full((), float(number), dtype=torch.float32, device=weights[0].device)] * len(weights)


KERNELS: dict[type[Optimizer], Kernel] = {
    Adam: _adam,
    AdamW: _adam,
    Sgd: _sgd,
    PerceptronRule: _sgd,
    Adagrad: _adagrad,
}

__all__ = ["KERNELS", "Kernel", "Updater"]
