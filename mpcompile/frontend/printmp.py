"""The AST as a `.mp` file."""

from __future__ import annotations

from collections.abc import Iterable

from mpcompile.frontend import ast
from mpcompile.frontend.printer import (
    INDENT,
    Line,
    carried_text,
    claim_text,
    learned_text,
    lines,
    signature_text,
    split_statement,
    text,
    type_text,
)


def model_lines(model: ast.Model) -> list[Line]:
    """Format a whole model; paragraphs are separated by an empty line."""
    paragraphs: list[list[Line]] = [[Line(f"model {signature_text(model.name, model.params)}", model.span)]]
    paragraphs.append([_declaration(d) for d in model.declarations])
    paragraphs.append([line for weight in model.weights for line in _weight(weight)])
    paragraphs.append([line for mask in model.masks for line in _let("mask ", mask)])
    paragraphs.append([line for net in model.nets for line in _let("net ", net)])
    paragraphs += [_block(block) for block in model.blocks]
    paragraphs += [_density(item) for item in model.density]
    paragraphs.append(_options("objective", model.objective))
    paragraphs.append(_options("train", model.train))
    if model.checks:
        claims = [Line(INDENT + claim_text(c), c.span) for c in model.checks]
        paragraphs.append([Line("check {"), *claims, Line("}")])
    out: list[Line] = []
    last: list[Line] = []
    for paragraph in filter(None, paragraphs):
        # short statements of one kind stand together
        together = len(paragraph) == len(last) == 1 and _is_density(paragraph[0]) and _is_density(last[0])
        if out and not together:
            out.append(Line(""))
        out += paragraph
        last = paragraph
    return out


def _is_density(line: Line) -> bool:
    words = line.text.split(maxsplit=3)
    return "~" in words[1:3] or words[0] == "minimise" or words[1:2] == ["="]


def _at_start(written: list[Line], node: ast.Node) -> list[Line]:
    """The first line of a statement stands for the statement, not for the expression in it."""
    written[0].anchor = node.span
    return written


def _declaration(item: ast.Declaration) -> Line:
    return Line(f"{item.role} {item.name}: {type_text(item.type)}", item.span)


def _weight(weight: ast.LearnedWeight, indent: str = "") -> list[Line]:
    head = indent + learned_text(weight)
    if weight.init is None:
        return [Line(head, weight.span)]
    return _at_start(lines(f"{head} = ", weight.init, "", indent), weight)


def _let(head: str, let: ast.Let, indent: str = "") -> list[Line]:
    return _at_start(lines(f"{indent}{head}{let.name} = ", let.value, "", indent), let)


def _block(block: ast.Block) -> list[Line]:
    head = f"block {signature_text(block.name, block.params)}"
    if not block.inputs:
        return _at_start(lines(f"{head} = ", block.outputs[0]), block)
    out = [Line(f"{head} on {', '.join(block.inputs)} {{", block.span)]
    for let in block.lets:
        out += _weight(let, INDENT) if isinstance(let, ast.LearnedWeight) else _let("", let, INDENT)
    yielded = ", ".join(text(o) for o in block.outputs)
    return [*out, Line(f"{INDENT}yield {yielded}", block.outputs[0].span), Line("}")]


def _density(
    item: ast.Density | ast.Term | ast.Let | ast.WeightPrior | ast.Recurrence | ast.Update, indent: str = ""
) -> list[Line]:
    if isinstance(item, ast.Recurrence):
        backward = " backward" if item.backward else ""
        out = [Line(f"recurrence over {item.axis}{backward} {{", item.span)]
        for carry in item.carries:
            out += _at_start(lines(f"{INDENT}carry {carried_text(carry)} = ", carry.init, "", INDENT), carry)
        for statement in item.statements:
            out += _density(statement, INDENT)
        return [*out, Line("}")]
    head, last = split_statement(item)
    opened = not isinstance(item, ast.Let | ast.Update)
    return _at_start(lines(indent + head, last, "", indent, open_body=opened), item)


def _options(head: str, options: Iterable[ast.Let]) -> list[Line]:
    items = list(options)
    if not items:
        return []
    # one option a line, so that a comment on one of them stays with it
    out = [Line(f"{head} {{")]
    for let in items:
        out += _at_start(lines(f"{INDENT}{let.name}: ", let.value, "", INDENT), let)
    return [*out, Line("}")]


__all__ = ["model_lines"]
