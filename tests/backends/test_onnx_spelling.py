"""Every primitive has a row, and the row means what `evaluate` means, in both precisions."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from one_node import EXAMPLES, LEAVES, one_node

from mpcompile.diagnostics import Source
from mpcompile.ir import Array, Builder, DType, Example, Graph, Module, Type, float_type, symbol
from mpcompile.ops import (
    PRIMITIVES,
    BroadcastTo,
    Conv,
    ConvTranspose,
    Erf,
    Flip,
    Iota,
    LogSumExp,
    Mul,
    OneHot,
    Reshape,
    ScatterAdd,
    Slice,
    Softplus,
    Sum,
    Where,
)
from mpcompile_onnx import Emitted, emit_graph
from mpcompile_onnx.session import session_options
from mpcompile_onnx.spelling import SPELLINGS


def test_every_primitive_has_a_row_and_every_row_a_primitive() -> None:
    assert set(PRIMITIVES) - LEAVES == set(SPELLINGS)


def emit(graph: Graph, double: bool) -> Emitted:
    emitted = emit_graph(Module("row", Source("row.mp", "")), graph, double=double)
    onnx.checker.check_model(emitted.model, full_check=True)
    onnx.shape_inference.infer_shapes(emitted.model, check_type=True, strict_mode=True, data_prop=True)
    return emitted


def apply(graph: Graph, inputs: dict[str, Array], double: bool) -> dict[str, Array]:
    emitted = emit(graph, double)
    floats = np.float64 if double else np.float32
    feed = {k: np.asarray(a, floats) if a.dtype.kind == "f" else a for k, a in inputs.items()}
    session = ort.InferenceSession(emitted.data, session_options(), providers=["CPUExecutionProvider"])
    made = session.run(list(emitted.outputs.values()), feed)
    return dict(zip(emitted.outputs, made, strict=True))


@pytest.mark.parametrize("constants", [False, True], ids=["inputs", "constants"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_row_means_evaluate(example: Example, constants: bool) -> None:
    module, inputs, _ = one_node(example, constants)
    graph = module.programs["apply"]
    expected = example.op.evaluate(*map(np.asarray, example.inputs))
    for double, tolerance in ((True, 1e-9), (False, 2e-5)):
        made = apply(graph, inputs, double)
        floats = np.dtype(np.float64 if double else np.float32)
        for i, want in enumerate(expected):
            got = made[f"y{i}"]
            assert got.shape == want.shape
            assert got.dtype == {"f": floats, "i": np.int64, "b": np.bool_}[want.dtype.kind]
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def test_composed_functions_keep_their_digits() -> None:
    """Softplus and erf have no kernel in float64."""
    x = np.concatenate([np.linspace(-40, 40, 4001), [0.0, -745.0, 1e-300, 800.0]])
    g = Graph("functions")
    b = Builder(g)
    v = b.input("x", float_type(len(x)))
    g.outputs = {"softplus": b.emit(Softplus(), v), "erf": b.emit(Erf(), v)}
    made = apply(g, {"x": x}, True)
    np.testing.assert_allclose(made["softplus"], np.logaddexp(x, 0), rtol=1e-12, atol=0)
    np.testing.assert_allclose(made["erf"], [math.erf(e) for e in x], rtol=0, atol=5e-14)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("hidden", [np.inf, -np.inf, np.nan])
def test_what_a_choice_leaves_out_may_be_any_number(hidden: float, double: bool) -> None:
    """As `where(x, log(x), 0)` at 0; a mask of scores hides infinite ones."""
    g = Graph("chosen")
    b = Builder(g)
    x, keep = b.input("x", float_type(2, 3, 3)), b.constant(np.tril(np.ones((3, 3), bool)))
    others = {"zero": 0.0, "one": 1.0} | ({} if np.isnan(hidden) else {"least": -np.inf})
    g.outputs = {n: b.emit(Where(), keep, x, b.constant(v)) for n, v in others.items()}
    values = np.where(np.tril(np.ones((3, 3), bool)), 0.5, hidden) * np.ones((2, 3, 3))
    for name, made in apply(g, {"x": values}, double).items():
        np.testing.assert_array_equal(made, np.where(values == 0.5, 0.5, others[name]))


@pytest.mark.parametrize("double", [False, True])
def test_minus_infinity(double: bool) -> None:
    """Masks of attention: a least value in place of a choice at full size."""
    g = Graph("masked")
    b = Builder(g)
    x = b.input("x", float_type(2, 3, 3))
    keep = b.constant(np.tril(np.ones((3, 3), bool)))
    masked = b.emit(Where(), keep, x, b.constant(-np.inf))
    g.outputs = {"masked": masked, "total": b.emit(LogSumExp((2,)), masked)}
    g.outputs["zeros"] = b.emit(Where(), keep, x, b.constant(0.0))
    g.outputs["nothing"] = b.emit(LogSumExp((0,)), b.constant(np.full((2, 2), -np.inf)))
    values = np.random.default_rng(0).normal(size=(2, 3, 3))
    made = apply(g, {"x": values}, double)
    want = np.where(np.tril(np.ones((3, 3), bool)), values, -np.inf)
    np.testing.assert_allclose(made["masked"], want, rtol=1e-6)
    np.testing.assert_allclose(made["total"], np.log(np.exp(want).sum(2)), rtol=1e-6)
    np.testing.assert_allclose(made["zeros"], np.where(np.isinf(want), 0, values), rtol=1e-6)
    assert np.isneginf(made["nothing"]).all()


@pytest.mark.parametrize("double", [False, True])
def test_symbolic_sizes(double: bool) -> None:
    """One file for every batch and every length."""
    n, time = symbol("N"), symbol("time")
    g = Graph("sizes")
    b = Builder(g)
    x = b.input("x", float_type(n, time, 4))
    tokens = b.input("tokens", Type(DType.INT, (n, time)))
    long = b.emit(Reshape((n * time * 2, 2)), x)
    g.outputs["long"] = b.emit(Flip(0), long)
    g.outputs["heads"] = b.emit(Reshape((n, time, 2, 2)), x)
    g.outputs["wide"] = b.emit(BroadcastTo((3, n, time, 4)), x)
    g.outputs["count"] = b.emit(Sum((0, 1)), b.emit(BroadcastTo((n, time)), b.constant(1.0)))
    g.outputs["place"] = b.emit(Iota((n, time + 1), 1))
    g.outputs["most"] = b.emit(Slice(1, 0, time - 1), x)
    g.outputs["last"] = b.emit(Slice(1, time - 2, time), x)
    g.outputs["seen"] = b.emit(Sum((0, 1)), b.emit(OneHot(5), tokens))
    g.outputs["table"] = b.emit(ScatterAdd(0, 5), x, tokens)
    g.outputs["spread"] = b.emit(ScatterAdd(1, time + 3), x, b.emit(Iota((time,), 0)))
    emitted = emit(g, double)
    session = ort.InferenceSession(emitted.data, session_options(), providers=["CPUExecutionProvider"])
    for batch, length in ((2, 3), (1, 5), (4, 2)):
        rng = np.random.default_rng(length)
        values = {
            "x": rng.normal(size=(batch, length, 4)).astype(np.float64 if double else np.float32),
            "tokens": rng.integers(0, 5, (batch, length)),
        }
        made = dict(zip(emitted.outputs, session.run(list(emitted.outputs.values()), values), strict=True))
        from mpcompile.interpret import interpret

        for name, want in interpret(g, {}, values).items():
            assert made[name].shape == want.shape
            np.testing.assert_allclose(made[name], want, rtol=1e-5, atol=1e-6, err_msg=name)


def test_scatter_is_the_same_at_any_number_of_threads() -> None:
    """Duplicate indices: the ScatterND of the runtime loses additions at two threads."""
    g = Graph("scatter")
    b = Builder(g)
    updates = b.input("updates", float_type(4096, 64))
    indices = b.input("indices", Type(DType.INT, (4096,)))
    g.outputs["y"] = b.emit(ScatterAdd(0, 16), updates, indices)
    rng = np.random.default_rng(0)
    feed = {"updates": np.ones((4096, 64), np.float32), "indices": rng.integers(0, 16, 4096)}
    options = session_options()
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(emit(g, False).data, options, providers=["CPUExecutionProvider"])
    want = np.bincount(feed["indices"], minlength=16)[:, None] * np.ones(64)
    for _ in range(5):
        np.testing.assert_array_equal(session.run(None, feed)[0], want)
    assert "ScatterND" not in {n.op_type for n in emit(g, False).model.graph.node}


@pytest.mark.parametrize("seed", range(30))
def test_convolutions_of_random_shapes(seed: int) -> None:
    """Both ways of writing them, against the oracle."""
    rng = np.random.default_rng(seed)
    axes, groups = int(rng.integers(1, 3)), int(rng.choice([1, 1, 2]))
    kernel = tuple(int(k) for k in rng.integers(1, 4, axes))
    stride = tuple(int(k) for k in rng.integers(1, 4, axes))
    dilation = tuple(int(k) for k in rng.integers(1, 3, axes))
    padding = tuple((int(lo), int(hi)) for lo, hi in rng.integers(0, 3, (axes, 2)))
    size = [int(s) for s in rng.integers(7, 10, axes)]
    x = rng.normal(size=(2, 2 * groups, *size))
    forward = Conv(stride, padding, dilation, groups)
    weight = rng.normal(size=(3 * groups, 2, *kernel))
    extra = tuple(int(rng.integers(0, t)) for t in stride)
    adjoint = ConvTranspose(stride, padding, dilation, groups, extra)
    turned = rng.normal(size=(2 * groups, 3, *kernel))
    for op, w in ((forward, weight), (adjoint, turned)):
        example = Example(op, (x, w))
        module, inputs, _ = one_node(example)
        graph = module.programs["apply"]
        (want,) = op.evaluate(x, w)
        for double, tolerance in ((True, 1e-9), (False, 1e-4)):
            np.testing.assert_allclose(
                apply(graph, inputs, double)["y0"], want, rtol=tolerance, atol=tolerance
            )


def test_bodies_stay_readable() -> None:
    """Names come from scope and primitive, and nothing is computed that no output needs."""
    g = Graph("small")
    b = Builder(g)
    x = b.input("x", float_type(symbol("N"), 2))
    b.emit(Mul(), x, x)
    g.outputs["y"] = b.emit(Mul(), x, b.constant(2.0))
    graph = emit(g, False).model.graph
    assert [(n.op_type, list(n.input), list(n.output)) for n in graph.node] == [("Mul", ["x", "2.0"], ["y"])]
    assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == ["N", 2]
