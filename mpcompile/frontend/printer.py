"""AST to text: expressions on one line, and long ones broken; the entry of the formatter."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mpcompile.diagnostics import Span
from mpcompile.frontend import ast
from mpcompile.frontend.expressions import MAX_NUMBER
from mpcompile.frontend.strings import quote

WIDTH = 100
INDENT = "  "
CONTINUED = "    "

# How tightly each form binds, as in the grammar; a looser form inside a tighter one is put in parentheses.
_PIPELINE, _STEP, _CLAIM, _UNION, _BOTH, _SUM, _PRODUCT, _UNARY, _POWER, _ATOM = range(10)
_LEVEL = {
    "|": _UNION, "&": _BOTH, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT,
    "%": _PRODUCT,
    "@": _PRODUCT, "**": _POWER, "<": _CLAIM, "<=": _CLAIM, ">": _CLAIM, ">=": _CLAIM, "==": _CLAIM,
    "is": _CLAIM,
}  # fmt: skip


@dataclass(slots=True)
class Line:
    """A line of output and the place in the source of what it starts with, to which comments attach."""

    text: str
    anchor: Span | None = None


def number(value: int | float) -> str:
    """Format a number as the language writes it."""
    if isinstance(value, int):
        grouped = f"{value:_}"
        return grouped if abs(value) >= 10**6 and len(grouped) <= MAX_NUMBER else str(value)
    return re.sub(r"e([+-]?)0*(\d)", lambda m: f"e{m[1].replace('+', '')}{m[2]}", repr(value))


def level(expr: ast.Expr) -> int:
    """Return how tightly an expression binds."""
    match expr:
        case ast.Pipeline():
            return _PIPELINE
        case ast.Call(body=body) if body is not None:
            return _STEP
        case ast.Binary():
            return _LEVEL[expr.op]
        case ast.Unary():
            return _UNARY
        case ast.Number(value=value) if value < 0:  # only ever made by hand: it reads back as a `Unary`
            return _UNARY
    return _ATOM


def text(expr: ast.Expr, loosest: int = _PIPELINE) -> str:
    """Format an expression as one line, in parentheses when it binds more loosely than its place allows."""
    written = _text(expr)
    return f"({written})" if level(expr) < loosest else written


def size_text(expr: ast.Expr) -> str:
    """Format a dimension or the end of a range: sums and tighter."""
    return text(expr, _SUM)


def _text(expr: ast.Expr) -> str:
    match expr:
        case ast.Number():
            return expr.written or number(expr.value)
        case ast.Text():
            return quote(expr.value)
        case ast.Name():
            return expr.id
        case ast.Part():
            return f"{expr.name}.{expr.member}"
        case ast.Unary():
            return expr.op + text(expr.operand, _UNARY)
        case ast.Binary(op="**"):
            return f"{text(expr.left, _ATOM)} ** {text(expr.right, _UNARY)}"
        case ast.Binary():
            here = _LEVEL[expr.op]
            if here == _CLAIM:
                return f"{text(expr.left, _UNION)} {expr.op} {text(expr.right, _UNION)}"
            return f"{text(expr.left, here)} {expr.op} {text(expr.right, here + 1)}"
        case ast.ListExpr():
            return "[" + ", ".join(text(item) for item in expr.items) + "]"
        case ast.Call():
            body = (
                "" if expr.body is None else " { " + " -> ".join(step_text(s) for s in expr.body.steps) + " }"
            )
            return call_head(expr) + body
        case ast.Pipeline():
            return " -> ".join(step_text(step) for step in expr.steps)
    raise AssertionError(f"no text for {expr!r}")


def call_head(call: ast.Call) -> str:
    """Format a call without its body."""
    inputs = "" if call.inputs is None else "(" + ", ".join(text(i) for i in call.inputs) + ")"
    return f"{call.callee}({', '.join(argument_text(a) for a in call.args)}){inputs}"


def argument_text(argument: ast.Argument) -> str:
    """Format an argument of a call, with its name."""
    return argument_name(argument) + text(argument.value)


def argument_name(argument: ast.Argument) -> str:
    """Format `name = ` before the value of a named argument."""
    return "" if argument.name is None else f"{argument.name} = "


def repeat_head(repeat: ast.Repeat) -> str:
    """Format the head of a repeat, `repeat i in 0..4`."""
    return f"repeat {repeat.variable} in {size_text(repeat.start)}..{size_text(repeat.stop)}"


def step_text(step: ast.Step) -> str:
    """Format one stage of a pipeline on one line."""
    if isinstance(step.layer, ast.Repeat):
        inner = " -> ".join(step_text(s) for s in step.layer.body.steps)
        written = f"{repeat_head(step.layer)} {{ {inner} }}"
    else:
        written = text(step.layer, _STEP)
    return written + tap_text(step)


def tap_text(step: ast.Step) -> str:
    """Format ` as name` behind a stage with a tap."""
    return f" as {step.tap}" if step.tap else ""


# --- long expressions ------------------------------------------------------------------------------------


def lines(
    prefix: str, expr: ast.Expr, suffix: str = "", indent: str = "", open_body: bool = False
) -> list[Line]:
    """Format `prefix` + expression + `suffix` on as few lines as fit; continuation lines are indented.

    `open_body` writes the body of a call over several lines even where it would fit on one.

    They start at `indent` and deeper.
    """
    opened = open_body and isinstance(expr, ast.Call) and expr.body is not None
    whole = prefix + text(expr) + suffix
    if len(whole) <= WIDTH and not opened:
        return [Line(whole, expr.span)]
    match expr:
        case ast.Pipeline(steps=steps) if len(steps) > 1 or isinstance(steps[0].layer, ast.Repeat):
            out = step_lines(prefix, steps[0], suffix if len(steps) == 1 else "", indent)
            for at, step in enumerate(steps[1:], 2):
                out += step_lines(
                    f"{indent}{CONTINUED}-> ", step, suffix if at == len(steps) else "", indent + CONTINUED
                )
            return out
        case ast.Call(body=body) if body is not None:
            out = [Line(f"{prefix}{call_head(expr)} {{", expr.span)]
            for step in body.steps:
                out += step_lines(indent + INDENT, step, "", indent + INDENT)
            return [*out, Line(f"{indent}}}{suffix}")]
        case ast.Call(inputs=None, args=args) if args:
            return _call_lines(prefix, expr, suffix, indent)
    return [Line(whole, expr.span)]


def _call_lines(prefix: str, expr: ast.Call, suffix: str, indent: str) -> list[Line]:
    *first, last = expr.args
    opening = f"{prefix}{expr.callee}(" + "".join(f"{argument_text(a)}, " for a in first)
    if len(opening) <= WIDTH - 20 and isinstance(last.value, ast.Pipeline | ast.Call):
        return lines(opening + argument_name(last), last.value, f"){suffix}", indent)
    out = [Line(f"{prefix}{expr.callee}(", expr.span)]
    for argument in expr.args:
        comma = "" if argument is last else ","
        out += lines(indent + INDENT + argument_name(argument), argument.value, comma, indent + INDENT)
    return [*out, Line(f"{indent}){suffix}")]


def step_lines(prefix: str, step: ast.Step, suffix: str, indent: str) -> list[Line]:
    """Format one stage of a pipeline; a repeat gets a line for each of its stages."""
    suffix = tap_text(step) + suffix
    if not isinstance(step.layer, ast.Repeat):
        if level(step.layer) < _STEP:
            return lines(f"{prefix}(", step.layer, f"){suffix}", indent)
        return lines(prefix, step.layer, suffix, indent)
    whole = prefix + step_text(ast.Step.model_construct(span=step.span, layer=step.layer, tap=None)) + suffix
    if len(whole) <= WIDTH and len(step.layer.body.steps) == 1:
        return [Line(whole, step.span)]
    out = [Line(f"{prefix}{repeat_head(step.layer)} {{", step.span)]
    for inner in step.layer.body.steps:
        out += step_lines(indent + INDENT, inner, "", indent + INDENT)
    return [*out, Line(f"{indent}}}{suffix}")]


# --- parts both syntaxes share ---------------------------------------------------------------------------


def type_text(kind: ast.TypeExpr) -> str:
    """Format a type with its bounds, its shape and whether a value may be missing."""
    written: str = kind.base
    if kind.low is not None:
        written += f"({size_text(kind.low)}..{'' if kind.high is None else size_text(kind.high)})"
    elif kind.classes is not None:
        written += f"({size_text(kind.classes)})"
    elif kind.labels:
        written += "(" + ", ".join(quote(label) for label in kind.labels) + ")"
    return written + shape_text(kind.shape) + ("?" if kind.optional else "")


def shape_text(shape: tuple[ast.Axis, ...]) -> str:
    """Format a shape in brackets; nothing for a scalar."""
    return "[" + ", ".join(axis_text(axis) for axis in shape) + "]" if shape else ""


def axis_text(axis: ast.Axis) -> str:
    """Format an axis, with its name where it has one."""
    return ("" if axis.name is None else f"{axis.name}: ") + size_text(axis.size)


def carried_text(carry: ast.Carry) -> str:
    """Format the name of a carried value with its shape or its type."""
    return carry.name + (shape_text(carry.shape) if carry.type is None else f": {type_text(carry.type)}")


def learned_text(weight: ast.LearnedWeight) -> str:
    """Format `weight name: type` without how it starts."""
    return f"weight {weight.name}: {type_text(weight.type)}"


def split_statement(
    item: ast.Density | ast.Term | ast.Let | ast.Update | ast.WeightPrior,
) -> tuple[str, ast.Expr]:
    """Format a statement up to its last expression, which is returned: a body may stand behind it."""
    match item:
        case ast.Let() | ast.Update():
            return f"{item.name} = ", item.value
        case ast.WeightPrior():
            return f"prior {item.name} ~ ", item.distribution
        case ast.Term():
            head, value, weight = "minimise ", item.value, item.weight
        case _:
            role = "" if item.role == "observed" else f"{item.role} "
            kind = "" if item.type is None else f": {type_text(item.type)}"
            head, value, weight = f"{role}{item.name}{kind} ~ ", item.distribution, item.weight
            if item.prior is not None:
                return f"{head}{text(value)} prior ", item.prior
    return (head, value) if weight is None else (f"{head}{text(value)} weight ", weight)


def signature_text(name: str, params: tuple[ast.Param, ...]) -> str:
    """Format a name with its parameters and their defaults."""
    if not params:
        return name
    parts = [p.name if p.default is None else f"{p.name} = {text(p.default)}" for p in params]
    return f"{name}({', '.join(parts)})"


def claim_text(check: ast.Check) -> str:
    """Format a line of the `check` section."""
    because = "" if check.because is None else f" because {quote(check.because)}"
    return ("allow " if check.allow else "") + text(check.claim, _CLAIM) + because


__all__ = [
    "INDENT", "WIDTH", "Line", "argument_text", "call_head", "carried_text", "claim_text", "learned_text", "lines",
    "number", "repeat_head", "shape_text", "signature_text", "size_text", "split_statement", "step_lines",
    "step_text", "tap_text", "text", "type_text",
]  # fmt: skip
