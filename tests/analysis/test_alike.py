"""Rules along an axis of symbolic length that is not the source's: their facts bound those at every number.

Each operation stands between a source of fixed size and an output; its axis `time` is a condition's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mpcompile import ops
from mpcompile.analysis.dependence import interpret
from mpcompile.analysis.stencils import at_every_length
from mpcompile.ir import (
    Builder,
    DType,
    Graph,
    NoRule,
    Parameter,
    Symbolic,
    Type,
    Value,
    bitsets,
    float_type,
    symbol,
)
from mpcompile.ops.convolution import Conv, ConvTranspose

N, TIME = symbol("N"), symbol("time")
Make = Callable[[Builder, Value, Value], Value]


def loop(reverse: bool) -> Make:
    """h' = tanh(h w + x_t), y_t = h'"""

    def make(b: Builder, h: Value, masked: Value) -> Value:
        body = Graph("body")
        inner = Builder(body, outer=b)
        carry, row = inner.input("h", float_type(N, 3)), inner.input("row", float_type(N, 3))
        w = inner.input("w", float_type(3, 3))
        inner.input("step", Type(DType.INT, ()))
        new = inner.emit(ops.Tanh(), inner.emit(ops.Add(), inner.emit(ops.MatMul(), carry, w), row))
        body.outputs |= {"h": new, "y": new}
        start = b.emit(ops.BroadcastTo((N, 3)), b.constant(0.0))
        weight = b.emit(Parameter("w", float_type(3, 3)))
        scan = ops.Scan(body, carries=1, scanned=1, axis=1, reverse=reverse)
        return b.emit_all(scan, start, h, weight)[1]

    return make


def channels(make: Callable[[Builder, Value], Value]) -> Make:
    """An operation on [N, channels, time]."""
    return lambda b, h, masked: b.emit(
        ops.Transpose((0, 2, 1)), make(b, b.emit(ops.Transpose((0, 2, 1)), masked))
    )


def kernel(b: Builder, *shape: int) -> Value:
    return b.emit(Parameter(f"k{'x'.join(map(str, shape))}", float_type(*shape)))


#: h [N, time, 3] reads the source everywhere; `masked` has a channel that is zero.
CASES: dict[str, Make] = {
    "shift": lambda b, h, m: b.emit(ops.Slice(1, 0, TIME), b.emit(ops.Pad((0, 4, 0), (0, 0, 0)), h)),
    "pad with minus infinity": lambda b, h, m: b.emit(
        ops.Softmax(1), b.emit(ops.Slice(1, 0, TIME), b.emit(ops.Pad((0, 1, 0), (0, 0, 0), -np.inf), h))
    ),
    "last": lambda b, h, m: b.emit(ops.Slice(1, TIME - 1, TIME), h),
    "first": lambda b, h, m: b.emit(ops.Slice(1, 0, 1), m),
    "flip": lambda b, h, m: b.emit(ops.Flip(1), m),
    "running sum": lambda b, h, m: b.emit(ops.CumSum(1), m),
    "running sum before": lambda b, h, m: b.emit(ops.CumSum(1, exclusive=True), m),
    "running sum from the end": lambda b, h, m: b.emit(ops.CumSum(1, True, True), h),
    "twice as long": lambda b, h, m: b.emit(ops.Concat(1), h, m),
    "behind zeros": lambda b, h, m: b.emit(ops.Concat(1), b.emit(ops.BroadcastTo((N, 2, 3)), b.constant(0.0)), h),
    "before constants": lambda b, h, m: b.emit(ops.Concat(1), m, b.emit(ops.BroadcastTo((N, 2, 3)), b.constant(1.0))),
    "flattened": lambda b, h, m: b.emit(ops.Sum((1,)), b.emit(ops.Reshape((N, TIME * 3)), m)),
    "merged": lambda b, h, m: b.emit(ops.Reshape((N, TIME * 3)), m),
    "merged and split": lambda b, h, m: b.emit(ops.Reshape((N, 3, TIME)), b.emit(ops.Reshape((N, TIME * 3)), m)),
    "sum": lambda b, h, m: b.emit(ops.Sum((1,)), m),
    "max": lambda b, h, m: b.emit(ops.Max((1,)), m),
    "log of a sum": lambda b, h, m: b.emit(ops.LogSumExp((1,)), m),
    "softmax": lambda b, h, m: b.emit(ops.Softmax(1), m),
    "argmax": lambda b, h, m: b.emit(ops.ArgMax(1), m),
    "gram": lambda b, h, m: b.emit(ops.MatMul(), b.emit(ops.Transpose((0, 2, 1)), m), h),
    "attention": lambda b, h, m: b.emit(ops.MatMul(), b.emit(ops.MatMul(), h, b.emit(ops.Transpose((0, 2, 1)), h)), m),
    "gather": lambda b, h, m: b.emit(ops.Gather(1), m, b.constant(np.array([0, 0]))),
    "convolution": channels(lambda b, x: b.emit(Conv((1,), ((3, 1),), (2,)), x, kernel(b, 2, 3, 3))),
    "valid convolution": channels(lambda b, x: b.emit(Conv((1,), ((0, 0),), (1,)), x, kernel(b, 2, 3, 2))),
    "grouped convolution": channels(lambda b, x: b.emit(Conv((1,), ((1, 1),), (1,), 3), x, kernel(b, 3, 1, 3))),
    "transposed convolution": channels(
        lambda b, x: b.emit(ConvTranspose((2,), ((1, 0),), (1,), 1, (1,)), x, kernel(b, 3, 2, 3))
    ),
    "holes": channels(lambda b, x: b.emit(ConvTranspose((3,), ((0, 0),), (1,), 1, (0,)), x, kernel(b, 3, 2, 1))),
    "max-pooling": channels(lambda b, x: b.emit_all(ops.MaxPool((3,), (1,), ((1, 1),)), x)[0]),
    "mean of windows": channels(lambda b, x: b.emit(ops.AvgPool((2,), (1,), ((1, 0),)), x)),
    "loop": loop(False),
    "loop from the end": loop(True),
}  # fmt: skip


def program(make: Make, time: int | Symbolic = TIME) -> Graph:
    """x [N, 3] + c [N, time, 3], with and without its first channel, through an operation."""
    g = Graph("g")
    b = Builder(g)
    x, c = b.input("x", float_type(N, 3)), b.input("c", float_type(N, time, 3))
    h = b.emit(ops.Add(), b.emit(ops.Reshape((N, 1, 3)), x), c)
    masked = b.emit(ops.Mul(), h, b.constant(np.array([0.0, 1.0, 1.0])))
    g.outputs["y"] = make(b, h, masked)
    return g


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("length", [2, 3, 4, 9])
def test_facts_at_every_length_bound_those_at_each(name: str, length: int) -> None:
    bounds(program(CASES[name]), {"N": 1, "time": length})


@pytest.mark.parametrize("steps", [5, 64, 70])  # step by step, and from 65 steps on to a fixed point
@pytest.mark.parametrize("name", ["loop", "loop from the end"])
def test_loops_along_an_axis_of_fixed_size(name: str, steps: int) -> None:
    bounds(program(CASES[name], steps), {"N": 1})


def bounds(g: Graph, sizes: dict[str, int]) -> None:
    """Facts at every length are no less than those at some numbers, and what is known at every length is known there."""
    domain = bitsets(3)
    seed = (np.uint64(1) << np.arange(3, dtype=np.uint64)).reshape(1, 3, 1)
    found = at_every_length(g, domain, {g.inputs["x"]: seed})
    exact = interpret(g, domain, {"x": seed}, sizes)
    for value, bound in found.items():
        assert not isinstance(bound, NoRule), bound
        facts, upper = exact[value].full()[..., 0], bound.full()[..., 0]
        zero, said = (
            np.broadcast_to(exact[value].zero, exact[value].shape),
            np.broadcast_to(bound.zero, bound.shape),
        )
        low, less = (
            np.broadcast_to(exact[value].neginf, zero.shape),
            np.broadcast_to(bound.neginf, said.shape),
        )
        for axis, size in enumerate(value.shape):
            if isinstance(size, Symbolic):
                upper, said, less = (m.take([0], axis) for m in (upper, said, less))
        assert not (facts & ~upper).any(), g.node(value).op.name
        assert not (said & ~zero).any() and not (less & ~low).any(), g.node(value).op.name
