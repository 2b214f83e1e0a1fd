"""Complex numbers: a tensor of them is pairs of real numbers along a last axis of length two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from mpcompile import ops
from mpcompile.ir import DType, Value
from mpcompile.ops import build
from mpcompile_torch.reader import _pointwise
from mpcompile_torch.reader.tape import Call

Rule = Callable[[Call], Value | tuple[Value, ...]]
FLOAT = DType.FLOAT

#: Operations whose rules hold for pairs as they are: they move whole elements, or are linear in each part.
_PAIRS = frozenset(
    "view _unsafe_view reshape unsqueeze squeeze _reshape_alias view_copy unsqueeze_copy squeeze_copy flatten "
    "unflatten permute permute_copy transpose transpose_copy t t_copy expand expand_copy slice slice_copy select "
    "select_copy split split_with_sizes split_copy split_with_sizes_copy chunk tensor_split unbind unbind_copy cat "
    "concat stack flip index_select embedding repeat roll slice_scatter select_scatter sum mean cumsum neg clone "
    "detach alias contiguous lift lift_fresh lift_fresh_copy detach_copy alias_copy resolve_conj resolve_neg "
    "view_as_complex view_as_real view_as_real_copy view_as_complex_copy _fft_r2c _fft_c2r _fft_c2c".split()
)


def parts(c: Call, x: Any) -> tuple[Value, Value]:
    """Return the real and the imaginary part of a tensor or a number."""
    if not isinstance(x, torch.Tensor):
        return c.b.constant(float(x.real)), c.b.constant(float(x.imag))
    value = c.cast(c.tape[x], FLOAT)
    if not x.is_complex():
        return value, c.b.constant(0.0)
    real, imaginary = build.split(c.b, value, value.type.rank - 1, 2)
    return build.reshape(c.b, real, value.shape[:-1]), build.reshape(c.b, imaginary, value.shape[:-1])


def pair(c: Call, *both: Value) -> Value:
    """Join a real and an imaginary part of the shape of the result."""
    shape = tuple(c.out.shape)
    wide = [v if v.shape == shape else c.b.emit(ops.BroadcastTo(shape), v) for v in both]
    return build.concat(c.b, [build.reshape(c.b, v, (*shape, 1)) for v in wide], len(shape))


def _product(c: Call) -> Value:
    """(a + bi)(c + di)."""
    (a, i), (r, s) = parts(c, c["self"]), parts(c, c["other"])
    b = c.b
    return pair(
        c,
        build.sub(b, build.mul(b, a, r), build.mul(b, i, s)),
        build.add(b, build.mul(b, a, s), build.mul(b, i, r)),
    )


def _sum(sign: float) -> Rule:
    def rule(c: Call) -> Value | tuple[Value, ...]:
        if isinstance(c["alpha"], complex):
            return _bounded(c)
        scale = sign * float(c["alpha"] if c["alpha"] is not None else 1)
        both = zip(parts(c, c["self"]), parts(c, c["other"]), strict=True)
        return pair(c, *(build.add(c.b, x, build.mul(c.b, y, scale)) for x, y in both))

    return rule


def _conjugate(c: Call) -> Value:
    real, imaginary = parts(c, c["self"])
    return pair(c, real, build.neg(c.b, imaginary))


def _made(c: Call) -> Value:
    return pair(c, c.value("real", FLOAT), c.value("imag", FLOAT))


def _bounded(c: Call) -> tuple[Value, ...]:
    """Bound an operation on each element by itself: both parts of a result read both parts of every operand."""
    operands = []
    for x in c.tensors():
        if c.tape.unknown(x):
            value = c.cast(c.tape[x], FLOAT)
            value = build.sum_axes(c.b, value, (value.type.rank - 1,)) if x.is_complex() else value
            operands.append(build.reshape(c.b, value, (*value.shape, 1)) if c.out.is_complex() else value)
    return c.observe((), operands=operands)


_RULES: dict[str, Rule] = {
    "mul": _product,
    "add": _sum(1.0),
    "sub": _sum(-1.0),
    "_conj": _conjugate,
    "complex": _made,
}


def paired(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Return the rules, each of which holds for complex numbers too: exactly, or as a bound."""

    def guarded(name: str, rule: Rule) -> Rule:
        other = _RULES.get(name) or (_bounded if name in _pointwise.RULES else lambda c: c.observe(None))

        def chosen(c: Call) -> Value | tuple[Value, ...]:
            complex_ones = any(x.is_complex() for x in (*c.tensors(), *c.results))
            return other(c) if complex_ones else rule(c)

        return chosen

    return {
        name: rule if name in _PAIRS else guarded(name, rule)
        for name, rule in {**dict.fromkeys(_RULES, _bounded), "polar": _bounded, **rules}.items()
    }


__all__ = ["paired", "parts"]
