"""Laws of recurrences: docs/laws.md, rows 8 to 10. Those of rows 9, 22 and 23 about values are in
tests/layers/test_recurrence.py, and what gradients do over a distance in tests/report/test_gradient_flow.py."""

from __future__ import annotations

import numpy as np
import pytest
import specs_under_test as specs

from mpcompile import ops
from mpcompile.backend import DOUBLE, OptimizerSpec, find_backend, installed
from mpcompile.interpret import interpret
from mpcompile.ir import Graph, Module, Value
from mpcompile.report.gradient_flow import reaches

BACKENDS = installed()


# --- 8: Elman's network ---


@pytest.mark.parametrize(
    ("name", "backend"), [*(("elman", b) for b in BACKENDS), ("lstm_stacked", "torch"), ("gru", "torch")]
)
def test_backpropagation_through_time_is_the_slope_of_the_loss(name: str, backend: str) -> None:
    """In random directions of all weights: finite differences of the oracle's loss, to a part in a million."""
    m = specs.module(name)
    w, x = specs.weights(m, spread=0.3), specs.inputs(m, "loss", 3, 6)
    _, gradient = find_backend(backend).session(m, w, options=DOUBLE).gradients(x)
    rng, step = np.random.default_rng(0), 1e-5
    for _ in range(3):
        way = {k: rng.standard_normal(v.shape) for k, v in w.items()}
        high, low = (
            interpret(m.programs["loss"], {k: v + s * way[k] for k, v in w.items()}, x)["loss"]
            for s in (step, -step)
        )
        assert sum((gradient[k] * way[k]).sum() for k in gradient) == pytest.approx(
            (high - low) / (2 * step), rel=1e-6
        )


# --- 9: the cell of an LSTM ---


def additive(body: Graph, start: Value, end: Value) -> bool:
    """Whether `end` is reached from `start` by sums and products with gates alone: no matrix, no squashing."""
    reached = {start}
    for node in body.nodes():
        if isinstance(node.op, ops.Add | ops.Mul) and reached & set(node.inputs):
            reached.update(node.outputs)
    return end in reached


def loop(m: Module) -> ops.Scan:
    return next(n.op for n in m.programs["loss"].nodes() if isinstance(n.op, ops.Scan))


def test_there_is_an_additive_path_through_the_cell() -> None:
    """Notes, section 4.2: c has one from step to step; its h, and the state of Elman's network, have none."""
    paths = {}
    for name in ("char_lstm", "elman"):
        op = loop(specs.module(name))
        before, after = list(op.body.inputs.values()), list(op.body.outputs.values())
        paths[name] = [additive(op.body, before[i], after[i]) for i in range(op.carries)]
    assert paths == {"char_lstm": [False, True], "elman": [False]}


@pytest.mark.parametrize("bias", [-1.0, 1.0, 5.0])
def test_the_gradient_through_the_cell_is_the_product_of_forget_gates(bias: float) -> None:
    """With no weights but the forget bias every Jacobian of c is sigmoid(bias): open gates forget nothing."""
    m = specs.module("lstm_stacked")
    w = {k: np.zeros_like(v) for k, v in specs.weights(m).items()}
    for k in w:
        if k.rpartition(".")[2].startswith("bias"):
            w[k][len(w[k]) // 4 : len(w[k]) // 2] = bias
    gate = 1 / (1 + np.exp(-bias))
    for found in reaches(m, w, specs.inputs(m, "loss", 2, 9)):
        # the share of h in the last state ends at the first step
        np.testing.assert_allclose(found.norms[2:] / found.norms[1:-1], gate, rtol=1e-9)


# --- 10: clipping ---


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_clipped_gradient_has_the_norm_of_the_threshold_and_its_direction(backend: str) -> None:
    """Notes, section 4.3, read off a step of sgd at rate 1; below the threshold nothing is changed."""
    m = specs.module("mlp")
    w, x = specs.weights(m, spread=0.3), specs.inputs(m, "loss", 4)
    _, gradient = find_backend(backend).session(m, w, options=DOUBLE).gradients(x)
    norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
    for threshold, scale in ((norm / 3, 1 / 3), (2 * norm, 1.0)):
        rule = OptimizerSpec("sgd", clip=float(threshold))
        session = find_backend(backend).session(m, w, rule, options=DOUBLE)
        assert session.step(x, 1.0)["gradient_norm"] == pytest.approx(norm, rel=1e-9)  # as it was
        moved = {k: w[k] - session.state()[f"parameter/{k}"] for k in gradient}
        length = np.sqrt(sum((v**2).sum() for v in moved.values()))
        assert length == pytest.approx(min(threshold, norm), rel=1e-9)
        for k, v in moved.items():
            np.testing.assert_allclose(v, scale * gradient[k], rtol=1e-8, atol=1e-12)
