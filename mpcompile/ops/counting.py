"""Primitives that number positions, and mark one by its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mpcompile.ir import (
    Abstract,
    Along,
    Array,
    Builder,
    Domain,
    DType,
    Example,
    Mapped,
    Positivity,
    Shape,
    Size,
    Type,
    Value,
    numbers,
)
from mpcompile.ir.stencils import Axis, Lattice, Linear, Stencil, extent, still, whole
from mpcompile.ops._base import Cotangents, require_axis, require_dtype, require_sizes
from mpcompile.ops._stencil import no_rule, results
from mpcompile.ops.traits import Monotone, Verbatim, apart


@dataclass(frozen=True)
class Iota(Monotone, Verbatim):
    """y[..., i, ...] = i along one axis."""

    name: ClassVar[str] = "iota"
    mixes: ClassVar[str] = "numbers the examples"
    shape: Shape
    axis: int

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        require_sizes(*self.shape)
        out = Type(DType.INT, tuple(self.shape))
        require_axis(out, self.axis)
        return (out,)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        shape = numbers(self.shape)
        line = np.arange(shape[self.axis]).reshape([-1 if i == self.axis else 1 for i in range(len(shape))])
        return (np.broadcast_to(line, shape),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        shape = numbers(self.shape)
        line = np.arange(shape[self.axis]).reshape([-1 if i == self.axis else 1 for i in range(len(shape))])
        return (domain.make(shape, None, line == 0),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        """Treat an axis as long as the source's as one that runs along it.

        Raises `NoRule` for more than two such axes.
        """
        (type,) = results(self, inputs)
        axes, used = list[Axis | None](), dict[int, int]()
        for size in self.shape:
            source = lattice.along.get(size) if not isinstance(size, int) else None
            axes.append(None if source is None else Axis(source, slot=used.get(source, 0)))
            if source is not None:
                used[source] = used.get(source, 0) + 1
        if any(slots > 2 for slots in used.values()):
            raise no_rule(self, "more than two axes along one source axis")
        if all(isinstance(s, int) for s in self.shape):
            return (still(type, self.depend(lattice.domain)[0]),)
        cell = lattice.domain.unknown(
            [extent(s) if a is None else a.own for s, a in zip(self.shape, axes, strict=True)]
        )
        at = axes[self.axis]
        known = None if at is None else Linear((((at.source, at.slot), 1),))
        return (Stencil(type, tuple(axes), whole(cell), known=known),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return ()

    def repeats(self, shapes: Sequence[Shape], out: Shape) -> frozenset[int]:
        return frozenset(range(len(out))) - {self.axis}

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        return ()

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls((4,), 0), (), False),
            Example(cls((2, 3), 1), (), False),
            Example(cls((2, 3, 1), 0), (), False),
        ]


@dataclass(frozen=True)
class OneHot(Verbatim):
    """y[..., k] = 1 where k is the index, else 0. It has no gradient, but depends on the index."""

    name: ClassVar[str] = "one_hot"
    depth: int

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        (x,) = inputs
        require_dtype(x, DType.INT)
        require_sizes(self.depth)
        return (Type(DType.FLOAT, (*x.shape, self.depth)),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return ((inputs[0][..., None] == np.arange(self.depth)).astype(np.float64),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        return (domain.make((*x.shape, self.depth), x.facts[..., None, :]),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        (x,) = inputs
        regions = x.each(lambda c: self.depend(lattice.domain, c)[0])
        return (replace(x, type=self.infer(x.type)[0], axes=(*x.axes, None), regions=regions, known=None),)

    def aliases(self, operand: int) -> bool:
        return False

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return apart(shapes)

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        (place,) = at
        return None if place is None else Mapped(self, (place,), place)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return Positivity.NOT_NEGATIVE

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        return (None,)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(4), (np.array([[1, 3, 0], [2, 2, 1]]),), False),
            Example(cls(2), (np.array(1),), False),
        ]
