"""The AST as a YAML file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mpcompile.diagnostics import Span
from mpcompile.frontend import ast
from mpcompile.frontend import printer as p
from mpcompile.frontend.printer import Line

_STEP = "  "
_MAX_KEY = 900  # YAML wants a key within 1024 characters
_UNSAFE_START = re.compile(r"""[-?:](\s|$)|[,\[\]{}#&*!|>'"%@`\s]""")
_UNSAFE = re.compile(r":(\s|$)|\s#|\s$")


def scalar(text: str) -> str:
    """Format a string as a plain scalar where YAML reads it back as it is, quoted otherwise."""
    if not text or _UNSAFE_START.match(text) or _UNSAFE.search(text) or text in ("~", "null"):
        return "'" + text.replace("'", "''") + "'"
    return text


def model_lines(model: ast.Model) -> list[Line]:
    """Format a whole model, one key after the other."""
    out = [Line(f"model: {model.name}", model.span)]
    if model.params:
        out.append(Line("params:"))
        for param in model.params:
            value = "null" if param.default is None else scalar(p.text(param.default))
            out.append(Line(f"{_STEP}{param.name}: {value}", param.span))
    for role in ("input", "target", "condition"):
        items = [d for d in model.declarations if d.role == role]
        if items:
            out.append(Line(f"{role}:"))
            out += [Line(f"{_STEP}{d.name}: {scalar(p.type_text(d.type))}", d.span) for d in items]
    out += _section("weights", [line for weight in model.weights for line in _weight(weight)])
    out += _section(
        "masks", [line for let in model.masks for line in _value(f"{_STEP}{let.name}: ", let.value, let)]
    )
    out += _section(
        "nets", [line for let in model.nets for line in _pipeline(_STEP + let.name, let.value, let.span)]
    )
    out += _section("blocks", [line for block in model.blocks for line in _block(block)])
    out += _section("density", [line for item in model.density for line in _density(item, _STEP)])
    for name, options in (("objective", model.objective), ("train", model.train)):
        out += _section(name, [line for o in options for line in _value(f"{_STEP}{o.name}: ", o.value, o)])
    claims = [Line(f"{_STEP}- {scalar(p.claim_text(c))}", c.span) for c in model.checks]
    return out + _section("check", claims)


def _weight(weight: ast.LearnedWeight) -> list[Line]:
    """`w: real[4] = normal(0.02)`: what stands behind the name is one text, on one line."""
    written = p.type_text(weight.type) + ("" if weight.init is None else f" = {p.text(weight.init)}")
    return [Line(f"{_STEP}{weight.name}: {scalar(written)}", weight.span)]


def _section(name: str, items: list[Line]) -> list[Line]:
    return [Line(f"{name}:"), *items] if items else []


def _string(prefix: str, one: str, broken: Sequence[Line], anchor: Span) -> list[Line]:
    """A string after `prefix`: on its line, or, when that is too long, as a literal block below it."""
    if len(prefix) + len(one) <= p.WIDTH or len(broken) < 2:
        return [Line(prefix + scalar(one), anchor)]
    indent = " " * (len(prefix) - len(prefix.lstrip(" ")) + (4 if prefix.lstrip().startswith("-") else 2))
    return [Line(f"{prefix}|-", anchor), *(Line(indent + line.text, line.anchor) for line in broken)]


def _value(prefix: str, value: ast.Expr, owner: ast.Node) -> list[Line]:
    return _string(prefix, p.text(value), p.lines("", value), owner.span)


def _pipeline(key: str, value: ast.Expr, anchor: Span) -> list[Line]:
    """`key: pipeline`, as a list when it has several stages."""
    if not isinstance(value, ast.Pipeline):
        return _string(f"{key}: ", p.text(value), p.lines("", value), anchor)
    return [Line(f"{key}:", anchor), *_steps(value, " " * (len(key) - len(key.lstrip(" "))) + _STEP)]


def _steps(pipeline: ast.Pipeline, indent: str) -> list[Line]:
    out: list[Line] = []
    for step in pipeline.steps:
        layer = step.layer
        if isinstance(layer, ast.Repeat | ast.Call) and layer.body is not None:
            head = p.repeat_head(layer) if isinstance(layer, ast.Repeat) else p.call_head(layer)
            head = scalar(head + p.tap_text(step))
            if len(head) <= _MAX_KEY:
                out.append(Line(f"{indent}- {head}:", step.span))
                out += _steps(layer.body, indent + 2 * _STEP)
                continue
        out += _string(f"{indent}- ", p.step_text(step), p.step_lines("", step, "", ""), step.span)
    return out


def _block(block: ast.Block) -> list[Line]:
    key = _STEP + scalar(p.signature_text(block.name, block.params))
    if not block.inputs:
        return _pipeline(key, block.outputs[0], block.span)
    inner = 2 * _STEP
    out = [Line(f"{key}:", block.span), Line(f"{inner}on: [{', '.join(block.inputs)}]")]
    if block.lets:
        out.append(Line(f"{inner}let:"))
        for let in block.lets:
            if isinstance(let, ast.Let):
                out += _line(f"{inner}{_STEP}- ", f"{let.name} = ", let.value, let.span)
            else:
                start = "" if let.init is None else f" = {p.text(let.init)}"
                out.append(Line(f"{inner}{_STEP}- {scalar(p.learned_text(let) + start)}", let.span))
    out.append(Line(f"{inner}yield:"))
    for output in block.outputs:
        out += _line(f"{inner}{_STEP}- ", "", output, output.span)
    return out


def _line(prefix: str, head: str, value: ast.Expr, anchor: Span) -> list[Line]:
    return _string(prefix, head + p.text(value), p.lines(head, value), anchor)


def _density(
    item: ast.Density | ast.Term | ast.Let | ast.WeightPrior | ast.Recurrence | ast.Update, indent: str
) -> list[Line]:
    if isinstance(item, ast.Recurrence):
        return _recurrence(item, indent)
    head, last = p.split_statement(item)
    if isinstance(last, ast.Call) and last.body is not None:
        key = scalar(head + p.call_head(last))
        if len(key) <= _MAX_KEY:
            return [Line(f"{indent}- {key}:", item.span), *_steps(last.body, indent + 2 * _STEP)]
    return _line(f"{indent}- ", head, last, item.span)


def _recurrence(item: ast.Recurrence, indent: str) -> list[Line]:
    inner = indent + 2 * _STEP
    out = [Line(f"{indent}- recurrence:", item.span), Line(f"{inner}over: {item.axis}")]
    if item.backward:
        out.append(Line(f"{inner}backward: true"))
    if item.carries:
        out.append(Line(f"{inner}carry:"))
        for carry in item.carries:
            key = f"{inner}{_STEP}{scalar(p.carried_text(carry))}: "
            out += _value(key, carry.init, carry)
    if not item.statements:
        return [*out, Line(f"{inner}steps: []")]
    out.append(Line(f"{inner}steps:"))
    for statement in item.statements:
        out += _density(statement, inner + _STEP)
    return out


__all__ = ["model_lines", "scalar"]
