"""What `infer` takes, `evaluate` computes, and of the type that was said: on what is a little off too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pytest

from mpcompile.ir import Array, Example, Primitive, Type, TypeMismatch
from mpcompile.ops import PRIMITIVES, Scan
from mpcompile.ops._base import type_of

#: Loops take any number of steps, and none has no results: `test_loop_builder.py` holds those.
PLAIN = sorted(name for name, op in PRIMITIVES.items() if not issubclass(op, Scan))


def operands(x: Array) -> Iterator[Array]:
    """An operand a little off: of another length along an axis, of another rank, of another kind."""
    x = np.asarray(x)
    for axis in (a for a in range(x.ndim) if x.shape[a]):
        yield np.concatenate([x, x.take([-1], axis)], axis)
        if x.shape[axis] > 1:
            yield x.take(range(x.shape[axis] - 1), axis)
    yield x[None]
    if x.ndim and len(x):
        yield x[0]
    yield x.astype(float) if x.dtype.kind != "f" else x > 0
    yield x.astype(float) if x.dtype.kind == "i" else (x > 0).astype(np.int64)


def attributes(value: object, pair: bool = False) -> Iterator[object]:
    """An attribute a little off; a `pair`, of two ends, stays one."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, -value - 1)
    elif isinstance(value, tuple):
        for i, part in enumerate(value):
            yield from ((*value[:i], other, *value[i + 1 :]) for other in attributes(part, True))
        if not pair and value:
            yield from (value[:-1], (*value, *value[-1:]))


def off(example: Example) -> Iterator[tuple[Primitive, tuple[Array, ...]]]:
    """The primitive with an attribute or an operand a little off. Positions are zero: a type does not say them."""
    op = example.op
    arrays = tuple(
        np.zeros_like(x) if np.asarray(x).dtype.kind == "i" else np.asarray(x) for x in example.inputs
    )
    for i, x in enumerate(arrays):
        yield from ((op, (*arrays[:i], other, *arrays[i + 1 :])) for other in operands(x))
    for f in fields(op):
        if f.name in op.attributes():
            yield from ((replace(op, **{f.name: v}), arrays) for v in attributes(getattr(op, f.name)))


def inferred(op: Primitive, arrays: tuple[Array, ...]) -> tuple[Type, ...] | None:
    try:
        return op.infer(*map(type_of, arrays))
    except TypeMismatch:
        return None


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_inferred_is_computed(name: str) -> None:
    for example in PRIMITIVES[name].examples():
        for op, arrays in off(example):
            types = inferred(op, arrays)
            if types is None or any(0 in t.shape for t in types):  # a position in nothing is none
                continue
            results = op.evaluate(*arrays)
            assert tuple(map(type_of, results)) == types, (op, [a.shape for a in arrays])


@pytest.mark.parametrize("name", sorted({*PLAIN} - {"cast"}))
def test_a_position_or_a_choice_is_no_number(name: str) -> None:
    """An operand of another kind than the rest (a position, a mask) is of that kind alone."""
    for example in PRIMITIVES[name].examples():
        arrays = tuple(map(np.asarray, example.inputs))
        kinds = [x.dtype.kind for x in arrays]
        for i, x in enumerate(arrays):
            if kinds[i] != "f" and kinds.count(kinds[i]) == 1 < len(kinds):
                assert inferred(example.op, (*arrays[:i], x.astype(float), *arrays[i + 1 :])) is None, (
                    example.op
                )


#: Primitives that read or write at a position.
PLACES = ("gather", "take_along", "slice_at", "update_at", "scatter_add", "scatter_along")


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("place", [99, -99])
def test_a_position_outside_is_refused(name: str, place: int) -> None:
    for example in PRIMITIVES[name].examples():
        *others, index = map(np.asarray, example.inputs)
        with pytest.raises((IndexError, ValueError)):
            example.op.evaluate(*others, np.full_like(index, place))
