"""Means: a sum that is divided by the number of what was summed is written as the framework's own mean."""

from __future__ import annotations

from collections.abc import Callable

from mpcompile.emission.text import ATOM, UNARY, Expr
from mpcompile.ir import Node, Symbolic, product


def counted(node: Node, x: Expr, size: Callable[[int | Symbolic], Expr]) -> Expr | None:
    """Return the sum of as many ones as an array has elements as a Python number, its size; None for another sum."""
    op = node.op.attributes()
    if x.fill != "1.0" or len(op["axes"]) < node.inputs[0].type.rank or op["keepdims"]:
        return None
    count = product(node.inputs[0].shape)
    return size(count).with_(count=count)


def summed(node: Node, x: str, arguments: str) -> Expr:
    """Write `x.sum(...)`, which knows how it reads as a mean."""
    terms = product(node.inputs[0].shape[axis] for axis in node.op.attributes()["axes"])
    return Expr(f"{x}.sum({arguments})", mean=(f"{x}.mean({arguments})", terms))


def averaged(args: list[Expr], inverse: bool) -> Expr | None:
    """Rewrite `x.sum(...) / n`, or (`inverse`) `x.sum(...) * (1 / n)`, as a mean; None where it is none."""
    left, right = args
    if left.mean is None:
        return None
    text, terms = left.mean
    if inverse:
        same = isinstance(terms, int) and terms > 0 and right.scalar and right.text == repr(1.0 / terms)
    else:
        same = right.count == terms
    return Expr(text, UNARY if text.startswith("-") else ATOM) if same else None
