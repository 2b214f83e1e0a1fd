"""Masks that inputs decide: intervals hold for each of their values, and what they show is what runs show."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from mpcompile import ops
from mpcompile.foreign import ForeignClaim, answer, checked
from mpcompile.foreign.answers import reading
from mpcompile.foreign.intervals import Intervals
from mpcompile.foreign.running import changes, difference
from mpcompile.interpret import interpret
from mpcompile.ir import Builder, DType, Graph, Type
from mpcompile_torch.reader import TorchModel

CLAIM = "autoregressive(x -> output, order = axis 1)"
PAIRS = (
    ops.Add(), ops.Sub(), ops.Mul(), ops.Maximum(), ops.Minimum(), ops.Less(), ops.LessEqual(), ops.Equal(),
    ops.LogicalAnd(), ops.LogicalOr(), ops.Where(), ops.Neg(), ops.LogicalNot(), ops.Cast(DType.BOOL),
    ops.Cast(DType.FLOAT), ops.Transpose((1, 0)),
)  # fmt: skip


def test_intervals_hold_for_every_value_of_the_inputs() -> None:
    """Random programs of two inputs of zeros and ones, a truth value and constants: all of their values are tried."""
    random, sharp = np.random.default_rng(0), 0
    for _ in range(12):
        graph = Graph("g")
        b = Builder(graph)
        values = [b.input(n, Type(DType.FLOAT, (2, 2))) for n in ("x", "y")] + [
            b.input("t", Type(DType.BOOL, (2, 2)))
        ]
        values += [b.constant(random.integers(-2, 3, (2, 2)).astype(float)) for _ in range(2)]
        while len(values) < 16:
            op = PAIRS[random.integers(len(PAIRS))]
            floats, truths = ([v for v in values if v.dtype is k] for k in (DType.FLOAT, DType.BOOL))
            count = 3 if isinstance(op, ops.Where) else 2 if type(op) in map(type, PAIRS[:10]) else 1
            kinds = [floats] * count
            if isinstance(op, ops.LogicalAnd | ops.LogicalOr | ops.LogicalNot) or op == ops.Cast(DType.FLOAT):
                kinds = [truths] * count
            if isinstance(op, ops.Where):
                kinds[0] = truths
            values.append(b.emit(op, *(k[random.integers(len(k))] for k in kinds)))
        graph.outputs = {str(i): v for i, v in enumerate(values)}
        known = Intervals(b, {"x", "y"})
        found = {k: known.of(v) for k, v in graph.outputs.items()}
        least = {k: np.full((2, 2), np.inf) for k in found}
        most = {k: np.full((2, 2), -np.inf) for k in found}
        for bits in product((0.0, 1.0), repeat=3):  # the same everywhere, and places by themselves
            for place in range(2):
                x, y, t = (np.full((2, 2), bit) for bit in bits)
                x[place, 1 - place] = 1 - x[place, 1 - place]
                for k, v in interpret(graph, {}, {"x": x, "y": y, "t": t.astype(bool)}).items():
                    least[k], most[k] = np.minimum(least[k], v), np.maximum(most[k], v)
        for k, interval in found.items():
            assert (interval.low <= least[k]).all() and (interval.high >= most[k]).all()
            sharp += int((np.broadcast_to(interval.low, (2, 2)) == least[k]).sum())
    assert sharp > 200  # bounds that are never met would be none


class Masks(nn.Module):
    """Attention whose mask is arithmetic on an input of zeros and ones."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor, attend: torch.Tensor) -> torch.Tensor:
        n, kind = x.shape[1], self.kind
        scores, causal = x @ x.mT, torch.ones(n, n).tril()
        free = attend[:, None, :]
        if kind == "xlnet":
            mask = ((1 - causal) + (1 - free) > 0).to(x.dtype) - torch.eye(n)
            scores = scores - 1e30 * (mask > 0).to(x.dtype)
        elif kind == "product":
            scores = scores + (1 - causal * free) * -1e9
        elif kind == "cast":
            mask = torch.where((causal * free) > 0, 0.0, torch.finfo(x.dtype).min)
            scores = scores.masked_fill(mask.bool(), float("-inf"))
        elif kind == "sides":  # known to hold on and below the diagonal, else decided by the input
            scores = scores - torch.where(causal.bool() | (free > 0), 0.0, 1e9)
        elif kind == "kept":
            return torch.where(causal.bool() & free.bool(), scores, 0.0) @ x
        elif kind == "dropped":
            return scores.masked_fill(~causal.bool() | (free == 0), 0.0) @ x
        elif kind == "sdpa":  # a finite mask that is added; rows of zeros where nothing is left
            mask = (1 - causal * free) * torch.finfo(x.dtype).min
            return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)
        return scores.softmax(-1) @ x


def made(kind: str) -> TorchModel:
    x = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(1))
    attend = torch.ones(1, 5)
    attend[0, 0] = kind not in ("sides",)
    return TorchModel(Masks(kind), {"x": x, "attend": attend})


@pytest.mark.parametrize(("kind", "truths"), [("xlnet", True), ("product", True), ("cast", True), ("kept", False),
                                              ("dropped", False), ("sdpa", True), ("sides", None)])  # fmt: skip
def test_masks_that_inputs_decide_in_part(kind: str, truths: bool | None) -> None:
    """Proved where places are masked whatever the input is; `truths`: while it holds zeros and ones."""
    model = made(kind)
    recording = model.record()
    assert difference(recording) < 1e-5
    status = "refuted" if truths is None else "proved"
    assert str(answer(recording, ForeignClaim.parse(CLAIM), None).status) == status
    found = reading(recording, ForeignClaim.parse(CLAIM))
    for attend in (np.ones((1, 5)), np.array([[1, 0, 1, 1, 0.0]])):  # whatever it is, no pair more is read
        held = replace(recording, inputs={**recording.inputs, "attend": attend})
        seen = [[c.real for c in changes(model, held, "x", (slice(None), t), "output", 1)] for t in range(5)]
        assert not (np.array(seen).T & ~found).any()
    if truths is not None:
        how = checked(model, [CLAIM]).specs[0].properties[0].how
        assert ("where attend holds zeros and ones" in how) is truths
