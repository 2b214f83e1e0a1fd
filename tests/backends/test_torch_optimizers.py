"""Torch's kernels for optimisers are the arithmetic of the optimisers' graphs."""

from __future__ import annotations

from dataclasses import fields
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from mpcompile.backend import OptimizerSpec
from mpcompile.ir.optimizers import OPTIMIZERS, Optimizer
from mpcompile_torch.optimizers import KERNELS, Updater

SHAPES = {"matrix": (3, 5), "vector": (4,), "number": ()}


def specs(rule: type[Optimizer]) -> list[OptimizerSpec]:
    """A rule with and without decay, and with its arguments as they are and moved."""
    own = [f.name for f in fields(rule) if f.name not in ("rate", "weight_decay")]
    moved = [{name: {"eps": 1e-3, "iterations": 3}.get(name, 0.7) for name in own}] if own else []
    return [OptimizerSpec(rule.keyword, a, d) for a, d in product([{}, *moved], [0.0, 0.1])]


CASES = [spec for rule in OPTIMIZERS.values() for spec in specs(rule)]


def test_every_optimiser_of_the_table_has_a_kernel() -> None:
    assert set(KERNELS) == set(OPTIMIZERS.values())


@pytest.mark.parametrize("spec", CASES, ids=lambda s: f"{s.kind}-{s.arguments}-{s.weight_decay}")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_a_kernel_takes_the_steps_of_the_graph(
    spec: OptimizerSpec, dtype: torch.dtype, tolerance: float
) -> None:
    draw = torch.Generator().manual_seed(0)

    def arrays() -> dict[str, Tensor]:
        return {n: torch.randn(s, dtype=dtype, generator=draw) for n, s in SHAPES.items()}

    start = arrays()
    graph, kernel = (
        Updater(spec, {n: w.clone() for n, w in start.items()}, kernels) for kernels in ({}, KERNELS)
    )
    assert graph.slots.keys() == kernel.slots.keys() == set(spec.rule.kept)
    for number in range(1, 8):
        gradients = list(arrays().values())
        before = [g.clone() for g in gradients]
        for updater in (graph, kernel):
            updater.step(gradients, 0.1 / number, number)
        assert all(torch.equal(a, b) for a, b in zip(before, gradients, strict=True))
        pairs = [*zip(graph.weights, kernel.weights, strict=True)]
        for slot, kept in graph.slots.items():
            pairs += zip(kept.values(), kernel.slots[slot].values(), strict=True)
        for want, found in pairs:
            np.testing.assert_allclose(found, want, rtol=tolerance, atol=tolerance)
    assert not any(torch.equal(w, s) for w, s in zip(kernel.weights, start.values(), strict=True))


def test_a_rule_under_a_known_name_has_its_own_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    class Idle(OPTIMIZERS["sgd"]):  # type: ignore[misc]  # a row of the table
        def change(self, weight, gradient, kept, now):  # type: ignore[no-untyped-def]
            return gradient * 0.0, {}

    monkeypatch.setitem(OPTIMIZERS, "sgd", Idle)
    weight = torch.ones(3)
    Updater(OptimizerSpec("sgd"), {"w": weight}).step([torch.ones(3)], 0.5, 1)
    assert torch.equal(weight, torch.ones(3))
