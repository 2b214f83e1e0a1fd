"""Functions of single elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mpcompile.ir import Array, Builder, DType, Falls, Growth, Positivity, Value
from mpcompile.ops.arithmetic import Div, Mul, Neg, Sub
from mpcompile.ops.identity import Cast
from mpcompile.ops.pointwise import Unary
from mpcompile.ops.truth import Less

_ERF = np.frompyfunc(math.erf, 1, 1)


class Exp(Unary):
    """y = e^x"""

    name: ClassVar[str] = "exp"
    modular: ClassVar[str] = "exp"
    zero_at_neginf: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.exp(x)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return Positivity.POSITIVE

    def grow(self, of: Sequence[Growth]) -> bool:
        return True

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

    def grow(self, of: Sequence[Growth]) -> bool:
        if not of[0].good:
            raise Falls  # it has no value below zero
        return False

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Div(), ct, x)


class Tanh(Unary):
    """y = tanh x"""

    name: ClassVar[str] = "tanh"
    modular: ClassVar[str] = "tanh"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.tanh(x)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return of[0]

    def grow(self, of: Sequence[Growth]) -> bool:
        return all(g.good for g in of)

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

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return Positivity.POSITIVE

    def grow(self, of: Sequence[Growth]) -> bool:
        return True

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

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return Positivity.NOT_NEGATIVE

    def grow(self, of: Sequence[Growth]) -> bool:
        if not of[0].good:
            raise Falls  # it is constant below zero
        return True

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

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return Positivity.POSITIVE

    def grow(self, of: Sequence[Growth]) -> bool:
        return True

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

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return of[0]

    def grow(self, of: Sequence[Growth]) -> bool:
        if not of[0].good:
            raise Falls  # it has no value below zero
        return True

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Div(), b.emit(Mul(), ct, b.constant(0.5)), y)


class Abs(Unary):
    """y = |x|"""

    name: ClassVar[str] = "abs"
    modular: ClassVar[str] = "abs"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.abs(x)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return Positivity.NOT_NEGATIVE

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

    def grow(self, of: Sequence[Growth]) -> bool:
        return all(g.good for g in of)

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
