"""The three primitives that bring values into a graph: `Input`, `Parameter`, `Constant`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mpcompile.ir.primitive import Array, Example, Primitive
from mpcompile.ir.types import DType, Type

if TYPE_CHECKING:
    from mpcompile.ir.facts import Abstract, Domain


@dataclass(frozen=True)
class Input(Primitive):
    """Data or noise handed in by the caller. The analysis or the interpreter supplies its value."""

    name: ClassVar[str] = "input"
    path: str
    type: Type

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (self.type,)

    @classmethod
    def examples(cls) -> list[Example]:
        return []


@dataclass(frozen=True)
class Parameter(Primitive):
    """A trained array, by its dotted name. Depends on no input element."""

    name: ClassVar[str] = "parameter"
    path: str
    type: Type

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (self.type,)

    @classmethod
    def examples(cls) -> list[Example]:
        return []


@dataclass(frozen=True, eq=False)
class Constant(Primitive):
    """A literal array. Two constants are equal when dtype, shape and bytes are."""

    name: ClassVar[str] = "constant"
    array: Array

    @classmethod
    def of(cls, array: Array) -> Constant:
        """Normalise the width: float64, int64 or bool; backends narrow floats to their precision."""
        kind = {"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}[array.dtype.kind]
        frozen: Array = np.ascontiguousarray(array, dtype=kind).reshape(array.shape)
        frozen.setflags(write=False)
        return cls(frozen)

    @property
    def key(self) -> tuple[str, tuple[int, ...], bytes]:
        return (self.array.dtype.str, self.array.shape, self.array.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        kind = {"f": DType.FLOAT, "i": DType.INT, "b": DType.BOOL}[self.array.dtype.kind]
        return (Type(kind, self.array.shape),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (self.array,)

    def depend(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        return (domain.constant(self.array),)

    @classmethod
    def examples(cls) -> list[Example]:
        return [Example(cls.of(np.array([[0.0, 1.5], [2.0, -1.0]])), (), False)]
