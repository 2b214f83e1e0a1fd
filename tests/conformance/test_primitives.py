"""The laws of primitives, swept over the table of contents and every example.

`evaluate` is held to torch, `infer` to `evaluate`, `vjp` to differences in float64, and `depend` to what
really changes when an input element is changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mpcompile.interpret import interpret
from mpcompile.ir import (
    Abstract,
    Builder,
    Domain,
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


# --- evaluate: an independent oracle ---


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    return [p for pair in reversed(padding) for p in pair]


def _conv(op: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    f = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
    return f(F.pad(x, _pads(op.padding)), w, None, op.stride, 0, op.dilation, op.groups)


def _conv_transpose(op: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    f = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[x.ndim - 3]
    # torch wants output padding below the stride or the dilation; widen by hand and cut the padding off.
    y = f(x, w, None, op.stride, 0, 0, op.groups, op.dilation)
    extra = op.output_padding or (0,) * len(op.stride)
    return F.pad(y, _pads([(-lo, e - hi) for (lo, hi), e in zip(op.padding, extra, strict=True)]))


def _conv_weight_grad(op: Any, x: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
    w = torch.zeros((dy.shape[1], x.shape[1] // op.groups, *op.kernel), dtype=x.dtype, requires_grad=True)
    (grad,) = torch.autograd.grad(_conv(op, x, w), w, dy)
    return grad


def _max_pool(op: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    f = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[x.ndim - 3]
    wide = F.pad(x, _pads(op.padding), value=-math.inf)
    values, places = f(wide, op.kernel, op.stride, return_indices=True)
    at = np.unravel_index(places.numpy(), wide.shape[2:])
    inner = [i - lo for i, (lo, _) in zip(at, op.padding, strict=True)]
    return values, torch.as_tensor(np.ravel_multi_index(inner, x.shape[2:]))


def _max_pool_grad(op: Any, dy: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    out = torch.zeros((*dy.shape[:2], math.prod(op.spatial)), dtype=dy.dtype)
    return out.scatter_add(2, indices.flatten(2), dy.flatten(2)).reshape(*dy.shape[:2], *op.spatial)


def _avg_pool(op: Any, x: torch.Tensor) -> torch.Tensor:
    f = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3]
    y = f(F.pad(x, _pads(op.padding)), op.kernel, op.stride)
    return (
        y if op.count_padding else y / f(F.pad(torch.ones_like(x), _pads(op.padding)), op.kernel, op.stride)
    )


def _gather(op: Any, x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    return x.index_select(op.axis, i.flatten()).reshape(
        *x.shape[: op.axis], *i.shape, *x.shape[op.axis + 1 :]
    )


def _take_along(op: Any, x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    return torch.take_along_dim(x, i, op.axis)


def _scatter_add(op: Any, u: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    shape = (*u.shape[: op.axis], i.numel(), *u.shape[op.axis + i.ndim :])
    out = torch.zeros((*shape[: op.axis], op.size, *shape[op.axis + 1 :]), dtype=u.dtype)
    return out.index_add(op.axis, i.flatten(), u.reshape(shape))


def _scatter_along(op: Any, u: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    u, i = torch.broadcast_tensors(u, i)
    shape = (*u.shape[: op.axis], op.size, *u.shape[op.axis + 1 :])
    return torch.zeros(shape, dtype=u.dtype).scatter_add(op.axis, i, u)


def _cum_sum(op: Any, x: torch.Tensor) -> torch.Tensor:
    x = x.flip(op.axis) if op.reverse else x
    y = x.cumsum(op.axis) - x if op.exclusive else x.cumsum(op.axis)
    return y.flip(op.axis) if op.reverse else y


def _reduce(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda op, x: f(x, dim=op.axes, keepdim=op.keepdims) if op.axes else x


def _pad(op: Any, x: torch.Tensor) -> torch.Tensor:
    return F.pad(x, _pads(list(zip(op.before, op.after, strict=True))), value=op.value)


def _slice(op: Any, x: torch.Tensor) -> torch.Tensor:
    return x.index_select(op.axis, torch.arange(op.start, op.stop, op.step))


def _scan(op: Scan, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The two bodies of the examples, by name."""
    if op.body.name == "power":
        c, a = values
        ys = []
        for t in range(3):
            ys.append(c + t)
            c = c * a
        return c, torch.stack(ys)
    h, xs, w = values
    rows = {}
    steps = range(xs.shape[1])
    for t in reversed(steps) if op.reverse else steps:
        rows[t] = h * xs[:, t]
        h = torch.tanh(h @ w + xs[:, t])
    return h, torch.stack([rows[t] for t in steps], 1)


def _cast(op: Any, x: torch.Tensor) -> torch.Tensor:
    return x.to({DType.FLOAT: torch.float64, DType.INT: torch.int64, DType.BOOL: torch.bool}[op.dtype])


def _plain(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda op, *xs: f(*xs)


ORACLE: dict[str, Callable[..., Any]] = {
    **{
        name: _plain(f)
        for name, f in {
            "neg": torch.neg, "exp": torch.exp, "log": torch.log, "tanh": torch.tanh,
            "sigmoid": torch.sigmoid, "relu": torch.relu, "softplus": F.softplus,
            "sqrt": torch.sqrt, "abs": torch.abs, "sign": torch.sign,
            "floor": torch.floor, "erf": torch.erf, "sin": torch.sin, "cos": torch.cos,
            "logical_not": torch.logical_not, "stop_gradient": torch.clone,
            "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum,
            "minimum": torch.minimum, "less": torch.lt, "less_equal": torch.le, "equal": torch.eq,
            "logical_and": torch.logical_and, "logical_or": torch.logical_or, "where": torch.where,
            "mat_mul": torch.matmul,
        }.items()
    },
    "cast": _cast,
    "reshape": lambda op, x: x.reshape(op.shape),
    "transpose": lambda op, x: x.permute(op.permutation),
    "broadcast_to": lambda op, x: x.expand(op.shape),
    "slice": _slice,
    "pad": _pad,
    "concat": lambda op, *xs: torch.cat(xs, op.axis),
    "flip": lambda op, x: x.flip(op.axis),
    "gather": _gather,
    "take_along": _take_along,
    "scatter_add": _scatter_add,
    "scatter_along": _scatter_along,
    "iota": lambda op: torch.arange(op.shape[op.axis])
    .reshape([-1 if i == op.axis else 1 for i in range(len(op.shape))])
    .expand(op.shape),
    "one_hot": lambda op, i: F.one_hot(i, op.depth).to(torch.float64),
    "sum": _reduce(torch.sum),
    "max": _reduce(torch.amax),
    "log_sum_exp": _reduce(torch.logsumexp),
    "softmax": lambda op, x: torch.softmax(x, op.axis),
    "log_softmax": lambda op, x: torch.log_softmax(x, op.axis),
    "cum_sum": _cum_sum,
    "arg_max": lambda op, x: torch.as_tensor(x.argmax(op.axis, op.keepdims)),
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "conv_weight_grad": _conv_weight_grad,
    "max_pool": _max_pool,
    "max_pool_grad": _max_pool_grad,
    "avg_pool": _avg_pool,
    "scan": _scan,
}  # fmt: skip


def test_every_primitive_has_an_oracle_and_examples() -> None:
    assert set(ORACLE) == set(PRIMITIVES)
    assert not [name for name, cls in PRIMITIVES.items() if not cls.examples()]


@pytest.mark.parametrize("example", CASES)
@pytest.mark.filterwarnings("error")
def test_evaluate_agrees_with_torch(example: Example) -> None:
    found = example.op.evaluate(*example.inputs)
    tensors = [torch.as_tensor(np.array(x)) for x in example.inputs]
    wanted = ORACLE[example.op.name](example.op, *tensors)
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


# --- vjp ---


def pullback(
    op: Primitive, inputs: Sequence[np.ndarray], cotangents: Sequence[np.ndarray]
) -> list[np.ndarray | None]:
    """What the gradient rule gives, run by the interpreter."""
    g = Graph("vjp")
    b = Builder(g)
    values = [b.input(f"x{i}", type_of(x)) for i, x in enumerate(inputs)]
    outputs = b.emit_all(op, *values)
    cts = [b.input(f"ct{i}", v.type) if v.dtype is DType.FLOAT else None for i, v in enumerate(outputs)]
    grads = op.vjp(b, values, outputs, cts)
    assert len(grads) == len(inputs)
    for i, (x, grad) in enumerate(zip(values, grads, strict=True)):
        if grad is not None:
            assert grad.type == x.type
            g.outputs[str(i)] = grad
    feed = {f"x{i}": x for i, x in enumerate(inputs)} | {f"ct{i}": c for i, c in enumerate(cotangents)}
    found = interpret(g, {}, feed)
    return [found.get(str(i)) for i in range(len(inputs))]


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


# --- depend ---


def index_range(op: Any, inputs: Sequence[np.ndarray]) -> int | None:
    """How many values an index input of a primitive may take."""
    if op.name in ("gather", "take_along"):
        return int(inputs[0].shape[op.axis])
    if op.name in ("scatter_add", "scatter_along"):
        return int(op.size)
    if op.name == "max_pool_grad":
        return math.prod(op.spatial)
    return int(op.depth) if op.name == "one_hot" else None


class Trial:
    """Inputs of one primitive of which some elements are free and the rest is known."""

    def __init__(
        self, example: Example, fixed: Sequence[np.ndarray | None], known: Sequence[np.ndarray | None]
    ) -> None:
        self.op, self.inputs = example.op, example.inputs
        self.fixed = fixed  # per input: the whole constant, or None
        self.known = known  # per input: 0 or -inf where known, NaN elsewhere, or None
        self.free = [
            (i, at)
            for i, x in enumerate(self.inputs)
            if fixed[i] is None
            for at in np.ndindex(x.shape)
            if known[i] is None or np.isnan(known[i][at])  # type: ignore[index]
        ]

    def draw(self, rng: np.random.Generator, like: np.ndarray) -> np.ndarray:
        if like.dtype.kind == "b":
            return rng.random(like.shape) < 0.5
        if like.dtype.kind == "i":
            n = index_range(self.op, self.inputs)
            return rng.integers(-3, 4, like.shape) if n is None else rng.integers(0, n, like.shape)
        if self.op.name == "equal":
            return rng.integers(-1, 2, like.shape).astype(like.dtype)  # equal now and then
        low = 0.1 if self.op.name in ("log", "sqrt") else -3.0
        return rng.uniform(low, 3.0, like.shape)

    def base(self, rng: np.random.Generator) -> list[np.ndarray]:
        out = []
        for x, fixed, known in zip(self.inputs, self.fixed, self.known, strict=True):
            value = self.draw(rng, x) if fixed is None else fixed
            out.append(value if known is None else np.where(np.isnan(known), value, known))
        return out

    def abstract(self, domain: Domain) -> list[Abstract]:
        facts = [np.zeros((*x.shape, domain.words), domain.dtype) for x in self.inputs]
        for bit, (i, at) in enumerate(self.free):
            facts[i][(*at, bit // 64)] = np.uint64(1 << (bit % 64))
        out = []
        for x, fixed, known, f in zip(self.inputs, self.fixed, self.known, facts, strict=True):
            if fixed is not None:
                out.append(domain.constant(fixed))
            else:
                known = np.full(x.shape, np.nan) if known is None else known
                out.append(domain.make(x.shape, f, known == 0, np.isneginf(known)))
        return out

    def support(self, rounds: int) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
        """Which outputs change with each free element, and the outputs that were seen."""
        rng = np.random.default_rng(11)
        changed: list[np.ndarray] = []
        seen: list[list[np.ndarray]] = []
        for _ in range(rounds):
            inputs = self.base(rng)
            with np.errstate(all="ignore"):
                before = self.op.evaluate(*inputs)
            seen.append(list(before))
            if not changed:
                changed = [np.zeros((*y.shape, len(self.free)), bool) for y in before]
            for bit, (i, at) in enumerate(self.free):
                moved = inputs[i].copy()
                fresh = self.draw(rng, moved)
                moved[at] = not moved[at] if moved.dtype.kind == "b" else fresh[at]
                with np.errstate(all="ignore"):
                    after = self.op.evaluate(*inputs[:i], moved, *inputs[i + 1 :])
                for k, (p, q) in enumerate(zip(before, after, strict=True)):
                    changed[k][..., bit] |= (p != q) & ~((p != p) & (q != q))
        return changed, seen


def bits_of(x: Abstract, count: int) -> np.ndarray:
    words = np.ascontiguousarray(x.full()).astype("<u8").view(np.uint8)
    return np.unpackbits(words, axis=-1, bitorder="little")[..., :count].astype(bool)


#: Primitives that state what happens at a known minus infinity.
NEGINF = set(
    "exp sigmoid relu softplus softmax log_softmax log_sum_exp max maximum minimum arg_max max_pool "
    "stop_gradient floor reshape transpose broadcast_to slice pad concat flip gather take_along".split()
)


#: Primitives whose value often stays the same when an element changes: they are tried more often.
STEPS = set(
    "sign floor relu maximum minimum less less_equal equal max arg_max max_pool where one_hot cast".split()
)


def rounds(example: Example) -> int:
    if example.op.name in ("scan", "max_pool_grad"):
        return 3 if example.op.name == "scan" else 400
    return 150 if example.op.name in STEPS or any(x.dtype.kind != "f" for x in example.inputs) else 8


def trials(example: Example) -> Iterator[Trial]:
    """All inputs free; one of several constant; some elements known to be zero or minus infinity."""
    rng = np.random.default_rng(3)
    inputs = example.inputs
    nothing: list[np.ndarray | None] = [None] * len(inputs)
    yield Trial(example, nothing, nothing)
    for i, x in enumerate(inputs):
        if len(inputs) > 1:
            constant = (
                x * (rng.random(x.shape) < 0.6) if x.dtype.kind == "f" and example.op.name != "div" else x
            )
            if example.op.name in ("equal", "less", "less_equal"):
                constant = constant.astype(int).clip(-1, 1).astype(x.dtype)
            yield Trial(example, [constant if j == i else None for j in range(len(inputs))], nothing)
    floats = [x.dtype.kind == "f" and not (example.op.name == "div" and i) for i, x in enumerate(inputs)]
    for value in (0.0, -np.inf):
        if any(floats) and (value == 0 or example.op.name in NEGINF):
            known = [
                np.where(rng.random(x.shape) < 0.5, value, np.nan) if f else None
                for x, f in zip(inputs, floats, strict=True)
            ]
            yield Trial(example, nothing, known)
            mixed = [None if k is None else np.where(rng.random(k.shape) < 0.3, 0.0, k) for k in known]
            if value:
                yield Trial(example, nothing, mixed)


@pytest.mark.parametrize("example", CASES)
def test_dependence_is_exact(example: Example) -> None:
    for trial in trials(example):
        domain = bitsets(len(trial.free))
        changed, seen = trial.support(rounds(example))
        with np.errstate(all="raise"):
            results = example.op.depend(domain, *trial.abstract(domain))
        for k, (result, support) in enumerate(zip(results, changed, strict=True)):
            assert result.shape == support.shape[:-1]
            claimed = bits_of(result, len(trial.free))
            assert not (support & ~claimed).any(), "an element changed that was not said to depend"
            if not example.op.conservative:
                assert not (claimed & ~support).any(), "an element was said to depend and never changed"
            for outputs in seen:
                y = np.asarray(outputs[k])
                zeros = y[np.broadcast_to(result.zero, y.shape)]
                assert (
                    (zeros == 0) | np.isnan(zeros)
                ).all()  # softmax over nothing but minus infinity is NaN
                bottoms = y[np.broadcast_to(result.neginf, y.shape)]
                assert (np.isneginf(bottoms) | np.isnan(bottoms)).all()
                if result.constant is not None:
                    np.testing.assert_array_equal(outputs[k], result.constant)


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
    wanted = _conv(op, tx, tw)
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
