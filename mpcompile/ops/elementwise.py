"""Arithmetic and functions of single elements, with numpy's broadcasting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile.ir import Abstract, Array, Builder, Domain, DType, Example, Type, Value
from mpcompile.ir.field import Field
from mpcompile.ir.stencils import Lattice, Linear, Stencil
from mpcompile.ops._base import require_dtype, unbroadcast
from mpcompile.ops.pointwise import Binary, Known, Unary, sample, summed
from mpcompile.ops.truth import Equal, Less

_ERF = np.frompyfunc(math.erf, 1, 1)


# --- one argument ---


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


class Exp(Unary):
    """y = e^x"""

    name: ClassVar[str] = "exp"
    modular: ClassVar[str] = "exp"
    zero_at_neginf: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.exp(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Mul(), ct, y)


class Log(Unary):
    """y = ln x"""

    name: ClassVar[str] = "log"
    modular: ClassVar[str] = "log"
    positive: ClassVar[bool] = True
    neginf_at_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.log(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Div(), ct, x)


class Tanh(Unary):
    """y = tanh x"""

    name: ClassVar[str] = "tanh"
    modular: ClassVar[str] = "tanh"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.tanh(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Mul(), ct, b.emit(Sub(), b.constant(1.0), b.emit(Mul(), y, y)))


class Sigmoid(Unary):
    """y = 1 / (1 + e^-x)"""

    name: ClassVar[str] = "sigmoid"
    modular: ClassVar[str] = "sigmoid"
    zero_at_neginf: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        small = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype, copy=False)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        slope = b.emit(Mul(), y, b.emit(Sub(), b.constant(1.0), y))
        return b.emit(Mul(), ct, slope)


class Relu(Unary):
    """y = max(x, 0)"""

    name: ClassVar[str] = "relu"
    modular: ClassVar[str] = "relu"
    keeps_zero: ClassVar[bool] = True
    zero_at_neginf: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.asarray(np.maximum(x, x.dtype.type(0)))

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        # y, not x: what is in y stays alive anyway, so that x need not, and a runtime may fuse what makes y
        return b.emit(Mul(), ct, b.emit(Cast(DType.FLOAT), b.emit(Less(), b.constant(0.0), y)))


class Softplus(Unary):
    """y = ln(1 + e^x)"""

    name: ClassVar[str] = "softplus"
    modular: ClassVar[str] = "softplus"
    zero_at_neginf: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.asarray(np.logaddexp(x, x.dtype.type(0)))

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Mul(), ct, b.emit(Sigmoid(), x))


class Sqrt(Unary):
    """y = √x"""

    name: ClassVar[str] = "sqrt"
    modular: ClassVar[str] = "sqrt"
    keeps_zero: ClassVar[bool] = True
    positive: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.sqrt(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Div(), b.emit(Mul(), ct, b.constant(0.5)), y)


class Abs(Unary):
    """y = |x|"""

    name: ClassVar[str] = "abs"
    modular: ClassVar[str] = "abs"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.abs(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Mul(), ct, b.emit(Sign(), x))


class Sign(Unary):
    """y = -1, 0 or 1. Its gradient is zero, but its value does depend on x."""

    steps: ClassVar[bool] = True
    name: ClassVar[str] = "sign"
    modular: ClassVar[str] = "signs"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.sign(x)


class Floor(Unary):
    """y = the largest whole number that is at most x. The gradient is zero, but the value depends on x."""

    steps: ClassVar[bool] = True
    name: ClassVar[str] = "floor"
    modular: ClassVar[str] = "floor"
    keeps_zero: ClassVar[bool] = True
    keeps_neginf: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.floor(x)


class Erf(Unary):
    """y = 2/√π ∫₀ˣ e^(-t²) dt"""

    name: ClassVar[str] = "erf"
    modular: ClassVar[str] = "erf"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.asarray(_ERF(x)).astype(x.dtype)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        bell = b.emit(Exp(), b.emit(Neg(), b.emit(Mul(), x, x)))
        return b.emit(Mul(), ct, b.emit(Mul(), bell, b.constant(2 / math.sqrt(math.pi))))


class Sin(Unary):
    """y = sin x"""

    name: ClassVar[str] = "sin"
    modular: ClassVar[str] = "sin"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.sin(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Mul(), ct, b.emit(Cos(), x))


class Cos(Unary):
    """y = cos x"""

    name: ClassVar[str] = "cos"
    modular: ClassVar[str] = "cos"

    def function(self, x: Array) -> Array:
        return np.cos(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Neg(), b.emit(Mul(), ct, b.emit(Sin(), x)))


class StopGradient(Unary):
    """y = x, through which no gradient flows. The value still depends on x."""

    name: ClassVar[str] = "stop_gradient"
    modular: ClassVar[str] = "same"
    keeps_zero: ClassVar[bool] = True
    keeps_neginf: ClassVar[bool] = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (inputs[0],)

    def function(self, x: Array) -> Array:
        return x

    @classmethod
    def examples(cls) -> list[Example]:
        return [Example(e.op, e.inputs, False) for e in super().examples()]


@dataclass(frozen=True)
class Cast(Unary):
    """y = x as another kind of element; floats are cut towards zero, and anything but zero is true."""

    steps: ClassVar[bool] = True
    name: ClassVar[str] = "cast"
    dtype: DType
    keeps_zero: ClassVar[bool] = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (Type(self.dtype, inputs[0].shape),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        if x.dtype.kind == "f" and self.dtype is DType.INT:
            return (field.whole(x),)
        return (field.canon(self.function(x)),)

    def function(self, x: Array) -> Array:
        if self.dtype is DType.FLOAT:
            return x if x.dtype.kind == "f" else x.astype(np.float64)
        return x.astype(np.int64 if self.dtype is DType.INT else np.bool_)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        return (domain.make(x.shape, x.facts, x.zero, x.neginf if self.dtype is DType.FLOAT else None),)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return ct if x.dtype is DType.FLOAT and y.dtype is DType.FLOAT else None

    @classmethod
    def examples(cls) -> list[Example]:
        x = sample(2, 3, low=-2.0, seed=1)
        return [
            Example(cls(DType.FLOAT), (x,)),
            Example(cls(DType.INT), (x * 3,), False),
            Example(cls(DType.FLOAT), (np.array([[3, 0, -2]]),), False),
            Example(cls(DType.FLOAT), (np.array([True, False]),), False),
            Example(cls(DType.BOOL), (np.array([[1], [0]]),), False),
        ]


# --- two arguments ---


class Add(Binary):
    """z = x + y"""

    name: ClassVar[str] = "add"
    modular: ClassVar[str] = "add"

    def placed(self, lattice: Lattice, inputs: Sequence[Stencil]) -> Linear | None:
        return summed(self, lattice, inputs, 1)

    def function(self, x: Array, y: Array) -> Array:
        return np.add(x, y)

    def known(self, x: Known, y: Known) -> tuple[Array | None, Array | None]:
        return x.zero & y.zero, x.neginf | y.neginf

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

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        dx = b.emit(Div(), ct, y)
        return dx, b.emit(Neg(), b.emit(Mul(), dx, z))


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

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        return self._share(b, y, x, ct), self._share(b, x, y, ct)
