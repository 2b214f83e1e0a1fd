"""Helpers of the rows of the spelling table.

A row takes the surroundings, the node and the expressions of its inputs, and gives one expression for each
output, or a list of one that is unpacked into all of them. (A scan is a statement, written by `mpcompile_jax.body`.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from mpcompile.emission.text import ATOM, Expr, tuple_text
from mpcompile.ir import DType, Node, Symbolic, Value


class RowContext(Protocol):
    """The function that a row is written into, as far as a row may ask about it."""

    def size(self, value: int | Symbolic) -> Expr:
        """A size; symbols become local variables."""
        ...

    def kind(self, dtype: DType) -> str:
        """The dtype of such elements here."""
        ...

    def used(self, value: Value) -> bool: ...


Row = Callable[[RowContext, Node, list[Expr]], "Expr | list[Expr] | None"]


def tensor(a: RowContext, e: Expr, dtype: DType) -> Expr:
    """Return an expression as an array, also where it is a Python number."""
    if not e.scalar:
        return e
    return e.with_(text=filled(a, "()", e.text, dtype), precedence=ATOM, scalar=False)


def filled(a: RowContext, shape: str, value: str, dtype: DType) -> str:
    """Write a new array of one value."""
    name = {"0.0": "zeros", "1.0": "ones"}.get(value)
    like = a.kind(dtype)
    return f"jnp.{name}({shape}, {like})" if name else f"jnp.full({shape}, {value}, {like})"


def shape_text(a: RowContext, shape: Iterable[int | Symbolic]) -> str:
    """Write a shape as a tuple of expressions."""
    return tuple_text(a.size(s).text for s in shape)


def tuples(values: Iterable[int | tuple[int, ...]]) -> str:
    """Write numbers, or pairs of them, as a tuple."""
    return tuple_text(str(v) if isinstance(v, int) else tuples(v) for v in values)


def operand(a: RowContext, node: Node, args: list[Expr], index: int = 0) -> Expr:
    """Return an operand as an array."""
    return tensor(a, args[index], node.inputs[index].dtype)


def first_operand(a: RowContext, node: Node, args: list[Expr]) -> str:
    """Return the first operand as something that a method can be called on."""
    return operand(a, node, args).at(ATOM)


def widths(pairs: Iterable[tuple[int, int]]) -> str:
    """Write the second argument of `jnp.pad`."""
    return tuple_text(f"({lo}, {hi})" for lo, hi in pairs)
