"""Primitives that read at positions given by data."""

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
    Falls,
    Growth,
    Mapped,
    Positivity,
    Shape,
    Size,
    Type,
    Value,
)
from mpcompile.ir.field import Field
from mpcompile.ir.stencils import Axis, Lattice, Linear, Stencil, reaxis
from mpcompile.ops._base import (
    Cotangents,
    Operation,
    broadcast,
    join_over,
    require,
    require_axis,
    require_dtype,
    sample,
    unbroadcast,
)
from mpcompile.ops._mapping import behind, mapped_broadcasting
from mpcompile.ops._stencil import beside, exact, joined, no_rule, pointwise, read_at, results, without
from mpcompile.ops.traits import Free, Fresh, aligned


def all_along(array: Array, axes: Sequence[int]) -> Array:
    """Return whether all elements along some axes hold, axes kept."""
    return np.asarray(np.all(array, axis=tuple(axes), keepdims=True))


@dataclass(frozen=True)
class Gather(Free, Operation):
    """y[a, i, b] = data[a, indices[i], b]: rows of data along an axis, as `numpy.take`.

    With indices that are not known, an element may come from anywhere along the axis.

    The result has the shape of `indices` in the place of the axis.
    """

    name: ClassVar[str] = "gather"
    mixes: ClassVar[str] = "picks examples"
    axis: int

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        data, indices = inputs
        require_axis(data, self.axis)
        require_dtype(indices, DType.INT)
        shape = (*data.shape[: self.axis], *indices.shape, *data.shape[self.axis + 1 :])
        return (data.with_shape(shape),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        data, indices = inputs
        return (np.take(data, indices, self.axis),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        data, indices = inputs  # a random one is taken round the axis
        return self.evaluate(data, indices % data.shape[self.axis])

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        data, indices = inputs
        axis, width = self.axis, len(indices.shape)
        shape = (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])

        def spread(m: Array) -> Array:
            return m.reshape((*m.shape[:axis], *(1,) * width, *m.shape[axis + 1 :]))

        if indices.constant is not None:
            known = indices.constant

            def pick(m: Array) -> Array:
                return spread(m) if m.shape[axis] == 1 else np.take(m, known, axis)

            return (domain.make(shape, pick(data.facts), pick(data.zero), pick(data.neginf)),)
        facts = spread(join_over(domain, data.facts, [axis]))
        if data.shape[axis] > 1:
            after = (1,) * (len(data.shape) - axis - 1)
            reads = indices.facts
            facts = domain.union(
                facts, reads.reshape((*(1,) * axis, *reads.shape[:-1], *after, domain.words))
            )
        zero, neginf = (spread(all_along(m, [axis])) for m in (data.zero, data.neginf))
        return (domain.make(shape, facts, zero, neginf),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        data, indices = inputs
        (type,) = results(self, inputs)
        sharp = True
        if data.axes[self.axis] is not None:
            found = self._placed(lattice, data, indices, type) or self._resampled(
                lattice, data, indices, type
            )
            if found is not None:
                return (found,)
            # of places that are not known, any: an upper bound
            data, sharp = without(self, lattice, data, [self.axis]), False
            indices = replace(indices, regions=indices.each(lambda c: replace(c, constant=None)))
        if (data.spatial and indices.spatial) or len(data.regions) > 1:
            raise no_rule(self, "both operands are spatial")
        axes = (*data.axes[: self.axis], *indices.axes, *data.axes[self.axis + 1 :])
        regions = indices.each(lambda c: self.depend(lattice.domain, data.cell, c)[0])
        return (Stencil(type, axes, regions, indices.band, exact=sharp and exact(inputs)),)

    def _placed(self, lattice: Lattice, data: Stencil, indices: Stencil, type: Type) -> Stencil | None:
        """Read row i at row i, where the indices count along the same axis of the source; None where they do not."""
        if len(indices.axes) != 1 or not _counts(data, self.axis, indices, 0):
            return None
        return replace(data, type=type, known=None)

    def _resampled(self, lattice: Lattice, data: Stencil, indices: Stencil, type: Type) -> Stencil | None:
        """Known indices along a spatial axis that repeat: the smallest P and s with index[p + P] = index[p] + s.

        None where they do not, or count from the end.
        """
        known = indices.regions[0].cell.constant
        if known is None or known.ndim != 1 or indices.spatial or bool((known < 0).any()):
            return None
        for period in range(1, len(known) // 2 + 1):
            steps = known[period:] - known[:-period]
            if steps[0] > 0 and (steps == steps[0]).all():
                break
        else:
            return None
        index, stride = [int(k) for k in known[:period]], int(steps[0])
        y, own = read_at(
            self, lattice, data, self.axis, lambda n: n // period * stride + index[n % period], stride, period
        )
        axis = y.axes[self.axis]
        assert axis is not None
        wide = Axis(axis.source, own * period, axis.step, axis.slot)
        return Stencil(
            type, (*y.axes[: self.axis], wide, *y.axes[self.axis + 1 :]), y.regions, y.band, exact=y.exact
        )

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        data, indices = shapes
        width = len(indices)
        rows = {a: a if a < self.axis else a + width - 1 for a in range(len(data)) if a != self.axis}
        return rows, {a: self.axis + a for a in range(width)}

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        """Indices at each place, or data; both of a place are no gather."""
        data, indices = at
        if data is None and indices is not None:
            return Mapped(self, (None, indices), self.axis + indices)
        if data is None or indices is not None:
            return None
        over = data if data <= self.axis else data + len(shapes[1]) - 1
        return Mapped(Gather(behind(self.axis, data)), (data, None), over)

    def aliases(self, operand: int) -> bool:
        return operand == 0

    def view(self, shapes: Sequence[Shape]) -> bool:
        """One row of the first axis."""
        return self.axis == 0 and not shapes[1]

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return of[0]

    def grow(self, of: Sequence[Growth]) -> bool:
        """Rows at known places, or at unknown ones of a table without zeros; of a weight they may grow with the index."""
        data, index = of
        if not index.fixed and (data.reads or not data.full):
            raise Falls
        if index.reads and not data.table:
            raise Falls
        return data.good

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        data, indices = inputs
        if ct is None or data.dtype is not DType.FLOAT:
            return None, None
        from mpcompile.ops.scattering import ScatterAdd

        return b.emit(ScatterAdd(self.axis, data.shape[self.axis]), ct, indices), None

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(0), (sample(5, 2), np.array([3, 0, 3]))),
            Example(cls(1), (sample(2, 4, 3), np.array([[1, 3], [0, 0], [2, 1]]))),
            Example(cls(1), (sample(2, 3), np.array(2))),
            Example(cls(0), (sample(1, 2), np.array([0, 0]))),
            Example(cls(0), (np.array([4, 5, 6]), np.array([2, 0])), False),
        ]


@dataclass(frozen=True)
class TakeAlong(Free, Fresh, Operation):
    """y[a, i, b] = data[a, indices[a, i, b], b], as `numpy.take_along_axis`; the other axes broadcast."""

    name: ClassVar[str] = "take_along"
    axis: int

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        data, indices = inputs
        require_axis(data, self.axis)
        require_dtype(indices, DType.INT)
        require(data.rank == indices.rank, f"indices of rank {data.rank}", indices)
        axis = self.axis
        line = data.with_shape((*data.shape[:axis], 1, *data.shape[axis + 1 :]))
        return (data.with_shape(broadcast(line, indices)),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        data, indices = inputs
        return (_take_along(data, indices, self.axis),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        data, indices = inputs  # a random one is taken round the axis
        return self.evaluate(data, indices % data.shape[self.axis])

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        data, indices = inputs
        axis = self.axis
        line = (*data.shape[:axis], 1, *data.shape[axis + 1 :])
        shape = np.broadcast_shapes(line, indices.shape)
        if indices.constant is not None:
            known = indices.constant

            def pick(m: Array) -> Array:
                extra = m.ndim - known.ndim
                return (
                    m
                    if m.shape[axis] == 1
                    else _take_along(m, known.reshape(known.shape + (1,) * extra), axis)
                )

            return (domain.make(shape, pick(data.facts), pick(data.zero), pick(data.neginf)),)
        facts = join_over(domain, data.facts, [axis])
        if data.shape[axis] > 1:
            facts = domain.union(facts, indices.facts)
        return (domain.make(shape, facts, all_along(data.zero, [axis]), all_along(data.neginf, [axis])),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        data, indices = inputs
        axis, at = data.axes[self.axis], indices.axes[self.axis]
        if axis is None and at is None:
            return beside(self, lattice, inputs)
        if axis is None:
            raise no_rule(self, "places along a spatial axis")
        if _counts(data, self.axis, indices, self.axis):
            return _chosen(lattice, indices, replace(data, known=None))
        # of places that are not known, any: an upper bound
        x = without(self, lattice, data, [self.axis])
        ones = x.each(lambda c: reaxis(joined(lattice, replace(c, constant=None), self.axis), self.axis, 1))
        line = x.type.with_shape((*x.shape[: self.axis], 1, *x.shape[self.axis + 1 :]))
        (found,) = _chosen(lattice, indices, replace(x, type=line, regions=ones, known=None))
        return (replace(found, exact=False),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        rows, indices = aligned(shapes, out)
        return {a: b for a, b in rows.items() if a != self.axis}, indices

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        found = mapped_broadcasting(self, at, shapes, out)
        if found is None:
            return None
        return Mapped(TakeAlong(behind(self.axis, found.out)), (found.out, found.out), found.out)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        data, indices = inputs
        if ct is None or data.dtype is not DType.FLOAT:
            return None, None
        from mpcompile.ops.scattering import ScatterAlong

        out = b.emit(ScatterAlong(self.axis, data.shape[self.axis]), ct, indices)
        return unbroadcast(b, out, data.shape), None

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(1), (sample(2, 4), np.array([[3, 0, 0], [1, 2, 1]]))),
            Example(cls(0), (sample(3, 2), np.array([[2, 0]]))),
            Example(cls(1), (sample(2, 3, 2), np.array([[[1], [0]], [[2], [2]]]))),
            Example(cls(1), (sample(1, 3), np.array([[1, 0], [2, 2]]))),
            Example(cls(0), (sample(1), np.array([0, 0]))),
        ]


def _counts(data: Stencil, along: int, indices: Stencil, at: int) -> bool:
    """Whether indices are the places along an axis of the source that an axis of the data runs along too."""
    axis, counted = data.axes[along], indices.axes[at]
    if axis is None or counted is None or (axis.own, axis.step, axis.outer) != (1, 1, 1):
        return False
    return (
        counted.source == axis.source
        and indices.known == Linear((((counted.source, counted.slot), 1),))
        and indices.shape[at] == data.shape[along]
    )


def _chosen(lattice: Lattice, indices: Stencil, rows: Stencil) -> tuple[Stencil, ...]:
    """Rows that broadcast with the indices that choose them: a choice between equals, decided by the indices."""
    from mpcompile.ops.truth import Where

    regions = indices.each(lambda c: replace(c, constant=None))
    choice = replace(indices, type=Type(DType.BOOL, indices.shape), regions=regions, known=None)
    return pointwise(Where(), lattice, (choice, rows, rows))


def _take_along(data: Array, indices: Array, axis: int) -> Array:
    """`take_along_axis` in which the other axes broadcast."""
    return np.asarray(data[along_indices(data.shape, indices, axis)])


def along_indices(shape: Sequence[int], indices: Array, axis: int) -> tuple[Array, ...]:
    """Index arrays that read (or write) along one axis and run over the others."""
    grid: list[Array] = []
    for i, size in enumerate(shape):
        line = np.arange(size).reshape([-1 if j == i else 1 for j in range(len(shape))])
        grid.append(indices if i == axis else line)
    return tuple(grid)
