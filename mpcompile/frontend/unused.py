"""Names that a spec declares and nothing in it refers to (MP324)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from mpcompile.diagnostics import Diagnostic, Severity, Span
from mpcompile.frontend import ast


def unused_names(model: ast.Model) -> Iterator[Diagnostic]:
    """Find nets, blocks, masks, numbers, inputs, latents, taps and local values without a reference.

    Exactly: a net, block or mask that is not reached from a density; a parameter of the model that nothing refers to;
    an input or condition that no density refers to; a latent to which no later density refers; a tap without a
    reference in the later steps of its pipeline; a value or parameter of a block without one inside of it. A name
    counts as referred to wherever it stands, so an unlucky homonym hides a finding and never makes one. What a block
    takes in need not be used: several blocks may share one signature.
    """
    roots = [*model.density, *model.objective, *model.train, *model.checks]
    kinds: list[tuple[str, ast.Let | ast.LearnedWeight | ast.Block]] = [
        *(("weight", w) for w in model.weights),
        *(("net", n) for n in model.nets),
        *(("mask", m) for m in model.masks),
        *(("block", b) for b in model.blocks),
    ]
    named = {entry.name: entry for _, entry in kinds}
    reached, todo = set[str](), list[ast.Node](roots)
    while todo:
        for name in references([todo.pop()]):
            if name in named and name not in reached:
                reached.add(name)
                todo.append(named[name])
    for kind, entry in kinds:
        if entry.name not in reached:
            yield _finding(kind, entry.name, entry.span)
    everywhere = references([*roots, *named.values(), *model.declarations, *model.params])
    for param in model.params:
        if param.name not in everywhere:
            yield _finding("parameter", param.name, param.span)
    inner = references([named[n] for n in reached])
    used = inner | references(model.density) | {d.name for d in model.density if isinstance(d, ast.Density)}
    recurrent, numbers = _recurrent(model), {p.name for p in model.params}
    for declared in model.declarations:
        if declared.name not in used and not recurrent and not _length(numbers, declared):
            yield _finding(declared.role, declared.name, declared.span)
    for role in ("latent", "value"):
        names = [_named(d, role) for d in model.density]
        values = [d for d in model.density if isinstance(d, ast.Let)]  # which may stand before what they read
        for statement in _unread(
            names, model.density, inner | (references(values) if role == "latent" else set())
        ):
            yield _finding(role, statement.name, statement.span)
    for block in model.blocks:
        yield from _in_block(block)
    for pipeline in (n for n in nodes([model]) if isinstance(n, ast.Pipeline)):
        for step in _unread([s.tap for s in pipeline.steps], pipeline.steps, set()):
            yield _finding("tap", str(step.tap), step.span)


def _unread(names: Sequence[str | None], trees: Sequence[Any], after: set[str]) -> Iterator[Any]:
    """Yield the named trees to which neither a later tree refers, nor a name in `after`."""
    later, found = set(after), list[Any]()
    for name, tree in zip(reversed(names), reversed(trees), strict=True):
        if name is not None and name not in later:
            found.append(tree)
        later |= references([tree])
    yield from reversed(found)


def _named(statement: ast.Node, role: str) -> str | None:
    """The name that a statement gives to a latent or to a value, as `role` says; None for another statement."""
    if isinstance(statement, ast.Let):
        return statement.name if role == "value" else None
    return statement.name if isinstance(statement, ast.Density) and statement.role == role else None


def _length(numbers: set[str], declared: ast.Declaration) -> bool:
    """Whether `integer(1..time)` gives the length of a sequence, which every layer over time reads."""
    return isinstance(declared.type.high, ast.Name) and declared.type.high.id not in numbers


def _recurrent(model: ast.Model) -> bool:
    """A recurrence states densities of its own."""
    return any(isinstance(d, ast.Recurrence) for d in model.density)


def _in_block(block: ast.Block) -> Iterator[Diagnostic]:
    inside = references([*block.lets, *block.outputs])
    for param in block.params:
        if param.name not in inside:
            yield _finding(f"parameter of {block.name}", param.name, param.span)
    for let in _unread([v.name for v in block.lets], block.lets, references(block.outputs)):
        yield _finding("value", let.name, let.span)


def nodes(trees: Iterable[BaseModel]) -> Iterator[ast.Node]:
    """Return every node of some trees."""
    todo: list[object] = list(trees)
    while todo:
        item = todo.pop()
        if isinstance(item, tuple):
            todo.extend(item)
        elif isinstance(item, ast.Node):
            yield item
            todo.extend(getattr(item, k) for k in type(item).model_fields if k != "span")


def references(trees: Iterable[BaseModel]) -> set[str]:
    """Return the names that some trees refer to."""
    found = set[str]()
    for node in nodes(trees):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Call):
            found.add(node.callee)
        elif isinstance(node, ast.WeightPrior | ast.Part):
            found.add(node.name)
    return found


def _finding(kind: str, name: str, span: Span) -> Diagnostic:
    return Diagnostic(
        "MP324",
        f"{kind} `{name}` is not used",
        span,
        Severity.WARNING,
        help=f"remove it, or refer to `{name}`",
    )
