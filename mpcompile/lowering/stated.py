"""Values that the model states by name: `h = body(z)` at the top, and what each of them reads.

A value is built where it is first used, from the variables that the statement which uses it may read, and outside of
every loop if no loop gives one of them. So it carries what it reads to its use: a law that may not read `y` may not use a
value that reads `y`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from mpcompile.diagnostics import Span, error
from mpcompile.frontend import ast
from mpcompile.frontend.unused import references
from mpcompile.ir import Value
from mpcompile.layers import Context
from mpcompile.lowering import holes
from mpcompile.lowering.names import unknown

if TYPE_CHECKING:
    from mpcompile.lowering.scope import Scope


def stated(ctx: Context, scope: Scope, name: str, span: Span) -> Value:
    """Build the value that the model states under a name, once for all uses that see the same variables.

    `span` is that of the use. Raises `SpecError`: MP126 for a value that refers to itself, MP127 where it reads a
    variable that the using statement may not read.
    """
    let, top = scope.lets[name], scope.top
    assert top is not None, "values are only built within a program"
    seen = {n: v for n, v in top.values.items() if n not in scope.hidden}
    read = sorted(reads(scope, let) & seen.keys())
    key = (name, *((n, seen[n]) for n in read))
    if key not in ctx.stated:
        inner = replace(top, values=seen, hidden=scope.hidden, top=top, active=scope.active)
        inner = inner.entering(name, span)
        everywhere = all(seen[n] in ctx.root.graph for n in read)  # else it reads what is of a step
        place = ctx.outside() if everywhere else nullcontext()
        with place, ctx.frame(name, scope.label(let.span), let.span, absolute=True):
            ctx.stated[key] = inner.value(ctx, let.value)
    return ctx.stated[key]


def of_missing(ctx: Context, scope: Scope, call: ast.Call) -> Value:
    """Build `fill(x, v)` or `observed(x)`. Raises `SpecError`: MP123 without a variable, MP127 for a hidden one."""
    first, count = call.args[0].value if call.args else None, 2 if call.callee == "fill" else 1
    if not isinstance(first, ast.Name) or len(call.args) != count:
        raise error("MP123", f"`{call.callee}` is of a variable", call.span, help=holes.USAGE)
    if first.id not in scope.values:
        scope.refuse(first.id, first.span)
        raise unknown("variable", first.id, list(scope.values), first.span)
    x = scope.values[first.id]
    by = None if count == 1 else scope.value(ctx, call.args[1].value)
    return holes.observed(ctx, x) if by is None else holes.filled(ctx, x, by)


def reads(scope: Scope, let: ast.Let) -> set[str]:
    """Return every name to which a value refers, directly or through nets, blocks and other values."""
    return set(_closure(scope, let))


def _closure(scope: Scope, start: ast.Node) -> Iterator[str]:
    found, todo = set[str](), [start]
    while todo:
        for name in references([todo.pop()]) - found:
            found.add(name)
            yield name
            todo += [d[name] for d in (scope.lets, scope.nets, scope.blocks) if name in d]


__all__ = ["of_missing", "reads", "stated"]
