"""Uses of nets and blocks: the numbers of a block's parameters, and the values that a use hands in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mpcompile.diagnostics import Expected, SpecError, error
from mpcompile.frontend import ast
from mpcompile.lowering.names import unknown

if TYPE_CHECKING:
    from mpcompile.lowering.scope import Scope

#: The help for several values where one is needed.
MANY = "a block of as many inputs reads them: block both on a, b { yield concat(a, b) }"


@contextmanager
def blamed(scope: Scope, call: ast.Call, body: ast.Expr, count: int) -> Iterator[None]:
    """Move a finding about the number of values from the first stage of a net or a block to its use.

    Raises `SpecError` (MP208) there.
    """
    first = body.steps[0].layer if isinstance(body, ast.Pipeline) else body
    try:
        yield
    except SpecError as fault:
        inner = fault.diagnostics[0]
        if inner.code != "MP208" or inner.span != first.span or count == 1:
            raise
        wanted = f"gets {count} values" if count else "reads what stands before it, and nothing does"
        raise error(
            "MP208", f"`{call.callee}` {wanted}", call.span,
            notes=(f"its first stage is `{scope.label(first.span)}`, line {first.span.line}: {inner.message}",),
            help=inner.help if count else f"x -> {call.callee}",
        ) from fault  # fmt: skip


def _one_too_many(scope: Scope, block: ast.Block, call: ast.Call, argument: ast.Argument) -> SpecError:
    """An argument by place behind the numbers of a block: `dist(2, a, b)` for `dist(2)(a, b)`."""
    at, texts = call.args.index(argument), [scope.label(a.span) for a in call.args]
    numbers, values = ", ".join(texts[:at]), ", ".join(texts[at:])
    if block.params:
        help_ = f"values go into a second pair of parentheses: {block.name}({numbers})({values})"
    elif block.inputs:
        help_ = f"it is called like a function: {block.name}({', '.join(block.inputs)})"
    else:
        help_ = f"what it reads stands before it: {values} -> {block.name}"
    return error("MP128", f"block `{block.name}` takes no argument `{texts[at]}`", argument.span, help=help_)


def block_numbers(scope: Scope, block: ast.Block, call: ast.Call) -> dict[str, int | float]:
    """Return the numbers of a block's parameters at one use. Raises `SpecError`."""
    given: dict[str, int | float] = {}
    names = [p.name for p in block.params]
    for i, argument in enumerate(call.args):
        name = argument.name or (names[i] if i < len(names) else None)
        if name is None or name not in names:
            if argument.name is None:
                raise _one_too_many(scope, block, call, argument)
            raise unknown("parameter", argument.name, names, argument.span, of=block.name)
        if name in given:
            raise error("MP124", f"`{name}` is given twice", argument.span)
        try:
            given[name] = scope.number(argument.value)
        except Expected as fault:
            raise fault.of(f"`{name}` of block `{block.name}`") from fault
    for param in block.params:
        if param.name not in given:
            if param.default is None:
                raise error("MP123", f"block `{block.name}` needs `{param.name}`", call.span)
            given[param.name] = scope.number(param.default)
    return given


__all__ = ["MANY", "blamed", "block_numbers"]
