"""Whole numbers at several lengths -> a polynomial in the length."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from mpcompile.diagnostics import Span
from mpcompile.ir import Size
from mpcompile.ir.size import substitute, symbol

#: The symbol of the length.
LENGTH = symbol("length")


class Apart(Exception):
    """Recordings that are not one program. The message says in what they differ, `span` where that is written."""

    def __init__(self, what: str, span: Span | None = None) -> None:
        self.what, self.span = what, span or Span.none()
        super().__init__(what)


def at(size: Size, length: int) -> int:
    """Return the number that a size is at a length."""
    return substitute(size, {"length": length})


def polynomial(numbers: Sequence[int], lengths: Sequence[int]) -> Size | None:
    """Return the polynomial of degree at most two with whole coefficients that has these numbers at these lengths.

    None where there is none. The first three determine it (Newton's divided differences), the others are compared.
    """
    if len(set(numbers)) == 1:
        return numbers[0]
    (x0, x1, x2), (y0, y1, y2) = lengths[:3], numbers[:3]
    first = Fraction(y1 - y0, x1 - x0)
    second = (Fraction(y2 - y1, x2 - x1) - first) / (x2 - x0)
    linear = first - second * (x0 + x1)
    constant = y0 - linear * x0 - second * x0 * x0
    if any(c.denominator != 1 for c in (second, linear, constant)):
        return None
    found = LENGTH * LENGTH * int(second) + LENGTH * int(linear) + int(constant)
    return found if all(at(found, x) == y for x, y in zip(lengths, numbers, strict=True)) else None
