"""The type of a value: an element type and a shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mpcompile.ir.size import Symbolic, product, substitute

Shape = tuple[int | Symbolic, ...]


class DType(StrEnum):
    """Kinds of element. The width of a float is chosen when a program runs, not in the IR."""

    FLOAT = "float"
    INT = "int"
    BOOL = "bool"


@dataclass(frozen=True, slots=True)
class Type:
    """The type of a value: the kind of its elements, and its shape."""

    dtype: DType
    shape: Shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int | Symbolic:
        """Number of elements."""
        return product(self.shape)

    def with_shape(self, shape: Shape) -> Type:
        return Type(self.dtype, tuple(shape))

    def concrete(self, env: Mapping[str, int]) -> tuple[int, ...]:
        """The shape in numbers."""
        return tuple(substitute(s, env) for s in self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def float_type(*shape: int | Symbolic) -> Type:
    """Return the type of floats of a shape."""
    return Type(DType.FLOAT, shape)


class TypeMismatch(ValueError):
    """Raised by `Primitive.infer`: what was expected and what was found, without a place.

    Whoever emits the node knows the place and turns this into a located diagnostic.
    """
