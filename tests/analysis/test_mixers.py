"""Mutants of a layer in which examples read each other: none is proved, whichever the operation, in training either."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mpcompile import api, ops
from mpcompile.analysis.verdict import Status, Verdict
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Builder, DType, Graph, Module, Primitive, Type, Value, float_type, symbol
from mpcompile.layers import Context
from mpcompile.layers.activations import Tanh
from mpcompile.lowering import lower
from mpcompile.ops import build as F

N = symbol("N")


def rolled(b: Builder, x: Value) -> Value:
    return b.emit(ops.Concat(0), b.emit(ops.Slice(0, 1, N), x), b.emit(ops.Slice(0, 0, 1), x))


def looped(b: Builder, x: Value) -> Value:
    """A recurrence from example to example."""
    body = Graph("body")
    inside = Builder(body)
    h, row = inside.input("h", float_type(4)), inside.input("row", float_type(4))
    inside.input("step", Type(DType.INT, ()))
    total = inside.emit(ops.Add(), h, row)
    body.outputs = {"h": total, "y": total}
    start = b.constant(np.zeros(4))
    return b.emit_all(ops.Scan(body, carries=1, axis=0, scanned=1), start, x)[1]


def windowed(b: Builder, op: Primitive, x: Value) -> Value:
    """Over [1, 4, N]."""
    wide = b.emit(ops.Reshape((1, 4, N)), b.emit(ops.Transpose((1, 0)), x))
    return b.emit(ops.Transpose((1, 0)), b.emit(ops.Reshape((4, N)), b.emit_all(op, wide)[0]))


def numbered(b: Builder, x: Value) -> Value:
    return F.add(b, x, F.to_float(b, b.emit(ops.Iota((N, 1), 0))))


def folded(b: Builder, x: Value, *shape: object) -> Value:
    """Elements of one example for those of another."""
    rank = len(shape)
    turned = b.emit(ops.Transpose(tuple(reversed(range(rank)))), b.emit(ops.Reshape(shape), x))  # type: ignore[arg-type]
    return b.emit(ops.Reshape((N, 4)), turned)


def whole(op: Primitive) -> Callable[[Builder, Value], Value]:
    """x less a reduction over the batch."""
    return lambda b, x: b.emit(ops.Sub(), x, b.emit(op, x))


def normal(b: Builder, x: Value) -> Value:
    """Statistics of the batch, in a layer that does not say so."""
    mean = F.div(
        b, b.emit(ops.Sum((0,), True), x), b.emit(ops.Sum((0,), True), F.add(b, F.mul(b, x, 0.0), 1.0))
    )
    return b.emit(ops.Sub(), x, mean)


FIRST = np.zeros(1, int)
#: What makes examples of [N, 4] read each other.
MIXERS: dict[str, Callable[[Builder, Value], Value]] = {
    "sum": whole(ops.Sum((0,), True)),
    "max": whole(ops.Max((0,), True)),
    "log_sum_exp": whole(ops.LogSumExp((0,), True)),
    "mean": normal,
    "softmax": lambda b, x: b.emit(ops.Softmax(0), x),
    "log_softmax": lambda b, x: b.emit(ops.LogSoftmax(0), x),
    "cumsum": lambda b, x: b.emit(ops.CumSum(0), x),
    "cumsum, exclusive, from the end": lambda b, x: b.emit(ops.CumSum(0, True, True), x),
    "flip": lambda b, x: b.emit(ops.Flip(0), x),
    "roll": rolled,
    "shift": lambda b, x: b.emit(ops.Slice(0, 0, N), b.emit(ops.Pad((1, 0), (0, 0)), x)),
    "the first for all": lambda b, x: F.add(b, x, b.emit(ops.Gather(0), x, b.constant(FIRST))),
    "the largest for all": lambda b, x: F.add(
        b, x, b.emit(ops.TakeAlong(0), x, b.emit(ops.Reshape((1, 4)), b.emit(ops.ArgMax(0), x)))
    ),
    "Gram matrix": lambda b, x: b.emit(
        ops.MatMul(), b.emit(ops.MatMul(), x, b.emit(ops.Transpose((1, 0)), x)), x
    ),
    "covariance": lambda b, x: b.emit(
        ops.MatMul(), x, b.emit(ops.MatMul(), b.emit(ops.Transpose((1, 0)), x), x)
    ),
    "reshape into pairs": lambda b, x: folded(b, x, 2, 2 * N),
    "reshape, features first": lambda b, x: folded(b, x, 4, N),
    "loop": looped,
    "mean pooling": lambda b, x: windowed(b, ops.AvgPool((3,), (1,), ((1, 1),)), x),
    "max pooling": lambda b, x: windowed(b, ops.MaxPool((3,), (1,), ((1, 1),)), x),
    "numbers of examples": numbered,
}  # fmt: skip
SMALL = "input x: real[3]\ntarget y: real[2]\ny ~ normal(loc = x -> dense(4) -> tanh -> dense(2), scale = 1)"


def mixed(monkeypatch: pytest.MonkeyPatch, mix: Callable[[Builder, Value], Value], training: bool) -> Module:
    """The model with an operation in place of `tanh`, in all programs or in those of training alone."""

    def forward(self: Tanh, ctx: Context, *inputs: Value) -> Value:
        return mix(ctx.b, *inputs) if ctx.training or not training else inputs[0]

    monkeypatch.setattr(Tanh, "forward", forward)
    text = f"model m\n{SMALL}"
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})


def answer(m: Module) -> Verdict:
    (found,) = (v for v in api.verdicts(m) if v.claim.kind == "independent")
    return found


@pytest.mark.parametrize("name", MIXERS)
def test_examples_that_read_each_other_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    m = mixed(monkeypatch, MIXERS[name], training=False)
    graph, rng = m.programs["predict"], np.random.default_rng(0)
    weights = {k: rng.normal(size=p.shape) for k, p in m.parameters.items()}
    x = rng.normal(size=(3, 3))
    together = interpret(graph, weights, {"x": x})["y"]
    alone = np.concatenate([interpret(graph, weights, {"x": x[i : i + 1]})["y"] for i in range(3)])
    assert not np.allclose(together, alone), "the mutant mixes"
    found = answer(m)
    assert found.status in (Status.REFUTED, Status.UNDECIDED)
    (finding,) = found.diagnostics
    assert finding.code in ("MP311", "MP309")
    if found.status is Status.REFUTED:
        assert finding.span.line == 4 and "`tanh`" in finding.message
        with pytest.raises(SpecError):
            api.require_proven(m, allow_unproven=True)


@pytest.mark.parametrize("name", MIXERS)
def test_while_training_it_is_a_fault_of_the_loss(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a layer that says that it takes statistics of the batch may."""
    found = answer(mixed(monkeypatch, MIXERS[name], training=True))
    assert found.status is Status.REFUTED
    (finding,) = found.diagnostics
    assert finding.code == "MP311" and finding.span.line == 4
    assert "in `loss`: in `tanh`" in finding.message
