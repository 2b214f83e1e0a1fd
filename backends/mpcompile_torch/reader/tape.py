"""The graph of a recording while it grows: which tensors are not known, and what the others are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.weak import WeakTensorKeyDictionary

from mpcompile.foreign.notes import Notes
from mpcompile.foreign.recording import Unrecordable
from mpcompile.ir import Array, Builder, DType, Parameter, Type, Value
from mpcompile.ops import build


def kind(dtype: torch.dtype) -> DType:
    """Return the kind of elements that a tensor of this type has."""
    if dtype is torch.bool:
        return DType.BOOL
    return DType.FLOAT if dtype.is_floating_point or dtype.is_complex else DType.INT


def array(x: torch.Tensor) -> Array:
    """Return the numbers of a tensor; of a complex one pairs of real numbers."""
    x = x.detach()
    if x.is_complex():
        x = torch.view_as_real(x.resolve_conj())
    if x.dtype in (torch.bfloat16, torch.float16):
        x = x.to(torch.float32)
    found: Array = x.resolve_neg().cpu().numpy()
    return found


@dataclass
class Tape(Notes):
    """The part of a recording that there is so far.

    An unknown tensor is one that an input or a weight leads to; every other one is what it is, and folds. `peaks` are
    values that are the largest of some scores along an axis: the exp of scores behind it is zero where a mask is.
    """

    values: Any = field(default_factory=WeakTensorKeyDictionary)
    constants: Any = field(default_factory=WeakTensorKeyDictionary)
    weights: Any = field(default_factory=WeakTensorKeyDictionary)
    peaks: dict[Value, tuple[Value, int]] = field(default_factory=dict)

    def unknown(self, x: object) -> bool:
        return isinstance(x, torch.Tensor) and (x in self.values or x in self.weights)

    def declare(self, x: torch.Tensor, name: str) -> None:
        """Make a tensor an input of the call."""
        self.values[x] = self.input(name, array(x), Type(kind(x.dtype), array(x).shape))

    def weight(self, x: torch.Tensor, name: str) -> None:
        """Make a tensor a weight, which may be anything."""
        self.weights[x] = name

    def draw(self, x: torch.Tensor) -> None:
        """Make a tensor something that the model drew."""
        name = f"noise_{len(self.noise)}"
        self.noise[name] = array(x).copy()
        self.values[x] = self.builder.input(name, Type(kind(x.dtype), self.noise[name].shape))

    def __getitem__(self, x: torch.Tensor | float | bool) -> Value:
        """The value of a tensor or a number in the graph."""
        if not isinstance(x, torch.Tensor):
            return self.builder.constant(x)
        if x in self.values:
            found: Value = self.values[x]
            return found
        if x in self.weights:
            name = self.weights[x]
            self.parameters[name] = array(x)
            leaf = Parameter(name, Type(kind(x.dtype), self.parameters[name].shape))
            self.values[x] = self.builder.emit(leaf)
            return self[x]
        if x not in self.constants:
            # a copy: the memory may be written to later
            self.constants[x] = self.builder.constant(array(x).copy())
        known: Value = self.constants[x]
        return known

    def __setitem__(self, x: torch.Tensor, value: Value) -> None:
        """State what a result is. Raises `Unrecordable` where a rule and the model differ about its shape."""
        shape = tuple(x.shape) + ((2,) if x.is_complex() else ())
        if value.type != Type(kind(x.dtype), shape):
            if value.shape != shape:
                raise Unrecordable(
                    f"a result of shape {list(shape)} was read as {value.type}", self.builder.span
                )
            value = build.cast(self.builder, value, kind(x.dtype))
        self.values[x] = value


@dataclass(frozen=True)
class Call:
    """One operation as it ran.

    given    its arguments by the names of its schema, with defaults
    results  the tensors that it gave
    """

    tape: Tape
    name: str
    function: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    given: Mapping[str, Any]
    results: tuple[torch.Tensor, ...]

    @property
    def b(self) -> Builder:
        return self.tape.builder

    def __getitem__(self, name: str) -> Any:
        return self.given.get(name)  # an overload may lack it

    def value(self, name: str, like: DType | None = None) -> Value:
        """An argument as a value, of a kind of elements if one is asked for."""
        value = self.tape[self.given[name]]
        return value if like is None else self.cast(value, like)

    def cast(self, value: Value, like: DType) -> Value:
        return value if value.dtype is like else build.cast(self.b, value, like)

    @property
    def out(self) -> torch.Tensor:
        return self.results[0]

    @property
    def kind(self) -> DType:
        """The kind of elements of the result."""
        return kind(self.out.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.out.shape) + ((2,) if self.out.is_complex() else ())

    def axis(self, name: str = "dim", of: str = "self") -> int:
        """An argument that is an axis, counted from the front."""
        rank: int = max(self.given[of].ndim, 1)
        return int(self.given[name]) % rank

    def axes(self, name: str = "dim", of: str = "self") -> tuple[int, ...]:
        """An argument that is a list of axes; none is all of them."""
        found, rank = self.given[name], self.given[of].ndim
        found = [found] if isinstance(found, int) else found
        return tuple(sorted(int(a) % max(rank, 1) for a in found)) if found else tuple(range(rank))

    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors among the arguments."""
        return tensors_in((self.args, self.kwargs))

    def operands(self) -> list[Value]:
        """Return all tensors among the arguments that are not known, as values."""
        return [self.tape[x] for x in self.tensors() if self.tape.unknown(x)]

    def observe(
        self,
        joined: Sequence[int] | None,
        running: int | None = None,
        reverse: bool = False,
        operands: Sequence[Value] | None = None,
    ) -> tuple[Value, ...]:
        """Stand in for the operation by its results, and a bound of what they read (`Observed`).

        `operands` are in the place of those that are not known, where these do not broadcast to the results.
        """
        results = [array(r).copy() for r in self.results]
        again = self._again() if operands is None else None
        operands = self.operands() if operands is None else operands
        return self.tape.observe(self.name, operands, results, joined, running, reverse, again)

    def _again(self) -> Callable[..., list[Array]] | None:
        """Return the operation in double precision, as a function of its unknown operands; none for a draw."""
        if torch.Tag.nondeterministic_seeded in self.function.tags:
            return None
        unknown = [self.tape.unknown(x) for x in self.tensors()]

        def again(*arrays: Array) -> list[Array]:
            left, asked = iter(arrays), iter(unknown)

            def put(x: Any) -> Any:
                if isinstance(x, torch.Tensor):
                    return tensor(next(left), x.dtype) if next(asked) else _doubled(x)
                if isinstance(x, Mapping):
                    return {k: put(v) for k, v in x.items()}
                return type(x)(put(v) for v in x) if isinstance(x, list | tuple) else x

            try:
                with torch.no_grad():
                    found = self.function(*put(self.args), **put(dict(self.kwargs)))
            except RuntimeError as reason:  # it takes no double precision
                raise ValueError(f"{self.name} cannot be run again: {reason}") from reason
            return [array(r) for r in tensors_in(found)]

        return again


def tensor(x: Array, like: torch.dtype) -> torch.Tensor:
    """Return numbers as a tensor: floats in double precision, others of their type."""
    found = torch.from_numpy(np.array(x))
    if like.is_complex:
        return torch.view_as_complex(found.double().contiguous())
    return found.double() if like.is_floating_point else found.to(like)


def _doubled(x: torch.Tensor) -> torch.Tensor:
    """A constant in double precision."""
    return x.detach().to(
        torch.complex128 if x.is_complex() else torch.float64 if x.is_floating_point() else x.dtype
    )


def tensors_in(tree: object) -> list[torch.Tensor]:
    """Return the tensors of nested lists, tuples and dicts, in order."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        return [x for part in tree for x in tensors_in(part)]
    return []


__all__ = ["Call", "Tape", "array", "kind", "tensor", "tensors_in"]
