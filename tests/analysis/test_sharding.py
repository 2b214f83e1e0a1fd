"""A program whose outputs are means over shards of a batch is told from one that reads its batch as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specs_under_test import NAMES, optimised
from written import lowered

from mpcompile.analysis.sharding import sharding
from mpcompile.diagnostics import SpecError
from mpcompile.group import Group, tree_sum
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Builder, DType, Graph, Type, Value, symbol
from mpcompile.ops import Add, AllSum, BroadcastTo, Div, Exp, Max, Mul, Neg, StopGradient, Sub, Sum
from mpcompile.passes.across import Across, shared
from mpcompile.passes.base import BrokenContract
from mpcompile.passes.pipeline import optimise

N = symbol("N")
Build = Callable[[Builder, Value, Value], Value]


def program(build: Build) -> Graph:
    """A loss of x [N] and w, one number."""
    g = Graph("loss")
    b = Builder(g)
    g.outputs["loss"] = build(b, b.input("x", Type(DType.FLOAT, (N,))), b.input("w", Type(DType.FLOAT, ())))
    return g


def count(b: Builder) -> Value:
    return b.emit(Sum((0,)), b.emit(BroadcastTo((N,)), b.constant(1.0)))


def mean(b: Builder, x: Value) -> Value:
    return b.emit(Div(), b.emit(Sum((0,)), x), count(b))


def centred(b: Builder, x: Value, w: Value) -> Value:
    """A layer that takes the mean of its batch, as batch norm does."""
    y = b.emit(Sub(), x, b.emit(BroadcastTo((N,)), mean(b, x)))
    return mean(b, b.emit(Mul(), y, y))


MEANS: dict[str, Build] = {
    "mean": lambda b, x, w: mean(b, b.emit(Exp(), b.emit(Mul(), x, w))),
    "affine": lambda b, x, w: b.emit(Sub(), b.emit(Mul(), w, b.emit(Neg(), mean(b, x))), w),
    "no batch": lambda b, x, w: b.emit(Mul(), w, w),
    "two": lambda b, x, w: b.emit(Add(), mean(b, x), b.emit(StopGradient(), mean(b, b.emit(Exp(), x)))),
    "counts": lambda b, x, w: b.emit(Div(), count(b), count(b)),
}
WHOLE: dict[str, Build] = {
    "sum": lambda b, x, w: b.emit(Sum((0,)), x),
    "count": lambda b, x, w: count(b),
    "product of means": lambda b, x, w: b.emit(Mul(), mean(b, x), mean(b, x)),
    "mean of means": lambda b, x, w: b.emit(Div(), mean(b, x), count(b)),
    "function of a mean": lambda b, x, w: b.emit(Exp(), mean(b, x)),
    "ratio of sums": lambda b, x, w: b.emit(Div(), b.emit(Sum((0,)), x), b.emit(Sum((0,)), b.emit(Exp(), x))),
    "sum and mean": lambda b, x, w: b.emit(Add(), b.emit(Sum((0,)), x), mean(b, x)),
    "statistics": centred,
}
X, W = np.array([0.3, -1.2, 2.0, 0.7, 1.1, -0.4, 0.9, 0.2]), np.array(0.8)


def off(graph: Graph) -> float:
    """How far the loss of eight examples is from the mean over four shards."""
    whole = float(interpret(graph, {}, {"x": X, "w": W})["loss"])
    parts = Group(shards=4).parts(graph, {"x": X, "w": W})
    return abs(whole - tree_sum([float(interpret(graph, {}, p)["loss"]) for p in parts], float.__add__) / 4)


@pytest.mark.parametrize("name", MEANS)
def test_a_mean_over_the_batch_is_one_over_shards(name: str) -> None:
    graph = program(MEANS[name])
    assert sharding(graph).mixed is None
    assert off(graph) < 1e-12


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_no_mean_over_shards_is_found(name: str) -> None:
    graph = program(WHOLE[name])
    found = sharding(graph)
    assert found.mixed is not None and found.apart is None
    assert off(graph) > 1e-3


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=6))
def test_no_program_is_taken_for_a_mean_that_is_none(steps: Sequence[tuple[int, int, int]]) -> None:
    def build(b: Builder, x: Value, w: Value) -> Value:
        numbers = [w, count(b), b.emit(Sum((0,)), x), mean(b, b.emit(Exp(), x))]
        for kind, i, j in steps:
            p, q = numbers[i % len(numbers)], numbers[j % len(numbers)]
            op = (Add, Sub, Mul, Div, Neg, Exp)[kind]()
            numbers.append(b.emit(op, p) if kind > 3 else b.emit(op, p, q))
        return numbers[-1]

    graph = program(build)
    if sharding(graph).mixed is None:
        with np.errstate(all="ignore"):
            value = float(interpret(graph, {}, {"x": X, "w": W})["loss"])
            assert not np.isfinite(value) or off(graph) <= 1e-9 * max(1.0, abs(value))


def test_the_specs_are_means_but_for_statistics_of_a_batch() -> None:
    losses = [
        (n, optimised(n).programs["loss"]) for n in [*NAMES[::8], "unet"] if "loss" in optimised(n).programs
    ]
    mixed = {name: found for name, loss in losses if (found := sharding(loss).mixed)}
    assert mixed.keys() == {"unet"}
    assert mixed["unet"].scope[-1].label == "batch_norm"


# --- the pass ---


def test_each_sum_over_the_batch_is_one_over_all_processes() -> None:
    graph = program(centred)
    made = Across()(graph).graph
    sums = [n for n in made.nodes() if isinstance(n.op, Sum)]
    assert len(sums) == 4
    assert all([type(u.op) for u in made.users(n.id)] == [AllSum] for n in sums)
    assert interpret(made, {}, {"x": X, "w": W}) == interpret(graph, {}, {"x": X, "w": W})
    assert not Across()(made).changed
    with pytest.raises(BrokenContract, match="examples meet in sums alone"):
        Across()(program(lambda b, x, w: b.emit(Max((0,)), x)))


def test_statistics_need_as_many_processes_as_shards() -> None:
    module = optimised("unet")
    assert shared(module, Group()) is module
    sums = [n for n in shared(module, Group(1, 2, 2)).programs["loss"].nodes() if isinstance(n.op, AllSum)]
    assert len(sums) >= 15
    with pytest.raises(SpecError) as refused:
        shared(module, Group(0, 1, 2))
    (found,) = refused.value.diagnostics
    assert (found.code, found.span.line) == ("MP532", 7)
    vae = optimised("vae")
    assert shared(vae, Group(0, 1, 4)) is vae


def test_a_loss_that_compares_examples_is_refused_in_shards() -> None:
    text = """model pairs
input x: real[3]
a = x -> dense(4)
b = x -> dense(4)
minimise info_nce(a, b)
"""
    module = optimise(lowered(text)).module
    with pytest.raises(SpecError) as refused:
        shared(module, Group(0, 2, 2))
    assert refused.value.diagnostics[0].code == "MP533"


# --- groups ---


def test_shards_are_the_rows_in_order() -> None:
    graph = program(MEANS["mean"])
    given = {"x": X, "w": W}
    whole = [p["x"].tolist() for p in Group(shards=4).parts(graph, given)]
    for size in (1, 2, 4):
        found = []
        for rank in range(size):
            group = Group(rank, size, 4)
            rows = {"x": X[group.rows(len(X))], "w": W}
            parts = list(group.parts(graph, rows))
            assert all(p["w"] == W for p in parts)
            found += [p["x"].tolist() for p in parts]
        assert found == whole
    with pytest.raises(ValueError, match="8 rows of 'x' are not 16 pieces"):
        list(Group(shards=16).parts(graph, given))


@pytest.mark.parametrize("count", [1, 2, 8, 32])
def test_the_tree_is_that_of_its_halves(count: int) -> None:
    rng = np.random.default_rng(count)
    parts = [rng.normal(size=3).astype(np.float32) for _ in range(count)]

    def halves(some: Sequence[Array]) -> Array:
        middle = len(some) // 2
        return some[0] if len(some) == 1 else halves(some[:middle]) + halves(some[middle:])

    assert tree_sum(parts, np.add).tobytes() == halves(parts).tobytes()


def test_a_tree_has_a_power_of_two_leaves() -> None:
    with pytest.raises(ValueError, match="power of two"):
        tree_sum([1.0, 2.0, 3.0], float.__add__)
    for rank, size, shards in ((0, 1, 3), (0, 3, 4), (2, 2, 4), (0, 4, 2), (0, 1, 0)):
        with pytest.raises(ValueError):
            Group(rank, size, shards)
