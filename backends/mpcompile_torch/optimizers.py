"""Updates of weights in place: an optimiser's graph, emitted and run; or torch's kernel for it where there is a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from mpcompile.backend import OptimizerSpec
from mpcompile.ir.optimizers import (
    Adagrad,
    Adam,
    AdamW,
    Lion,
    Muon,
    Optimizer,
    PerceptronRule,
    RmsProp,
    Sgd,
)
from mpcompile.ir.optimizers.muon import QUINTIC
from mpcompile.ir.training import EMA
from mpcompile.passes.update import update_module
from mpcompile_torch.emit import emit_module
from mpcompile_torch.loading import build_model

Tensors = list[Tensor]
#: Updates in place, from (rule, weight decay, rate, number of the step from one, weights, gradients, slots by name).
Kernel = Callable[[Any, float, float, int, Tensors, Tensors, Mapping[str, Tensors]], None]


class Updater:
    """One step of a rule on weights, by torch's kernel where there is one, else by the graph of the rule.

    slots   slot -> parameter -> its array, which a step writes into
    decays  for each weight whether weight decay acts on it; none: on all
    Raises `ValueError` for a rule that is not known.
    """

    def __init__(
        self,
        spec: OptimizerSpec,
        weights: Mapping[str, Tensor],
        kernels: Mapping[type[Optimizer], Kernel] | None = None,
        decays: Sequence[bool] = (),
    ) -> None:
        self.rule, self.decay = spec.rule, spec.weight_decay
        self.weights = list(weights.values())
        kept = {n: spec.kept_for(tuple(w.shape)) for n, w in weights.items()}
        self.slots = {
            s: {n: torch.zeros_like(w) for n, w in weights.items() if s in kept[n]} for s in spec.kept
        }
        self.ema = spec.ema
        self._means = list(self.slots.get(EMA, {}).values())
        self._groups: list[_Group] = []
        names = list(weights)
        keys = [
            (not decays or decays[i], self.rule.kept_for(tuple(weights[n].shape)))
            for i, n in enumerate(names)
        ]
        for decay, own in dict.fromkeys(keys):
            of = [i for i, key in enumerate(keys) if key == (decay, own)]
            held = {s: [self.slots[s][names[i]] for i in of] for s in own}
            self._groups.append(_Group(of, [self.weights[i] for i in of], held, self.decay if decay else 0.0))
        # by class: what is registered under the name of a known rule has its own arithmetic
        known = KERNELS if kernels is None else kernels
        self._kernel = known.get(type(self.rule)) or _graph(spec, self.weights)

    @torch.no_grad()
    def step(self, gradients: Tensors, rate: float, number: int) -> None:
        """Take the step of this number, counted from one."""
        for group in self._groups:
            if group.weights:
                own = [gradients[i] for i in group.of]
                self._kernel(self.rule, group.decay, rate, number, group.weights, own, group.kept)
        if self.ema is not None and self._means:
            torch._foreach_mul_(self._means, self.ema)
            torch._foreach_add_(self._means, self.weights, alpha=1 - self.ema)


@dataclass(frozen=True)
class _Group:
    """Weights with one weight decay: their numbers among all, and the arrays of each slot."""

    of: list[int]
    weights: Tensors
    kept: Mapping[str, Tensors]
    decay: float


# --- the graph, for every rule ---


def _graph(spec: OptimizerSpec, weights: Tensors) -> Kernel:
    """The rule's arithmetic from its graph: an operation of torch for each of its own."""
    first = weights[0] if weights else torch.zeros(())
    shapes = [tuple(w.shape) for w in weights]
    # the mean of weights is taken for all rules alike
    module, names = update_module(
        replace(spec, ema=None), list(dict.fromkeys(product(shapes, (True, False))))
    )
    emitted = emit_module(module)
    model = build_model(emitted, {}, first.dtype).to(first.device)
    programs = {weight: getattr(model, emitted.methods[program]) for weight, program in names.items()}

    def run(
        rule: Optimizer, decay: float, rate: float, number: int, weights: Tensors, gradients: Tensors,
        kept: Mapping[str, Tensors],
    ) -> None:  # fmt: skip
        now = {"rate": first.new_tensor(rate), "step": torch.tensor(number, device=first.device)}
        for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            own = {f"slot_{slot}": arrays[i] for slot, arrays in kept.items()}
            made = programs[tuple(weight.shape), decay > 0](weight=weight, gradient=gradient, **own, **now)
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


def _rmsprop(
    rule: RmsProp, decay: float, rate: float, number: int, weights: Tensors, gradients: Tensors,
    kept: Mapping[str, Tensors],
) -> None:  # fmt: skip
    if decay:
        gradients = list(torch._foreach_add(gradients, weights, alpha=decay))
    torch._foreach_mul_(kept["v"], rule.alpha)
    torch._foreach_addcmul_(kept["v"], gradients, gradients, 1 - rule.alpha)
    root = list(torch._foreach_sqrt(kept["v"]))
    torch._foreach_add_(root, rule.eps)
    step = list(torch._foreach_div(gradients, root))
    if rule.momentum:
        torch._foreach_mul_(kept["momentum"], rule.momentum)
        torch._foreach_add_(kept["momentum"], step)
        step = kept["momentum"]
    torch._foreach_add_(weights, step, alpha=-rate)


def _lion(
    rule: Lion, decay: float, rate: float, number: int, weights: Tensors, gradients: Tensors,
    kept: Mapping[str, Tensors],
) -> None:  # fmt: skip
    step = list(torch._foreach_mul(kept["m"], rule.beta1))
    torch._foreach_add_(step, gradients, alpha=1 - rule.beta1)
    torch._foreach_sign_(step)
    if decay:
        torch._foreach_mul_(weights, 1 - rate * decay)
    torch._foreach_add_(weights, step, alpha=-rate)
    torch._foreach_mul_(kept["m"], rule.beta2)
    torch._foreach_add_(kept["m"], gradients, alpha=1 - rule.beta2)


def _adagrad(
    rule: Adagrad, decay: float, rate: float, number: int, weights: Tensors, gradients: Tensors,
    kept: Mapping[str, Tensors],
) -> None:  # fmt: skip
    torch._fused_adagrad_(
        weights, gradients, kept["sum"], _steps(number, weights), lr=rate, lr_decay=0.0, weight_decay=decay,
        eps=rule.eps, maximize=False,
    )  # fmt: skip


def _muon(
    rule: Muon, decay: float, rate: float, number: int, weights: Tensors, gradients: Tensors,
    kept: Mapping[str, Tensors],
) -> None:  # fmt: skip
    if "v" in kept:
        _adam(replace(AdamW(), beta1=rule.beta1, beta2=rule.beta2, eps=rule.eps), decay, rate, number, weights,
              gradients, kept)  # fmt: skip
        return
    a, b, c = QUINTIC
    torch._foreach_lerp_(kept["m"], gradients, 1 - rule.momentum)
    if decay:
        torch._foreach_mul_(weights, 1 - rate * decay)
    for weight, ahead in zip(weights, torch._foreach_lerp(gradients, kept["m"], rule.momentum), strict=True):
        x = ahead.flatten(1)
        rows, columns = x.shape
        x = x.mT if rows > columns else x
        x = x / (torch.linalg.vector_norm(x) + 1e-7)
        for _ in range(rule.iterations):
            square = x @ x.mT
            x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
        x = x.mT if rows > columns else x
        weight.add_(x.reshape(weight.shape), alpha=-rate * 0.2 * max(rows, columns) ** 0.5)


def _steps(number: int, weights: Tensors) -> Tensors:
    """The number of the step as the kernels read it: one for each weight, which none of them writes."""
    return [torch.full((), float(number), dtype=torch.float32, device=weights[0].device)] * len(weights)


KERNELS: dict[type[Optimizer], Kernel] = {
    Adam: _adam,
    AdamW: _adam,
    Sgd: _sgd,
    PerceptronRule: _sgd,
    RmsProp: _rmsprop,
    Adagrad: _adagrad,
    Lion: _lion,
    Muon: _muon,
}

__all__ = ["KERNELS", "Kernel", "Updater"]
