"""Base of the primitives: constant folding, type checks, and small graphs for gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpcompile.ir import (
    Abstract,
    Array,
    Builder,
    Domain,
    DType,
    NoRule,
    Primitive,
    Shape,
    Symbolic,
    Type,
    TypeMismatch,
    Value,
    broadcast_shapes,
    numbers,
)
from mpcompile.ir.stencils import Lattice, Stencil, still

#: Cotangents of the outputs of a node, in order; None where nothing depends on one.
Cotangents = Sequence[Value | None]

#: A value larger than this is not kept as a known constant by the dependence analysis.
LARGEST_CONSTANT = 1 << 24


class Operation(Primitive):
    """A primitive whose dependence rule starts by folding constants; a subclass states the rest in `flow`."""

    def depend(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        constants = [x.constant for x in inputs if x.constant is not None]
        if len(constants) == len(inputs) and self._small(*constants):
            return tuple(domain.constant(out) for out in self.evaluate(*constants))
        return self.flow(domain, *inputs)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        """Derive the result from `depend`, for inputs that are not spatial and have no symbolic size.

        Raises `NoRule` elsewhere; most primitives have a rule of their own.
        """
        types = self.infer(*(x.type for x in inputs))
        sizes = [s for t in (*types, *(x.type for x in inputs)) for s in t.shape]
        if any(x.spatial for x in inputs) or not all(isinstance(s, int) for s in sizes):
            raise NoRule(self, "stencil")
        cells = self.depend(lattice.domain, *(x.cell for x in inputs))
        sharp = not self.conservative and all(x.exact for x in inputs)
        return tuple(still(t, c, sharp) for t, c in zip(types, cells, strict=True))

    def _small(self, *constants: Array) -> bool:
        results = self.infer(*(type_of(c) for c in constants))
        return all(int(np.prod(numbers(t.shape))) <= LARGEST_CONSTANT for t in results)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        """`depend` when some input is not a known constant."""
        raise NotImplementedError


# --- examples ---


def sample(*shape: int, seed: int = 0, low: float = 0.3, high: float = 1.9) -> Array:
    """Draw numbers between `low` and `high` for an example, an array of the given shape; by default none is zero."""
    return np.random.default_rng(seed).uniform(low, high, shape)


# --- types ---


def type_of(array: Array) -> Type:
    """Return the IR type of a concrete array."""
    kind = {"f": DType.FLOAT, "i": DType.INT, "u": DType.INT, "b": DType.BOOL}[array.dtype.kind]
    return Type(kind, array.shape)


def require(condition: bool, expected: str, found: object) -> None:
    """Raise `TypeMismatch` unless a condition on the inputs holds.

    The text of a type costs more than most rules: where `expected` needs it, raise a `mismatch`.
    """
    if not condition:
        raise mismatch(expected, found)


def mismatch(expected: str, found: object) -> TypeMismatch:
    """Return the error for inputs that a primitive does not take, ready to raise."""
    return TypeMismatch(f"expected {expected}, found {found}")


def require_dtype(type: Type, *allowed: DType) -> None:
    """Check that a type has one of the allowed dtypes. Raises `TypeMismatch`."""
    if type.dtype not in allowed:
        raise TypeMismatch(f"expected {' or '.join(allowed)} elements, found {type}")


def require_axis(type: Type, axis: int) -> None:
    """Check that an axis is below the rank of a type. Raises `TypeMismatch`."""
    if not 0 <= axis < type.rank:
        raise mismatch(f"an axis below the rank {type.rank}", f"axis {axis} of {type}")


def require_sizes(*sizes: int | Symbolic) -> None:
    """Raise `TypeMismatch` for a size below zero among attributes that say the shape of a result."""
    if any(isinstance(s, int) and s < 0 for s in sizes):
        raise mismatch("sizes that are not negative", list(sizes))


def broadcast(*types: Type) -> Shape:
    """Broadcast shape of some types, as a `TypeMismatch` when there is none."""
    try:
        return broadcast_shapes(*(t.shape for t in types))
    except ValueError:
        shown = " and ".join(map(str, types))
        raise TypeMismatch(f"expected shapes that broadcast, found {shown}") from None


def as_int(size: int | Symbolic, what: str) -> int:
    """Return a size that must be a plain number. Raises `TypeMismatch` for a symbolic size."""
    if isinstance(size, Symbolic):
        raise TypeMismatch(f"expected a known number for {what}, found the symbolic size {size}")
    return size


def floor_div(size: int | Symbolic, divisor: int) -> int | Symbolic:
    """Return `size // divisor`, where the divisor divides every symbolic term. Raises `TypeMismatch` otherwise."""
    if isinstance(size, int) or divisor == 1:
        return size // divisor
    constant = sum(c for m, c in size.terms if not m)
    try:
        return (size - constant) // divisor + constant // divisor
    except ValueError:
        raise TypeMismatch(f"expected a size that {divisor} divides, found {size}") from None


def drop(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """Return a shape after a reduction over some axes, which stay with length one if `keepdims`."""
    if keepdims:
        return tuple(1 if i in axes else s for i, s in enumerate(shape))
    return tuple(s for i, s in enumerate(shape) if i not in axes)


# --- maps that broadcast to a shape: facts, and masks of known zeros ---


def expand(array: Array, axis: int, size: int) -> Array:
    """Undo the compression of one axis."""
    if array.shape[axis] == size:
        return array
    return np.broadcast_to(array, (*array.shape[:axis], size, *array.shape[axis + 1 :]))


def expand_all(array: Array, shape: Sequence[int]) -> Array:
    """Undo the compression of the first axes."""
    return np.broadcast_to(array, (*shape, *array.shape[len(shape) :]))


def lift(array: Array, rank: int) -> Array:
    """Prepend axes of length one up to a rank."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def join_over(domain: Domain, facts: Array, axes: Sequence[int]) -> Array:
    """Join facts over axes, kept with length one."""
    for axis in axes:
        if facts.shape[axis] != 1:
            facts = domain.join.reduce(facts, axis=axis, keepdims=True)
    return facts


def squeeze(array: Array, axes: Sequence[int], keepdims: bool) -> Array:
    """Drop axes of length one unless they are kept."""
    return array if keepdims else array.reshape([s for i, s in enumerate(array.shape) if i not in axes])


def mask(array: Array, facts: Array) -> Array:
    """Keep facts where a mask holds, and put bottom elsewhere."""
    if array.all() or not facts.any():
        return facts
    return np.where(array[..., None], facts, facts.dtype.type(0))


# --- gradients ---


def zeros(b: Builder, shape: Shape) -> Value:
    """Emit a float value of zeros."""
    return full(b, 0.0, shape)


def full(b: Builder, number: float, shape: Shape) -> Value:
    """Emit a float value with one number everywhere."""
    from mpcompile.ops.structure import BroadcastTo

    scalar = b.constant(float(number))
    return b.emit(BroadcastTo(tuple(shape)), scalar) if shape else scalar


def unbroadcast(b: Builder, cotangent: Value, shape: Shape) -> Value:
    """Sum a cotangent back to the shape that was broadcast."""
    from mpcompile.ops.reduction import Sum
    from mpcompile.ops.structure import Reshape

    if cotangent.shape == shape:
        return cotangent
    extra = len(cotangent.shape) - len(shape)
    axes = [i for i, s in enumerate(cotangent.shape) if s != 1 and (i < extra or shape[i - extra] == 1)]
    if axes:
        cotangent = b.emit(Sum(tuple(axes), True), cotangent)
    return b.emit(Reshape(tuple(shape)), cotangent) if cotangent.shape != shape else cotangent


def keep_axes(b: Builder, value: Value, shape: Shape, axes: Sequence[int]) -> Value:
    """Put back, with length one, the axes that a reduction of `shape` removed."""
    from mpcompile.ops.structure import Reshape

    kept = drop(shape, axes, True)
    return value if value.shape == kept else b.emit(Reshape(kept), value)
