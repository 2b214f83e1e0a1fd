"""Names of axes for specs of 0.1, where sizes without names were read by their place.

Every reading of every form that has two is tried. Those count under which the spec compiles, and readings that give the
same programs are one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

from mpcompile.budget import OutOfBudget, ensured
from mpcompile.diagnostics import Source, SpecError, error
from mpcompile.frontend import Syntax, ast, parse_text
from mpcompile.frontend.ast import without_spans
from mpcompile.frontend.comments import comments_of
from mpcompile.frontend.editing import Edit, edited, offsets
from mpcompile.frontend.unused import nodes, references
from mpcompile.ir import Module, symbol
from mpcompile.ir.axes import TwoReadings, default_axes
from mpcompile.ir.same import same_graph
from mpcompile.lowering.model import lower

#: More combinations of readings than this are not tried.
TRIED = 64

Edits = tuple[Edit, ...]


def upgraded(model: ast.Model, source: Source, syntax: Syntax) -> list[str]:
    """Return the texts of a spec with the names of its axes: one for each reading that is left, the usual one first.

    A spec without a form of two readings (MP212) and without sizes of 1 that are to be stretched (MP214) is left as it
    is. First names are given alone; where nothing compiles so, `reshape`s that only add axes of size 1 may go as well.
    Raises `SpecError`: what is wrong with the spec as it is, where it compiles under no reading, and MP310.
    """
    try:
        with ensured():
            try:
                lower(model, source)
                return [source.text]
            except SpecError as problem:
                if not any(d.code in ("MP212", "MP214") for d in problem.diagnostics):
                    return [source.text]
                found = _compiling(model, source, syntax, False) or _compiling(model, source, syntax, True)
                if not found:
                    raise
                return found
    except OutOfBudget as limit:
        raise error("MP310", f"the readings of the spec are not tried within {limit}", model.span) from None


def _compiling(model: ast.Model, source: Source, syntax: Syntax, drop: bool) -> list[str]:
    """Texts of the readings that compile, one of those that mean the same."""
    kept: list[tuple[str, Module]] = []
    for text in _candidates(model, source, syntax, drop):
        try:
            again = parse_text(text, source.path, syntax)
            if _unnamed(again, drop) != _unnamed(model, drop):
                continue
            module = lower(again, Source(source.path, text))
        except SpecError:
            continue
        if not any(_same(module, other) for _, other in kept):
            kept.append((text, module))
    return [text for text, _ in kept]


def _candidates(model: ast.Model, source: Source, syntax: Syntax, drop: bool) -> Iterator[str]:
    fixed = {n.name for n in nodes([model]) if isinstance(n, ast.Param)}
    fixed |= {n.variable for n in nodes([model]) if isinstance(n, ast.Repeat)}
    choices: list[Sequence[Edits]] = []
    dropped = _dropped(model, source) if drop else {}
    for node in sorted(nodes([model]), key=lambda n: n.span):
        if isinstance(node, ast.TypeExpr):
            if readings := _of_type(node, fixed, source):
                choices.append(readings)
        elif (sizes := _listed(node)) is not None:
            readings = _of_reshape(sizes, source)
            if node.span in dropped:
                readings = [*(readings or [()]), dropped[node.span]]
            if readings:
                choices.append(readings)
    comments = [c.text for c in comments_of(source)]
    for made in product(*choices) if prod(map(len, choices)) <= TRIED else ():
        text = edited(source, syntax, (e for edits in made for e in edits))
        if [c.text for c in comments_of(Source(source.path, text))] == comments:
            yield text


def _of_type(t: ast.TypeExpr, fixed: set[str], source: Source) -> list[Edits]:
    """The readings of a type that has two."""
    lengths = [sorted(references([axis.size]) - fixed) for axis in t.shape]
    sizes = [symbol(names[0]) if names else 1 for names in lengths]
    try:
        default_axes([axis.name for axis in t.shape], sizes, t.base == "category")
    except TwoReadings as two:
        starts = [offsets(source.text, axis.size.span)[0] for axis in t.shape]
        bare = [axis.name is None and not names for axis, names in zip(t.shape, lengths, strict=True)]
        return [
            tuple(Edit(at, at, f"{n}: ") for n, at, b in zip(names, starts, bare, strict=True) if b)
            for names in two.readings
            if names
        ]
    return []


def _items(node: object) -> tuple[ast.Expr, ...] | None:
    """The sizes of a `reshape`, with names or in a list."""
    if not isinstance(node, ast.Call) or node.callee != "reshape":
        return None
    listed = _listed(node)
    return tuple(a.value for a in node.args) if listed is None else listed.items


def _listed(node: ast.Node) -> ast.ListExpr | None:
    """The list of `reshape([8, 8])`."""
    if isinstance(node, ast.Call) and node.callee == "reshape" and len(node.args) == 1:
        value = node.args[0].value
        return value if isinstance(value, ast.ListExpr) else None
    return None


def _adds_ones(step: ast.Step) -> bool:
    """Whether a step is a reshape all of whose sizes but one are a 1 in the text."""
    items = _items(step.layer) if step.tap is None else None
    ones = [isinstance(e, ast.Number) and e.value == 1 for e in items or ()]
    return len(ones) > 1 and ones.count(False) == 1


def _of_reshape(sizes: ast.ListExpr, source: Source) -> list[Edits]:
    try:
        default_axes([None] * len(sizes.items), [1] * len(sizes.items))
    except TwoReadings as two:
        start, end = offsets(source.text, sizes.span)
        brackets = Edit(start, start + 1, ""), Edit(end - 1, end, "")
        starts = [offsets(source.text, item.span)[0] for item in sizes.items]
        return [
            (*brackets, *(Edit(at, at, f"{n} = ") for n, at in zip(names, starts, strict=True)))
            for names in two.readings
            if names
        ]
    return []


def _dropped(model: ast.Model, source: Source) -> dict[Any, Edits]:
    """The edits that take a reshape which only adds axes of size 1 out of its pipeline, by its place."""
    found: dict[Any, Edits] = {}
    for node in nodes([model]):
        if isinstance(node, ast.Pipeline):
            for before, step in zip(node.steps, node.steps[1:], strict=False):
                if _adds_ones(step):
                    place = step.layer.span
                    start, end = offsets(source.text, before.span)[1], offsets(source.text, place)[1]
                    found[place] = (Edit(start, end, ""),)
    return found


def _unnamed(node: Any, drop: bool) -> Any:
    """Plain data of a tree without the names of axes, and with `drop` without the reshapes that may go."""
    if isinstance(node, tuple):
        return [_unnamed(item, drop) for item in node]
    if not isinstance(node, ast.Node):
        return without_spans(node)
    if isinstance(node, ast.Axis):
        return _unnamed(node.size, drop)
    if (items := _items(node)) is not None:
        return "reshape", _unnamed(items, drop)
    if isinstance(node, ast.Pipeline) and drop:
        left = (*node.steps[:1], *(s for s in node.steps[1:] if not _adds_ones(s)))
        steps = [_unnamed(s, drop) for s in left]
        return steps[0]["layer"] if len(steps) == 1 and steps[0]["tap"] is None else steps
    fields = (k for k in type(node).model_fields if k not in ("span", "written"))
    return {"node": type(node).__name__, **{k: _unnamed(getattr(node, k), drop) for k in fields}}


def _same(a: Module, b: Module) -> bool:
    """Whether two modules have the same programs of the same parameters."""
    return (
        list(a.regions) == list(b.regions)
        and all(same_graph(graph, b.regions[name], places=False) for name, graph in a.regions.items())
        and _weights(a) == _weights(b)
    )


def _weights(module: Module) -> list[tuple[object, ...]]:
    return [(p.name, p.shape, p.init.kind, p.init.scale) for p in module.parameters.values()]


__all__ = ["TRIED", "upgraded"]
