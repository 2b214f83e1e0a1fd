"""Numbers of a spec: bounded arithmetic over expressions, without Python's `eval`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from mpcompile.diagnostics import Diagnostic, Expected, Span, SpecError, error
from mpcompile.diagnostics.nearest import Meant, meant, one_edit
from mpcompile.frontend import ast

Value = int | float

MAX_INTEGER = 10**18
MAX_EXPONENT = 1024

# name: (function, fewest arguments, most arguments)
FUNCTIONS: dict[str, tuple[Callable[..., Value], int, int]] = {
    "sqrt": (math.sqrt, 1, 1), "exp": (math.exp, 1, 1), "log": (math.log, 1, 1), "log2": (math.log2, 1, 1),
    "log10": (math.log10, 1, 1), "floor": (math.floor, 1, 1), "ceil": (math.ceil, 1, 1), "round": (round, 1,
    1),
    "abs": (abs, 1, 1), "min": (min, 2, 16), "max": (max, 2, 16),
}  # fmt: skip
CONSTANTS: dict[str, Value] = {"pi": math.pi, "e": math.e}


class UnknownNumber(SpecError):
    """MP110: a name that stands for no number."""

    def __init__(self, name: ast.Name, hint: Meant) -> None:
        super().__init__([Diagnostic("MP110", f"unknown number `{name.id}`", name.span, **hint)])
        self.name = name


class UnknownFunction(SpecError):
    """MP110: a call of a function that is none of numbers."""

    def __init__(self, call: ast.Call) -> None:
        close = [name for name in FUNCTIONS if one_edit(call.callee, name)]
        known = ", ".join(f"`{name}`" for name in FUNCTIONS)
        hint = meant(call.callee, close, call.span, f"functions: {known}")
        message = f"unknown function `{call.callee}` of numbers"
        super().__init__([Diagnostic("MP110", message, call.span, **hint)])
        self.call = call


def evaluate_number(expr: ast.Expr, env: Mapping[str, Value]) -> Value:
    """Evaluate a numeric expression; names come from `env`.

    Every fault is a located `SpecError`: an unknown name (MP110), an operation without a value such as a
    division by zero (MP111), a result or exponent beyond the bounds (MP112), an expression that is no
    number (MP113).
    """
    match expr:
        case ast.Number():
            return _bounded(expr.value, expr.span)
        case ast.Name():
            return _name(expr, env)
        case ast.Unary(op="-"):
            return -evaluate_number(expr.operand, env)
        case ast.Binary(op="+" | "-" | "*" | "/" | "//" | "%" | "**"):
            left, right = evaluate_number(expr.left, env), evaluate_number(expr.right, env)
            return _bounded(_apply(expr, left, right), expr.span)
        case ast.Call(inputs=None, body=None):
            return _call(expr, env)
    raise Expected(f"a number, found {_what(expr)}", expr.span)


def _name(expr: ast.Name, env: Mapping[str, Value]) -> Value:
    if expr.id in env:
        return env[expr.id]
    if expr.id in CONSTANTS:
        return CONSTANTS[expr.id]
    known = ", ".join(f"`{name}`" for name in sorted(env))
    declare = f"a number of the model is declared with it: model m({expr.id} = 8)"
    hint = meant(expr.id, [*env, *CONSTANTS], expr.span, f"known numbers: {known}" if known else declare)
    raise UnknownNumber(expr, hint)


def _apply(expr: ast.Binary, left: Value, right: Value) -> Value:
    try:
        match expr.op:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case "**":
                return _power(expr, left, right)
        if right == 0:
            raise error("MP111", "division by zero", expr.right.span)
        match expr.op:
            case "/":
                # a whole result stays an integer, so that `width / 2` may be a size
                whole = isinstance(left, int) and isinstance(right, int) and left % right == 0
                return left // right if whole else left / right
            case "//":
                return left // right
            case _:
                return left % right
    except OverflowError:
        raise error("MP112", "the result is too large", expr.span) from None


def _power(expr: ast.Binary, base: Value, exponent: Value) -> Value:
    if abs(exponent) > MAX_EXPONENT:
        raise error("MP112", f"the exponent is larger than {MAX_EXPONENT}", expr.right.span)
    if base == 0 and exponent < 0:
        raise error("MP111", "division by zero", expr.span)
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0 and abs(base) > 1:
        # decided by logarithms: the power itself may have a million digits
        digits = exponent * math.log10(abs(base))
        if digits > math.log10(MAX_INTEGER) + 1:
            raise error("MP112", "the result is too large", expr.span)
    result = base**exponent
    if isinstance(result, complex):
        raise error("MP111", "a root of a negative number", expr.span)
    return result


def _call(expr: ast.Call, env: Mapping[str, Value]) -> Value:
    if expr.callee not in FUNCTIONS:
        raise UnknownFunction(expr)
    function, fewest, most = FUNCTIONS[expr.callee]
    if any(a.name is not None for a in expr.args) or not fewest <= len(expr.args) <= most:
        count = (
            "one number"
            if most == 1
            else f"{fewest} numbers"
            if fewest == most
            else f"{fewest} numbers or more"
        )
        raise error("MP113", f"`{expr.callee}` takes {count}, without names", expr.span)
    values = [evaluate_number(a.value, env) for a in expr.args]
    try:
        return _bounded(function(*values), expr.span)
    except (ValueError, ZeroDivisionError):
        raise error("MP111", f"`{expr.callee}` has no value here", expr.span) from None
    except OverflowError:
        raise error("MP112", "the result is too large", expr.span) from None


def _bounded(value: Value, span: Span) -> Value:
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise error("MP112", f"the number is larger than {MAX_INTEGER:.0e}", span)
    elif not math.isfinite(value):
        raise error("MP112", "the result is too large", span)
    return value


def _what(expr: ast.Expr) -> str:
    if isinstance(expr, ast.Binary):
        return "a comparison" if expr.op in ("<", "<=", ">", ">=", "==", "is") else "a mask expression"
    return {"text": "a string", "list": "a list", "pipeline": "a pipeline", "unary": "a mask expression"}.get(
        expr.kind, f"`{expr.callee}`" if isinstance(expr, ast.Call) else expr.kind
    )


__all__ = [
    "CONSTANTS",
    "FUNCTIONS",
    "MAX_EXPONENT",
    "MAX_INTEGER",
    "UnknownFunction",
    "UnknownNumber",
    "evaluate_number",
]
