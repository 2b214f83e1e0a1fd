"""Arithmetic of single elements, with numpy's broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile.ir import (
    Array,
    Builder,
    DType,
    Example,
    Falls,
    Growth,
    Positivity,
    Type,
    TypeMismatch,
    Value,
)
from mpcompile.ir.stencils import Lattice, Linear, Stencil
from mpcompile.ops._base import require_dtype, unbroadcast
from mpcompile.ops.identity import Cast
from mpcompile.ops.pointwise import Binary, Known, Unary, summed
from mpcompile.ops.traits import Monotone, grow_product
from mpcompile.ops.truth import Equal, Less


class Neg(Unary):
    """y = -x"""

    name: ClassVar[str] = "neg"
    modular: ClassVar[str] = "neg"
    keeps_zero: ClassVar[bool] = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        require_dtype(inputs[0], DType.FLOAT, DType.INT)
        return (inputs[0],)

    def function(self, x: Array) -> Array:
        return np.negative(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Neg(), ct)


class Add(Monotone, Binary):
    """z = x + y"""

    name: ClassVar[str] = "add"
    modular: ClassVar[str] = "add"

    def placed(self, lattice: Lattice, inputs: Sequence[Stencil]) -> Linear | None:
        return summed(self, lattice, inputs, 1)

    def function(self, x: Array, y: Array) -> Array:
        return np.add(x, y)

    def known(self, x: Known, y: Known) -> tuple[Array | None, Array | None]:
        return x.zero & y.zero, x.neginf | y.neginf

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return max(of) if min(of) else Positivity.UNKNOWN

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        return ct, ct


class Sub(Binary):
    """z = x - y"""

    name: ClassVar[str] = "sub"
    modular: ClassVar[str] = "sub"

    def placed(self, lattice: Lattice, inputs: Sequence[Stencil]) -> Linear | None:
        return summed(self, lattice, inputs, -1)

    def function(self, x: Array, y: Array) -> Array:
        return np.subtract(x, y)

    def known(self, x: Known, y: Known) -> tuple[Array | None, Array | None]:
        return x.zero & y.zero, x.neginf

    def grow(self, of: Sequence[Growth]) -> bool:
        if of[1].reads:
            raise Falls
        return False

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        return ct, b.emit(Neg(), unbroadcast(b, ct, y.shape))


class Mul(Binary):
    """z = x y; zero where either side is known to be zero"""

    name: ClassVar[str] = "mul"
    modular: ClassVar[str] = "mul"

    def function(self, x: Array, y: Array) -> Array:
        return np.multiply(x, y)

    def known(self, x: Known, y: Known) -> tuple[Array | None, Array | None]:
        zero = x.zero | y.zero if x.zero.any() and y.zero.any() else x.zero if x.zero.any() else y.zero
        return zero, (x.neginf & y.positive) | (y.neginf & x.positive)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return max(min(of), Positivity(same))

    def grow(self, of: Sequence[Growth]) -> bool:
        return grow_product(of)

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        return b.emit(Mul(), ct, y), b.emit(Mul(), ct, x)


class Div(Binary):
    """z = x / y"""

    name: ClassVar[str] = "div"
    modular: ClassVar[str] = "div"
    allowed: ClassVar[tuple[DType, ...]] = (DType.FLOAT,)

    def function(self, x: Array, y: Array) -> Array:
        return np.divide(x, y)

    def known(self, x: Known, y: Known) -> tuple[Array | None, Array | None]:
        return x.zero, x.neginf & y.positive

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return of[0] if of[1] is Positivity.POSITIVE else Positivity.UNKNOWN

    def grow(self, of: Sequence[Growth]) -> bool:
        if of[1].reads or not of[1].full:
            raise Falls
        return of[0].good

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        dx = b.emit(Div(), ct, y)
        return dx, b.emit(Neg(), b.emit(Mul(), dx, z))


@dataclass(frozen=True)
class Modulo(Unary):
    """y = x - n ⌊x / n⌋ of whole numbers, which is in 0..n-1"""

    steps: ClassVar[bool] = True
    name: ClassVar[str] = "modulo"
    divisor: int
    keeps_zero: ClassVar[bool] = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        require_dtype(inputs[0], DType.INT)
        if self.divisor < 2:
            raise TypeMismatch(f"expected a divisor of at least 2, found {self.divisor}")
        return (inputs[0],)

    def function(self, x: Array) -> Array:
        return np.mod(x, self.divisor)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return Positivity.NOT_NEGATIVE

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(3), (np.array([[-4, -3, -1], [0, 2, 7]]),), False),
            Example(cls(2), (np.array(5),), False),
        ]


class Extremum(Binary):
    """The larger or the smaller of two; where they are equal the gradient is shared evenly."""

    def _share(self, b: Builder, winner: Value, loser: Value, ct: Value) -> Value:
        ahead = b.emit(Cast(DType.FLOAT), b.emit(Less(), loser, winner))
        tie = b.emit(Cast(DType.FLOAT), b.emit(Equal(), loser, winner))
        return b.emit(Mul(), ct, b.emit(Add(), ahead, b.emit(Mul(), tie, b.constant(0.5))))


class Maximum(Extremum):
    """z = max(x, y)"""

    name: ClassVar[str] = "maximum"
    modular: ClassVar[str] = "maximum"

    def function(self, x: Array, y: Array) -> Array:
        return np.maximum(x, y)

    def known(self, x: Known, y: Known) -> tuple[Array | None, Array | None]:
        return (x.zero | y.zero) & (x.zero | x.neginf) & (y.zero | y.neginf), x.neginf & y.neginf

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return max(of)

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        return self._share(b, x, y, ct), self._share(b, y, x, ct)


class Minimum(Extremum):
    """z = min(x, y)"""

    name: ClassVar[str] = "minimum"
    modular: ClassVar[str] = "minimum"

    def function(self, x: Array, y: Array) -> Array:
        return np.minimum(x, y)

    def known(self, x: Known, y: Known) -> tuple[Array | None, Array | None]:
        return x.zero & y.zero, x.neginf | y.neginf

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return min(of)

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        return self._share(b, y, x, ct), self._share(b, x, y, ct)
