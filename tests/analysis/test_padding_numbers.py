"""What padding knows of every value of random programs of lengths, places and masks is so in numbers."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import cache

import numpy as np
import pytest

from mpcompile import ops
from mpcompile.analysis.padding import FALSE, NEGINF, TRUE, ZERO, Parts, Walk
from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import (
    Array,
    Builder,
    DType,
    Graph,
    NoRule,
    Type,
    Value,
    float_type,
    substitute,
    symbol,
)

N, T = symbol("N"), symbol("time")
#: Real steps, and how many stand behind them.
REAL, PADS = 3, (0, 1, 4)
SHAPES = [(N,), (T,), (N, 1), (1, T), (N, T), (T, 1), (T, T), (1, 1, T), (N, T, 1), ()]
SEEDS = range(300)
FILL = {ZERO: 0.0, NEGINF: -np.inf, TRUE: True, FALSE: False}


def grow(b: Builder, values: list[Value], rng: np.random.Generator) -> Value:
    """One more value, of those that there are. Raises `TypeMismatch` where the operation does not take them."""
    x, y, z = (values[i] for i in rng.integers(0, len(values), 3))
    shape, axis = SHAPES[rng.integers(len(SHAPES))], int(rng.integers(0, max(1, x.type.rank)))
    n, m = (int(i) for i in rng.integers(0, 2, 2))
    wide = (
        tuple(n if a == axis else 0 for a in range(x.type.rank)),
        tuple(m if a == axis else 0 for a in range(x.type.rank)),
    )
    match rng.integers(16):
        case 0 | 1:
            return b.emit([ops.Add(), ops.Sub(), ops.Mul()][rng.integers(3)], x, y)
        case 2 | 3 | 4:
            return b.emit([ops.Less(), ops.LessEqual(), ops.Equal()][rng.integers(3)], x, y)
        case 5 | 6:
            return b.emit(ops.Where(), z, x, y)
        case 7:
            return b.emit(ops.Cast(DType.FLOAT), x)
        case 8:
            return b.emit(ops.BroadcastTo(shape), x)
        case 9:
            return b.emit(ops.Reshape(shape), x)
        case 10:
            return b.emit(ops.Transpose(tuple(int(i) for i in rng.permutation(x.type.rank))), x)
        case 11:
            return b.emit([ops.CumSum(axis, bool(n), bool(m)), ops.Softmax(axis)][rng.integers(2)], x)
        case 12:
            return b.emit([ops.Sum((axis,), True), ops.Max((axis,), True)][rng.integers(2)], x)
        case 13:
            return b.emit(ops.Slice(axis, n, x.shape[axis] - m), x)
        case 14:
            return b.emit(ops.Pad(*wide, [0.0, -np.inf][rng.integers(2)]), x)
        case _:
            return b.emit(ops.Concat(axis), x, y)


@cache
def program(seed: int, size: int = 16) -> tuple[Graph, dict[Value, Parts]]:
    """A program that reads a length, places and data, and what is known of its values."""
    rng, b = np.random.default_rng(seed), Builder(Graph("program"))
    values = [
        b.input("length", float_type(N)), b.input("x", float_type(N, T)), b.emit(ops.Iota((T,), 0)),
        *(b.constant(v) for v in (0.0, 1.0, 2.0, -np.inf, True, False, np.array([0.5, 1.5]))),
    ]  # fmt: skip
    values += [b.emit(ops.Cast(DType.FLOAT), values[2]), b.emit(ops.Reshape((N, 1)), values[0])]
    mask = b.emit(ops.Less(), values[-2], values[-1])
    longer, shorter = (b.emit(op, values[-1], values[4]) for op in (ops.Add(), ops.Sub()))
    values += [
        longer,
        shorter,
        mask,
        b.emit(ops.Where(), mask, values[1], values[3 + 3 * int(rng.integers(2))]),
    ]
    walk = Walk(b.graph, {"time": "length"})
    for _ in range(10 * size):
        with suppress(SpecError, ValueError, IndexError, NoRule):
            made = grow(b, values, rng)
            node = b.graph.node(made)
            if any(n < 1 for n in made.type.concrete({"time": REAL, "N": 2})):
                break  # some operations take nothing but the empty
            (walk.known[made],) = walk.node(node, [walk.known[v] for v in node.inputs])
            values.append(made)
        if len(values) > 16 + size:
            break
    b.graph.outputs = {f"v{i}": v for i, v in enumerate(values[2:])}
    return b.graph, walk.known


def results(graph: Graph, pad: int) -> dict[str, Array]:
    rng = np.random.default_rng(pad)
    x = np.concatenate([np.arange(2.0 * REAL).reshape(2, REAL) + 0.5, rng.normal(size=(2, pad))], 1)
    with np.errstate(all="ignore"):
        return interpret(graph, {}, {"length": np.full(2, float(REAL)), "x": x}, {"time": REAL + pad})


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_known_is_so(seed: int) -> None:
    graph, known = program(seed)
    runs = {pad: results(graph, pad) for pad in PADS}
    for name, v in graph.outputs.items():
        holds(known[v], v.type, {pad: run[name] for pad, run in runs.items()}, f"{name}: {graph.node(v).op}")


def holds(parts: Parts, type_: Type, runs: dict[int, Array], where: str) -> None:
    ends = tuple(slice(max(0, int(substitute(s, {"time": REAL, "N": 2})))) for s in type_.shape)
    for y in runs.values():
        with np.errstate(all="ignore"):
            same = np.isclose(y[ends], runs[0][ends]) | np.isnan(y[ends]) | np.isnan(runs[0][ends])
        if parts.steps is not None:
            axis, _, offset = parts.steps
            place = np.arange(y.shape[axis]).reshape([-1 if a == axis else 1 for a in range(y.ndim)])
            assert (y == place + offset).all(), where
        if parts.counts is not None:
            assert (y == substitute(parts.counts, {"time": REAL})).all(), where
        if not parts.clean:
            continue
        assert same.all(), where
        if parts.real is not None:
            assert ((y[ends] == FILL[parts.real]) | np.isnan(y[ends])).all(), where
        for a, kind in parts.behind.items():
            behind = y[(*(slice(None),) * a, slice(ends[a].stop, None))]
            assert kind is None or ((behind == FILL[kind]) | np.isnan(behind)).all(), where


#: Of how many values of the programs what is known. A rule that gets weaker knows less.
KNOWN = {
    "steps": 758, "counts": 1243, "clean": 8287,
    "real zero": 528, "real minus infinity": 470, "real true": 393, "real false": 411,
    "behind zero": 273, "behind minus infinity": 300, "behind true": 20, "behind false": 405,
}  # fmt: skip


def test_no_less_is_known() -> None:
    """The law above says something, and rules have not got weaker."""
    found = Counter[str]()
    for seed in SEEDS:
        graph, known = program(seed)
        for parts in (known[v] for v in graph.outputs.values()):
            found.update({"steps": parts.steps is not None, "counts": parts.counts is not None})
            found.update({"clean": parts.clean, f"real {parts.real}": 1})
            found.update(f"behind {k}" for k in parts.behind.values())
    assert {k: found[k] for k, least in KNOWN.items() if found[k] < least} == {}
    assert found["clean"] < sum(len(program(seed)[0].outputs) for seed in SEEDS)
