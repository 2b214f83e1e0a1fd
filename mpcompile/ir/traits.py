"""The words in which a primitive answers for its traits; `mpcompile.ops.traits` is the page of the traits themselves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from mpcompile.ir.size import Symbolic

Size = int | Symbolic

#: Axis of an operand -> axis of the first result that it runs along with.
Along = dict[int, int]

#: First and last offset that are read, counted from the place of the result.
Range = tuple[int, int]

#: Axis -> the offsets that are read along it.
Reach = dict[int, Range]


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations.

    products  of matrix products and convolutions: two for each multiply-add
    rest      of everything else
    """

    products: Size = 0
    rest: Size = 0

    @property
    def total(self) -> Size:
        return self.products + self.rest

    def __add__(self, other: Work) -> Work:
        return Work(self.products + other.products, self.rest + other.rest)

    def times(self, n: Size) -> Work:
        return Work(self.products * n, self.rest * n)


class Positivity(IntEnum):
    """The sign that every element of a value has, whatever weights and inputs are."""

    UNKNOWN = 0
    NOT_NEGATIVE = 1
    POSITIVE = 2


@dataclass(frozen=True, slots=True)
class Growth:
    """The facts of a value where all weights are positive and inputs are at the top of their range.

    reads    whether it reads the source; then it grows strictly with every element that it reads
    good     every element is positive, or zero whatever the weights are
    fixed    it is made of constants alone
    full     no element is zero
    table    it is a weight itself, whose rows may grow from one to the next
    """

    reads: bool
    good: bool
    fixed: bool = False
    full: bool = False
    table: bool = False


class Falls(Exception):
    """A primitive does not grow with an operand that reads the source."""
