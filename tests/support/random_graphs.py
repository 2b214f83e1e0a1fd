"""Small random graphs over all primitives, for laws that hold of every graph.

A graph has one input `x` of a batch of one; every value it makes is an output, so that each operation is checked and
not only the last. Weights are positive and random. In a *smooth* graph every dependence shows in the values:
operations that can cancel (differences, normalisations, softmax) are fed with, and followed by, elementwise products
with fresh weights, arguments stay in the range where functions are not flat, and nothing chooses between its operands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from mpcompile import ops
from mpcompile.analysis.dependence import interpret
from mpcompile.interpret import interpret as evaluate
from mpcompile.ir import Builder, DType, Graph, Parameter, Primitive, Type, Value, bitsets, float_type

#: The largest value that is made.
MOST = 30


@dataclass
class Draft:
    """A graph in the making, with the weights that its parameters stand for."""

    b: Builder
    rng: np.random.Generator
    pool: list[Value] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pick(self, rank: int = 0) -> Value:
        """A value made before, with at least `rank` axes."""
        return self.deepen(self.pool[self.number(0, len(self.pool) - 1)], rank)

    def deepen(self, v: Value, rank: int) -> Value:
        extra = rank - len(v.shape)
        return self.emit(ops.Reshape((1,) * extra + v.shape), v) if extra > 0 else v

    def axis(self, v: Value, least: int = 1) -> int | None:
        """An axis of some length, where there is one."""
        fit = [a for a, s in enumerate(v.shape) if s >= least]
        return fit[self.number(0, len(fit) - 1)] if fit else None

    def emit(self, op: Primitive, *inputs: Value) -> Value:
        return self.b.emit(op, *inputs)

    def weight(self, *shape: int, low: float = 0.3, high: float = 0.9) -> Value:
        name = f"w{len(self.weights)}"
        self.weights[name] = self.rng.uniform(low, high, shape)
        return self.emit(Parameter(name, float_type(*shape)))

    def mask(self, *shape: int, share: float = 0.6) -> np.ndarray:
        return self.rng.random(shape) < share

    def masked(self, *shape: int, share: float = 0.6, scale: float = 1.0) -> Value:
        """A weight times a mask of zeros and ones."""
        keep = self.b.constant(self.mask(*shape, share=share).astype(float) * scale)
        return self.emit(ops.Mul(), self.weight(*shape), keep)

    def stir(self, v: Value) -> Value:
        """The value times a weight of its own for each element, so that nothing that follows cancels."""
        return self.emit(ops.Mul(), v, self.weight(*v.shape))

    def scaled(self, v: Value, factor: float) -> Value:
        return self.emit(ops.Mul(), v, self.b.constant(factor))


Step = Callable[[Draft], Value | None]


#: `AllSum` is the identity where one process runs.
UNARY = (
    ops.Tanh, ops.Sigmoid, ops.Softplus, ops.Neg, ops.Erf, ops.Sin, ops.Cos, ops.StopGradient, ops.AllSum,
)  # fmt: skip


def unary(d: Draft) -> Value:
    op = UNARY[d.number(0, len(UNARY) - 1)]
    return d.emit(op(), d.stir(d.pick()))


def positive(d: Draft) -> Value:
    """Functions of positive numbers: exp and log, sqrt."""
    v = d.emit(ops.Sigmoid(), d.stir(d.pick()))
    return d.emit([ops.Exp, ops.Log, ops.Sqrt][d.number(0, 2)](), v)


def binary(d: Draft) -> Value | None:
    u, v = d.pick(), d.pick()
    try:
        shape = np.broadcast_shapes(u.shape, v.shape)
    except ValueError:
        return None
    if math.prod(shape) > MOST:
        return None
    u, v = d.stir(u), d.stir(v)
    kind = d.number(0, 3)
    if kind == 3:
        below = d.emit(ops.Add(), d.emit(ops.Softplus(), v), d.b.constant(0.7))
        return d.emit(ops.Div(), u, below)
    return d.emit([ops.Add, ops.Sub, ops.Mul][kind](), u, v)


def dense(d: Draft) -> Value:
    v = d.pick(2)
    units = d.number(1, 4)
    return d.emit(ops.MatMul(), v, d.masked(v.shape[-1], units))


def product(d: Draft) -> Value:
    """Both sides of a matrix product depend on the input."""
    v = d.pick(2)
    u = d.emit(ops.MatMul(), v, d.masked(v.shape[-1], v.shape[-2], share=0.8))
    return d.emit(ops.MatMul(), u, d.stir(v))


def matrix(d: Draft) -> Value | None:
    """The inverse or the determinant of two rows; no element of the matrix is zero, nor one of its inverse."""
    v = d.pick(1)
    if math.prod(v.shape) < 4:
        return None
    flat = d.emit(ops.Slice(0, 0, 4), d.emit(ops.Reshape((math.prod(v.shape),)), v))
    positive = d.emit(ops.Reshape((2, 2)), d.emit(ops.Sigmoid(), d.stir(flat)))
    made = d.emit(
        [ops.Inverse, ops.LogAbsDet][d.number(0, 1)](),
        d.emit(ops.Add(), positive, d.b.constant(2 * np.eye(2))),
    )
    return d.emit(ops.Reshape((1, math.prod(made.shape))), d.stir(made))


def attention(d: Draft) -> Value:
    v = d.pick(2)
    time, width = v.shape[-2:]
    q, k, value = (d.emit(ops.MatMul(), v, d.weight(width, 2)) for _ in range(3))
    flipped = d.emit(ops.Transpose((*range(len(k.shape) - 2), len(k.shape) - 1, len(k.shape) - 2)), k)
    scores = d.stir(d.emit(ops.MatMul(), q, flipped))
    see = d.mask(time, time, share=0.4) | np.eye(time, dtype=bool)
    hidden = d.emit(ops.Where(), d.b.constant(see), scores, d.b.constant(float("-inf")))
    return d.emit(ops.MatMul(), d.emit(ops.Softmax(len(scores.shape) - 1), hidden), value)


def causal(d: Draft) -> Value:
    """A mask that the graph computes: row <= column, from positions."""
    v = d.pick(2)
    size = (v.shape[-1], v.shape[-1])
    row, column = d.emit(ops.Iota(size, 0)), d.emit(ops.Iota(size, 1))
    keep = d.emit(ops.LessEqual(), row, column)
    kind = d.number(0, 3)
    if kind == 1:
        keep = d.emit(ops.LogicalNot(), d.emit(ops.Less(), row, column))
    elif kind == 2:
        keep = d.emit(ops.LogicalAnd(), keep, d.emit(ops.LogicalNot(), d.emit(ops.Equal(), row, column)))
    elif kind == 3:
        keep = d.emit(ops.LogicalOr(), keep, d.b.constant(d.mask(*size, share=0.2)))
    weight = d.emit(ops.Mul(), d.weight(*size), d.emit(ops.Cast(DType.FLOAT), keep))
    return d.emit(ops.MatMul(), v, weight)


def spatial(d: Draft) -> Value:
    """A value as a map [1, channels, *space]."""
    v = d.pick()
    size = math.prod(v.shape)
    channels = max(c for c in (1, 2, 3) if size % c == 0)
    space = (size // channels,)
    if size // channels % 2 == 0 and d.number(0, 1):
        space = (2, size // channels // 2)
    return d.emit(ops.Reshape((1, channels, *space)), v)


def windows(d: Draft, v: Value) -> tuple[tuple[int, ...], ...]:
    """kernel, stride, dilation, and padding that lets at least one window fit."""
    n = len(v.shape) - 2
    kernel, stride, dilation = (tuple(d.number(1, 2 + (i == 0)) for _ in range(n)) for i in range(3))
    dilation = tuple(min(x, 2) for x in dilation)
    reach = [t * (k - 1) + 1 for t, k in zip(dilation, kernel, strict=True)]
    low = tuple(d.number(0, 2) for _ in range(n))
    pads = tuple(
        (lo, max(0, r - s - lo) + d.number(0, 1)) for lo, r, s in zip(low, reach, v.shape[2:], strict=True)
    )
    return kernel, stride, dilation, pads  # type: ignore[return-value]


def groups_of(d: Draft, channels: int) -> int:
    return channels if channels > 1 and d.number(0, 2) == 0 else 1


def conv(d: Draft) -> Value:
    v = spatial(d)
    kernel, stride, dilation, pads = windows(d, v)
    groups = groups_of(d, v.shape[1])
    w = d.masked(groups * d.number(1, 2), v.shape[1] // groups, *kernel, share=0.7)
    return d.emit(ops.Conv(stride, pads, dilation, groups), v, w)  # type: ignore[arg-type]


def conv_transpose(d: Draft) -> Value | None:
    v = spatial(d)
    n = len(v.shape) - 2
    kernel, stride = (tuple(d.number(1, 2) for _ in range(n)) for _ in range(2))
    w = d.masked(v.shape[1], 2, *kernel, share=0.7)
    op = ops.ConvTranspose(stride, ((0, 0),) * n, (1,) * n, 1, (0,) * n)
    return d.emit(op, v, w)


def conv_weight_grad(d: Draft) -> Value:
    v = spatial(d)
    n = len(v.shape) - 2
    kernel = tuple(min(2, s) for s in v.shape[2:])
    op = ops.Conv((1,) * n, ((0, 0),) * n, (1,) * n, 1)
    y = d.emit(ops.Sigmoid(), d.emit(op, v, d.masked(2, v.shape[1], *kernel, share=0.7)))
    grad = ops.ConvWeightGrad((1,) * n, ((0, 0),) * n, (1,) * n, 1, kernel)
    return d.scaled(d.emit(grad, v, d.emit(ops.Mul(), y, d.b.constant(d.mask(*y.shape).astype(float)))), 0.4)


def avg_pool(d: Draft) -> Value:
    v = spatial(d)
    n = len(v.shape) - 2
    kernel = tuple(min(2, s) for s in v.shape[2:])
    pads = tuple((k - 1, 0) if d.number(0, 1) else (0, k - 1) for k in kernel)
    return d.emit(ops.AvgPool(kernel, (d.number(1, 2),) * n, pads, bool(d.number(0, 1))), v)


def move(d: Draft) -> Value | None:
    """Elements elsewhere: transpose, flip, reshape, slice, pad, broadcast."""
    v = d.pick(1)
    rank, kind = len(v.shape), d.number(0, 5)
    axis = d.number(0, rank - 1)
    size = v.shape[axis]
    if kind == 0:
        return d.emit(ops.Transpose(tuple(int(a) for a in d.rng.permutation(rank))), v)
    if kind == 1:
        return d.emit(ops.Flip(axis), v)
    if kind == 2:
        total = math.prod(v.shape)
        first = max(f for f in (1, 2, 3) if total % f == 0)
        return d.emit(ops.Reshape((total // first, first)), v)
    if kind == 3:
        start = d.number(0, size - 1)
        return d.emit(ops.Slice(axis, start, d.number(start + 1, size), d.number(1, 2)), v)
    if kind == 4:
        before, after = (tuple(d.number(0, 1) for _ in range(rank)) for _ in range(2))
        grown = math.prod(s + lo + hi for s, lo, hi in zip(v.shape, before, after, strict=True))
        return d.emit(ops.Pad(before, after, float(d.number(0, 1))), v) if grown <= MOST else None
    return d.emit(ops.BroadcastTo((2, *v.shape)), v) if 2 * math.prod(v.shape) <= MOST else None


def concat(d: Draft) -> Value | None:
    v = d.pick(1)
    axis = d.number(0, len(v.shape) - 1)
    others = [
        u
        for u in d.pool
        if len(u.shape) == len(v.shape)
        and all(a == axis or p == q for a, (p, q) in enumerate(zip(u.shape, v.shape, strict=True)))
    ]
    other = others[d.number(0, len(others) - 1)] if others else v
    if math.prod(v.shape) + math.prod(other.shape) > MOST:
        return None
    return d.emit(ops.Concat(axis), v, other)


def where(d: Draft) -> Value:
    v = d.stir(d.pick())
    other = d.emit(ops.Tanh(), d.stir(v)) if d.number(0, 1) else d.b.constant(float(d.number(0, 1)))
    return d.emit(ops.Where(), d.b.constant(d.mask(*v.shape)), v, other)


def masking(d: Draft) -> Value:
    v = d.pick()
    return d.emit(ops.Mul(), v, d.b.constant(d.mask(*v.shape).astype(float)))


def candidates(d: Draft, v: Value, axis: int) -> Value:
    """Some elements at minus infinity, never all along the axis."""
    keep = d.mask(*v.shape)
    keep[(*(slice(None),) * axis, 0)] = True
    return d.emit(ops.Where(), d.b.constant(keep), v, d.b.constant(float("-inf")))


def softmax(d: Draft) -> Value | None:
    v = d.pick(1)
    axis = d.axis(v)
    v = d.stir(v)
    if d.number(0, 1):
        return d.stir(d.emit(ops.Softmax(axis), candidates(d, v, axis)))
    return d.stir(d.emit(ops.Exp(), d.emit(ops.LogSoftmax(axis), candidates(d, v, axis))))


def sums(d: Draft) -> Value | None:
    v = d.pick(1)
    axis = d.axis(v)
    v = d.stir(v)
    kind = d.number(0, 2)
    if kind == 0:
        return d.scaled(d.emit(ops.Sum((axis,), bool(d.number(0, 1))), v), 1.0 / v.shape[axis])
    if kind == 1:
        return d.emit(ops.LogSumExp((axis,), bool(d.number(0, 1))), candidates(d, v, axis))
    total = d.emit(ops.CumSum(axis, bool(d.number(0, 1)), bool(d.number(0, 1))), v)
    return d.scaled(total, 1.0 / v.shape[axis])


def norm(d: Draft) -> Value | None:
    """Centred and scaled over one axis, as layer normalisation; one element would only cancel itself."""
    v = d.pick(1)
    axis = d.axis(v, 2)
    if axis is None:
        return None
    v = d.stir(v)
    share = d.b.constant(1.0 / v.shape[axis])
    mean = d.emit(ops.Mul(), d.emit(ops.Sum((axis,), True), v), share)
    centred = d.emit(ops.Sub(), v, mean)
    variance = d.emit(ops.Mul(), d.emit(ops.Sum((axis,), True), d.emit(ops.Mul(), centred, centred)), share)
    spread = d.emit(ops.Sqrt(), d.emit(ops.Add(), variance, d.b.constant(0.5)))
    return d.emit(ops.Add(), d.stir(d.emit(ops.Div(), centred, spread)), d.weight(*v.shape))


def pick_elements(d: Draft) -> Value | None:
    """Elements at fixed indices, and their sums back."""
    v = d.pick(1)
    axis, kind = d.number(0, len(v.shape) - 1), d.number(0, 3)
    size = v.shape[axis]
    if kind == 0:
        at = d.rng.integers(0, size, d.number(1, 3))
        return d.emit(ops.Gather(axis), v, d.b.constant(at))
    if kind == 1:
        return d.emit(ops.TakeAlong(axis), v, d.b.constant(d.rng.integers(0, size, v.shape)))
    v = d.stir(v)
    if kind == 2:
        return d.emit(ops.ScatterAdd(axis, size + 1), v, d.b.constant(d.rng.integers(0, size + 1, size)))
    return d.emit(ops.ScatterAlong(axis, size + 1), v, d.b.constant(d.rng.integers(0, size + 1, v.shape)))


def stretch(d: Draft) -> Value:
    """A stretch of an axis at a fixed place, read and written over."""
    v = d.pick(1)
    axis = d.number(0, len(v.shape) - 1)
    size = d.number(1, v.shape[axis])
    starts = [d.b.constant(d.number(0, v.shape[axis] - size)) for _ in range(2)]
    part = d.emit(ops.SliceAt(axis, size), v, starts[0])
    return d.emit(ops.UpdateAt(axis), v, d.stir(part), starts[1]) if d.number(0, 1) else part


def encode(d: Draft) -> Value | None:
    """Rows chosen by one-hot vectors of fixed categories."""
    v = d.pick(2)
    size = v.shape[-2]
    rows = d.emit(ops.OneHot(size), d.b.constant(d.rng.integers(0, size, 3)))
    return d.emit(ops.MatMul(), rows, v)


def scan(d: Draft) -> Value:
    """h' = tanh(h (w m) + x_t), y = h s x_t over the first of two axes, forwards or backwards, or over layers."""
    v = d.pick()
    size = math.prod(v.shape)
    width = max(w for w in (1, 2, 3) if size % w == 0)
    xs = d.emit(ops.Reshape((size // width, width)), v)
    g = Graph("body")
    b = Builder(g)
    h, x = b.input("h", float_type(width)), b.input("x", float_type(width))
    w, s = b.input("w", float_type(width, width)), b.input("s", float_type(width))
    b.input("step", Type(DType.INT, ()))
    mixed = b.emit(ops.Reshape((width,)), b.emit(ops.MatMul(), b.emit(ops.Reshape((1, width)), h), w))
    g.outputs["h"] = b.emit(ops.Tanh(), b.emit(ops.Add(), mixed, x))
    g.outputs["y"] = b.emit(ops.Mul(), h, b.emit(ops.Mul(), s, x))
    start = d.b.constant(np.zeros(width)) if d.number(0, 1) else d.weight(width)
    reverse = bool(d.number(0, 1))
    kind = ops.Scan if reverse or d.number(0, 1) else ops.Repeat
    op = kind(g, carries=1, axis=0, reverse=reverse, scanned=1)
    last, ys = d.b.emit_all(op, start, d.stir(xs), d.masked(width, width), d.weight(width))
    d.pool.append(ys)
    return last


def choose(d: Draft) -> Value | None:
    """Operations that choose or round: what they depend on need not show."""
    v = d.stir(d.pick(1))
    kind = d.number(0, 8)
    axis = d.number(0, len(v.shape) - 1)
    if kind in (0, 8):
        return d.emit([ops.Relu, ops.Abs, ops.Sign, ops.Floor][d.number(0, 3)](), v)
    if kind == 1:
        return d.emit([ops.Maximum, ops.Minimum][d.number(0, 1)](), v, d.stir(v))
    if kind == 2:
        return d.emit(ops.Max((axis,), bool(d.number(0, 1))), v)
    if kind == 3:
        best = d.emit(ops.ArgMax(axis, True), v)
        return d.emit(ops.TakeAlong(axis), d.pool[-1] if d.pool[-1].shape == v.shape else v, best)
    if kind == 4:
        w = spatial(d)
        n = len(w.shape) - 2
        best, place = d.b.emit_all(
            ops.MaxPool((1,) * (n - 1) + (2,), (1,) * n, ((0, 0),) * (n - 1) + ((1, 0),)), w
        )
        return d.emit(ops.MaxPoolGrad(w.shape[2:]), best, place)
    if kind == 5:
        less = d.emit(ops.Less(), v, d.emit(ops.Tanh(), d.stir(v)))
        return d.emit(ops.Where(), less, v, d.stir(v))
    if kind == 6:
        return d.emit(ops.Sub(), v, v)
    whole = d.emit(ops.Cast(DType.INT), d.scaled(v, 5.0))
    if d.number(0, 1):
        whole = d.emit(ops.Modulo(d.number(2, 4)), whole)
    return d.emit(ops.Cast(DType.FLOAT), whole)


SMOOTH: tuple[Step, ...] = (
    unary, positive, binary, binary, dense, product, matrix, attention, causal, conv, conv, conv_transpose,
    conv_weight_grad, avg_pool, move, move, concat, where, masking, softmax, sums, sums, norm, pick_elements,
    stretch, encode, scan,
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    graph: Graph
    weights: dict[str, np.ndarray]
    shape: tuple[int, ...]


@st.composite
def graphs(draw: st.DrawFn, *, smooth: bool = True) -> Sample:
    """A graph of two to six steps."""
    graph = Graph("random")
    shape = draw(st.sampled_from([(1, 5), (1, 2, 3), (1, 3, 2), (1, 2, 1, 3), (1, 1, 2, 2)]))
    d = Draft(Builder(graph), np.random.default_rng(draw(st.integers(0, 2**20))))
    d.pool.append(d.b.input("x", float_type(*shape)))
    steps = (*SMOOTH, *(choose,) * (0 if smooth else 16))
    for step in draw(st.lists(st.sampled_from(steps), min_size=2, max_size=6)):
        made = step(d)
        if made is not None and 0 < math.prod(made.shape) <= MOST and len(made.shape) <= 5:
            d.pool.append(made)
    for i, value in enumerate(d.pool):
        graph.outputs[f"y{i}"] = value
    return Sample(graph, d.weights, shape)


def jacobian(sample: Sample, points: int) -> dict[str, np.ndarray]:
    """Bool [*shape, elements] of each output: what changes with each element of x, at any of some points."""
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    size = int(np.prod(sample.shape))
    for _ in range(points):
        x = rng.uniform(-1.5, 1.5, sample.shape)
        with np.errstate(all="ignore"):
            before = evaluate(sample.graph, sample.weights, {"x": x})
            for name, y in before.items():
                found.setdefault(name, np.zeros((*y.shape, size), bool))
            for j in range(size):
                moved = x.copy()
                moved.flat[j] = rng.uniform(-1.5, 1.5)
                for name, y in evaluate(sample.graph, sample.weights, {"x": moved}).items():
                    found[name][..., j] |= (y != before[name]) & ~(np.isnan(y) & np.isnan(before[name]))
    return found


def derived(sample: Sample) -> dict[str, np.ndarray]:
    """The same from the structure."""
    size = int(np.prod(sample.shape))
    domain = bitsets(size)
    seed = np.zeros((size, domain.words), np.uint64)
    seed[:, 0] = np.uint64(1) << np.arange(size, dtype=np.uint64)
    memory = interpret(sample.graph, domain, {"x": seed.reshape(*sample.shape, -1)}, {})
    full = {name: np.ascontiguousarray(memory[v].full()) for name, v in sample.graph.outputs.items()}
    return {
        name: np.unpackbits(f.view(np.uint8), axis=-1, bitorder="little")[..., :size].astype(bool)
        for name, f in full.items()
    }
