"""Operations on each element by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from mpcompile import ops
from mpcompile.foreign import formulas
from mpcompile.ir import DType, Primitive, Value
from mpcompile.ops import build
from mpcompile_torch.reader.tape import Call, kind

FLOAT, INT, BOOL = DType.FLOAT, DType.INT, DType.BOOL


def unary(op: Primitive) -> Callable[[Call], Value]:
    """Return the rule of a primitive of one operand."""

    def rule(c: Call) -> Value:
        return c.b.emit(op, c.value("self", c.kind))

    return rule


def formula(make: Callable[[Any, Value], Value]) -> Callable[[Call], Value]:
    """Return a rule of one operand that is a composition."""

    def rule(c: Call) -> Value:
        return make(c.b, c.value("self", c.kind))

    return rule


def one_place(c: Call) -> tuple[Value, ...]:
    """Keep the result of an operation without a primitive that acts at each place."""
    return c.observe(())


def _both(c: Call, like: DType) -> tuple[Value, Value]:
    return c.value("self", like), c.value("other", like)


def _add(c: Call) -> Value:
    x, y = _both(c, c.kind)
    alpha = c["alpha"]
    return build.add(c.b, x, y if alpha in (None, 1) else build.mul(c.b, y, _number(c, alpha)))


def _sub(c: Call) -> Value:
    x, y = _both(c, c.kind)
    alpha = c["alpha"]
    return build.sub(c.b, x, y if alpha in (None, 1) else build.mul(c.b, y, _number(c, alpha)))


def _rsub(c: Call) -> Value:
    x, y = _both(c, c.kind)
    return build.sub(c.b, y, x if c["alpha"] in (None, 1) else build.mul(c.b, x, _number(c, c["alpha"])))


def _number(c: Call, number: float, like: DType | None = None) -> Value:
    return c.cast(c.b.constant(number), like or c.kind)


def _mul(c: Call) -> Value:
    if c.kind is BOOL:
        return c.b.emit(ops.LogicalAnd(), *_both(c, BOOL))
    return build.mul(c.b, *_both(c, c.kind))


def _div(c: Call) -> Value | tuple[Value, ...]:
    if c["rounding_mode"] is None:
        return build.div(c.b, *_both(c, FLOAT))
    if c["rounding_mode"] == "floor" and c.kind is FLOAT:
        return c.b.emit(ops.Floor(), build.div(c.b, *_both(c, FLOAT)))
    return one_place(c)


def _power(c: Call) -> Value | tuple[Value, ...]:
    b, power = c.b, c["exponent"]
    if isinstance(power, torch.Tensor) and not c.tape.unknown(power) and power.ndim == 0:
        power = power.item()
    if isinstance(power, torch.Tensor):
        base = c["self"]
        if isinstance(base, torch.Tensor) or base <= 0:
            return one_place(c)
        return b.emit(ops.Exp(), build.mul(b, c.value("exponent", FLOAT), b.constant(math.log(base))))
    found = formulas.power(b, c.value("self", c.kind), float(power))
    return one_place(c) if found is None else found


def _compare(op: Primitive, swap: bool = False, negate: bool = False) -> Callable[[Call], Value]:
    def rule(c: Call) -> Value:
        kinds = {
            kind(x.dtype) if isinstance(x, torch.Tensor) else _kind_of(x) for x in (c["self"], c["other"])
        }
        like = FLOAT if FLOAT in kinds else INT
        x, y = _both(c, like)
        found = c.b.emit(op, y, x) if swap else c.b.emit(op, x, y)
        return c.b.emit(ops.LogicalNot(), found) if negate else found

    return rule


def _kind_of(x: object) -> DType:
    return BOOL if isinstance(x, bool) else INT if isinstance(x, int) else FLOAT


def _logical(op: Primitive) -> Callable[[Call], Value | tuple[Value, ...]]:
    def rule(c: Call) -> Value | tuple[Value, ...]:
        return c.b.emit(op, *_both(c, BOOL)) if c.kind is BOOL else one_place(c)

    return rule


def _xor(c: Call) -> Value | tuple[Value, ...]:
    if c.kind is not BOOL:
        return one_place(c)
    x, y = (c.cast(v, INT) for v in _both(c, BOOL))
    return c.b.emit(ops.LogicalNot(), c.b.emit(ops.Equal(), x, y))


def _not(c: Call) -> Value | tuple[Value, ...]:
    return c.b.emit(ops.LogicalNot(), c.value("self", BOOL)) if c.kind is BOOL else one_place(c)


def _where(c: Call) -> Value:
    return c.tape.chosen(c.value("condition", BOOL), *_both(c, c.kind))


def _masked_fill(c: Call) -> Value:
    return _fit(c, c.tape.chosen(c.value("mask", BOOL), c.value("value", c.kind), c.value("self", c.kind)))


def _fit(c: Call, value: Value) -> Value:
    return value if value.shape == c.shape else c.b.emit(ops.BroadcastTo(c.shape), value)


def _clamp(c: Call) -> Value:
    x = c.value("self", c.kind)
    if c.given.get("min") is not None:
        x = build.maximum(c.b, x, c.value("min", c.kind))
    return build.minimum(c.b, x, c.value("max", c.kind)) if c.given.get("max") is not None else x


def _pair_of(op: Callable[..., Value]) -> Callable[[Call], Value]:
    def rule(c: Call) -> Value:
        return op(c.b, *_both(c, c.kind))

    return rule


def _gelu(c: Call) -> Value:
    return formulas.gelu(c.b, c.value("self", FLOAT), c["approximate"] == "tanh")


def _sigmoid_of(b: Any, x: Value) -> Value:
    found: Value = b.emit(ops.Sigmoid(), x)
    return found


def _softplus(c: Call) -> Value:
    b, x, beta = c.b, c.value("self", FLOAT), float(c["beta"])
    # above the threshold the framework returns x, which softplus is there to rounding
    return build.div(b, b.emit(ops.Softplus(), build.mul(b, x, beta)), beta)


def _leaky(c: Call) -> Value:
    return formulas.leaky_relu(c.b, c.value("self", FLOAT), float(c["negative_slope"]))


def _elu(c: Call) -> Value:
    scales = (float(c[name]) for name in ("alpha", "scale", "input_scale"))
    return formulas.elu(c.b, c.value("self", FLOAT), *scales)


def _identity(c: Call) -> Value:
    return c.cast(c.value("self"), c.kind)


def _copy(c: Call) -> Value:
    return _fit(c, c.value("src", c.kind))


def _log(base: float) -> Callable[[Call], Value]:
    return formula(lambda b, x: build.div(b, b.emit(ops.Log(), x), math.log(base)))


def _exponential(c: Call) -> Value:
    """exp, of scores behind their largest with zero where a finite mask is: a softmax that is spelt out."""
    x = c.value("self", c.kind)
    node = c.b.graph.node(x)
    if isinstance(node.op, ops.Sub):
        scores, peak = node.inputs
        while peak not in c.tape.peaks and isinstance((below := c.b.graph.node(peak)).op, ops.Reshape):
            peak = below.inputs[0]
        of, axis = c.tape.peaks.get(peak, (None, 0))
        kept = (*scores.shape[:axis], 1, *scores.shape[axis + 1 :])  # its axis is back where it was
        if of == scores and node.inputs[1].shape == kept:
            x = build.sub(c.b, c.tape.seen(scores, axis), node.inputs[1])
    return c.b.emit(ops.Exp(), x)


def _exp(b: Any, x: Value) -> Value:
    found: Value = b.emit(ops.Exp(), x)
    return found


RULES: dict[str, Callable[[Call], Value | tuple[Value, ...]]] = {
    **{n: unary(op) for n, op in {
        "neg": ops.Neg(), "_neg_view": ops.Neg(), 
        "log": ops.Log(), "tanh": ops.Tanh(), "sigmoid": ops.Sigmoid(),
        "relu": ops.Relu(), "sqrt": ops.Sqrt(), "abs": ops.Abs(), "sgn": ops.Sign(), "sign": ops.Sign(),
        "floor": ops.Floor(), "erf": ops.Erf(), "sin": ops.Sin(), "cos": ops.Cos(),
    }.items()},
    "exp": _exponential,
    "rsqrt": formula(lambda b, x: build.div(b, 1.0, b.emit(ops.Sqrt(), x))),
    "reciprocal": formula(lambda b, x: build.div(b, 1.0, x)),
    "log1p": formula(lambda b, x: b.emit(ops.Log(), build.add(b, 1.0, x))),
    "expm1": formula(lambda b, x: build.sub(b, _exp(b, x), 1.0)),
    "exp2": formula(lambda b, x: _exp(b, build.mul(b, x, math.log(2)))),
    "log2": _log(2), "log10": _log(10),
    "ceil": formula(formulas.ceil),
    "silu": formula(lambda b, x: build.mul(b, x, _sigmoid_of(b, x))),
    "gelu": _gelu, "softplus": _softplus, "leaky_relu": _leaky, "elu": _elu,
    "add": _add, "sub": _sub, "rsub": _rsub, "mul": _mul, "div": _div, "true_divide": _div, "pow": _power,
    "maximum": _pair_of(build.maximum), "minimum": _pair_of(build.minimum),
    "eq": _compare(ops.Equal()), "ne": _compare(ops.Equal(), negate=True),
    "lt": _compare(ops.Less()), "le": _compare(ops.LessEqual()),
    "gt": _compare(ops.Less(), swap=True), "ge": _compare(ops.LessEqual(), swap=True),
    "logical_and": _logical(ops.LogicalAnd()), "logical_or": _logical(ops.LogicalOr()),
    "bitwise_and": _logical(ops.LogicalAnd()), "bitwise_or": _logical(ops.LogicalOr()),
    "logical_xor": _xor, "bitwise_xor": _xor, "logical_not": _not, "bitwise_not": _not,
    "where": _where, "masked_fill": _masked_fill,
    "clamp": _clamp, "clamp_min": _clamp, "clamp_max": _clamp, "hardtanh": lambda c: build.minimum(
        c.b, build.maximum(c.b, c.value("self", FLOAT), float(c["min_val"])), float(c["max_val"])),
    **dict.fromkeys(
        "clone detach alias _to_copy contiguous lift lift_fresh lift_fresh_copy detach_copy alias_copy "
        "resolve_conj resolve_neg view_as_complex view_as_real view_as_real_copy view_as_complex_copy "
        "convert_element_type to dropout".split(), _identity),
    "copy": _copy,
    **dict.fromkeys(
        "bernoulli normal poisson exponential uniform native_dropout remainder fmod atan2 atan erfinv erfc "
        "round trunc floor_divide isnan isinf isfinite tan asin acos sinh cosh asinh acosh atanh lgamma "
        "digamma logit hypot nan_to_num bitwise_left_shift bitwise_right_shift __lshift__ __rshift__ "
        "fake_quantize_per_tensor_affine_cachemask _fake_quantize_per_tensor_affine_cachemask_tensor_qparams "
        "special_i0 special_i1 log_normal frac heaviside xlogy".split(), one_place),
}  # fmt: skip
