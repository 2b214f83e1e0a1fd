"""The primitives that bring values into a graph: `Input`, `Parameter`, `Stack`, `Constant`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import digits
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mpcompile.ir.axes import Axes
from mpcompile.ir.primitive import Array, Example, Primitive
from mpcompile.ir.traits import Along, Positivity, Work
from mpcompile.ir.types import DType, Shape, Type, TypeMismatch

if TYPE_CHECKING:
    from mpcompile.ir.facts import Abstract, Domain
    from mpcompile.ir.field import Field
    from mpcompile.ir.stencils import Lattice, Stencil


class Leaf(Primitive):
    """A primitive without operands, which brings a value in."""

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return ()

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work()


@dataclass(frozen=True)
class Input(Leaf):
    """Data or noise handed in by the caller. The analysis or the interpreter supplies its value.

    `axes` are the names of the axes but the batch, of a variable that a spec declares: a note for whoever explains a
    program, which its meaning does not depend on.
    """

    name: ClassVar[str] = "input"
    path: str
    type: Type
    axes: Axes = field(default=(), compare=False)

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (self.type,)

    @classmethod
    def examples(cls) -> list[Example]:
        return []


@dataclass(frozen=True)
class Parameter(Leaf):
    """A trained array, by its dotted name. Depends on no input element."""

    name: ClassVar[str] = "parameter"
    path: str
    type: Type

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (self.type,)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weights that it brings in."""
        return (self.path,)

    @property
    def each(self) -> Type:
        """Type of one of them."""
        return self.type

    def value(self, weights: Mapping[str, Array]) -> Array:
        """Return the value of the parameter, from those of all weights by name."""
        return weights[self.path]

    @classmethod
    def examples(cls) -> list[Example]:
        return []


@dataclass(frozen=True)
class Stack(Parameter):
    """Weights of one shape under a new leading axis: row k has the weight that iteration k of a repeat reads.

    `paths` are their names in the order of the rows, `type` is that of the whole stack. `path` names
    the first and the last of them, `layer.0:8.weight`.
    """

    name: ClassVar[str] = "stack"
    paths: tuple[str, ...] = ()

    @classmethod
    def of(cls, paths: Sequence[str], each: Type) -> Stack:
        """The stack of some weights that all have the type `each`."""
        return cls(_spanned(paths), each.with_shape((len(paths), *each.shape)), tuple(paths))

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        if not self.paths or self.type.shape[:1] != (len(self.paths),) or self.path != _spanned(self.paths):
            raise TypeMismatch(f"expected a stack of {len(self.paths)} weights, found {self.type}")
        return (self.type,)

    @property
    def names(self) -> tuple[str, ...]:
        return self.paths

    @property
    def each(self) -> Type:
        return self.type.with_shape(self.type.shape[1:])

    def value(self, weights: Mapping[str, Array]) -> Array:
        return np.stack([weights[path] for path in self.paths])


def around(paths: Sequence[str]) -> tuple[str, str]:
    """Return what names that differ in a number have before and behind it: `layer.` and `.weight`."""
    first, least = paths[0], min(map(len, paths))
    head = _common(paths)
    tail = min(_common([p[::-1] for p in paths]), least - head)
    return first[:head].rstrip(digits), first[len(first) - tail :].lstrip(digits)


def _common(names: Sequence[str]) -> int:
    """Return how many characters names begin with in common: those of the first and the last in their order."""
    first, last = min(names), max(names)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


def _spanned(paths: Sequence[str]) -> str:
    """Return one name for some: `layer.0:8.weight` for the nine from `layer.0.weight` to `layer.8.weight`."""
    head, tail = around(paths)
    first, last = (p[len(head) : len(p) - len(tail)] for p in (paths[0], paths[-1]))
    return f"{head}{first}:{last}{tail}"


#: The analysis keeps the value itself of a mask of up to this many elements; of a larger one, where it is zero.
WIDENED = 1 << 20


@dataclass(frozen=True, eq=False)
class Constant(Leaf):
    """A literal array. Two constants are equal when dtype, shape and values are.

    A float array of zeros and ones (a mask) is `stored` as bools, an eighth of its size; `array` widens it.
    """

    name: ClassVar[str] = "constant"
    stored: Array
    dtype: DType

    @classmethod
    def of(cls, array: Array) -> Constant:
        """Normalise the width: float64, int64 or bool; backends narrow floats to their precision."""
        kind = {"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}[array.dtype.kind]
        if kind is np.float64 and array.ndim > 1 and _is_mask(array):
            return cls.mask(array != 0)
        return cls(_frozen(array, kind), _KINDS[np.dtype(kind).kind])

    @classmethod
    def mask(cls, truth: Array) -> Constant:
        """Floats that are one where a bool array is true and zero elsewhere."""
        if truth.ndim < 2:
            return cls.of(truth.astype(np.float64))
        return cls(_frozen(truth, np.bool_), DType.FLOAT)

    @property
    def array(self) -> Array:
        """The value, in float64, int64 or bool."""
        return _frozen(self.stored, np.float64) if self.compact else self.stored

    @property
    def compact(self) -> bool:
        """Whether this is a mask that is stored as bools."""
        return self.dtype is DType.FLOAT and self.stored.dtype.kind == "b"

    @property
    def positive(self) -> bool:
        """Whether every element is above zero; of a mask without widening it."""
        return bool(self.stored.all() if self.stored.dtype.kind == "b" else (self.stored > 0).all())

    @property
    def not_negative(self) -> bool:
        """Whether every element is zero or above."""
        return self.stored.dtype.kind == "b" or bool((self.stored >= 0).all())

    @property
    def key(self) -> tuple[str, tuple[int, ...], bool, bytes]:
        return (self.dtype, self.stored.shape, self.compact, self.stored.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and (self is other or self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (Type(self.dtype, self.stored.shape),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (self.array,)

    def depend(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        if self.compact and self.stored.size > WIDENED:
            return (domain.make(self.stored.shape, None, ~self.stored),)
        return (domain.constant(self.array),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        return (field.number(self.array),)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return Positivity.POSITIVE if self.positive else Positivity(self.not_negative)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        from mpcompile.ir.stencils import still

        return (still(self.infer()[0], self.depend(lattice.domain)[0]),)

    @classmethod
    def examples(cls) -> list[Example]:
        return [Example(cls.of(np.array([[0.0, 1.5], [2.0, -1.0]])), (), False)]


_KINDS = {"f": DType.FLOAT, "i": DType.INT, "b": DType.BOOL}


def _frozen(array: Array, kind: type[np.generic]) -> Array:
    """The array in one width, contiguous, not writable."""
    frozen: Array = np.ascontiguousarray(array, dtype=kind).reshape(array.shape)
    frozen.setflags(write=False)
    return frozen


def _is_mask(array: Array) -> bool:
    """Whether every element is exactly +0 or 1."""
    return bool(((array == 0) | (array == 1)).all()) and not np.signbit(array).any()
