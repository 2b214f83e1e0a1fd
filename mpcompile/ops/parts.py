"""Primitives that cut, pad and join along axes."""

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
    Growth,
    Mapped,
    Positivity,
    Reach,
    Shape,
    Size,
    Symbolic,
    Type,
    TypeMismatch,
    Value,
    number,
)
from mpcompile.ir.field import Field
from mpcompile.ir.stencils import Lattice, Stencil, extent, reaxis, uniform, whole
from mpcompile.ops._base import Cotangents, Operation, expand, require, require_axis, sample, zeros
from mpcompile.ops._mapping import behind, mapped_beside
from mpcompile.ops._stencil import (
    align,
    beside,
    joined,
    no_rule,
    release,
    results,
    shifted,
    unsure,
)
from mpcompile.ops.structure import moved
from mpcompile.ops.traits import Free, Monotone, Movement, OneToOne, Verbatim, View, apart


@dataclass(frozen=True)
class Slice(View, Movement):
    """y = x[start:stop:step] along one axis."""

    name: ClassVar[str] = "slice"
    axis: int
    start: int | Symbolic
    stop: int | Symbolic
    step: int = 1

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        (x,) = inputs
        require_axis(x, self.axis)
        require(self.step >= 1, "a step of at least 1", self.step)
        size, length = x.shape[self.axis], self.stop - self.start
        numbers = [n for n in (self.start, length, size - self.stop) if isinstance(n, int)]
        require(
            all(n >= 0 for n in numbers),
            f"0 <= start <= stop <= {size} along axis {self.axis}",
            f"{self.start}:{self.stop}",
        )
        if self.step > 1:
            if isinstance(length, Symbolic):
                raise TypeMismatch(f"expected a known length for step {self.step}, found {length}")
            length = -(-length // self.step)
        return (x.with_shape((*x.shape[: self.axis], length, *x.shape[self.axis + 1 :])),)

    def _index(self) -> tuple[slice, ...]:
        chosen = slice(number(self.start), number(self.stop), self.step)
        return (*(slice(None),) * self.axis, chosen)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (inputs[0][self._index()],)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        index, axis = self._index(), self.axis
        shape = list(x.shape)
        shape[axis] = len(range(*index[-1].indices(shape[axis])))
        return moved(domain, x, shape, lambda m: m if m.shape[axis] == 1 else m[index])

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        (x,), i, (type,) = inputs, self.axis, results(self, inputs)
        axis, size = x.axes[i], x.shape[i]
        if axis is None and isinstance(size, int) and not isinstance(self.start, int):
            raise no_rule(self, "a part of a table that begins at a symbolic place")
        if axis is None and isinstance(size, int) and not isinstance(self.stop, int):
            # the first rows of a table of some length: as many as are asked for, each of which may be any
            sharp = x.exact and all(uniform(r.cell, i) for r in x.regions)
            x = replace(x, regions=x.each(lambda c: joined(lattice, replace(c, constant=None), i)))
            regions = x.each(lambda c: reaxis(c, i, extent(type.shape[i])))
            return (replace(x, type=type, regions=regions, known=None, exact=sharp),)
        if axis is None and isinstance(size, int):
            return (
                replace(
                    x, type=type, regions=x.each(lambda c: self.depend(lattice.domain, c)[0]), known=None
                ),
            )
        if axis is not None and isinstance(self.start, int):
            kept = shifted(self, lattice, x, i, self.start, self.step)
            return (replace(kept, type=type, known=x.known if kept is x else None),)
        if axis is not None:
            x = release(self, lattice, x, i)  # from a place that is known from the end only
        length = extent(type.shape[i])
        return (replace(x, type=type, regions=x.each(lambda c: reaxis(c, i, length)), known=None),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return apart(shapes, self.axis)

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        return mapped_beside(self, at)

    def reach(self, shapes: Sequence[Shape]) -> Reach:
        return {self.axis: (self.start, self.start)} if isinstance(self.start, int) and self.step == 1 else {}

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        from mpcompile.ops.arithmetic import Add, Mul
        from mpcompile.ops.counting import Iota
        from mpcompile.ops.scattering import ScatterAdd

        (ct,) = cotangents
        if ct is None:
            return (None,)
        shape, axis = inputs[0].shape, self.axis
        size = shape[axis]
        before, after = self.start, size - self.stop
        if self.step > 1:
            count = b.emit(Iota((ct.shape[axis],), 0))
            indices = b.emit(Add(), b.emit(Mul(), count, b.constant(self.step)), _size_constant(b, before))
            return (b.emit(ScatterAdd(axis, size), ct, indices),)
        if isinstance(before, int) and isinstance(after, int):
            low, high = [0] * len(shape), [0] * len(shape)
            low[axis], high[axis] = before, after
            return (b.emit(Pad(tuple(low), tuple(high)), ct) if before or after else ct,)
        sides = [(*shape[:axis], n, *shape[axis + 1 :]) for n in (before, after)]
        parts = [zeros(b, sides[0]), ct, zeros(b, sides[1])]
        return (b.emit(Concat(axis), *(p for p in parts if p.shape[axis] != 0)),)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(1, 1, 3), (sample(2, 4),)),
            Example(cls(0, 0, 5, 2), (sample(5, 2),)),
            Example(cls(1, 1, 6, 3), (sample(2, 7, 2),)),
            Example(cls(0, 0, 1), (sample(1, 2),)),
            Example(cls(2, 3, 4), (sample(1, 2, 4),)),
        ]


def _size_constant(b: Builder, size: int | Symbolic) -> Value:
    if isinstance(size, Symbolic):
        raise TypeMismatch(f"expected a known start for a strided slice, found {size}")
    return b.constant(size)


@dataclass(frozen=True)
class Pad(Free, OneToOne, Operation):
    """y is x with `before` and `after` elements of one value added at the ends of each axis.

    x[*S] gives y[*(before + S + after)].
    """

    name: ClassVar[str] = "pad"
    mixes: ClassVar[str] = "adds examples"
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0.0

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        (x,) = inputs
        require(
            len(self.before) == len(self.after) == x.rank
            and min((*self.before, *self.after), default=0) >= 0,
            f"{x.rank} non-negative amounts of padding before and after",
            f"{list(self.before)} and {list(self.after)} for {x}",
        )
        shape = tuple(lo + s + hi for lo, s, hi in zip(self.before, x.shape, self.after, strict=True))
        return (x.with_shape(shape),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        if not x.ndim:
            return (x,)
        widths = list(zip(self.before, self.after, strict=True))
        return (np.pad(x, widths, constant_values=np.asarray(self.value).astype(x.dtype)),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        fill = float(field.number(np.asarray(self.value)))
        return (replace(self, value=fill) if inputs[0].dtype.kind == "f" else self).evaluate(*inputs)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        shape = [lo + s + hi for lo, s, hi in zip(self.before, x.shape, self.after, strict=True)]
        facts = self._around(x.facts, x.shape, 0) if x.facts.any() else x.facts
        zero = self._around(x.zero, x.shape, self.value == 0)
        neginf = self._around(x.neginf, x.shape, np.isneginf(self.value))
        return (domain.make(shape, facts, zero, neginf),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        (x,), (type,) = inputs, results(self, inputs)
        before, after = list(self.before), list(self.after)
        for i, axis in enumerate(x.axes):
            if axis is not None:
                if before[i] or after[i]:
                    x = unsure(x, self.value)
                x = shifted(self, lattice, x, i, -before[i])
                before[i] = after[i] = 0
            elif not isinstance(x.shape[i], int) and (before[i] or after[i]):
                x = replace(unsure(x, self.value), exact=False)  # any element may be of the padding
                before[i] = after[i] = 0
        rest = replace(self, before=tuple(before), after=tuple(after))
        regions = (
            x.each(lambda c: rest.depend(lattice.domain, c)[0]) if any(before) or any(after) else x.regions
        )
        return (replace(x, type=type, regions=regions, known=None),)

    def _around(self, array: Array, shape: Sequence[int], value: int | bool | np.bool_) -> Array:
        if array.size == 1 and bool(array.all()) == bool(value):
            return array
        widths = [(lo, hi) for lo, hi in zip(self.before, self.after, strict=True)]
        for axis, width in enumerate(widths):
            if any(width):
                array = expand(array, axis, shape[axis])
        return np.pad(array, [*widths, *[(0, 0)] * (array.ndim - len(shape))], constant_values=value)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return apart(shapes, *(a for a in range(len(out)) if self.before[a] or self.after[a]))

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        (place,) = at
        if place is None:
            return None
        before, after = ((*n[:place], 0, *n[place:]) for n in (self.before, self.after))
        return Mapped(replace(self, before=before, after=after), (place,), place)

    def reach(self, shapes: Sequence[Shape]) -> Reach:
        if self.value:
            return {}
        return {a: (-n, -n) for a, n in enumerate(self.before) if n or self.after[a]}

    def grow(self, of: Sequence[Growth]) -> bool:
        return of[0].good and self.value >= 0

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        if ct is None:
            return (None,)
        for axis, (lo, hi) in enumerate(zip(self.before, self.after, strict=True)):
            if lo or hi:
                ct = b.emit(Slice(axis, lo, lo + inputs[0].shape[axis]), ct)
        return (ct,)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls((0, 1), (0, 2)), (sample(2, 3),)),
            Example(cls((2, 0), (0, 1), -np.inf), (sample(1, 2),)),
            Example(cls((1,), (0,), 1.5), (sample(1),)),
            Example(cls((0, 0, 1), (1, 0, 0)), (sample(2, 1, 3),)),
        ]


@dataclass(frozen=True)
class Concat(Monotone, OneToOne, Verbatim):
    """y is its inputs one after another along an axis.

    Shapes are equal but for the axis, along which sizes add up.
    """

    name: ClassVar[str] = "concat"
    axis: int

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        require(len(inputs) >= 1, "at least one input", "none")
        first, axis = inputs[0], self.axis
        require_axis(first, axis)
        total: int | Symbolic = 0
        for x in inputs:
            same = x.dtype == first.dtype and x.rank == first.rank
            rest = x.shape[:axis] + x.shape[axis + 1 :]
            require(
                same and rest == first.shape[:axis] + first.shape[axis + 1 :],
                f"inputs like {first} except along axis {axis}",
                x,
            )
            total = total + x.shape[axis]
        return (first.with_shape((*first.shape[:axis], total, *first.shape[axis + 1 :])),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.concatenate(inputs, self.axis),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        sizes = [x.shape[self.axis] for x in inputs]
        shape = list(inputs[0].shape)
        shape[self.axis] = sum(sizes)
        facts, zero, neginf = (
            join_maps(maps, sizes, self.axis)
            for maps in ([x.facts for x in inputs], [x.zero for x in inputs], [x.neginf for x in inputs])
        )
        return (domain.make(shape, facts, zero, neginf),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        i = self.axis
        moving = [n for n, x in enumerate(inputs) if x.axes[i] is not None]
        if not moving and all(isinstance(x.shape[i], int) for x in inputs):
            return beside(self, lattice, inputs)
        starts = [inputs[0].shape[i] - inputs[0].shape[i]]
        for x in inputs[:-1]:
            starts.append(starts[-1] + x.shape[i])
        reading = [n for n, x in enumerate(inputs) if any(r.cell.facts.any() for r in x.regions)]
        parts = []
        for n in sorted({*moving, *reading}):
            x, start = unsure(inputs[n]), starts[n]
            if n not in moving:
                parts.append(x)
            elif isinstance(start, int):
                parts.append(shifted(self, lattice, x, i, -start))
            elif n in reading:
                raise no_rule(self, "a shift by a symbolic length")
        return (self._united(lattice, parts or [unsure(x) for x in inputs[:1]], results(self, inputs)[0]),)

    def _united(self, lattice: Lattice, parts: Sequence[Stencil], type: Type) -> Stencil:
        """The parts of one long axis, each where it stands. Where several of them read, an upper bound at each place."""
        i, (first, *more) = self.axis, parts
        for part in more:
            first, x = _wide(lattice, first, type, i), _wide(lattice, part, type, i)
            axes = first.axes
            if first.spatial or x.spatial:
                (first, x), axes = align(self, lattice, (first, x), type.shape)
            if len(first.regions) > 1 or len(x.regions) > 1:
                raise no_rule(self, "regions of positions in parts of one axis")
            c, facts = first.cell, lattice.domain.union(first.cell.facts, x.cell.facts)
            cell = lattice.domain.make(c.shape, facts, c.zero & x.cell.zero, c.neginf & x.cell.neginf)
            first = replace(first, axes=axes, regions=whole(cell), exact=False)
        return replace(_wide(lattice, first, type, i), known=None)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return apart(shapes, self.axis)

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        places = {a for a in at if a is not None}
        if len(places) != 1:
            return None
        (place,) = places
        return Mapped(Concat(behind(self.axis, place)), (place,) * len(at), place, full=True)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return min(of)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        if ct is None or ct.dtype is not DType.FLOAT:
            return (None,) * len(inputs)
        parts: list[Value] = []
        start: int | Symbolic = 0
        for x in inputs:
            stop = start + x.shape[self.axis]
            parts.append(b.emit(Slice(self.axis, start, stop), ct))
            start = stop
        return tuple(parts)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(1), (sample(2, 3), sample(2, 1, seed=1))),
            Example(cls(0), (sample(1, 2), sample(3, 2, seed=1), sample(2, 2, seed=2))),
            Example(cls(0), (sample(2),)),
        ]


def _wide(lattice: Lattice, x: Stencil, type: Type, axis: int) -> Stencil:
    """A part of a long axis as if it filled it; an axis that is not spatial is the same all along, as an upper bound."""
    if x.axes[axis] is not None:
        return replace(x, type=type, known=None)
    length = extent(type.shape[axis])

    def spread(c: Abstract) -> Abstract:
        return reaxis(replace(joined(lattice, c, axis), constant=None), axis, length)

    return replace(x, type=type, regions=x.each(spread), known=None, exact=False)


def join_maps(maps: Sequence[Array], sizes: Sequence[int], axis: int) -> Array:
    """Concatenate maps along an axis that has `sizes` elements in each, kept compressed where all agree."""
    if maps[0].shape[axis] == 1 and all(np.array_equal(m, maps[0]) for m in maps[1:]):
        return maps[0]
    common: list[int] = list(np.broadcast_shapes(*((*m.shape[:axis], 1, *m.shape[axis + 1 :]) for m in maps)))
    parts = []
    for m, size in zip(maps, sizes, strict=True):
        common[axis] = size
        parts.append(np.broadcast_to(m, common))
    return np.concatenate(parts, axis)
