"""Every gradient rule on random shapes and attributes, against automatic differentiation in torch, float64.

A primitive may have a generator in `DRAWS`: from a random stream it draws one instance and its inputs, ties and axes of
length one among them. Of a primitive without one, examples are drawn. Case i of a primitive is the same in every run.
`GRADIENT_FUZZ=20 pytest ...` runs twenty times as many.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch_oracle import oracle, pullback

from mpcompile.ir import Array, Builder, DType, Graph, Primitive, Type, Value, float_type
from mpcompile.ops import PRIMITIVES, Add, Cast, MatMul, Mul, Reshape, Scan, Sin, Sum, Tanh

Rng = np.random.Generator
Case = tuple[Primitive, list[Array]]
Draw = Callable[[Rng], Case]

#: How many cases of each primitive, and of those with many attributes.
USUAL, LARGE = 30, {"conv": 1000, "conv_transpose": 300, "conv_weight_grad": 300, "max_pool": 200,
                    "avg_pool": 200, "max_pool_grad": 100, "scan": 60}  # fmt: skip
FACTOR = int(os.environ.get("GRADIENT_FUZZ", "1"))


# --- parts of a case ---


def many(rng: Rng, n: int, low: int, high: int) -> tuple[int, ...]:
    """n whole numbers of [low, high]."""
    return tuple(int(i) for i in rng.integers(low, high + 1, n))


def shape(rng: Rng, low: int = 0, high: int = 4) -> tuple[int, ...]:
    """A shape of `low` to `high` axes."""
    return many(rng, int(rng.integers(low, high + 1)), 1, 4)


def narrower(rng: Rng, to: Sequence[int], low: int = 0) -> tuple[int, ...]:
    """A shape, of at least `low` axes, that broadcasts to another one."""
    kept = to[int(rng.integers(0, len(to) - low + 1)) :]
    return tuple(1 if rng.random() < 0.3 else s for s in kept)


def normal(rng: Rng, size: Sequence[int]) -> Array:
    return rng.normal(size=tuple(size)) * 2


def tied(rng: Rng, size: Sequence[int]) -> Array:
    """Numbers that are equal to each other, or to zero, now and then."""
    x = normal(rng, size)
    return np.round(x) if rng.random() < 0.5 else x


def axis_of(rng: Rng, x: Array) -> int:
    return int(rng.integers(0, x.ndim))


def flag(rng: Rng) -> bool:
    return bool(rng.random() < 0.5)


def put(of: Sequence[int], axis: int, *sizes: int) -> tuple[int, ...]:
    """A shape with other axes in place of one."""
    return (*of[:axis], *sizes, *of[axis + 1 :])


def make(name: str, *attributes: Any) -> Primitive:
    """An instance of a primitive whose attributes only its own class knows."""
    return PRIMITIVES[name](*attributes)


# --- element by element ---


def unary(name: str, *attributes: Any, positive: bool = False) -> Draw:
    def draw(rng: Rng) -> Case:
        x = tied(rng, shape(rng))
        return make(name, *attributes), [np.abs(x) + 0.1 if positive else x]

    return draw


def binary(name: str) -> Draw:
    def draw(rng: Rng) -> Case:
        both = shape(rng)
        x, y = tied(rng, narrower(rng, both)), tied(rng, narrower(rng, both))
        if name == "div":
            y = np.where(y < 0, -1, 1) * (np.abs(y) + 0.2)
        return make(name), [x, y] if flag(rng) else [y, x] if name != "div" else [x, y]

    return draw


def where(rng: Rng) -> Case:
    all_of = shape(rng)
    condition = rng.random(narrower(rng, all_of)) < 0.5
    return make("where"), [condition, *(normal(rng, narrower(rng, all_of)) for _ in range(2))]


# --- structure ---


def reshape(rng: Rng) -> Case:
    x = normal(rng, shape(rng))
    new, left = [], x.size
    while left > 1:
        factor = int(rng.choice([d for d in range(1, left + 1) if left % d == 0]))
        new.append(factor)
        left //= factor
    return make("reshape", tuple(new)), [x]


def transpose(rng: Rng) -> Case:
    x = normal(rng, shape(rng, 1))
    return make("transpose", tuple(int(i) for i in rng.permutation(x.ndim))), [x]


def broadcast_to(rng: Rng) -> Case:
    to = shape(rng)
    return make("broadcast_to", to), [normal(rng, narrower(rng, to))]


def part(rng: Rng) -> Case:
    x = normal(rng, shape(rng, 1))
    axis = axis_of(rng, x)
    start = int(rng.integers(0, x.shape[axis]))
    stop = int(rng.integers(start + 1, x.shape[axis] + 1))
    return make("slice", axis, start, stop, int(rng.integers(1, 4))), [x]


def pad(rng: Rng) -> Case:
    x = normal(rng, shape(rng))
    value = float(rng.choice([0.0, 1.5, -np.inf]))
    return make("pad", many(rng, x.ndim, 0, 2), many(rng, x.ndim, 0, 2), value), [x]


def concat(rng: Rng) -> Case:
    x = normal(rng, shape(rng, 1))
    axis = axis_of(rng, x)
    return make("concat", axis), [
        normal(rng, put(x.shape, axis, n)) for n in many(rng, int(rng.integers(1, 5)), 1, 3)
    ]


def flip(rng: Rng) -> Case:
    x = normal(rng, shape(rng, 1))
    return make("flip", axis_of(rng, x)), [x]


# --- indexing ---


def gather(rng: Rng) -> Case:
    x = normal(rng, shape(rng, 1))
    axis = axis_of(rng, x)
    return make("gather", axis), [x, rng.integers(0, x.shape[axis], shape(rng, 0, 2))]


def scatter_add(rng: Rng) -> Case:
    whole = shape(rng, 1, 3)
    axis, at = int(rng.integers(0, len(whole))), shape(rng, 0, 2)
    updates = normal(rng, put(whole, axis, *at))
    return make("scatter_add", axis, whole[axis]), [updates, rng.integers(0, whole[axis], at)]


def along(name: str) -> Draw:
    """`take_along` and `scatter_along`: the axes that are not written or read along broadcast."""

    def draw(rng: Rng) -> Case:
        both = shape(rng, 1)
        axis, size = int(rng.integers(0, len(both))), int(rng.integers(1, 5))
        x, index = narrower(rng, both, len(both)), narrower(rng, both, len(both))
        if name == "take_along":
            return make(name, axis), [normal(rng, put(x, axis, size)), rng.integers(0, size, index)]
        index = put(index, axis, both[axis])  # each update has its own place
        return make(name, axis, size), [normal(rng, x), rng.integers(0, size, index)]

    return draw


def slice_at(rng: Rng) -> Case:
    x = normal(rng, shape(rng, 1))
    axis = axis_of(rng, x)
    size = int(rng.integers(1, x.shape[axis] + 1))
    return make("slice_at", axis, size), [x, np.asarray(rng.integers(0, x.shape[axis] - size + 1))]


def update_at(rng: Rng) -> Case:
    op, (x, start) = slice_at(rng)
    axis, size = op.attributes()["axis"], op.attributes()["size"]
    return make("update_at", axis), [x, normal(rng, put(x.shape, axis, size)), start]


# --- reduction ---


def some_minus_infinity(rng: Rng, x: Array, axes: tuple[int, ...]) -> Array:
    """Some elements minus infinity, but never all along the axes."""
    if not axes:
        return x
    below = x < x.max(axes, keepdims=True)
    return np.where(below & (rng.random(x.shape) < 0.3), -np.inf, x)


def reduction(name: str) -> Draw:
    def draw(rng: Rng) -> Case:
        x = tied(rng, shape(rng))
        axes = tuple(int(i) for i in rng.permutation(x.ndim)[: rng.integers(0, x.ndim + 1)])
        if name == "log_sum_exp" and flag(rng):
            x = some_minus_infinity(rng, x, axes)
        return make(name, axes, flag(rng)), [x]

    return draw


def normalisation(name: str) -> Draw:
    def draw(rng: Rng) -> Case:
        x = normal(rng, shape(rng, 1))
        axis = axis_of(rng, x)
        return make(name, axis), [some_minus_infinity(rng, x, (axis,)) if flag(rng) else x]

    return draw


def cum_sum(rng: Rng) -> Case:
    x = normal(rng, shape(rng, 1))
    return make("cum_sum", axis_of(rng, x), flag(rng), flag(rng)), [x]


# --- products, convolution, pooling ---


def mat_mul(rng: Rng) -> Case:
    lead, (i, k, j) = shape(rng, 0, 2), many(rng, 3, 1, 4)
    x, y = ((*narrower(rng, lead), *last) for last in ((i, k), (k, j)))
    return make("mat_mul"), [normal(rng, x), normal(rng, y)]


def matrix(name: str) -> Draw:
    """A square one, far from singular."""

    def draw(rng: Rng) -> Case:
        size = int(rng.integers(1, 6))
        w = normal(rng, (size, size)) + 3 * np.eye(size)[rng.permutation(size)]
        return make(name), [w]

    return draw


Pairs = tuple[tuple[int, int], ...]


def convolution(rng: Rng) -> tuple[tuple[Any, ...], Array, Array]:
    """Stride, padding, dilation and groups of a convolution, one of four depthwise, its input and its kernel."""
    n = int(rng.integers(1, 4))
    groups = int(rng.integers(1, 4))
    each, out = (1, int(rng.integers(1, 3))) if rng.random() < 0.25 else many(rng, 2, 1, 3)
    kernel, stride = many(rng, n, 1, 4 if n < 3 else 3), many(rng, n, 1, 3)
    dilation = many(rng, n, 1, 3 if n < 3 else 2)
    padding: Pairs = tuple(zip(many(rng, n, 0, 3), many(rng, n, 0, 3), strict=True))
    spatial = tuple(
        max(1, d * (k - 1) + 1 - lo - hi) + more
        for d, k, (lo, hi), more in zip(
            dilation, kernel, padding, many(rng, n, 0, 4 if n < 3 else 2), strict=True
        )
    )
    x = normal(rng, (int(rng.integers(1, 4)), groups * each, *spatial))
    return (stride, padding, dilation, groups), x, normal(rng, (groups * out, each, *kernel))


def conv(rng: Rng) -> Case:
    attributes, x, w = convolution(rng)
    return make("conv", *attributes), [x, w]


def conv_weight_grad(rng: Rng) -> Case:
    attributes, x, w = convolution(rng)
    (y,) = make("conv", *attributes).evaluate(x, w)
    return make("conv_weight_grad", *attributes, w.shape[2:]), [x, normal(rng, y.shape)]


def conv_transpose(rng: Rng) -> Case:
    """Not only those that are the adjoint of some convolution above: any output padding below the stride."""
    (stride, padding, dilation, groups), x, w = convolution(rng)
    extra = tuple(int(rng.integers(0, s)) for s in stride)
    sizes = [
        (d * (k - 1) + e, lo, hi)
        for d, k, e, (lo, hi) in zip(dilation, w.shape[2:], extra, padding, strict=True)
    ]
    spatial = [  # so many that at least one element is left when the padding is cut off
        math.ceil(max(0, lo + hi - reach) / t) + 1 + int(rng.integers(0, 3))
        for (reach, lo, hi), t in zip(sizes, stride, strict=True)
    ]
    x = normal(rng, (x.shape[0], w.shape[0], *spatial))
    return make("conv_transpose", stride, padding, dilation, groups, extra), [x, w]


def pool(name: str) -> Draw:
    def draw(rng: Rng) -> Case:
        n = int(rng.integers(1, 4))
        kernel, stride = many(rng, n, 1, 4 if n < 3 else 2), many(rng, n, 1, 3)
        padding = tuple((int(rng.integers(0, k)), int(rng.integers(0, k))) for k in kernel)
        spatial = tuple(
            max(1, k - lo - hi) + more
            for k, (lo, hi), more in zip(kernel, padding, many(rng, n, 0, 4), strict=True)
        )
        counted = (flag(rng),) if name == "avg_pool" else ()
        return make(name, kernel, stride, padding, *counted), [tied(rng, (*many(rng, 2, 1, 3), *spatial))]

    return draw


def max_pool_grad(rng: Rng) -> Case:
    """Any positions, also those that no pooling would give."""
    spatial, lead = shape(rng, 1, 3), many(rng, 2, 1, 3)
    dy = normal(rng, (*lead, *many(rng, len(spatial), 1, 4)))
    return make("max_pool_grad", spatial), [dy, rng.integers(0, math.prod(spatial), dy.shape)]


# --- loops ---


def scan(rng: Rng) -> Case:
    """A random body over a matrix and a scalar as carries, scanned and captured values, and the step."""
    axis, scanned, length = int(rng.integers(0, 2)), int(rng.integers(0, 3)), int(rng.integers(1, 5))
    n, d = many(rng, 2, 1, 3)
    g = Graph("random")
    b = Builder(g)
    h, s = b.input("h", float_type(n, d)), b.input("s", float_type())
    pool = [h, *(b.input(f"x{i}", float_type(n, d)) for i in range(scanned))]
    w, bias = b.input("w", float_type(d, d)), b.input("bias", float_type(d))
    b.input("unused", float_type(2))
    step = b.emit(Cast(DType.FLOAT), b.input("step", Type(DType.INT, ())))

    def pick() -> Value:
        return pool[int(rng.integers(0, len(pool)))]

    for _ in range(int(rng.integers(1, 7))):
        pool.append(
            [
                lambda: b.emit(Tanh(), b.emit(MatMul(), pick(), w)),
                lambda: b.emit(Add(), pick(), bias),
                lambda: b.emit(Mul(), pick(), pick()),
                lambda: b.emit(Mul(), pick(), b.emit(Sin(), s)),
                lambda: b.emit(Add(), pick(), b.emit(Mul(), step, b.constant(0.3))),
            ][int(rng.integers(0, 5))]()
        )
    g.outputs["h"] = b.emit(Tanh(), pick())
    g.outputs["s"] = b.emit(Sin(), b.emit(Add(), s, b.emit(Sum((0, 1)), pick())))
    for i in range(int(rng.integers(0, 3))):
        y = pick()
        g.outputs[f"y{i}"] = b.emit(Reshape((n * d,)), y) if flag(rng) else y
    xs = [normal(rng, (length, n, d) if axis == 0 else (n, length, d)) for _ in range(scanned)]
    captured = [normal(rng, (d, d)), normal(rng, (d,)), normal(rng, (2,))]
    op = Scan(g, carries=2, axis=axis, reverse=flag(rng), scanned=scanned, length=None if xs else length)
    return op, [normal(rng, (n, d)), normal(rng, ()), *xs, *captured]


DRAWS: dict[str, Draw] = {
    **{n: unary(n) for n in "neg exp tanh sigmoid relu softplus abs sign floor erf sin cos".split()},
    **{n: unary(n, positive=True) for n in ("log", "sqrt")},
    "cast": unary("cast", DType.FLOAT),
    **{n: binary(n) for n in "add sub mul div maximum minimum".split()},
    "where": where,
    "reshape": reshape, "transpose": transpose, "broadcast_to": broadcast_to, "slice": part, "pad": pad,
    "concat": concat, "flip": flip,
    "gather": gather, "take_along": along("take_along"),
    "scatter_add": scatter_add, "scatter_along": along("scatter_along"),
    "slice_at": slice_at, "update_at": update_at,
    **{n: reduction(n) for n in ("sum", "max", "log_sum_exp")},
    **{n: normalisation(n) for n in ("softmax", "log_softmax")},
    "cum_sum": cum_sum,
    "mat_mul": mat_mul,
    **{n: matrix(n) for n in ("inverse", "log_abs_det")},
    "conv": conv, "conv_transpose": conv_transpose, "conv_weight_grad": conv_weight_grad,
    "max_pool": pool("max_pool"), "max_pool_grad": max_pool_grad, "avg_pool": pool("avg_pool"),
    "scan": scan,
}  # fmt: skip


# --- the laws ---


DIFFERENTIABLE = [n for n, cls in PRIMITIVES.items() if any(e.differentiable for e in cls.examples())]


def of_examples(name: str) -> Draw:
    """What is drawn of a primitive without a row: one of its examples, its floats shuffled and stretched."""

    def draw(rng: Rng) -> Case:
        examples = [e for e in PRIMITIVES[name].examples() if e.differentiable]
        chosen = examples[int(rng.integers(0, len(examples)))]
        inputs = [
            rng.permutation(np.ravel(x)).reshape(x.shape) * rng.uniform(0.5, 1.5)
            if x.dtype.kind == "f"
            else x
            for x in chosen.inputs
        ]
        return chosen.op, inputs

    return draw


def test_rows_are_of_differentiable_primitives() -> None:
    assert set(DRAWS) <= set(DIFFERENTIABLE)


@pytest.mark.parametrize("name", sorted(set(PRIMITIVES) - set(DIFFERENTIABLE)))
def test_nothing_flows_through_the_others(name: str) -> None:
    for example in PRIMITIVES[name].examples():
        cotangents = [np.ones(np.shape(y)) for y in example.op.evaluate(*example.inputs)]
        assert all(g is None for g in pullback(example.op, example.inputs, cotangents))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.filterwarnings("error")
def test_gradients_are_those_of_torch(name: str) -> None:
    for i in range(LARGE.get(name, USUAL) * FACTOR):
        rng = np.random.default_rng((zlib.crc32(name.encode()), i))
        op, inputs = DRAWS.get(name, of_examples(name))(rng)
        where = f"case {i}: {op} of {[x.shape for x in inputs]}"
        leaves = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
        made = oracle(op)(op, *leaves)
        made = made if isinstance(made, tuple) else (made,)
        cotangents: list[Array | None] = [rng.normal(size=y.shape) for y in made]
        if len(made) > 1 and flag(rng):
            cotangents[0] = None  # the first result is not used
        pairs = [
            (y, torch.tensor(c))
            for y, c in zip(made, cotangents, strict=True)
            if c is not None and y.requires_grad
        ]
        wanted: dict[int, torch.Tensor] = {}
        places = [k for k, x in enumerate(leaves) if x.requires_grad]
        if pairs:
            ys, cs = zip(*pairs, strict=True)
            found = torch.autograd.grad(ys, [leaves[k] for k in places], cs, allow_unused=True)
            wanted = {k: g for k, g in zip(places, found, strict=True) if g is not None}
        for k, got in enumerate(pullback(op, inputs, cotangents)):
            if k not in places:
                assert got is None, where
                continue
            want = wanted[k].numpy() if k in wanted else np.zeros(inputs[k].shape)
            got = np.zeros_like(want) if got is None else got
            scale = max(1.0, float(np.abs(want).max(initial=0)))
            np.testing.assert_allclose(
                got, want, rtol=1e-9, atol=1e-11 * scale, err_msg=f"{where}, input {k}"
            )
