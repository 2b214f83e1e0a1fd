"""The traits of primitives, on one page: what passes, analyses and backends may ask of an operation.

Two kinds of trait. A *method* of `Primitive` answers from attributes and operands: `along`, `mapped`, `repeats`,
`reach`, `cost`, `aliases`, `view`, `sign`, `grow`; its default is the safe answer, or raises `NoRule`. A *class* of
this page is a law of all its members and states their common rules; a primitive has the trait if its class is below it,
so `isinstance(op, Elementwise)` asks for it. `tests/conformance/test_traits.py` holds each trait to numbers.

| trait          | law                                                                                        |
| -------------- | ------------------------------------------------------------------------------------------ |
| `Elementwise`  | each element of the result is made of the elements at its own place; operands broadcast     |
| `OneToOne`     | each element of a result reads at most one element of each operand                          |
| `Verbatim`     | hands values on as they are, or computes with whole numbers and truth values: rounds nothing |
| `Movement`     | each element of the result is one of the only operand's; which one, attributes say           |
| `View`         | the result is the memory of the first operand, seen otherwise                               |
| `Fresh`        | the result has memory of its own                                                            |
| `Free`         | moves elements, which counts as no work                                                     |
| `Summation`    | sums of products of the operands, none negated                                              |
| `Exact`        | a `Summation` that holds over a prime field as it stands                                    |
| `Product`      | linear in each of two operands, data and a weight                                           |
| `Exponentials` | weighs elements along axes by their exponentials: one of minus infinity is absent           |
| `Monotone`     | grows with each element that it reads; made of positive elements, it is positive            |

Families with attributes of their own are traits as well: `Reduction` (one result for all elements along axes, whatever
their order), `Normalisation` (as many results as elements, each of which sees all along an axis), `Pool` (windows of each
channel), `Comparison`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mpcompile.ir import (
    Along,
    Array,
    Falls,
    Growth,
    Mapped,
    NoRule,
    Positivity,
    Primitive,
    Shape,
    Size,
    Type,
    Work,
)
from mpcompile.ir.field import TERMS, Field
from mpcompile.ops._base import Operation
from mpcompile.ops._mapping import mapped_broadcasting

# --- axes ---


def aligned(shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
    """Return, for each operand, its axes that run along with one of the result, under broadcasting.

    An axis of length one that is repeated runs along with none.
    """
    return tuple(
        {a: b for a, size in enumerate(s) if size == out[b := a + len(out) - len(s)]} for s in shapes
    )


def apart(shapes: Sequence[Shape], *axes: int) -> tuple[Along, ...]:
    """Return all axes but some, each along the same axis of the result."""
    return tuple({a: a for a in range(len(s)) if a not in axes} for s in shapes)


# --- memory ---


class Fresh(Primitive):
    """The results have memory of their own on every backend."""

    def aliases(self, operand: int) -> bool:
        return False


class View(Primitive):
    """The result is the memory of the first operand, seen otherwise."""

    def aliases(self, operand: int) -> bool:
        return operand == 0

    def view(self, shapes: Sequence[Shape]) -> bool:
        return True


# --- work ---


class Free(Primitive):
    """Moves elements, which counts as no work."""

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work()


# --- growth ---


class Monotone(Primitive):
    """Grows strictly with each element that it reads; made of positive elements, it is positive."""

    def grow(self, of: Sequence[Growth]) -> bool:
        return all(g.good for g in of)


# --- values ---


class OneToOne(Primitive):
    """Each element of a result reads at most one element of each operand."""


class Elementwise(Fresh, OneToOne, Operation):
    """Each element of the result is made of the elements at its own place; operands broadcast."""

    mixes: ClassVar[str] = "pairs an example with another"

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return aligned(shapes, out)

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        return mapped_broadcasting(self, at, shapes, out)

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work(rest=outputs[0].size)


class Verbatim(Free, Operation):
    """Hands values on as they are, or computes with whole numbers and truth values: over a field it is what it is."""

    def magnitude(self, results: Sequence[Array], *inputs: Array) -> tuple[Array, ...]:
        return tuple(np.zeros(y.shape) for y in results)  # it rounds nothing

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        return self.evaluate(*inputs)


class Movement(Monotone, OneToOne, Verbatim):
    """Each element of the result is an element of the only operand; which one, the attributes say."""

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return of[0]


# --- sums of products ---


class Summation(Fresh, Operation):
    """Sums of products of its inputs, none of which is negated: rounding is relative to the sum of absolute values."""

    absent: ClassVar[float | None] = 0.0

    def magnitude(self, results: Sequence[Array], *inputs: Array) -> tuple[Array, ...]:
        return self.evaluate(*(np.abs(x) if x.dtype.kind == "f" else x for x in inputs))


class Exact(Summation):
    """Sums of products: over a field they are taken as they are, then modulo the prime."""

    def products(self, *inputs: Array) -> int:
        """Most products that one result is the sum of; none where nothing is multiplied."""
        return 0

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        if self.products(*inputs) > TERMS:
            raise NoRule(self, f"field (sums of more than {TERMS} products)")
        with np.errstate(invalid="ignore"):
            return tuple(field.canon(y) for y in self.evaluate(*inputs))


class Product(Exact):
    """Linear in each of two operands: sums of products of data and a weight."""

    def grow(self, of: Sequence[Growth]) -> bool:
        return grow_product(of)


def grow_product(of: Sequence[Growth]) -> bool:
    """Return whether a product is good.

    Raises `Falls` where the cofactor of a factor that reads the source may not be positive.
    """
    x, y = of
    if (x.reads and not y.good) or (y.reads and not x.good):
        raise Falls
    return x.good and y.good


class Exponentials(Fresh, Operation):
    """Weighs elements along axes by their exponentials, so that one of minus infinity is absent."""

    absent: ClassVar[float | None] = -np.inf

    #: largest, difference from it, exp, sum; a quotient or a logarithm may follow
    each: ClassVar[int] = 4

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work(rest=inputs[0].size * self.each)
