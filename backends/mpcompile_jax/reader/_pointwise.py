"""Operations on each element by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mpcompile import ops
from mpcompile.foreign import formulas
from mpcompile.ir import DType, Primitive, Value
from mpcompile.ops import build
from mpcompile_jax.reader.tape import Call, Rule, kind

FLOAT, INT, BOOL = DType.FLOAT, DType.INT, DType.BOOL


def unary(op: Primitive) -> Rule:
    """Return the rule of a primitive of one operand, which has floats; of whole numbers they have the same results."""
    return lambda c: c.cast(c.b.emit(op, c.value(0, FLOAT)), c.kind)


def formula(make: Callable[[Any, Value], Value]) -> Rule:
    """Return a rule of one operand that is a composition."""
    return lambda c: make(c.b, c.value(0, c.kind))


def one_place(c: Call) -> tuple[Value, ...]:
    """Keep the result of an operation without a primitive that acts at each place."""
    return c.observe(())


def identity(c: Call) -> Value:
    """Return the operand, of the kind of elements of the result."""
    return c.value(0, c.kind)


def binary(op: Callable[..., Value]) -> Rule:
    """Return the rule of two operands that broadcast."""
    return lambda c: op(c.b, c.value(0, c.kind), c.value(1, c.kind))


def _compare(op: Primitive, swap: bool = False, negate: bool = False) -> Rule:
    def rule(c: Call) -> Value:
        like = FLOAT if FLOAT in (kind(c.inputs[0].dtype), kind(c.inputs[1].dtype)) else INT
        x, y = c.value(0, like), c.value(1, like)
        found = c.b.emit(op, y, x) if swap else c.b.emit(op, x, y)
        return c.b.emit(ops.LogicalNot(), found) if negate else found

    return rule


def _logical(op: Primitive) -> Rule:
    def rule(c: Call) -> Value | tuple[Value, ...]:
        return c.b.emit(op, c.value(0), c.value(1)) if c.kind is BOOL else one_place(c)

    return rule


def _xor(c: Call) -> Value | tuple[Value, ...]:
    if c.kind is not BOOL:
        return one_place(c)
    return c.b.emit(ops.LogicalNot(), c.b.emit(ops.Equal(), c.value(0, INT), c.value(1, INT)))


def _not(c: Call) -> Value | tuple[Value, ...]:
    return c.b.emit(ops.LogicalNot(), c.value(0)) if c.kind is BOOL else one_place(c)


def _div(c: Call) -> Value | tuple[Value, ...]:
    return build.div(c.b, c.value(0), c.value(1)) if c.kind is FLOAT else one_place(c)


def _select(c: Call) -> Value:
    """select_n(which, case 0, case 1, ...): of a truth value case 1 where it holds."""
    b, found = c.b, c.value(1, c.kind)
    which = c.value(0)
    if which.dtype is BOOL and len(c.inputs) == 3:
        return c.tape.chosen(which, c.value(2, c.kind), found)
    for i in range(2, len(c.inputs)):
        case = b.constant(i - 1)
        on = which if which.dtype is BOOL else b.emit(ops.Equal(), which, case)
        found = build.where(b, on, c.value(i, c.kind), found)
    return found


def _clamp(c: Call) -> Value:
    low, x, high = (c.value(i, c.kind) for i in range(3))
    return build.minimum(c.b, build.maximum(c.b, x, low), high)


def _integer_power(c: Call) -> Value | tuple[Value, ...]:
    found = formulas.power(c.b, c.value(0, c.kind), float(c["y"]))
    return one_place(c) if found is None else found


def _power(c: Call) -> Value | tuple[Value, ...]:
    b = c.b
    if not c.unknown(1) and np.unique(c.array(1)).size == 1:
        found = formulas.power(b, c.value(0, c.kind), float(c.array(1).flat[0]))
        return one_place(c) if found is None else found
    if not c.unknown(0) and (c.array(0) > 0).all():
        return b.emit(ops.Exp(), build.mul(b, c.value(1, FLOAT), b.constant(np.log(c.array(0)))))
    return one_place(c)


def _exp(b: Any, x: Value) -> Value:
    found: Value = b.emit(ops.Exp(), x)
    return found


def _one_minus_erf(b: Any, x: Value) -> Value:
    return build.sub(b, b.constant(1.0), b.emit(ops.Erf(), x))


def _finite(c: Call) -> Value:
    """x - x is zero where x is finite, and else no number."""
    x = c.value(0, FLOAT)
    return c.b.emit(ops.Equal(), build.sub(c.b, x, x), c.b.constant(0.0))


RULES: dict[str, Rule] = {
    **{n: unary(op) for n, op in {
        "neg": ops.Neg(), "log": ops.Log(), "tanh": ops.Tanh(), "logistic": ops.Sigmoid(),
        "sqrt": ops.Sqrt(), "abs": ops.Abs(), "sign": ops.Sign(), "floor": ops.Floor(), "erf": ops.Erf(),
        "sin": ops.Sin(), "cos": ops.Cos(),
    }.items()},
    "rsqrt": formula(lambda b, x: build.div(b, 1.0, b.emit(ops.Sqrt(), x))),
    "log1p": formula(lambda b, x: b.emit(ops.Log(), build.add(b, 1.0, x))),
    "expm1": formula(lambda b, x: build.sub(b, _exp(b, x), 1.0)),
    "exp2": formula(lambda b, x: _exp(b, build.mul(b, x, math.log(2)))),
    "erfc": formula(_one_minus_erf),
    "ceil": formula(formulas.ceil), "is_finite": _finite,
    "square": formula(lambda b, x: build.mul(b, x, x)),
    "integer_pow": _integer_power, "pow": _power,
    "add": binary(build.add), "add_any": binary(build.add), "mul": binary(build.mul),
    "min": binary(build.minimum), "div": _div,
    "eq": _compare(ops.Equal()), "ne": _compare(ops.Equal(), negate=True),
    "lt": _compare(ops.Less()), "le": _compare(ops.LessEqual()),
    "lt_to": _compare(ops.Less()), "le_to": _compare(ops.LessEqual()),
    "gt": _compare(ops.Less(), swap=True), "ge": _compare(ops.LessEqual(), swap=True),
    "and": _logical(ops.LogicalAnd()), "or": _logical(ops.LogicalOr()), "xor": _xor, "not": _not,
    "clamp": _clamp, "select_n": _select,
    **dict.fromkeys(
        "copy copy_p sharding_constraint name reduce_precision pvary "
        "convert_element_type stop_gradient".split(), identity),
    **dict.fromkeys(
        ["device_put", "optimization_barrier"], lambda c: tuple(c.value(i) for i in range(len(c.inputs)))),
    **dict.fromkeys(
        "rem atan2 atan asin acos tan sinh cosh asinh acosh atanh cbrt erf_inv lgamma digamma polygamma igamma igammac "
        "igamma_grad_a random_gamma_grad regularized_incomplete_beta bessel_i0e bessel_i1e zeta round nextafter "
        "shift_left shift_right_logical shift_right_arithmetic population_count clz bitcast_convert_type".split(),
        one_place),
}  # fmt: skip
