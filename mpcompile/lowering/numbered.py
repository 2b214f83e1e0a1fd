"""The iterations of a repeat that state the same: how far the text of its body names the number of the iteration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from pydantic import BaseModel

from mpcompile.diagnostics import SpecError
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import evaluate_number


class Names(Protocol):
    """The part of a `Scope` that is asked here."""

    @property
    def numbers(self) -> dict[str, int | float]: ...
    @property
    def nets(self) -> Mapping[str, ast.Let]: ...
    @property
    def blocks(self) -> Mapping[str, ast.Block]: ...
    @property
    def masks(self) -> Mapping[str, ast.Expr]: ...
    def is_number(self, expr: ast.Expr) -> bool: ...


def period(repeat: ast.Repeat, inner: Names, numbers: Sequence[int]) -> int | None:
    """Return after how many iterations the text states the same again: 1 where it never names the number.

    `inner` is the scope of an iteration. None where there is no period, or where it cannot be told: the number is named
    in a net, a block or a mask, or in an expression of names that the body brings in.

    It is 2 for `i % 2`.
    """
    variable = repeat.variable
    if any(_names(n, variable) for n in _reached(repeat.body, inner)):
        return None
    stated = list(_expressions(repeat.body, variable, inner))
    try:
        rows = [tuple(evaluate_number(e, inner.numbers | {variable: i}) for e in stated) for i in numbers]
    except SpecError:
        return None  # the fault is found, and told, where the iteration is lowered
    fits = (p for p in range(1, len(rows) // 2 + 1) if all(r == rows[k % p] for k, r in enumerate(rows)))
    return next(fits, None)


def _nodes(node: object) -> Iterator[BaseModel]:
    """Yield a part of the syntax tree and everything in it."""
    if isinstance(node, BaseModel):
        yield node
        for name in type(node).model_fields:
            yield from _nodes(getattr(node, name))
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _nodes(item)


def _names(node: BaseModel, variable: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == variable for n in _nodes(node))


def _expressions(node: object, variable: str, inner: Names) -> Iterator[ast.Expr]:
    """Yield the largest expressions of numbers alone that name a variable; a name outside of those is one, too."""
    if isinstance(node, ast.Number | ast.Name | ast.Unary | ast.Binary | ast.Call) and inner.is_number(node):
        if _names(node, variable):
            yield node
    elif isinstance(node, ast.Name) and node.id == variable:
        yield node
    elif isinstance(node, BaseModel):
        for name in type(node).model_fields:
            yield from _expressions(getattr(node, name), variable, inner)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _expressions(item, variable, inner)


def _reached(body: BaseModel, inner: Names) -> Iterator[BaseModel]:
    """Yield the nets, blocks and masks that a body uses, directly or not, each once."""
    seen, open_ = set[str](), [body]
    while open_:
        for n in _nodes(open_.pop()):
            name = n.id if isinstance(n, ast.Name) else n.callee if isinstance(n, ast.Call) else ""
            defined = [d[name] for d in (inner.nets, inner.blocks, inner.masks) if name in d]
            if defined and name not in seen:
                seen.add(name)
                yield from defined
                open_ += defined


__all__ = ["period"]
