"""Offset sets are held to exact sets of inputs at a finite size: equal inside, never less anywhere."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placed import hold, over_channels, predicted
from specs_under_test import NAMES, module

from mpcompile import api, ops
from mpcompile.analysis.dependence import environment_for, support
from mpcompile.analysis.stencils import offset_sets, spatial_axes
from mpcompile.ir import (
    Builder,
    DType,
    Graph,
    NoRule,
    Primitive,
    Type,
    Value,
    float_type,
    symbol,
)
from mpcompile.ops._base import Operation
from mpcompile.text import parse

SPECS = Path(__file__).parents[2] / "specs"


# --- specs ---


@pytest.mark.parametrize("name", ["char_lstm.mp", "transformer.mp", "pixelcnn.mp"])
def test_specs(name: str) -> None:
    graph = api.load(SPECS / name).programs["conditionals"]
    source = next(iter(graph.inputs))
    hold(graph, source, offset_sets(graph, source), 10)


def test_every_spec_has_offset_sets_or_a_named_reason() -> None:
    """No spec makes the interpreter fail, and only primitives that are named stop it."""
    reasons = set()
    for spec in NAMES:
        for graph in module(spec).programs.values():
            for name, value in graph.inputs.items():
                if value.type.rank > 1 and spatial_axes(value.type):
                    sets = offset_sets(graph, name)
                    reasons |= {v.primitive.name for v in sets.values.values() if isinstance(v, NoRule)}
    assert reasons <= set(ops.PRIMITIVES)


# --- random networks ---


class Net:
    """A chain of layers over x[N, 2, length], which keeps earlier values of a rate to join with."""

    def __init__(self, length: int) -> None:
        self.graph = Graph("net")
        self.b = Builder(self.graph)
        self.x = self.b.input("x", float_type(symbol("N"), 2, length))
        self.rate = Fraction(1)
        self.kept = [(self.x, self.rate)]
        self.weights = 0

    def weight(self, *shape: int, mask: np.ndarray | None = None) -> Value:
        from mpcompile.ir import Parameter

        self.weights += 1
        w = self.b.emit(Parameter(f"w{self.weights}", float_type(*shape)))
        return w if mask is None else self.b.emit(ops.Mul(), w, self.b.constant(mask.astype(float)))

    def layer(self, draw: Callable[[int], int], kind: str) -> None:
        x, b = self.x, self.b
        n, c, size = x.shape
        assert isinstance(c, int) and isinstance(size, int)
        if kind == "conv":
            k, d, s, g = draw(3) + 1, draw(2) + 1, draw(2) + 1, draw(2) + 1
            mask = np.array([draw(4) > 0 for _ in range(4 * (2 // g) * k)]).reshape(4, 2 // g, k)
            pad = (draw(3), draw(3))
            x = b.emit(ops.Slice(1, 0, 2), x) if c > 2 else x
            x = b.emit(ops.Conv((s,), (pad,), (d,), g), x, self.weight(4, 2 // g, k, mask=mask))
            self.rate *= s
        elif kind == "conv_transpose":
            k, s, pad = draw(3) + 1, draw(2) + 1, (draw(2), draw(2))
            x = b.emit(
                ops.ConvTranspose((s,), (pad,), (draw(2) + 1,), 1, (draw(s),)), x, self.weight(c, 2, k)
            )
            self.rate /= s
        elif kind in ("max", "avg"):
            k, s = draw(2) + 2, draw(2) + 1
            op = (ops.MaxPool if kind == "max" else ops.AvgPool)((k,), (s,), ((draw(2), draw(2)),))
            x, self.rate = b.emit(op, x), self.rate * s
        elif kind == "repeat":
            f = draw(2) + 2
            wide = b.emit(ops.BroadcastTo((n, c, size, f)), b.emit(ops.Reshape((n, c, size, 1)), x))
            x, self.rate = b.emit(ops.Reshape((n, c, size * f)), wide), self.rate / f
        elif kind == "gather":
            x = b.emit(ops.Gather(2), x, b.constant(np.repeat(np.arange(size), 2)))
            self.rate /= 2
        elif kind == "shift":
            by = draw(4)
            x = b.emit(ops.Slice(2, 0, size), b.emit(ops.Pad((0, 0, by), (0, 0, 0)), x))
        elif kind == "crop":
            x = b.emit(ops.Slice(2, draw(3), size - draw(3)), x)
        elif kind == "fold" and size % 2 == 0:
            deep = b.emit(ops.Transpose((0, 1, 3, 2)), b.emit(ops.Reshape((n, c, size // 2, 2)), x))
            x, self.rate = b.emit(ops.Reshape((n, 2 * c, size // 2)), deep), self.rate * 2
        elif kind == "join":
            same = [v for v, r in self.kept if r == self.rate and v.shape[2] == size and v.shape[1] in (1, c)]
            x = b.emit(ops.Add(), x, same[draw(len(same))]) if same else b.emit(ops.Tanh(), x)
        elif kind == "beside":
            same = [v for v, r in self.kept if r == self.rate and v.shape[2] == size]
            x = b.emit(ops.Concat(1), same[draw(len(same))], x) if same else x
        elif kind == "norm":
            x = b.emit(ops.Sub(), x, b.emit(ops.Sum((1,), True), x))
        elif kind == "prefix" and self.rate == 1:
            x = b.emit(ops.CumSum(2, bool(draw(2)), bool(draw(2))), x)
        if kind != "fold" and x.shape[1] > 4:  # type: ignore[operator]
            x = b.emit(ops.Slice(1, 0, 4), x)
        self.x = x
        self.kept.append((x, self.rate))


KINDS = "conv conv conv_transpose max avg repeat gather shift crop fold join beside norm prefix".split()


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_sums_along_the_source(exclusive: bool, reverse: bool) -> None:
    """Behind a window too; only along a stride that comes to one again they have no rule."""
    net = Net(12)
    net.x = net.b.emit(
        ops.CumSum(2, exclusive, reverse), net.b.emit(ops.MaxPool((3,), (1,), ((1, 1),)), net.x)
    )
    net.graph.outputs["y"] = net.x
    sets = offset_sets(net.graph, "x")
    assert not [v for v in sets.values.values() if isinstance(v, NoRule)]
    hold(net.graph, "x", sets)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.data())
def test_random_networks(data: st.DataObject) -> None:
    net = Net(72)
    for _ in range(data.draw(st.integers(1, 5))):
        before = (net.x, net.rate)
        net.layer(lambda n: data.draw(st.integers(0, n - 1)), data.draw(st.sampled_from(KINDS)))
        if not Fraction(1, 4) <= net.rate <= 4:
            net.x, net.rate = before
    net.graph.outputs["y"] = net.x
    sets = offset_sets(net.graph, "x")
    if any("strided" in str(v) for v in sets.values.values() if isinstance(v, NoRule)):
        return  # a running sum along values of a stride that comes to one again
    hold(net.graph, "x", sets)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**9 - 1), min_size=2, max_size=3), st.integers(0, 2))
def test_random_masks_of_images(masks: list[int], downs: int) -> None:
    """Sets of an image are no products: any 3x3 mask, then a pooling."""
    net = Net(1)
    g = Graph("image")
    net.graph, net.b = g, Builder(g)
    x = net.b.input("x", float_type(symbol("N"), 1, 12, 15))
    for mask in masks:
        bits = np.array([mask >> i & 1 for i in range(9)], bool).reshape(1, 1, 3, 3)
        x = net.b.emit(ops.Conv((1, 1), ((1, 1), (1, 1)), (1, 1)), x, net.weight(1, 1, 3, 3, mask=bits))
    if downs:
        x = net.b.emit(ops.MaxPool((2, 3), (downs, 3), ((0, 0), (0, 0))), x)
    g.outputs["y"] = x
    hold(g, "x", offset_sets(g, "x"))


# --- attention, recurrence, unpooling ---


def sequence() -> tuple[Graph, Builder, Value]:
    g = Graph("sequence")
    b = Builder(g)
    return g, b, b.input("x", float_type(symbol("N"), symbol("time"), 2))


def attend(b: Builder, x: Value, mask: Value | None, values: Value) -> Value:
    scores = b.emit(ops.MatMul(), x, b.emit(ops.Transpose((0, 2, 1)), x))
    if mask is not None:
        scores = b.emit(ops.Where(), mask, scores, b.constant(-np.inf))
    return b.emit(ops.MatMul(), b.emit(ops.Softmax(2), scores), values)


def delayed(b: Builder, x: Value, by: int) -> Value:
    return b.emit(ops.Slice(1, 0, x.shape[1]), b.emit(ops.Pad((0, by, 0), (0, 0, 0)), x))


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("past", [True, False])
@pytest.mark.parametrize("negated", [True, False])
def test_attention(window: int | None, past: bool, negated: bool) -> None:
    """A mask of comparisons of positions, written either way round, over delayed values."""
    g, b, x = sequence()
    time = symbol("time")
    i, j = (b.emit(ops.Iota((time, time), axis)) for axis in (0, 1))  # type: ignore[arg-type]
    mask = None
    if past:
        mask = (
            b.emit(ops.LogicalNot(), b.emit(ops.Less(), i, j)) if negated else b.emit(ops.LessEqual(), j, i)
        )
    if window is not None:
        near = b.emit(ops.Less(), b.emit(ops.Sub(), i, j), b.constant(window))
        mask = near if mask is None else b.emit(ops.LogicalAnd(), near, mask)
    g.outputs["y"] = attend(b, x, mask, delayed(b, x, 2))
    sets = offset_sets(g, "x")
    assert sets.of(g.outputs["y"]).exact
    hold(g, "x", sets, 18)


def test_running_sums_of_attention_scores_and_norms_over_time() -> None:
    g, b, x = sequence()
    g.outputs["everything"] = b.emit(ops.Sub(), x, b.emit(ops.Sum((1,), True), x))
    g.outputs["weights"] = b.emit(ops.MatMul(), b.emit(ops.Transpose((0, 2, 1)), x), x)
    g.outputs["last"] = b.emit(ops.Slice(1, 0, 1), b.emit(ops.Flip(1), x))
    sets = offset_sets(g, "x")
    assert sets.of(g.outputs["everything"]).exact and sets.of(g.outputs["weights"]).exact
    assert not sets.of(g.outputs["last"]).exact
    hold(g, "x", sets, 6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["register", "sum", "pair"])
def test_loops(cell: str, reverse: bool) -> None:
    """A register remembers two steps back and no farther; a sum remembers all; a pair mixes both."""
    g, b, x = sequence()
    body = Graph("body")
    inside = Builder(body)
    n, narrow = symbol("N"), float_type(symbol("N"), 2)
    h, c, row = (inside.input(k, narrow) for k in ("h", "c", "row"))
    inside.input("step", Type(DType.INT, ()))
    total = inside.emit(ops.Add(), c, row if cell == "sum" else h)
    body.outputs = {
        "h": row,
        "c": h if cell == "register" else total,
        "y": c if cell == "register" else total,
    }
    zero = b.emit(ops.BroadcastTo((n, 2)), b.constant(0.0))  # type: ignore[arg-type]
    scan = ops.Scan(body, carries=2, axis=1, reverse=reverse, scanned=1)
    _, _, ys = b.emit_all(scan, zero, zero, delayed(b, x, 1))
    g.outputs = {"y": ys}
    sets = offset_sets(g, "x")
    assert sets.of(ys).exact
    hold(g, "x", sets, 18)


def test_unpooling_reads_the_window_it_came_from() -> None:
    """Where a maximum came from is known to be in its window: nothing else is read."""
    g = Graph("unpool")
    b = Builder(g)
    x = b.input("x", float_type(symbol("N"), 2, 24))
    y, places = b.emit_all(ops.MaxPool((3,), (2,), ((1, 0),)), x)
    g.outputs["y"] = b.emit(ops.MaxPoolGrad((24,)), y, places)
    stencil = offset_sets(g, "x").of(g.outputs["y"])
    said = predicted(stencil, (1, 2, 24), (2,), (1, 2, 24)).reshape(2, 24, 2, 24)[0, :, 0]
    for p in range(4, 20):
        windows = [range(2 * q - 1, 2 * q + 2) for q in range(12) if p in range(2 * q - 1, 2 * q + 2)]
        assert set(np.flatnonzero(said[p])) == {i for w in windows for i in w}


def test_a_band_is_joined_along_either_of_its_axes() -> None:
    """Over queries instead of keys: a key is read by the queries from its own place on."""
    g, b, x = sequence()
    time = symbol("time")
    i, j = (b.emit(ops.Iota((time, time), axis)) for axis in (0, 1))  # type: ignore[arg-type]
    near = b.emit(ops.LessEqual(), b.emit(ops.Sub(), i, j), b.constant(2))
    mask = b.emit(ops.LogicalAnd(), b.emit(ops.LessEqual(), j, i), near)
    scores = b.emit(ops.MatMul(), x, b.emit(ops.Transpose((0, 2, 1)), x))
    scores = b.emit(ops.Where(), mask, scores, b.constant(-np.inf))
    g.outputs["y"] = b.emit(ops.LogSumExp((1,)), scores)
    sets = offset_sets(g, "x")
    assert predicted(sets.of(g.outputs["y"]), (1, 9, 2), (1,), (1, 9))[4].reshape(9, 2)[:, 0].nonzero()[0].tolist() == [
        4, 5, 6,
    ]  # fmt: skip
    hold(g, "x", sets, 12)


def test_what_is_known_inside_is_not_taken_for_known_at_a_border() -> None:
    """Zeros inside, and a border of ones: at the border the product reads x."""
    net = Net(9)
    b = net.b
    nothing = b.emit(ops.Mul(), net.x, b.constant(0.0))
    framed = b.emit(ops.Slice(2, 0, 9), b.emit(ops.Pad((0, 0, 1), (0, 0, 0), 1.0), nothing))
    net.graph.outputs["y"] = b.emit(ops.Mul(), net.x, framed)
    sets = offset_sets(net.graph, "x")
    env = environment_for(net.graph, 8)
    true = over_channels(support(net.graph, "x", "y", env).value, (1, 2, 9), (2,))
    assert (
        true.any()
        and not (true & ~predicted(sets.of(net.graph.outputs["y"]), (1, 2, 9), (2,), (1, 2, 9))).any()
    )


def test_everything_of_a_stride_is_an_upper_bound() -> None:
    net = Net(12)
    w = net.weight(1, 2, 1)
    every_other = net.b.emit(ops.Conv((2,), ((0, 0),), (1,)), net.x, w)
    net.graph.outputs["y"] = net.b.emit(ops.Sum((2,)), every_other)
    sets = offset_sets(net.graph, "x")
    assert not sets.of(net.graph.outputs["y"]).exact
    hold(net.graph, "x", sets)


def test_bilinear_upsampling_has_offset_sets_that_hold_at_its_borders() -> None:
    """Its ends are parts of one axis, moved to where they stand."""
    g = Graph("g")
    b = Builder(g)
    x = b.input("x", float_type(symbol("N"), 1, 7))
    ends = b.emit(ops.Slice(2, 0, 1), x), b.emit(ops.Slice(2, 6, 7), x)
    wide = b.emit(ops.Concat(2), ends[0], x, ends[1])
    tent = b.constant(np.array([0.25, 0.75, 0.75, 0.25]).reshape(1, 1, 4))
    g.outputs["wide"] = wide
    g.outputs["y"] = b.emit(ops.ConvTranspose((2,), ((3, 3),), (1,), 1, (0,)), wide, tent)
    sets = offset_sets(g, "x")
    hold(g, "x", sets)
    assert not sets.of(g.outputs["y"]).exact


@pytest.mark.parametrize(
    ("index", "op", "rows"),
    [
        ("iota() {shape: [time], axis: 0}", "gather", "time"),
        ("constant [-1, -2] : int[2]", "gather", "2"),
        ("constant [0, 3, 1] : int[3]", "gather", "3"),
        ("reshape(%p) {shape: [1, time, 1]}", "take_along", "time"),
        ("arg_max(%h) {axis: 1, keepdims: true}", "take_along", "1"),
    ],
)
def test_rows_at_places(index: str, op: str, rows: str) -> None:
    """Places that count are read each at its own; of places that are data, or count from the end, any is."""
    graph = parse(f"""
    program f(x: float[N, time, 2]) -> (y: float[N, {rows}, 2]) {{
      %w = parameter w : float[2, 2]
      %h = mat_mul(%x, %w)
      %p = iota() {{shape: [time], axis: 0}}
      %i = {index}
      %y = {op}(%h, %i) {{axis: 1}}
      return y = %y
    }}
    """)
    sets = offset_sets(graph, "x")
    assert sets.of(graph.outputs["y"]).exact is (rows == "time")
    hold(graph, "x", sets, 9)


def test_the_first_rows_of_a_table_are_as_many_as_the_length() -> None:
    graph = parse("""
    program f(x: float[N, time, 2]) -> (y: float[N, time, 2]) {
      %t = parameter t : float[12, 2]
      %s = slice(%t) {axis: 0, start: 0, stop: time}
      %y = add(%x, %s)
      return y = %y
    }
    """)
    sets = offset_sets(graph, "x")
    assert sets.of(graph.outputs["y"]).exact
    hold(graph, "x", sets, 9)
    graph = parse("""
    program f(x: float[N, time]) -> (y: float[N, time]) {
      %t = constant [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0] : float[12]
      %s = slice(%t) {axis: 0, start: 0, stop: time}
      %y = mul(%x, %s)
      return y = %y
    }
    """)  # a mask that is not the same everywhere: a bound
    hold(graph, "x", offset_sets(graph, "x"), 9)


# --- what is refused ---


def test_every_primitive_has_a_rule_or_is_named_here() -> None:
    without = {name for name, cls in ops.PRIMITIVES.items() if cls.stencil is Primitive.stencil}
    without |= {name for name, cls in ops.PRIMITIVES.items() if cls.stencil is Operation.stencil}
    of_gradients_and_samplers = {"conv_weight_grad", "slice_at", "update_at"}  # which no claim is about
    of_matrices = {"inverse", "log_abs_det"}  # of weights: no axis is one of a sequence or an image
    assert (
        without == of_gradients_and_samplers | of_matrices
    )  # these have the rule for what is not spatial alone


TWO_PLACES = {
    "gather of places by places": ("both operands are spatial", """
        program f(x: int[N, time]) -> (y: int[N, time, N, time]) {
          %a = reshape(%x) {shape: [N, time, 1]}
          %d = broadcast_to(%a) {shape: [N, time, 4]}
          %y = gather(%d, %x) {axis: 2}
          return y = %y
        }"""),
    "pairs beside pairs the other way round": ("axes along one source axis in another order", """
        program f(x: float[N, time]) -> (y: float[N, time, time]) {
          %a = reshape(%x) {shape: [N, time, 1]}
          %b = reshape(%x) {shape: [N, 1, time]}
          %s = sub(%a, %b)
          %t = transpose(%s) {permutation: [0, 2, 1]}
          %y = mul(%s, %t)
          return y = %y
        }"""),
    "pairs that turn round in a long loop": ("'scan' .*axes along one source axis in another order", """
        program f(x: float[N, time]) -> (y: float[N, time, time]) {
          %a = reshape(%x) {shape: [N, time, 1]}
          %b = reshape(%x) {shape: [N, 1, time]}
          %s = sub(%a, %b)
          %y = scan(%s) {carries: 1, length: 100} : float[N, time, time]
            body body(carry_0: float[N, time, time], step: int[]) -> (carry_0: float[N, time, time]) {
              %carry_0 = input carry_0 : float[N, time, time]
              %step = input step : int[]
              %t = transpose(%carry_0) {permutation: [0, 2, 1]}
              return carry_0 = %t
            }
          return y = %y
        }"""),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO_PLACES)
def test_what_has_no_one_place_is_refused(name: str) -> None:
    """Each axis of the result runs along the source on its own, and one of them would be taken for the other."""
    why, text = TWO_PLACES[name]
    graph = parse(text)
    with pytest.raises(NoRule, match=why):
        offset_sets(graph, "x").of(graph.outputs["y"])


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ("iota() {shape: [time, 1], axis: 0}", "iota() {shape: [1, time], axis: 1}"),
        ("reshape(%p) {shape: [time, 1]}", "reshape(%p) {shape: [1, time]}"),
        ("reshape(%q) {shape: [time, 1]}", "reshape(%q) {shape: [1, time]}"),
        ("iota() {shape: [time, time], axis: 0}", "iota() {shape: [time, time], axis: 1}"),
    ],
)
def test_a_mask_of_places_is_known_or_the_sets_are_not_exact(rows: str, columns: str) -> None:
    """However the places are written: as two axes, as one that is reshaped, as squares."""
    graph = parse(f"""
    program f(x: float[N, time]) -> (y: float[N, time]) {{
      %b = reshape(%x) {{shape: [N, 1, time]}}
      %z = constant 0.0 : float[]
      %p = iota() {{shape: [time], axis: 0}}
      %q = mul(%p, %p)
      %i = {rows}
      %j = {columns}
      %early = less_equal(%j, %i)
      %s = where(%early, %b, %z)
      %y = sum(%s) {{axes: [2]}}
      return y = %y
    }}
    """)
    hold(graph, "x", offset_sets(graph, "x"), 20)


def test_places_and_their_squares_are_no_linear_mask() -> None:
    graph = parse("""
    program f(x: float[N, time]) -> (y: float[N, time]) {
      %p = iota() {shape: [time], axis: 0}
      %q = mul(%p, %p)
      %r = add(%p, %q)
      %s = less(%p, %r)
      %z = constant 0.0 : float[]
      %y = where(%s, %x, %z)
      return y = %y
    }
    """)
    hold(graph, "x", offset_sets(graph, "x"))


def test_what_is_not_shift_equivariant_has_no_rule() -> None:
    g, b, x = sequence()
    wide = b.emit(ops.Reshape((symbol("N"), symbol("time") * 2)), x)  # type: ignore[arg-type]
    g.outputs["y"] = b.emit(ops.Sum((1,)), wide)
    assert offset_sets(g, "x").of(wide).axes[1] is not None  # time takes the features in: twice the rate
    g = Graph("fixed")
    b = Builder(g)
    x = b.input("x", float_type(symbol("N"), 1, 6))
    g.outputs["y"] = b.emit(ops.Mul(), x, b.constant(np.array([[[1.0, 0, 1, 0, 0, 1]]])))
    with pytest.raises(NoRule, match="'mul' has no stencil"):
        offset_sets(g, "x").of(g.outputs["y"])
    half = b.emit(ops.AvgPool((2,), (2,), ((0, 0),)), x)
    g.outputs["y"] = b.emit(ops.Add(), b.emit(ops.Slice(2, 0, 3), x), half)
    with pytest.raises(NoRule, match="different rates"):
        offset_sets(g, "x").of(g.outputs["y"])
    first = b.emit(ops.Slice(2, 0, 1), x)
    g.outputs["y"] = b.emit(ops.Add(), x, first)
    with pytest.raises(NoRule, match="'add' has no stencil"):
        offset_sets(g, "x").of(g.outputs["y"])
