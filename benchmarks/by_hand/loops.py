"""The training loops that everyone writes, around a hand-written model or around the model that we emit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from by_hand import Weights
from mpcompile.backend import find_backend
from mpcompile.ir import Array

Inputs = dict[str, Array]


class Loop:
    """A model, its weights and its optimiser."""

    @staticmethod
    def has(framework: str, family: str) -> bool:
        """Whether there is a hand-written model of this family."""
        if framework == "torch":
            return True
        from by_hand import jax_models

        return family in jax_models.MODELS

    @staticmethod
    def of(framework: str, kind: str, family: Any, precision: str) -> Any:
        """Build the loop around a `hand` or `emitted` model."""
        return (TorchLoop if framework == "torch" else JaxLoop)(kind, family, precision)


class TorchLoop:
    """`zero_grad`, `backward`, `clip_grad_norm_`, and the fused Adam."""

    def __init__(self, kind: str, family: Any, precision: str) -> None:
        import torch

        self.torch, rule = torch, family.stated.optimizer
        torch.set_default_dtype(getattr(torch, precision))
        if kind == "emitted":
            self.model: Any = find_backend("torch").compile(family.module, family.weights)
        else:
            from by_hand import torch_models

            self.model = torch_models.build(family.name, family.masks)
            state = {
                n: torch.tensor(a, dtype=torch.get_default_dtype())
                for n, a in self.state(family.weights).items()
            }
            self.model.load_state_dict(state)
        torch.set_default_dtype(torch.float32)
        self.weights = list(self.model.parameters())
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[rule.kind]
        self.optimizer = optimizer(self.weights, lr=1e-3, weight_decay=rule.weight_decay, fused=True)
        self.clip = rule.clip

    def state(self, weights: Weights) -> dict[str, Array]:
        found: dict[str, Array] = self.model.state(weights)
        return found

    def loss(self, inputs: Inputs) -> Any:
        made = self.model.loss(*(self.torch.from_numpy(a) for a in inputs.values()))
        return made["loss"] if isinstance(made, dict) else made

    def gradients(self, inputs: Inputs) -> tuple[float, dict[str, Array]]:
        loss = self.loss(inputs)
        loss.backward()
        return loss.item(), {n: np.array(p.grad) for n, p in self.model.named_parameters()}

    def step(self, inputs: Inputs, rate: float) -> Mapping[str, Any]:
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        loss = self.loss(inputs)
        loss.backward()
        if self.clip is not None:
            self.torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
        self.optimizer.step()
        return Read(loss)


class Read(dict[str, Any]):
    """A loss that is fetched when it is read."""

    def __init__(self, loss: Any) -> None:
        self.value = loss

    def __getitem__(self, name: str) -> float:
        return float(self.value.item())


class JaxLoop:
    """One compiled function: `jax.value_and_grad`, clipping by the global norm, Adam; weights and moments donated."""

    def __init__(self, kind: str, family: Any, precision: str) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.kind, self.double = jax, kind, precision == "float64"
        rule = family.stated.optimizer
        if kind == "emitted":
            model: Any = find_backend("jax").compile(family.module, family.weights)
            names, loss, self.state = list(family.batches[0]), model.programs["loss"], dict
        else:
            from by_hand import jax_models

            names, own = list(family.batches[0]), jax_models.build(family.name, family.masks)
            loss, self.state = own.loss, own.state
        b1, b2, eps = 0.9, 0.999, 1e-8

        def value(params: Any, inputs: Any) -> Any:
            made = loss(params, *(inputs[n] for n in names))
            return made["loss"] if isinstance(made, dict) else made

        def step(params: Any, m: Any, v: Any, count: Any, rate: Any, inputs: Any) -> Any:
            told, g = jax.value_and_grad(value)(params, inputs)
            if rule.clip is not None:
                norm = jnp.sqrt(sum(jnp.vdot(x, x) for x in jax.tree.leaves(g)))
                g = jax.tree.map(lambda x: x * jnp.minimum(1, rule.clip / norm), g)
            m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, g)
            v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, g)
            c1, c2 = 1 - b1**count, 1 - b2**count
            params = jax.tree.map(
                lambda p, m, v: p - rate * (m / c1 / (jnp.sqrt(v / c2) + eps) + rule.weight_decay * p),
                params,
                m,
                v,
            )
            return params, m, v, told

        with jax.enable_x64(self.double):
            self.params = {n: jnp.asarray(a, precision) for n, a in self.state(family.weights).items()}
        self.m = jax.tree.map(jnp.zeros_like, self.params)
        self.v = jax.tree.map(jnp.zeros_like, self.params)
        self.count = 0
        self._step = jax.jit(step, donate_argnums=(0, 1, 2))
        self._gradients = jax.jit(jax.value_and_grad(value))

    def gradients(self, inputs: Inputs) -> tuple[float, dict[str, Array]]:
        with self.jax.enable_x64(self.double):
            loss, found = self._gradients(self.params, inputs)
            return float(loss), {n: np.asarray(a) for n, a in found.items()}

    def step(self, inputs: Inputs, rate: float) -> Mapping[str, Any]:
        self.count += 1
        self.params, self.m, self.v, loss = self._step(
            self.params, self.m, self.v, np.float32(self.count), np.float32(rate), inputs
        )
        return Read(loss)
