"""Primitives that move elements without computing on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from mpcompile.ir import (
    Abstract,
    Along,
    Array,
    Builder,
    Domain,
    Example,
    Mapped,
    Shape,
    Size,
    Type,
    Value,
    broadcast_shapes,
    numbers,
    product,
)
from mpcompile.ir.stencils import Axis, Lattice, Stencil, extent
from mpcompile.ops._base import (
    Cotangents,
    mismatch,
    require,
    require_axis,
    require_sizes,
    sample,
    unbroadcast,
)
from mpcompile.ops._mapping import behind, mapped_beside
from mpcompile.ops._reshape import compressed, reshape
from mpcompile.ops._stencil import (
    fit,
    release,
    unmerged,
    without,
)
from mpcompile.ops.traits import Movement, View, aligned, apart

Move = Callable[[Array], Array]


def moved(domain: Domain, x: Abstract, shape: Sequence[int], move: Move) -> tuple[Abstract, ...]:
    """Return the abstract result of a movement: every map of x is rearranged by `move`."""
    return (domain.make(shape, move(x.facts), move(x.zero), move(x.neginf)),)


@dataclass(frozen=True)
class Reshape(View, Movement):
    """y has the elements of x in the same (row-major) order under another shape."""

    name: ClassVar[str] = "reshape"
    mixes: ClassVar[str] = "takes elements of an example for another's"
    shape: Shape

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        (x,) = inputs
        size = product(self.shape)
        if x.size != size:
            raise mismatch(f"{size} elements for shape {list(self.shape)}", f"{x.size} in {x}")
        return (x.with_shape(self.shape),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (inputs[0].reshape(numbers(self.shape)),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        shape = numbers(self.shape)
        return moved(domain, x, shape, lambda m: compressed(m, x.shape, shape))

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        (x,) = inputs
        return (reshape(self, lattice, x, self.shape),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        """An axis that keeps its length and the number of elements before it."""
        (shape,) = shapes
        places = {(product(out[:i]), size): i for i, size in enumerate(out) if size != 1}
        return (
            {a: places[key] for a, size in enumerate(shape) if (key := (product(shape[:a]), size)) in places},
        )

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        """Map where the elements before the axis are those of some first axes of the result."""
        (place,) = at
        before = product(shapes[0][:place])
        ends = [i for i in range(len(out) + 1) if product(out[:i]) == before]
        if place is None or not ends:
            return None
        return Mapped(Reshape((*out[: ends[0]], size, *out[ends[0] :])), (place,), ends[0])

    def with_length(self, axis: int, size: Size) -> Self:
        return replace(self, shape=(*self.shape[:axis], size, *self.shape[axis + 1 :]))

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        return (None if ct is None else b.emit(Reshape(inputs[0].shape), ct),)

    @classmethod
    def examples(cls) -> list[Example]:
        cases: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
            ((2, 6), (2, 2, 3)),
            ((2, 3, 4), (6, 4)),
            ((2, 3, 4), (4, 6)),
            ((1, 6), (6,)),
            ((), (1, 1)),
            ((2, 1, 3), (3, 2)),
        ]
        return [Example(cls(t), (sample(*s, seed=i),)) for i, (s, t) in enumerate(cases)]


@dataclass(frozen=True)
class Transpose(View, Movement):
    """y has axis `permutation[i]` of x as its axis i."""

    name: ClassVar[str] = "transpose"
    permutation: tuple[int, ...]

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        (x,) = inputs
        require(
            sorted(self.permutation) == list(range(x.rank)),
            f"a permutation of {x.rank} axes",
            f"{list(self.permutation)} for {x}",
        )
        return (x.with_shape(tuple(x.shape[i] for i in self.permutation)),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (inputs[0].transpose(self.permutation),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        shape, rank = [x.shape[i] for i in self.permutation], len(x.shape)
        return moved(domain, x, shape, lambda m: m.transpose(*self.permutation, *range(rank, m.ndim)))

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        (x,) = inputs
        axes = tuple(x.axes[i] for i in self.permutation)
        regions = x.each(lambda c: self.depend(lattice.domain, c)[0])
        return (replace(x, type=self.infer(x.type)[0], axes=axes, regions=regions),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return ({p: i for i, p in enumerate(self.permutation)},)

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        (place,) = at
        if place is None:
            return None
        rest = [behind(a, place) for a in self.permutation]
        return Mapped(Transpose((*rest[:place], place, *rest[place:])), (place,), place)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        inverse = tuple(int(i) for i in np.argsort(self.permutation))
        return (None if ct is None else b.emit(Transpose(inverse), ct),)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls((1, 0)), (sample(2, 3),)),
            Example(cls((2, 0, 1)), (sample(2, 3, 4),)),
            Example(cls((0, 2, 3, 1)), (sample(1, 2, 3, 2),)),
        ]


@dataclass(frozen=True)
class BroadcastTo(View, Movement):
    """y repeats x along axes of length one and new leading axes, up to the attribute `shape`."""

    name: ClassVar[str] = "broadcast_to"
    mixes: ClassVar[str] = "pairs an example with another"
    shape: Shape

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        (x,) = inputs
        require_sizes(*self.shape)
        try:
            fits = broadcast_shapes(x.shape, self.shape) == tuple(self.shape)
        except ValueError:
            fits = False
        if not fits:
            raise mismatch(f"a shape that broadcasts to {list(self.shape)}", x)
        return (x.with_shape(tuple(self.shape)),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.broadcast_to(inputs[0], numbers(self.shape)),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        return (domain.make(numbers(self.shape), x.facts, x.zero, x.neginf),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        (x,) = inputs
        extra = len(self.shape) - len(x.axes)
        for i, (old, new) in enumerate(zip(x.shape, self.shape[extra:], strict=True)):
            if x.axes[i] is not None and old != new:
                x = release(self, lattice, x, i)
        axes = (*(None,) * extra, *x.axes)
        cell = tuple(extent(s) if a is None else a.own for s, a in zip(self.shape, axes, strict=True))
        regions = x.each(lambda c: BroadcastTo(cell).depend(lattice.domain, c)[0])
        return (replace(x, type=self.infer(x.type)[0], axes=axes, regions=regions),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return aligned(shapes, out)

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        (place,) = at
        if place is None:
            return None
        over = place + len(out) - len(shapes[0])
        return Mapped(BroadcastTo((*out[:over], size, *out[over:])), (place,), over)

    def repeats(self, shapes: Sequence[Shape], out: Shape) -> frozenset[int]:
        (kept,) = aligned(shapes, out)
        return frozenset(range(len(out))) - set(kept.values())

    def with_length(self, axis: int, size: Size) -> Self:
        return replace(self, shape=(*self.shape[:axis], size, *self.shape[axis + 1 :]))

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        return (None if ct is None else unbroadcast(b, ct, inputs[0].shape),)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls((2, 3)), (sample(3),)),
            Example(cls((2, 3, 4)), (sample(3, 1),)),
            Example(cls((2, 2)), (sample(),)),
            Example(cls((1, 3)), (sample(1, 3),)),
        ]


@dataclass(frozen=True)
class Flip(Movement):
    """y is x read backwards along an axis.

    The shape stays.
    """

    name: ClassVar[str] = "flip"
    axis: int

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        require_axis(inputs[0], self.axis)
        return (inputs[0],)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.flip(inputs[0], self.axis),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        return moved(domain, x, x.shape, lambda m: np.flip(m, self.axis))

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        """Conservative: places counted from the end have no offset set, so they read everything along the axis."""
        (x,), axis = inputs, inputs[0].axes[self.axis]
        if axis is None:
            return (replace(x, regions=x.each(lambda c: self.depend(lattice.domain, c)[0]), known=None),)
        if x.band is None and all(lattice.fixed(r.cell.facts, axis) for r in x.regions):
            return (replace(x, known=None),)
        unmerged(self, x, self.axis)
        y = without(self, lattice, x, [self.axis])
        return (replace(fit(self, lattice, y, self.axis, Axis(axis.source, 1, 1, axis.slot)), exact=False),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return apart(shapes, self.axis)

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        return mapped_beside(self, at)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        return (None if ct is None else b.emit(Flip(self.axis), ct),)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(1), (sample(2, 3),)),
            Example(cls(0), (sample(2, 1, 3),)),
            Example(cls(0), (sample(1),)),
        ]
