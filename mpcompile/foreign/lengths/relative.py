"""A constant that is a function of the difference of two places, such as a causal mask, at every length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import ClassVar

import numpy as np

from mpcompile.ir import Abstract, Array, Domain, DType, Example, Primitive, Shape, Type, numbers
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import Axis, Lattice, Region, Stencil, extent, still

#: An element of a `Relative`; None for one that is not known.
Number = bool | float | None


@dataclass(frozen=True)
class Relative(Primitive):
    """y[.., i, .., j, ..] = values[j - i - first], with the nearest value outside of the window.

    `row` and `column` are the axes of i and j; y is the same along the others. A value of None is not known, and
    may be another one at each place.
    """

    name: ClassVar[str] = "relative"
    conservative: ClassVar[bool] = True
    dtype: DType
    shape: Shape
    row: int
    column: int
    first: int
    values: tuple[Number, ...]

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (Type(self.dtype, tuple(self.shape)),)

    def _spread(self, values: Sequence[float]) -> Array:
        shape = numbers(self.shape)
        lines = [np.arange(shape[a]).reshape([-1 if i == a else 1 for i in range(len(shape))])
                 for a in (self.row, self.column)]  # fmt: skip
        index = (lines[1] - lines[0] - self.first).clip(0, len(values) - 1)
        return np.broadcast_to(np.asarray(values)[index], shape)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Return the elements. Raises `ValueError` where some are not known."""
        if None in self.values:
            raise ValueError("not every element is known")
        return (self._spread([float(v) for v in self.values if v is not None]),)

    def agrees(self, array: Array) -> bool:
        """Whether an array has the elements that are known, at numbers for the sizes."""
        known = self._spread([v is not None for v in self.values]).astype(bool)
        wanted = self._spread([0.0 if v is None else float(v) for v in self.values])
        return bool((array.astype(np.float64) == wanted)[known].all())

    def depend(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        return (domain.unknown(numbers(self.shape)),)

    def pieces(self) -> Iterator[tuple[Offsets, Number]]:
        """Yield the differences with each value."""
        for value, _ in groupby(sorted(self.values, key=repr)):
            bits = np.asarray([v is value or (v is not None and v == value) for v in self.values])
            yield Offsets.of((self.first,), bits), value

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        """Regions of one value each; unknown, and so a bound, where the axes are not those of the source."""
        (type,) = self.infer()
        sources = [lattice.along.get(self.shape[a]) for a in (self.row, self.column)]
        if None in sources or sources[0] != sources[1]:
            cell = lattice.domain.unknown([extent(s) for s in self.shape])
            return (still(type, cell, exact=False),)
        source = sources[0]
        assert source is not None
        slots = {a: slot for slot, a in enumerate(sorted((self.row, self.column)))}
        axes = tuple(Axis(source, slot=slots[a]) if a in slots else None for a in range(len(self.shape)))
        shape = [extent(s) if a is None else 1 for s, a in zip(self.shape, axes, strict=True)]
        regions = []
        for where, value in self.pieces():
            known = lattice.domain.unknown(shape)
            if value is not None:
                known = lattice.domain.constant(np.full(shape, value))
            regions.append(Region(where if self.row < self.column else where.mirror(), known))
        return (Stencil(type, axes, tuple(regions), source, exact=None not in self.values),)

    def trimmed(self) -> Relative:
        """Return it with a window as small as it can be."""
        values, first = list(self.values), self.first
        while len(values) > 1 and values[-1] == values[-2]:
            values.pop()
        while len(values) > 1 and values[0] == values[1]:
            values.pop(0)
            first += 1
        return replace(self, values=tuple(values), first=first)

    @classmethod
    def examples(cls) -> list[Example]:
        causal = cls(DType.BOOL, (4, 4), 0, 1, 0, (True, False))
        return [Example(replace(causal, dtype=DType.FLOAT, values=(1.0, -2.0)), (), False)]
