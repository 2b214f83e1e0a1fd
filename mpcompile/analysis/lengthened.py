"""A program of declared sizes as one of any length along the first axis of a variable, where it is one.

The declared number n becomes a symbol wherever it stands in a shape or an attribute, and masks that are functions of two
places become comparisons of them. The result counts only if, at n, it is the program: each primitive with n for the
symbol equals the declared one, each type does, each constant has the same numbers. So what is proved of it for every
length holds at the declared one, however the symbol was placed. Weights with a place along the axis are taken to be the
same at each: what is read for some of those is read for some weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mpcompile import ops
from mpcompile.diagnostics import SpecError
from mpcompile.ir import (
    Array,
    Builder,
    Constant,
    DType,
    Graph,
    Input,
    Node,
    Parameter,
    Symbolic,
    Type,
    Value,
    substitute,
    symbol,
)

#: The symbol for the declared length; no spec has a name with a space.
LENGTH = "the declared length"
#: A number for the batch at which no two sizes of programs are equal by accident.
BATCH = 10**9 + 7


class _Unlike(Exception):
    """A node that is none of any length."""


def lengthened(graph: Graph, source: str) -> Graph | None:
    """Return the program with a symbol for the size of axis 1 of `source`; None where it is not one of any length."""
    graph.uncut()
    n = graph.inputs[source].shape[1]
    assert isinstance(n, int)
    try:
        return graph.rebuild(lambda b, node, inputs: _node(b, node, inputs, n), retype=True).live()
    except (SpecError, ValueError, _Unlike):
        return None


def _node(b: Builder, node: Node, inputs: tuple[Value, ...], n: int) -> tuple[Value, ...]:
    op, free = node.op, symbol(LENGTH)
    if isinstance(op, Input):
        results: tuple[Value, ...] = (b.input(op.path, _longer(op.type, n)),)
    elif isinstance(op, Parameter) and n in op.type.shape:
        tied = Parameter(op.path, op.type.with_shape(tuple(1 if s == n else s for s in op.type.shape)))
        results = (b.emit(ops.BroadcastTo(_longer(op.type, n).shape), b.emit(tied)),)
    elif isinstance(op, Constant) and n in node.types[0].shape:
        results = (_constant(b, op.array, n),)
    else:
        longer = op
        if any(v.type != w.type for v, w in zip(inputs, node.inputs, strict=True)) or not inputs:
            changed = {name: _symbolic(a, n, free) for name, a in op.attributes().items()}
            if isinstance(op, ops.Slice) and inputs[0].shape[op.axis] != node.inputs[0].shape[op.axis]:
                start, stop = (_from_end(place, n) for place in (op.start, op.stop))
                changed |= {"axis": op.axis, "start": start, "stop": stop, "step": op.step}
            longer = replace(op, **changed)
        if any(
            _numbers(a, n) != _numbers(op.attributes()[name], n) for name, a in longer.attributes().items()
        ):
            raise _Unlike(op.name)
        results = b.emit_all(longer, *inputs)
    if [_at(v.type, n) for v in results] != [_at(t, n) for t in node.types]:
        raise _Unlike(op.name)
    return results


def _longer(type: Type, n: int) -> Type:
    return type.with_shape(tuple(symbol(LENGTH) if s == n else s for s in type.shape))


def _at(type: Type, n: int) -> tuple[DType, tuple[int, ...]]:
    return type.dtype, type.concrete({"N": BATCH, LENGTH: n})


def _symbolic(attribute: Any, n: int, free: Symbolic) -> Any:
    """An attribute with the symbol for the number, and for its multiples."""
    if isinstance(attribute, tuple):
        return tuple(_symbolic(a, n, free) for a in attribute)
    if type(attribute) is int and attribute and attribute % n == 0:
        return free * (attribute // n)
    return attribute


def _numbers(attribute: Any, n: int) -> Any:
    """An attribute with numbers for its symbols; a body of a loop is one step's, and has no other."""
    if isinstance(attribute, tuple):
        return tuple(_numbers(a, n) for a in attribute)
    return substitute(attribute, {"N": BATCH, LENGTH: n}) if isinstance(attribute, Symbolic) else attribute


def _from_end(place: int | Symbolic, n: int) -> int | Symbolic:
    """A place along an axis of about n elements, counted from the nearer end."""
    return symbol(LENGTH) + (place - n) if isinstance(place, int) and place > n // 2 else place


def _constant(b: Builder, array: Array, n: int) -> Value:
    """A constant that is the same along its axes of n elements, or tells whether column <= row + c."""
    free = symbol(LENGTH)
    shape = tuple(free if s == n else s for s in array.shape)
    same = array[tuple(slice(1) if s == n else slice(None) for s in array.shape)]
    if bool((array == same).all()):
        return b.emit(ops.BroadcastTo(shape), b.emit(Constant.of(same)))
    if array.shape != (n, n) or array.dtype != np.bool_:
        raise _Unlike("constant")
    starts = np.flatnonzero(array[:, 0])  # the first row with any is as far behind as the band lets it be
    c = int(np.count_nonzero(array[0])) - 1 if array[0].any() else -int(starts[0]) if starts.size else -n
    if not np.array_equal(array, np.tri(n, k=c, dtype=bool)):
        raise _Unlike("constant")
    rows, columns = (b.emit(ops.Iota(shape, axis)) for axis in (0, 1))
    return b.emit(ops.LessEqual(), columns, b.emit(ops.Add(), rows, b.constant(c)) if c else rows)


__all__ = ["LENGTH", "lengthened"]
