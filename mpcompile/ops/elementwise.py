"""Primitives that act on one element at a time, with numpy's broadcasting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mpcompile.ir import Abstract, Array, Builder, Domain, DType, Example, Type, Value
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import Lattice, Linear, Region, Stencil
from mpcompile.ops._base import Operation, broadcast, lift, mask, require, require_dtype, unbroadcast
from mpcompile.ops._stencil import align, half_plane, linear, pointwise

Cotangents = Sequence[Value | None]
_ERF = np.frompyfunc(math.erf, 1, 1)


def _sample(*shape: int, seed: int = 0, low: float = 0.3, high: float = 1.9) -> Array:
    return np.random.default_rng(seed).uniform(low, high, shape)


# --- one argument ---


class Unary(Operation):
    """y = f(x), element by element, from float to float."""

    #: f(0) = 0
    keeps_zero: ClassVar[bool] = False
    #: f(-inf) = 0
    zero_at_neginf: ClassVar[bool] = False
    #: f(-inf) = -inf
    keeps_neginf: ClassVar[bool] = False
    #: f(0) = -inf
    neginf_at_zero: ClassVar[bool] = False
    #: the examples stay where f is defined
    positive: ClassVar[bool] = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        (x,) = inputs
        require_dtype(x, DType.FLOAT)
        return (x,)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return (np.asarray(self.function(inputs[0])),)

    def function(self, x: Array) -> Array:
        """f on an array."""
        raise NotImplementedError

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        zero = neginf = None
        if self.keeps_zero:
            zero = x.zero
        if self.zero_at_neginf:
            zero = x.neginf if zero is None else zero | x.neginf
        if self.keeps_neginf:
            neginf = x.neginf
        if self.neginf_at_zero:
            neginf = x.zero if neginf is None else neginf | x.zero
        return (domain.make(x.shape, x.facts, zero, neginf),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        return pointwise(self, lattice, inputs)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        return (None,) if ct is None else (self.gradient(b, inputs[0], outputs[0], ct),)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        """Cotangent of x from that of y."""
        return None

    @classmethod
    def examples(cls) -> list[Example]:
        low = 0.3 if cls.positive else -1.7
        return [
            Example(cls(), (_sample(2, 3, low=low, seed=1),)),
            Example(cls(), (_sample(1, low=low, seed=2),)),
            Example(cls(), (_sample(2, 1, 3, low=low, seed=3),)),
            Example(cls(), (_sample(low=low, seed=4),)),
        ]


class Neg(Unary):
    """y = -x"""

    name: ClassVar[str] = "neg"
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
    zero_at_neginf: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.exp(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Mul(), ct, y)


class Log(Unary):
    """y = ln x"""

    name: ClassVar[str] = "log"
    positive: ClassVar[bool] = True
    neginf_at_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.log(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Div(), ct, x)


class Tanh(Unary):
    """y = tanh x"""

    name: ClassVar[str] = "tanh"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.tanh(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Mul(), ct, b.emit(Sub(), b.constant(1.0), b.emit(Mul(), y, y)))


class Sigmoid(Unary):
    """y = 1 / (1 + e^-x)"""

    name: ClassVar[str] = "sigmoid"
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
    zero_at_neginf: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.asarray(np.logaddexp(x, x.dtype.type(0)))

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Mul(), ct, b.emit(Sigmoid(), x))


class Sqrt(Unary):
    """y = √x"""

    name: ClassVar[str] = "sqrt"
    keeps_zero: ClassVar[bool] = True
    positive: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.sqrt(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Div(), b.emit(Mul(), ct, b.constant(0.5)), y)


class Abs(Unary):
    """y = |x|"""

    name: ClassVar[str] = "abs"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.abs(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Mul(), ct, b.emit(Sign(), x))


class Sign(Unary):
    """y = -1, 0 or 1. Its gradient is zero, but its value does depend on x."""

    name: ClassVar[str] = "sign"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.sign(x)


class Floor(Unary):
    """y = the largest whole number that is at most x. The gradient is zero, but the value depends on x."""

    name: ClassVar[str] = "floor"
    keeps_zero: ClassVar[bool] = True
    keeps_neginf: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.floor(x)


class Erf(Unary):
    """y = 2/√π ∫₀ˣ e^(-t²) dt"""

    name: ClassVar[str] = "erf"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.asarray(_ERF(x)).astype(x.dtype)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        bell = b.emit(Exp(), b.emit(Neg(), b.emit(Mul(), x, x)))
        return b.emit(Mul(), ct, b.emit(Mul(), bell, b.constant(2 / math.sqrt(math.pi))))


class Sin(Unary):
    """y = sin x"""

    name: ClassVar[str] = "sin"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return np.sin(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Mul(), ct, b.emit(Cos(), x))


class Cos(Unary):
    """y = cos x"""

    name: ClassVar[str] = "cos"

    def function(self, x: Array) -> Array:
        return np.cos(x)

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        return b.emit(Neg(), b.emit(Mul(), ct, b.emit(Sin(), x)))


class StopGradient(Unary):
    """y = x, through which no gradient flows. The value still depends on x."""

    name: ClassVar[str] = "stop_gradient"
    keeps_zero: ClassVar[bool] = True
    keeps_neginf: ClassVar[bool] = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (inputs[0],)

    def function(self, x: Array) -> Array:
        return x

    @classmethod
    def examples(cls) -> list[Example]:
        return [Example(e.op, e.inputs, False) for e in super().examples()]


class LogicalNot(Unary):
    """y = not x"""

    name: ClassVar[str] = "logical_not"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        require_dtype(inputs[0], DType.BOOL)
        return (inputs[0],)

    def function(self, x: Array) -> Array:
        return np.logical_not(x)

    @classmethod
    def examples(cls) -> list[Example]:
        return [Example(cls(), (np.array([[True, False, True], [False, False, True]]),), False)]


@dataclass(frozen=True)
class Cast(Unary):
    """y = x as another kind of element; floats are cut towards zero, and anything but zero is true."""

    name: ClassVar[str] = "cast"
    dtype: DType
    keeps_zero: ClassVar[bool] = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (Type(self.dtype, inputs[0].shape),)

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
        x = _sample(2, 3, low=-2.0, seed=1)
        return [
            Example(cls(DType.FLOAT), (x,)),
            Example(cls(DType.INT), (x * 3,), False),
            Example(cls(DType.FLOAT), (np.array([[3, 0, -2]]),), False),
            Example(cls(DType.FLOAT), (np.array([True, False]),), False),
            Example(cls(DType.BOOL), (np.array([[1], [0]]),), False),
        ]


# --- two arguments ---


class Binary(Operation):
    """z = f(x, y), element by element, broadcasting."""

    allowed: ClassVar[tuple[DType, ...]] = (DType.FLOAT, DType.INT)
    result: ClassVar[DType | None] = None

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        x, y = inputs
        for t in inputs:
            require_dtype(t, *self.allowed)
        require(x.dtype == y.dtype, "the same kind of elements on both sides", f"{x} and {y}")
        return (Type(self.result or x.dtype, broadcast(x, y)),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return (np.asarray(self.function(*inputs)),)

    def function(self, x: Array, y: Array) -> Array:
        """f on two arrays."""
        raise NotImplementedError

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        x, y = inputs
        shape = np.broadcast_shapes(x.shape, y.shape)
        rank = len(shape)
        x_facts, y_facts = lift(x.facts, rank + 1), lift(y.facts, rank + 1)
        zero, neginf = self.known(
            *(_Known(lift(v.zero, rank), lift(v.neginf, rank), v.constant) for v in inputs)
        )
        return (domain.make(shape, domain.union(x_facts, y_facts), zero, neginf),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        (out,) = pointwise(self, lattice, inputs)
        return (replace(out, known=self.placed(lattice, inputs)),) if out.type.dtype is DType.INT else (out,)

    def placed(self, lattice: Lattice, inputs: Sequence[Stencil]) -> Linear | None:
        """The result as a linear function of the place, where both sides are."""
        return None

    def known(self, x: _Known, y: _Known) -> tuple[Array | None, Array | None]:
        """Which results are exactly zero, and which are exactly minus infinity."""
        return None, None

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        x, y = inputs
        if ct is None or x.dtype is not DType.FLOAT:
            return None, None
        dx, dy = self.gradient(b, x, y, outputs[0], ct)
        return (
            None if dx is None else unbroadcast(b, dx, x.shape),
            None if dy is None else unbroadcast(b, dy, y.shape),
        )

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        """Cotangents of both sides, before they are summed back to their shapes."""
        return None, None

    @classmethod
    def examples(cls) -> list[Example]:
        pairs = [
            ((2, 3), (2, 3)),
            ((2, 3), (3,)),
            ((2, 1), (1, 3)),
            ((), (3, 2)),
            ((2, 1, 3), (4, 1)),
            ((1,), (1,)),
        ]
        return [
            Example(cls(), (_sample(*s, seed=2 * i), _sample(*t, seed=2 * i + 1)))
            for i, (s, t) in enumerate(pairs)
        ]


@dataclass(frozen=True, slots=True)
class _Known:
    """The side lattice of one argument, at the rank of the result."""

    zero: Array
    neginf: Array
    constant: Array | None

    @property
    def positive(self) -> Array:
        """Elements known to be above zero (only constants are)."""
        if self.constant is None:
            return np.zeros((1,) * self.zero.ndim, bool)
        return lift(self.constant > 0, self.zero.ndim)


def _sum(op: Binary, lattice: Lattice, inputs: Sequence[Stencil], sign: int) -> Linear | None:
    """The sum or difference of two linear functions of the place."""
    if not any(isinstance(x.known, Linear) for x in inputs):
        return None
    shape = broadcast(*(x.type for x in inputs))
    x, y = (linear(v) for v in align(op, lattice, inputs, shape)[0])
    return None if x is None or y is None else x.plus(y, sign)


class Add(Binary):
    """z = x + y"""

    name: ClassVar[str] = "add"

    def placed(self, lattice: Lattice, inputs: Sequence[Stencil]) -> Linear | None:
        return _sum(self, lattice, inputs, 1)

    def function(self, x: Array, y: Array) -> Array:
        return np.add(x, y)

    def known(self, x: _Known, y: _Known) -> tuple[Array | None, Array | None]:
        return x.zero & y.zero, x.neginf | y.neginf

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        return ct, ct


class Sub(Binary):
    """z = x - y"""

    name: ClassVar[str] = "sub"

    def placed(self, lattice: Lattice, inputs: Sequence[Stencil]) -> Linear | None:
        return _sum(self, lattice, inputs, -1)

    def function(self, x: Array, y: Array) -> Array:
        return np.subtract(x, y)

    def known(self, x: _Known, y: _Known) -> tuple[Array | None, Array | None]:
        return x.zero & y.zero, x.neginf

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        return ct, b.emit(Neg(), unbroadcast(b, ct, y.shape))


class Mul(Binary):
    """z = x y; zero where either side is known to be zero"""

    name: ClassVar[str] = "mul"

    def function(self, x: Array, y: Array) -> Array:
        return np.multiply(x, y)

    def known(self, x: _Known, y: _Known) -> tuple[Array | None, Array | None]:
        zero = x.zero | y.zero if x.zero.any() and y.zero.any() else x.zero if x.zero.any() else y.zero
        return zero, (x.neginf & y.positive) | (y.neginf & x.positive)

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        return b.emit(Mul(), ct, y), b.emit(Mul(), ct, x)


class Div(Binary):
    """z = x / y"""

    name: ClassVar[str] = "div"
    allowed: ClassVar[tuple[DType, ...]] = (DType.FLOAT,)

    def function(self, x: Array, y: Array) -> Array:
        return np.divide(x, y)

    def known(self, x: _Known, y: _Known) -> tuple[Array | None, Array | None]:
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

    def function(self, x: Array, y: Array) -> Array:
        return np.maximum(x, y)

    def known(self, x: _Known, y: _Known) -> tuple[Array | None, Array | None]:
        return (x.zero | y.zero) & (x.zero | x.neginf) & (y.zero | y.neginf), x.neginf & y.neginf

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        return self._share(b, x, y, ct), self._share(b, y, x, ct)


class Minimum(Extremum):
    """z = min(x, y)"""

    name: ClassVar[str] = "minimum"

    def function(self, x: Array, y: Array) -> Array:
        return np.minimum(x, y)

    def known(self, x: _Known, y: _Known) -> tuple[Array | None, Array | None]:
        return x.zero & y.zero, x.neginf | y.neginf

    def gradient(
        self, b: Builder, x: Value, y: Value, z: Value, ct: Value
    ) -> tuple[Value | None, Value | None]:
        return self._share(b, y, x, ct), self._share(b, x, y, ct)


class Comparison(Binary):
    """A truth value of two numbers. Its gradient is zero, but its value does depend on both."""

    result: ClassVar[DType | None] = DType.BOOL

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (out,) = super().flow(domain, *inputs)
        rank = len(out.shape)
        decided = lift(inputs[0].neginf, rank) | lift(inputs[1].neginf, rank)  # whatever the other side is
        return (domain.make(out.shape, mask(~decided, out.facts), out.zero),)

    def band(self, difference: Linear) -> tuple[int, Offsets] | None:
        """Where a linear x - y makes the comparison true, as `half_plane`."""
        return None

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        difference = _sum(self, lattice, inputs, -1)
        if difference is None or not difference.terms:
            return super().stencil(lattice, *inputs)
        (out,) = super().stencil(lattice, *inputs)
        found = self.band(difference)
        if found is None or any(a is not None and a.own != 1 for a in out.axes) or len(out.regions) > 1:
            return (replace(out, exact=False),)  # true at some places: whichever they are
        source, true = found
        shape = out.cell.shape
        regions = [
            Region(where, lattice.domain.constant(np.full(shape, value)))
            for where, value in ((true, True), (true.complement(), False))
            if where
        ]
        return (replace(out, regions=tuple(regions), band=source),)

    @classmethod
    def examples(cls) -> list[Example]:
        floats = [Example(e.op, e.inputs, False) for e in super().examples()]
        return [*floats, Example(cls(), (np.array([[1, 2, 3]]), np.array([[2], [3]])), False)]


class Less(Comparison):
    """z = x < y"""

    name: ClassVar[str] = "less"

    def function(self, x: Array, y: Array) -> Array:
        return np.less(x, y)

    def band(self, difference: Linear) -> tuple[int, Offsets] | None:
        return half_plane(replace(difference, constant=difference.constant + 1))

    def known(self, x: _Known, y: _Known) -> tuple[Array | None, Array | None]:
        return (x.zero & y.zero) | y.neginf, None


class LessEqual(Comparison):
    """z = x ≤ y"""

    name: ClassVar[str] = "less_equal"

    def function(self, x: Array, y: Array) -> Array:
        return np.less_equal(x, y)

    def band(self, difference: Linear) -> tuple[int, Offsets] | None:
        return half_plane(difference)


class Equal(Comparison):
    """z = (x = y)"""

    name: ClassVar[str] = "equal"
    allowed: ClassVar[tuple[DType, ...]] = (DType.FLOAT, DType.INT, DType.BOOL)

    def function(self, x: Array, y: Array) -> Array:
        return np.equal(x, y)


class Logical(Binary):
    """A truth value of two truth values."""

    allowed: ClassVar[tuple[DType, ...]] = (DType.BOOL,)

    @classmethod
    def examples(cls) -> list[Example]:
        x = np.array([[True, False, True], [False, False, True]])
        return [
            Example(cls(), (x, np.array([True, True, False])), False),
            Example(cls(), (x, np.array([[False], [True]])), False),
        ]


class LogicalAnd(Logical):
    """z = x and y; false where either side is known to be"""

    name: ClassVar[str] = "logical_and"

    def function(self, x: Array, y: Array) -> Array:
        return np.logical_and(x, y)

    def known(self, x: _Known, y: _Known) -> tuple[Array | None, Array | None]:
        return x.zero | y.zero, None


class LogicalOr(Logical):
    """z = x or y"""

    name: ClassVar[str] = "logical_or"

    def function(self, x: Array, y: Array) -> Array:
        return np.logical_or(x, y)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (out,) = super().flow(domain, *inputs)
        true = [lift(x.constant, len(out.shape)) for x in inputs if x.constant is not None]
        return (domain.make(out.shape, mask(~true[0], out.facts), out.zero),) if true else (out,)

    def known(self, x: _Known, y: _Known) -> tuple[Array | None, Array | None]:
        return x.zero & y.zero, None


# --- three arguments ---


class Where(Operation):
    """y = a where the condition holds, b elsewhere. A known condition selects facts exactly."""

    name: ClassVar[str] = "where"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        c, x, y = inputs
        require_dtype(c, DType.BOOL)
        require(x.dtype == y.dtype, "the same kind of elements in both branches", f"{x} and {y}")
        return (Type(x.dtype, broadcast(c, x, y)),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.where(*inputs),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        c, x, y = inputs
        shape = np.broadcast_shapes(c.shape, x.shape, y.shape)
        rank = len(shape)
        cf, xf, yf = (lift(v.facts, rank + 1) for v in inputs)
        xz, yz, xn, yn = (lift(m, rank) for m in (x.zero, y.zero, x.neginf, y.neginf))
        if c.constant is not None:
            k = domain.make(shape, None, lift(c.constant, rank)).zero  # compressed
            facts = np.where(k[..., None], xf, yf) if xf.any() or yf.any() else xf
            return (domain.make(shape, facts, np.where(k, xz, yz), np.where(k, xn, yn)),)
        return (domain.make(shape, domain.union(cf, xf, yf), xz & yz, xn & yn),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        return pointwise(self, lattice, inputs)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        c, x, y = inputs
        if ct is None or x.dtype is not DType.FLOAT:
            return None, None, None
        nothing = b.constant(0.0)
        return (
            None,
            unbroadcast(b, b.emit(Where(), c, ct, nothing), x.shape),
            unbroadcast(b, b.emit(Where(), c, nothing, ct), y.shape),
        )

    @classmethod
    def examples(cls) -> list[Example]:
        c = np.array([[True, False, True], [False, True, True]])
        return [
            Example(cls(), (c, _sample(2, 3, seed=1), _sample(2, 3, seed=2))),
            Example(cls(), (c, _sample(4, 1, 3, seed=3), _sample(seed=4))),
            Example(cls(), (c[0], _sample(2, 1, seed=5), _sample(2, 3, seed=6))),
            Example(cls(), (c, np.array([[1, 2, 3]]), np.array([[4], [5]])), False),
        ]
