"""Helpers of the rows of the spelling table.

A row takes the surroundings, the node and the expressions of its inputs, and gives one expression for each
output (or None for a primitive that is a statement: a scan is written by `mpcompile_torch.body`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mpcompile.emission.text import ATOM, Expr, tuple_text
from mpcompile.ir import DType, Node, Symbolic, Value


class RowContext(Protocol):
    """The function that a row is written into, as far as a row may ask about it."""

    def size(self, value: int | Symbolic) -> Expr:
        """A size; symbols become local variables."""
        ...

    def like(self, dtype: DType) -> str:
        """Keyword arguments that place a new tensor: its dtype, and the device of the computation."""
        ...

    def device(self) -> str:
        """The keyword argument that places a new tensor on the device of the computation."""
        ...

    def float_dtype(self) -> str:
        """The dtype of floats here."""
        ...

    def layer(self, weight: Expr, bias: Expr | None, x: Expr) -> str | None:
        """A call of the `nn` layer that owns just this weight and bias, if there is one."""
        ...

    def used(self, value: Value) -> bool: ...


Row = Callable[[RowContext, Node, list[Expr]], "Expr | list[Expr] | None"]


def tensor(a: RowContext, e: Expr, dtype: DType) -> Expr:
    """Return an expression as a tensor, also where it is a Python number."""
    if not e.scalar:
        return e
    return e.with_(text=filled("()", e.text, a.like(dtype)), precedence=ATOM, scalar=False)


def filled(shape: str, value: str, like: str) -> str:
    """Write a new tensor of one value."""
    name = {"0.0": "zeros", "1.0": "ones"}.get(value)
    return f"torch.{name}({shape}, {like})" if name else f"torch.full({shape}, {value}, {like})"


def shape_text(a: RowContext, shape: tuple[int | Symbolic, ...]) -> str:
    """Write a shape as a tuple of expressions."""
    return tuple_text(a.size(s).text for s in shape)


def ints(values: tuple[int, ...]) -> str:
    """Write one number where all are the same, a tuple otherwise."""
    return str(values[0]) if len(set(values)) == 1 else tuple_text(map(str, values))


def first_operand(a: RowContext, node: Node, args: list[Expr]) -> str:
    """Return the first operand as something that a method can be called on."""
    return tensor(a, args[0], node.inputs[0].dtype).at(ATOM)


def pads(pairs: list[tuple[str, str]]) -> str:
    """Write the widths for `F.pad`, last axis first, without leading axes that need none."""
    while len(pairs) > 1 and pairs[0] == ("0", "0"):
        pairs = pairs[1:]
    return tuple_text(w for pair in reversed(pairs) for w in pair)
