"""The laws of traits, swept over every primitive and every example: each answer is held to numbers.

`mpcompile/ops/traits.py` is the page of them. Where a primitive answers, `evaluate` must bear it out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from mpcompile.ir import (
    Array,
    Constant,
    Example,
    Falls,
    Growth,
    Input,
    Parameter,
    Positivity,
    Primitive,
    Type,
    TypeMismatch,
    Work,
    bitsets,
    float_type,
)
from mpcompile.ops import PRIMITIVES, Sub
from mpcompile.ops._base import type_of
from mpcompile.ops.reduction import Reduction
from mpcompile.ops.traits import (
    Elementwise,
    Fresh,
    Monotone,
    Movement,
    OneToOne,
    Product,
    Verbatim,
    View,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
LEAVES = (Input("x", float_type(2)), Parameter("w", float_type(2)), Constant.of(np.ones(2)))


def sweep(
    fits: Callable[[Example], bool] = lambda e: True, of: type[Primitive] = Primitive
) -> Callable[[Callable[[Example], None]], Callable[[type[Primitive]], None]]:
    """A law of examples as a test of each primitive with this trait, which goes through all examples that fit."""

    def decorate(law: Callable[[Example], None]) -> Callable[[type[Primitive]], None]:
        kinds = [p for n, p in PRIMITIVES.items() if issubclass(p, of) and any(map(fits, p.examples()))]

        def test(primitive: type[Primitive]) -> None:
            for example in filter(fits, primitive.examples()):
                law(example)

        test.__doc__ = law.__doc__
        return pytest.mark.parametrize("primitive", kinds, ids=lambda p: p.name)(test)

    return decorate


def shapes(example: Example) -> list[tuple[int, ...]]:
    return [np.shape(x) for x in example.inputs]


def first(op: Primitive, *inputs: Array) -> Array:
    """The first result."""
    with np.errstate(all="ignore"):
        return op.evaluate(*inputs)[0]


def same(x: Array, y: Array) -> bool:
    """Equal up to rounding: sums are taken in the order in which elements lie."""
    return x.shape == y.shape and np.allclose(x, y, rtol=1e-12, atol=1e-12, equal_nan=x.dtype.kind == "f")


# --- every primitive answers ---


@pytest.mark.parametrize("op", LEAVES, ids=lambda op: op.name)
def test_leaves_answer(op: Primitive) -> None:
    assert (
        op.along((), (2,)) == ()
        and op.reach(()) == {}
        and not op.repeats((), (2,))
        and op.cost((), [float_type(2)]) == Work()
    )
    assert op.sign((), False) is (
        Positivity.POSITIVE if isinstance(op, Constant) else Positivity.UNKNOWN
    ) and not op.view(())


@sweep()
def test_every_primitive_answers(example: Example) -> None:
    op, given = example.op, shapes(example)
    results = op.infer(*map(type_of, example.inputs))
    maps = op.along(given, results[0].shape)
    assert len(maps) == len(given)
    for moves, shape in zip(maps, given, strict=True):
        assert set(moves) <= set(range(len(shape))) and set(moves.values()) <= set(range(results[0].rank))
        assert len(set(moves.values())) == len(moves), (
            "two axes of an operand run along with one of the result"
        )
    assert set(op.reach(given)) <= set(range(results[0].rank))
    assert op.view(given) is False or op.aliases(0)
    assert all(op.aliases(i) in (True, False) for i in range(len(given)))
    if isinstance(op, View):
        assert op.view(given)


# --- along and reach ---


def axes(example: Example) -> Iterator[tuple[int, list[int | None]]]:
    """Each axis of the first result that some axis runs along with, and that of each operand."""
    given = shapes(example)
    out = first(example.op, *example.inputs)
    maps = example.op.along(given, out.shape)
    for r in sorted({r for m in maps for r in m.values()}):
        own = [next((a for a, to in m.items() if to == r), None) for m in maps]
        sizes = {s[a] for s, a in zip(given, own, strict=True) if a is not None}
        assert sizes == {out.shape[r]}, "axes that run along have one length"
        yield r, own


@sweep()
def test_elements_that_are_taken_along_are_taken_of_the_result(example: Example) -> None:
    out, rng = first(example.op, *example.inputs), np.random.default_rng(1)
    for r, own in axes(example):
        n = out.shape[r]
        for index in (rng.permutation(n), *(rng.integers(0, n, count) for count in (n, 1, n + 2))):
            taken = [
                x if a is None else np.take(x, index, a) for x, a in zip(example.inputs, own, strict=True)
            ]
            op = example.op.with_length(r, len(index))
            assert same(first(op, *taken), np.take(out, index, r))


def changed(before: Array, after: Array, axis: int) -> set[int]:
    """Places along an axis at which anything changed."""
    differs = (before != after) & ~((before != before) & (after != after))
    return set(np.flatnonzero(differs.any(tuple(i for i in range(before.ndim) if i != axis))).tolist())


def with_place(x: Array, axis: int, at: int, by: int) -> Array:
    """x with the elements at one place along an axis replaced by those of another, so that indices stay valid."""
    y = np.array(x)
    place = (*(slice(None),) * axis, at)
    y[place] = np.take(x, by, axis) if x.dtype.kind != "f" else np.take(x, by, axis) + 0.25
    return y


@sweep()
def test_a_changed_element_changes_its_own_place_along_an_axis_alone(example: Example) -> None:
    out = first(example.op, *example.inputs)
    for r, own in axes(example):
        for i, a in enumerate(own):
            for p in range(out.shape[r]) if a is not None else ():
                moved = with_place(example.inputs[i], a, p, (p + 1) % out.shape[r])
                after = first(example.op, *example.inputs[:i], moved, *example.inputs[i + 1 :])
                assert changed(out, after, r) <= {p}


@sweep(lambda e: bool(e.op.reach(shapes(e))))
def test_reach_is_what_is_read(example: Example) -> None:
    """A state carries what comes before its own place, where the reach is that place alone and the axis not `along`."""
    op, results = example.op, example.op.evaluate(*example.inputs)
    at = op.carries if op.name == "scan" else 0  # type: ignore[attr-defined]  # a loop's results at each step
    source = at if op.name == "scan" else 0
    out, x = results[at], np.asarray(example.inputs[source])
    for axis, (low, high) in op.reach(shapes(example)).items():
        carried, offsets = (low, high) == (0, 0), set[int]()
        for q in range(x.shape[axis]):
            moved = [*example.inputs]
            moved[source] = with_place(x, axis, q, q)
            found = changed(out, op.evaluate(*moved)[at], axis)
            least, most = q - high, out.shape[axis] if carried else q - low
            assert all(least <= p <= most for p in found)
            offsets.update(q - p for p in found)
        if not carried:
            inner = range(1 - out.shape[axis], x.shape[axis])  # a small input has no places farther apart
            assert {o for o in (low, high) if o in inner} <= offsets


# --- cost ---


@sweep()
def test_cost_is_positive_and_additive_along_axes(example: Example) -> None:
    op = example.op
    inputs, outputs = [type_of(x) for x in example.inputs], op.infer(*map(type_of, example.inputs))
    assert op.cost(inputs, outputs).products >= 0 <= op.cost(inputs, outputs).rest
    for r, own in axes(example):

        def at(size: int, r: int = r, own: Sequence[int | None] = own) -> Work:
            wide = [t if a is None else _sized(t, a, size) for t, a in zip(inputs, own, strict=True)]
            return op.cost(wide, [_sized(outputs[0], r, size), *outputs[1:]])

        assert at(5) == at(2) + at(3)


def _sized(type: Type, axis: int, size: int) -> Type:
    return type.with_shape((*type.shape[:axis], size, *type.shape[axis + 1 :]))


# --- memory; `tests/backends/test_torch_spelling.py` holds the answers to torch ---


@sweep()
def test_what_shares_memory_says_so(example: Example) -> None:
    inputs = [np.array(x) for x in example.inputs]
    for y in example.op.evaluate(*inputs):
        for i, x in enumerate(inputs):
            assert example.op.aliases(i) or not np.shares_memory(x, y)
    if isinstance(example.op, Fresh) and not isinstance(example.op, Reduction | View):
        assert example.op.name == "cast" or not any(example.op.aliases(i) for i in range(len(inputs)))


# --- sign and growth ---


def sign_of(x: Array) -> Positivity:
    return Positivity.POSITIVE if (x > 0).all() else Positivity(bool((x >= 0).all()))


@sweep()
def test_signs_are_those_of_the_numbers(example: Example) -> None:
    rng = np.random.default_rng(2)
    for low, zeros in ((0.1, False), (0.0, True), (-1.0, False)):
        inputs = [
            x if x.dtype.kind != "f" else rng.uniform(low, 2, x.shape) * (rng.random(x.shape) < 0.6 if zeros else 1)
            for x in map(np.asarray, example.inputs)
        ]  # fmt: skip
        claimed = example.op.sign([sign_of(x) for x in inputs], False)
        assert claimed <= sign_of(first(example.op, *inputs))
    floats = [x for x in inputs if x.dtype.kind == "f"]
    if len(floats) == len(inputs) == 2 and inputs[0].shape == inputs[1].shape:
        claimed = example.op.sign([sign_of(floats[0])] * 2, True)
        assert claimed <= sign_of(first(example.op, floats[0], floats[0]))


@sweep(lambda e: bool(e.inputs))
def test_what_grows_grows(example: Example) -> None:
    """At positive operands, with each element of the operand that reads, wherever the result depends on it."""
    op, inputs = example.op, [np.asarray(x) for x in example.inputs]
    inputs = [np.abs(x) + 0.1 if x.dtype.kind == "f" else x for x in inputs]
    for i, x in enumerate(inputs):
        of = [Growth(j == i, bool((v >= 0).all()), j != i, bool((v > 0).all())) for j, v in enumerate(inputs)]
        try:
            good = op.grow(of)
        except Falls:
            assert not isinstance(op, Monotone)
            continue
        before = first(op, *inputs)
        assert not good or (before >= 0).all()
        if not good and not isinstance(op, Sub):  # a rule that says nothing of it where it holds is too weak
            rng = np.random.default_rng(0)
            spread = [
                [rng.uniform(0.01, 3, v.shape) if v.dtype.kind == "f" else v for v in inputs]
                for _ in range(4)
            ]
            assert not all((first(op, *each) >= 0).all() for each in spread)
        if x.dtype.kind != "f":
            continue
        domain = bitsets(x.size)
        seeds = [domain.constant(v) for v in inputs]
        facts = np.zeros((x.size, domain.words), np.uint64)
        facts[np.arange(x.size), np.arange(x.size) // 64] = np.uint64(1) << (np.arange(x.size) % 64).astype(
            np.uint64
        )
        seeds[i] = domain.make(x.shape, facts.reshape(*x.shape, -1))
        reads = op.depend(domain, *seeds)[0].full()
        for k in range(x.size):
            more = x.copy().reshape(-1)
            more[k] += 0.3
            after = first(op, *inputs[:i], more.reshape(x.shape), *inputs[i + 1 :])
            read = (reads[..., k // 64] >> np.uint64(k % 64)) & np.uint64(1) == 1
            assert ((after > before) == read).all() and ((after == before) == ~read).all()


# --- classes ---


@sweep(of=OneToOne)
def test_one_to_one_reads_at_most_one_element_of_an_operand(example: Example) -> None:
    for i, x in enumerate(example.inputs):
        domain = bitsets(max(1, x.size))
        facts = np.zeros((*x.shape, domain.words), np.uint64)
        for k, at in enumerate(np.ndindex(x.shape)):
            facts[(*at, k // 64)] = np.uint64(1) << np.uint64(k % 64)
        given = [domain.make(v.shape, facts if j == i else None) for j, v in enumerate(example.inputs)]
        (result,) = example.op.depend(domain, *given)
        counts = np.unpackbits(np.ascontiguousarray(result.full()).view(np.uint8), axis=-1).sum(-1)
        assert (counts <= 1).all()
        if isinstance(example.op, Elementwise):  # that of its own place, or none
            own = np.broadcast_to(facts, (*np.broadcast_shapes(x.shape, result.shape), domain.words))
            assert ((result.full() == own) | (result.full() == 0)).all()


@sweep(of=Movement)
def test_a_movement_moves(example: Example) -> None:
    (x,) = example.inputs
    index = first(example.op, np.arange(x.size).reshape(x.shape))
    assert same(first(example.op, x), x.reshape(-1)[index])


@sweep(of=Verbatim)
def test_what_is_verbatim_rounds_nothing(example: Example) -> None:
    results = example.op.evaluate(*example.inputs)
    known = np.concatenate([np.ravel(x) for x in example.inputs] or [np.zeros(0)])
    for y, size in zip(results, example.op.magnitude(results, *example.inputs), strict=True):
        assert not size.any() and (np.isin(y, known) | (y == np.floor(y))).all()


@sweep(of=Product)
def test_a_product_is_linear_in_each_operand(example: Example) -> None:
    x, y = example.inputs
    for at, other in ((0, x[::-1]), (1, y[::-1])):
        parts = []
        for v in ((x, y)[at], other, 2 * (x, y)[at] - 3 * other):
            parts.append(first(example.op, *((v, y) if at == 0 else (x, v))))
        np.testing.assert_allclose(2 * parts[0] - 3 * parts[1], parts[2], rtol=1e-9, atol=1e-9)


@sweep(lambda e: e.op.absent is not None)
def test_what_is_absent_is_as_good_as_not_there(example: Example) -> None:
    """One more such element at the end of an axis that does not run along, where the primitive takes one."""
    op, (x, *others) = example.op, example.inputs
    out = first(op, *example.inputs)
    for axis in set(range(x.ndim)) - set(op.along(shapes(example), out.shape)[0]):
        wide = np.concatenate([x, np.full_like(x.take([0], axis), op.absent)], axis)
        try:
            op.infer(type_of(wide), *map(type_of, others))
        except TypeMismatch:
            continue
        assert same(out, first(op, wide, *others)[tuple(map(slice, out.shape))])


@sweep(of=Reduction)
def test_a_reduction_sees_no_order(example: Example) -> None:
    (x,), op = example.inputs, example.op
    for axis in op.axes:  # type: ignore[attr-defined]  # a reduction's
        assert same(first(op, x), first(op, np.flip(x, axis)))


@sweep()
def test_what_repeats_is_alike(example: Example) -> None:
    out = first(example.op, *example.inputs)
    for axis in example.op.repeats(shapes(example), out.shape):
        assert same(out, np.broadcast_to(out.take([0], axis), out.shape))


# --- mapped ---

#: Primitives without a rule: they stay where they stand.
UNMAPPED = {
    "conv", "conv_transpose", "conv_weight_grad", "max_pool", "max_pool_grad", "avg_pool", "inverse", "log_abs_det",
    "scatter_add", "scatter_along", "iota", "slice_at", "update_at", "scan", "repeat",
}  # fmt: skip
PLACES = 3


def stacked(x: Array, seed: int) -> Array:
    """Operands of some places, [places, ...]: numbers that differ, indices that are in range."""
    rng = np.random.default_rng(seed)
    if x.dtype.kind == "f":
        return x + rng.uniform(0.0, 0.2, (PLACES, *x.shape))
    return np.stack([rng.permutation(x.reshape(-1)).reshape(x.shape) for _ in range(PLACES)])


def mapped_cases(example: Example) -> Iterator[tuple[list[int | None], list[Array]]]:
    """Where operands may have the axis, and what they are at all places, [places, ...]; some lack it."""
    many = [stacked(np.asarray(x), i) for i, x in enumerate(example.inputs)]
    choices = [[None, *range(np.ndim(x) + 1)] for x in example.inputs]
    for at in itertools.product(*choices):
        if any(a is not None for a in at):
            yield (
                list(at),
                [
                    m if a is not None else np.stack([x] * PLACES)
                    for x, m, a in zip(example.inputs, many, at, strict=True)
                ],
            )


@sweep()
def test_a_mapped_primitive_runs_over_the_axis(example: Example) -> None:
    """At each place its result is that of the operands at that place, and `infer` has its type."""
    op, given = example.op, shapes(example)
    out, found = first(op, *example.inputs), 0
    for at, many in mapped_cases(example):
        mapped = op.mapped(at, PLACES, given, out.shape)
        if mapped is None or any(a is not None and a != b for a, b in zip(at, mapped.at, strict=True)):
            continue  # an operand would have to be laid out anew
        operands = []
        for x, m, before, after in zip(example.inputs, many, at, mapped.at, strict=True):
            if before is not None:
                operands.append(np.moveaxis(m, 0, before))
            elif after is None:
                operands.append(x)
            else:
                wide = np.expand_dims(x, after)
                operands.append(np.repeat(wide, PLACES, after) if mapped.full else wide)
        wanted = np.stack([first(op, *(m[p] for m in many)) for p in range(PLACES)], mapped.out)
        result = first(mapped.op, *operands)
        assert same(result, wanted), (op, at)
        assert mapped.op.infer(*map(type_of, operands))[0].shape == wanted.shape
        found += 1
    assert bool(found) == (op.name not in UNMAPPED), op
