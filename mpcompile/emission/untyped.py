"""Expressions whose type a checker cannot tell: what is called or read of a value of type `Any`."""

from __future__ import annotations

import ast
from collections.abc import Callable


def untyped(text: str, known: Callable[[ast.expr], bool | None]) -> bool:
    """Return whether an expression is `Any` to a type checker.

    `known` answers for names, calls and attributes that a backend knows; None leaves the answer to the rule: what is
    read of a value, or computed with it, is `Any` where the value is, and a call of a function is not.
    """

    def visit(e: ast.expr) -> bool:
        if (answer := known(e)) is not None:
            return answer
        match e:
            case (
                ast.Call(func=ast.Attribute(value=value))
                | ast.Attribute(value=value)
                | ast.Subscript(value=value)
            ):
                return visit(value)
            case ast.BinOp(left=left, right=right):
                return visit(left) or visit(right)
            case ast.UnaryOp(operand=operand):
                return visit(operand)
            case ast.Compare(left=left, comparators=others):
                return visit(left) or any(map(visit, others))
        return False

    return visit(ast.parse(text, mode="eval").body)


def chain(e: ast.expr) -> list[str]:
    """Return the parts of `a.b[0].c`, without the numbers of elements; nothing for another expression."""
    parts: list[str] = []
    while True:
        match e:
            case ast.Attribute(value=inner, attr=name):
                parts.insert(0, name)
                e = inner
            case ast.Subscript(value=ast.Attribute() as inner, slice=ast.Constant()):
                e = inner
            case ast.Name(id=name):
                return [name, *parts]
            case _:
                return []
