"""Descriptions of a place: signature, defaults and shapes under the pointer, and shapes within the text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lsprotocol import types

from mpcompile.analysis.receptive import ReceptiveField
from mpcompile.diagnostics import Span
from mpcompile.frontend import ast
from mpcompile.frontend.editing import offsets
from mpcompile.frontend.unused import nodes
from mpcompile.ir import Field, Module
from mpcompile.ir.axes import role, shown
from mpcompile.lowering.watched import Seen
from mpcompile.reference import KINDS, entry
from mpcompile.server.document import Document, Proved
from mpcompile.server.names import Definition

#: Different shapes of one place, from as many uses, that are shown.
USES = 3


def hover(document: Document, proved: Proved | None, position: types.Position) -> types.Hover | None:
    """Describe the name at a position: its definition or its entry in the reference, and the value it gives there."""
    offset = document.places.offset(position)
    word, start = word_at(document.text, offset)
    if not word:
        return None
    defined = document.names.at(offset) if document.names is not None else None
    node = _node_at(document, start, word)
    parts = _about_definition(document, defined) if defined is not None else _about_name(word)
    parts += _about_value(document, node, proved) if node is not None else []
    if defined is None and node is None and proved is not None:
        parts += [f"- {answer}" for span, said in proved.answers.items() if _holds(document, span, start)
                  for answer in said]  # fmt: skip
    if not parts:
        return None
    text = types.MarkupContent(types.MarkupKind.Markdown, "\n\n".join(parts))
    return types.Hover(text, document.places.range_of(start, start + len(word)))


def word_at(text: str, offset: int) -> tuple[str, int]:
    """Return the name around a character, or right before it, and where it starts."""
    start = end = offset
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return text[start:end], start


def _node_at(document: Document, start: int, word: str) -> ast.Node | None:
    """The call or the name that begins at a character."""
    for node in nodes([document.model] if document.model is not None else []):
        name = node.callee if isinstance(node, ast.Call) else node.id if isinstance(node, ast.Name) else None
        if name == word and offsets(document.text, node.span)[0] == start:
            return node
    return None


# --- names ---


def _about_name(word: str) -> list[str]:
    """The entry of a name of the language: of each kind that has it, the signature, the text and the arguments."""
    found: list[str] = []
    for kind in KINDS.values():
        if word in kind.rows():
            about = entry(kind, word)
            found.append(f"```mpcompile\n{about.usage}\n```\n{about.noun}. {next(iter(about.about), '')}")
            rows = [f"- `{name}`: {text}" for name, text in (*about.facts, *about.arguments)]
            found += ["\n".join(rows)] if rows else []
    return found


def _about_definition(document: Document, d: Definition) -> list[str]:
    """A name of the spec: its kind, the line that defines it, and for a variable its axes and their roles."""
    line = document.text[: d.start].count("\n") + 1
    written = document.text.split("\n")[line - 1].strip()
    found = [f"```mpcompile\n{written}\n```\n{d.kind} `{d.name}`, line {line}"]
    module = document.module
    if module is None:
        return found
    declared = module.fields.get(d.name) or module.latents.get(d.name)
    if declared is not None and d.kind in ("variable", "latent"):
        found.append(_axes(declared))
    if d.kind == "parameter" and d.name in module.params:
        found.append(f"value: `{module.params[d.name]:g}`")
    if d.kind in ("net", "block", "weight"):
        found += [_parameters(module, d.node.span)]
    return found


def _axes(f: Field) -> str:
    """The axes of a declared variable, each with its role."""
    rows = [
        f"- `{name}: {size}`, {role(name, size).value}"
        for name, size in zip(f.axes, f.type.shape[1:], strict=True)
    ]
    kind = f"category({f.classes})" if f.base == "category" else f.kind
    return "\n".join([f"{f.role} of {kind}" + ("" if rows else ", one number"), *rows])


def _parameters(module: Module, span: Span) -> str:
    own = [p for p in module.parameters.values() if p.trainable and _within(p.span, span)]
    dead = sum(p.size - p.live for p in own)
    masked = f", and {dead:,} that masks remove" if dead else ""
    return f"parameters: {sum(p.live for p in own):,}{masked}"


# --- values ---


def _about_value(document: Document, node: ast.Node, proved: Proved | None) -> list[str]:
    """The value that an expression gives: its axes and their roles, parameters, and the receptive field."""
    found: list[str] = []
    for seen in document.shapes.get(node.span, [])[:USES]:
        roles = [f"{n} ({role(n, s).value})" for n, s in zip(seen.axes, seen.sizes, strict=True)]
        found.append(f"gives `{written(seen)}`" + (f"; axes: {', '.join(roles)}" if roles else ""))
    module = document.module
    if module is not None and isinstance(node, ast.Call | ast.Name) and found:
        own = [p for p in module.parameters.values() if p.trainable and p.span == node.span]
        found += [_parameters(module, node.span)] if own else []
    if proved is not None:
        found += [_reads(name, seen) for name, seen in proved.fields.get(node.span, [])[:USES]]
    return found


def written(seen: Seen) -> str:
    """Format the axes of a value as messages do."""
    return shown(seen.axes, seen.sizes) if seen.axes else seen.dtype.name.lower()


def _reads(name: str, seen: ReceptiveField) -> str:
    """The receptive field along each axis of the variable; `no end` where it has none."""
    sizes = " x ".join("no end" if axis.size is None else str(axis.size) for axis in seen.axes)
    return f"reads {sizes} of `{name}`" + ("" if seen.exact else " at most")


def _within(inner: Span, outer: Span) -> bool:
    start, end = (outer.line, outer.column), (outer.end_line, outer.end_column)
    return start <= (inner.line, inner.column) and (inner.end_line, inner.end_column) <= end


def _holds(document: Document, span: Span, offset: int) -> bool:
    start, end = offsets(document.text, span) if span.line else (0, 0)
    return start <= offset < end


# --- shapes within the text ---


def hints(document: Document, wanted: types.Range) -> list[types.InlayHint]:
    """Return the shapes behind the steps of pipelines, where a step changes them, within a range."""
    low, high = document.places.offset(wanted.start), document.places.offset(wanted.end)
    found: list[types.InlayHint] = []
    for steps in _pipelines(document):
        before: list[Seen] | None = None
        for span in steps:
            shapes = document.shapes.get(span)
            at = offsets(document.text, span)[1]
            if shapes and shapes != before and low <= at <= high:
                label = " or ".join(dict.fromkeys(written(s) for s in shapes[:USES]))
                more = ", ..." if len(shapes) > USES else ""
                place = document.places.position(at)
                found.append(
                    types.InlayHint(place, label + more, types.InlayHintKind.Type, padding_left=True)
                )
            before = shapes or before
    return found


def _pipelines(document: Document) -> Iterator[Sequence[Span]]:
    """The places of the steps of each pipeline, and of each net, block and value of one step."""
    if document.model is None:
        return
    for node in nodes([document.model]):
        if isinstance(node, ast.Pipeline):
            yield [step.layer.span for step in node.steps if not isinstance(step.layer, ast.Repeat)]
        elif isinstance(node, ast.Let | ast.Update) and not isinstance(node.value, ast.Pipeline):
            yield [node.value.span]


__all__ = ["hints", "hover", "word_at", "written"]
