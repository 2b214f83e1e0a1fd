"""The laws of primitives, swept over the table of contents and every example.

`evaluate` is held to torch, `infer` to `evaluate`, `vjp` to differences in float64, and `depend` to what
really changes when an input element is changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_oracle import ORACLE, conv, oracle, pullback
from trials import Trial, bits_of

from mpcompile.interpret import interpret
from mpcompile.ir import (
    Abstract,
    Builder,
    DType,
    Example,
    Graph,
    Parameter,
    Primitive,
    Type,
    TypeMismatch,
    availability,
    bitsets,
    float_type,
    symbol,
)
from mpcompile.ops import (
    PRIMITIVES,
    Add,
    AvgPool,
    Conv,
    ConvTranspose,
    ConvWeightGrad,
    Log,
    LogSumExp,
    MatMul,
    Mul,
    Reshape,
    Scan,
    Slice,
    Softmax,
    Sum,
    Tanh,
    Transpose,
)
from mpcompile.ops._base import type_of
from mpcompile.passes.gradient import differentiate

CASES = [
    pytest.param(example, id=f"{name}-{i}")
    for name, cls in PRIMITIVES.items()
    for i, example in enumerate(cls.examples())
]


# --- evaluate ---


def test_every_primitive_has_examples() -> None:
    """Its row among the oracles is optional: the code of the torch backend stands in."""
    assert set(ORACLE) <= set(PRIMITIVES)
    assert not [name for name, cls in PRIMITIVES.items() if not cls.examples()]


@pytest.mark.parametrize("example", CASES)
@pytest.mark.filterwarnings("error")
def test_evaluate_agrees_with_torch(example: Example) -> None:
    found = example.op.evaluate(*example.inputs)
    tensors = [torch.as_tensor(np.array(x)) for x in example.inputs]
    wanted = oracle(example.op)(example.op, *tensors)
    for a, b in zip(found, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        assert a.shape == tuple(b.shape)
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("example", CASES)
def test_infer_agrees_with_evaluate(example: Example) -> None:
    types = example.op.infer(*(type_of(x) for x in example.inputs))
    found = example.op.evaluate(*example.inputs)
    assert types == tuple(type_of(a) for a in found)
    if any(x.dtype.kind == "f" for x in example.inputs):  # floats keep their precision
        single = example.op.evaluate(
            *(x.astype(np.float32) if x.dtype.kind == "f" else x for x in example.inputs)
        )
        if example.op.name != "scan":  # constants of its body are double
            assert all(a.dtype == np.float32 for a in single if a.dtype.kind == "f")


@pytest.mark.parametrize("example", CASES)
def test_no_examples_have_no_results(example: Example) -> None:
    """Where the first axis of operands is that of every result, an empty batch of them gives an empty batch."""
    ranks = [i for i, x in enumerate(example.inputs) if np.ndim(x)]
    for chosen in (c for n in range(1, len(ranks) + 1) for c in combinations(ranks, n)):
        types = [type_of(np.asarray(x)) for x in example.inputs]
        for i in chosen:
            types[i] = types[i].with_shape((symbol("N"), *types[i].shape[1:]))
        try:
            wanted = example.op.infer(*types)
        except TypeMismatch:
            continue  # these operands have no axis in common
        along = {getattr(example.op, "axis", None), *getattr(example.op, "axes", ())}
        if 0 in along or not all(t.rank and t.shape[0] == symbol("N") for t in wanted):
            continue  # the axis is not one of examples
        found = example.op.evaluate(*(x[:0] if i in chosen else x for i, x in enumerate(example.inputs)))
        assert [a.shape for a in found] == [t.concrete({"N": 0}) for t in wanted]


@pytest.mark.parametrize("example", [c for c in CASES if c.values[0].op.name in ("conv_weight_grad", "sum")])
def test_a_sum_over_no_examples_is_zero(example: Example) -> None:
    found = example.op.evaluate(*(x[:0] for x in example.inputs))
    assert not any(a.any() for a in found)


@pytest.mark.parametrize("example", [c for c in CASES if c.values[0].op.name != "scan"])
@pytest.mark.filterwarnings("ignore")
def test_single_precision_is_off_by_some_roundings_of_the_magnitude(example: Example) -> None:
    """Also where terms cancel, which only the magnitude of a sum shows. Inverses amplify what they are given."""
    narrow = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in example.inputs]
    wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in narrow]
    exact = example.op.evaluate(*wide)
    largest = max((float(np.abs(x[np.isfinite(x)]).max(initial=0)) for x in wide), default=0.0)
    slack = 100 if example.op.name in ("inverse", "log_abs_det") else 1
    for y, single, size in zip(
        exact, example.op.evaluate(*narrow), example.op.magnitude(exact, *wide), strict=True
    ):
        assert size.shape == y.shape and not (size < 0).any()
        if y.dtype.kind == "f":
            allowed = slack * 8 * 2.0**-24 * (size + (largest if size.any() else 0.0))
            gap = np.where(np.isfinite(y), np.abs(y - single), 0.0)
            assert (gap <= np.where(np.isfinite(allowed), allowed, np.inf)).all()


# --- vjp ---


@pytest.mark.parametrize("example", [c for c in CASES if c.values[0].differentiable])
def test_gradient_agrees_with_differences(example: Example) -> None:
    op, inputs = example.op, list(example.inputs)
    rng = np.random.default_rng(5)
    outputs = op.evaluate(*inputs)
    cotangents = [rng.normal(size=y.shape) for y in outputs]

    def loss(changed: Sequence[np.ndarray]) -> float:
        results = zip(op.evaluate(*changed), cotangents, strict=True)
        return sum(
            float(np.sum(np.where(np.isfinite(y), y, 0) * c)) for y, c in results if y.dtype.kind == "f"
        )

    for i, grad in enumerate(pullback(op, inputs, cotangents)):
        if inputs[i].dtype.kind != "f":
            assert grad is None
            continue
        numeric = np.zeros(inputs[i].shape)
        for at in np.ndindex(numeric.shape):
            both = []
            for sign in (1, -1):
                moved = inputs[i].copy()
                moved[at] += sign * 1e-5
                both.append(loss([*inputs[:i], moved, *inputs[i + 1 :]]))
            numeric[at] = (both[0] - both[1]) / 2e-5
        np.testing.assert_allclose(
            np.zeros_like(numeric) if grad is None else grad, numeric, rtol=1e-6, atol=1e-7
        )


def test_extrema_share_the_gradient_of_ties() -> None:
    tied = np.array([[1.0, 1.0, 0.0]])
    (grad,) = pullback(PRIMITIVES["max"]((1,)), [tied], [np.array([3.0])])  # type: ignore[call-arg]
    np.testing.assert_allclose(grad, [[1.5, 1.5, 0.0]])
    both = pullback(PRIMITIVES["maximum"](), [tied, tied], [np.full((1, 3), 2.0)])
    np.testing.assert_allclose(both, [np.ones((1, 3))] * 2)


# --- depend: what changes is in test_domains.py ---


@pytest.mark.parametrize("example", [c for c in CASES if c.values[0].inputs])
def test_dependence_does_not_see_how_facts_are_stored(example: Example) -> None:
    """Compressed and full maps give the same, and tau is the maximum over the bitset."""
    rng = np.random.default_rng(9)
    tau, bits = availability(), bitsets(130)
    clock = rng.integers(1, 50, 130).astype(np.int32)
    for _ in range(4):
        stored: list[list[Abstract]] = [[], [], []]
        for x in example.inputs:
            some = tuple(1 if rng.random() < 0.4 else s for s in x.shape)
            sets = np.packbits(rng.random((*some, 192)) < 0.03, axis=-1, bitorder="little").view("<u8")
            sets = sets & np.array([2**64 - 1, 2**64 - 1, 3], np.uint64)
            zero = rng.random(tuple(1 if rng.random() < 0.6 else s for s in x.shape)) < 0.3
            if x.dtype.kind != "f":
                zero = np.zeros_like(zero)
            small = bits.make(x.shape, sets, zero)
            wide = Abstract(
                x.shape, small.full().copy(), np.broadcast_to(zero, x.shape).copy(), np.zeros(x.shape, bool)
            )
            times = np.max(np.where(bits_of(small, 130), clock, 0), -1, keepdims=True, initial=0)
            stored[0].append(small)
            stored[1].append(wide)
            stored[2].append(tau.make(x.shape, times.astype(np.int32), zero))
        a, b, c = (example.op.depend(d, *xs) for d, xs in zip((bits, bits, tau), stored, strict=True))
        for small, wide, times in zip(a, b, c, strict=True):
            np.testing.assert_array_equal(small.full(), wide.full())
            np.testing.assert_array_equal(
                np.broadcast_to(small.zero, small.shape), np.broadcast_to(wide.zero, wide.shape)
            )
            latest = np.max(np.where(bits_of(small, 130), clock, 0), -1, initial=0)
            np.testing.assert_array_equal(times.full()[..., 0], latest)


def test_large_uniform_facts_stay_small() -> None:
    domain = availability()
    x = domain.make((64, 256, 128, 128), np.ones((1, 1, 1, 1, 1), np.int32))
    w = domain.unknown((256, 256, 3, 3))
    (y,) = Conv((1, 1), ((0, 0), (0, 0)), (1, 1)).depend(domain, x, w)
    assert y.facts.size == 1 and y.zero.size == 1
    (y,) = Conv((1, 1), ((1, 1), (1, 1)), (1, 1)).depend(domain, x, w)
    assert y.facts.size == 1 and y.zero.size == 1
    (y,) = MatMul().depend(domain, x, domain.unknown((128, 512)))
    assert y.facts.size == 1
    (y,) = PRIMITIVES["reshape"]((64 * 256, 128 * 128)).depend(domain, x)  # type: ignore[call-arg]
    assert y.facts.size == 1


# --- convolution, fuzzed ---


@st.composite
def configurations(draw: st.DrawFn) -> tuple[Conv, tuple[int, ...], tuple[int, ...]]:
    n = draw(st.integers(1, 2))

    def many(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(n))

    groups, each, out = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    kernel, stride, dilation, low, high, more = (
        many(1, 3),
        many(1, 3),
        many(1, 2),
        many(0, 2),
        many(0, 2),
        many(0, 4),
    )
    spatial = tuple(
        max(1, d * (k - 1) + 1 - lo - hi) + e
        for d, k, lo, hi, e in zip(dilation, kernel, low, high, more, strict=True)
    )
    op = Conv(stride, tuple(zip(low, high, strict=True)), dilation, groups)
    x = (draw(st.integers(1, 2)), groups * each, *spatial)
    return op, x, (groups * out, each, *kernel)


@settings(max_examples=150, deadline=None)
@given(configurations(), st.integers(0, 2**16), st.sampled_from([0.3, 0.7, 1.0]))
def test_convolution_fuzzed(
    config: tuple[Conv, tuple[int, ...], tuple[int, ...]], seed: int, density: float
) -> None:
    op, x_shape, w_shape = config
    rng = np.random.default_rng(seed)
    x, w = rng.uniform(0.5, 1.5, x_shape), rng.uniform(0.5, 1.5, w_shape) * (rng.random(w_shape) < density)
    tx, tw = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    wanted = conv(op, tx, tw)
    (y,) = op.evaluate(x, w)
    np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=1e-10)
    ct = rng.normal(size=y.shape)
    wanted.backward(torch.tensor(ct))
    dx, dw = pullback(op, [x, w], [ct])
    np.testing.assert_allclose(dx, tx.grad, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(dw, tw.grad, rtol=1e-9, atol=1e-10)

    # Dependence on x through a known kernel, and the adjoint's on y: one element at a time.
    for direction, start in ((op, x_shape), (_transposed(op, x_shape, w_shape, y.shape), y.shape)):
        count = math.prod(start[1:])
        domain = bitsets(count)
        trial = Trial(Example(direction, (np.zeros((1, *start[1:])), w)), [None, w], [None, None])
        (result,) = direction.depend(domain, *trial.abstract(domain))
        (images,) = direction.evaluate(np.eye(count).reshape(count, *start[1:]), w)
        np.testing.assert_array_equal(bits_of(result, count)[0], np.moveaxis(images, 0, -1) != 0)
        np.testing.assert_array_equal(np.broadcast_to(result.zero, result.shape)[0], (images == 0).all(0))


def _transposed(op: Conv, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...]) -> ConvTranspose:
    extra = tuple(
        s - ((n - 1) * t + d * (k - 1) + 1 - lo - hi)
        for s, n, t, d, k, (lo, hi) in zip(
            x[2:], y[2:], op.stride, op.dilation, w[2:], op.padding, strict=True
        )
    )
    return ConvTranspose(op.stride, op.padding, op.dilation, op.groups, extra)


# --- sizes that are not numbers ---


def test_symbolic_sizes() -> None:
    n, t = symbol("N"), symbol("T")
    x = float_type(n, t, 3)
    assert MatMul().infer(x, float_type(3, 4)) == (float_type(n, t, 4),)
    assert Softmax(1).infer(x) == (x,)
    conv = Conv((1,), ((2, 0),), (1,))
    assert conv.infer(float_type(n, 3, t), float_type(5, 3, 3)) == (float_type(n, 5, t),)
    half = Conv((2,), ((0, 0),), (1,))
    assert half.infer(float_type(n, 3, 2 * t), float_type(5, 3, 2)) == (float_type(n, 5, t),)
    with pytest.raises(TypeMismatch, match="divides"):
        half.infer(float_type(n, 3, t), float_type(5, 3, 2))
    reshape = PRIMITIVES["reshape"]((n * t, 3))  # type: ignore[call-arg]
    assert reshape.infer(x) == (float_type(n * t, 3),)
    assert reshape.bind({"N": 2, "T": 5}) == PRIMITIVES["reshape"]((10, 3))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("op", "types", "text"),
    [
        (
            Add(),
            (float_type(2, 3), float_type(2)),
            r"expected shapes that broadcast, found float\[2, 3\] and float\[2\]",
        ),
        (Add(), (float_type(2), Type(DType.INT, (2,))), "expected the same kind of elements"),
        (MatMul(), (float_type(2, 3), float_type(4, 2)), "expected 3 rows"),
        (Log(), (Type(DType.INT, (2,)),), "expected float elements"),
        (Sum((2,)), (float_type(2, 3),), "expected an axis below the rank 2"),
        (
            Conv((1,), ((0, 0),), (1,)),
            (float_type(1, 3, 5), float_type(2, 4, 1)),
            "expected 3 input channels",
        ),
        (
            ConvWeightGrad((1,), ((0, 0),), (1,), 1, (2,)),
            (float_type(1, 3, 5), float_type(1, 2, 5)),
            "cotangent over",
        ),
        (
            PRIMITIVES["scatter_along"](0, 3),  # type: ignore[call-arg]
            (float_type(4, 1), Type(DType.INT, (1, 1))),
            "an index for each of 4 updates",
        ),
    ],
)
def test_mismatches_are_explained(op: Primitive, types: tuple[Type, ...], text: str) -> None:
    with pytest.raises(TypeMismatch, match=text):
        op.infer(*types)


# --- loops and whole graphs ---


def test_softmax_of_nothing_but_minus_infinity_does_not_warn() -> None:
    with np.errstate(all="raise"):
        (y,) = Softmax(0).evaluate(np.array([-np.inf, 0.0, 1.0]))
    assert y[0] == 0 and np.isclose(y.sum(), 1)


def _loop(symbolic: bool) -> Graph:
    """A recurrent net over time: a scanned input, captured weights, a scalar carry and stacked results."""
    n, t = (symbol("N"), symbol("T")) if symbolic else (2, 4)
    body = Graph("body")
    b = Builder(body)
    h, s, x = b.input("h", float_type(n, 3)), b.input("s", float_type()), b.input("x", float_type(n, 3))
    w = b.input("w", float_type(3, 3))
    b.input("step", Type(DType.INT, ()))
    new = b.emit(Tanh(), b.emit(Add(), b.emit(MatMul(), h, w), x))
    body.outputs = {
        "h": new,
        "s": b.emit(Add(), s, b.emit(Sum((0, 1)), b.emit(Mul(), new, new))),
        "y": b.emit(Mul(), new, s),
    }
    g = Graph("loop")
    b = Builder(g)
    start, xs = b.input("start", float_type(n, 3)), b.input("xs", float_type(n, t, 3))
    weights = b.emit(Parameter("w", float_type(3, 3)))
    zero = b.constant(0.5)
    last, total, ys = b.emit_all(Scan(body, carries=2, scanned=1), start, zero, xs, weights)
    parts = [b.emit(Sum(tuple(range(len(v.shape)))), b.emit(Tanh(), v)) for v in (last, ys)]
    g.outputs["loss"] = b.emit(Add(), b.emit(Add(), *parts), total)
    return g


@pytest.mark.parametrize("symbolic", [False, True])
def test_gradient_of_a_loop(symbolic: bool) -> None:
    g = differentiate(_loop(symbolic), "loss", ["w", "xs", "start"])
    rng = np.random.default_rng(0)
    w, xs, start = rng.normal(size=(3, 3)), rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 3))
    found = interpret(g, {"w": w}, {"xs": xs, "start": start})
    tw, txs, h = (torch.tensor(v, requires_grad=True) for v in (w, xs, start))
    first, s, loss = h, torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    for t in range(4):
        h = torch.tanh(h @ tw + txs[:, t])
        loss = loss + torch.tanh(h * s).sum()
        s = s + (h * h).sum()
    loss = loss + torch.tanh(h).sum() + s
    loss.backward()
    np.testing.assert_allclose(found["loss"], loss.item())
    for name, leaf in (("w", tw), ("xs", txs), ("start", first)):
        np.testing.assert_allclose(found[f"grad({name})"], leaf.grad, rtol=1e-9)


def test_gradient_of_a_network_with_a_symbolic_batch() -> None:
    g = Graph("net")
    b = Builder(g)
    n = symbol("N")
    x = b.input("x", float_type(n, 2, 7))
    w = b.emit(Parameter("w", float_type(3, 2, 3)))
    v = b.emit(Parameter("v", float_type(3, 2)))
    h = b.emit(Tanh(), b.emit(Conv((2,), ((1, 1),), (1,)), x, w))  # N, 3, 4
    h = b.emit(AvgPool((2,), (2,), ((1, 1),), False), h)  # N, 3, 3
    h = b.emit(Transpose((0, 2, 1)), h)
    h = b.emit(Add(), b.emit(MatMul(), h, v), b.emit(Slice(1, 0, 1), b.emit(MatMul(), h, v)))  # N, 3, 2
    h = b.emit(LogSumExp((1,)), b.emit(Reshape((n, 6)), h))
    rows = b.emit(Slice(0, 1, n), h)  # all but the first
    g.outputs["loss"] = b.emit(Sum((0,)), rows)
    g = differentiate(g, "loss", ["w", "v", "x"])
    rng = np.random.default_rng(0)
    values = {"w": rng.normal(size=(3, 2, 3)), "v": rng.normal(size=(3, 2))}
    data = rng.normal(size=(4, 2, 7))
    found = interpret(g, values, {"x": data})
    tx, tw, tv = (torch.tensor(a, requires_grad=True) for a in (data, values["w"], values["v"]))
    y = torch.tanh(F.conv1d(tx, tw, None, 2, 1))
    y = F.avg_pool1d(y, 2, 2, 1, count_include_pad=False).permute(0, 2, 1) @ tv
    loss = torch.logsumexp((y + y[:, :1]).reshape(4, 6), 1)[1:].sum()
    loss.backward()
    np.testing.assert_allclose(found["loss"], loss.item())
    for name, leaf in (("w", tw), ("v", tv), ("x", tx)):
        np.testing.assert_allclose(found[f"grad({name})"], leaf.grad, rtol=1e-9, atol=1e-12)


def test_a_reversed_loop_counts_down() -> None:
    cls = PRIMITIVES["scan"]
    rnn = cls.examples()[0].op
    assert isinstance(rnn, Scan)
    h, xs, w = cls.examples()[0].inputs
    last, ys = rnn.evaluate(h, xs[:, ::-1], w)
    back_last, back_ys = replace(rnn, reverse=True).evaluate(h, xs, w)
    np.testing.assert_array_equal(last, back_last)
    np.testing.assert_array_equal(ys[:, ::-1], back_ys)
