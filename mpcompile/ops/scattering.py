"""Primitives that write at positions given by data: the adjoints of those that read there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    Shape,
    Symbolic,
    Type,
    Value,
    Work,
    number,
)
from mpcompile.ir.field import Field
from mpcompile.ir.stencils import Lattice, Stencil, still
from mpcompile.ops._base import (
    Cotangents,
    broadcast,
    expand,
    expand_all,
    join_over,
    mask,
    require,
    require_axis,
    require_dtype,
    require_sizes,
    sample,
    unbroadcast,
)
from mpcompile.ops._stencil import TWO, beside, exact, no_rule, results
from mpcompile.ops.indexing import Gather, TakeAlong, all_along, along_indices
from mpcompile.ops.traits import Free, Summation, aligned


@dataclass(frozen=True)
class ScatterAdd(Summation):
    """y[a, j, b] = Σ updates[a, i, b] over i with indices[i] = j: the adjoint of `Gather`."""

    name: ClassVar[str] = "scatter_add"
    axis: int
    size: int | Symbolic

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        updates, indices = inputs
        require_dtype(updates, DType.FLOAT, DType.INT)
        require_dtype(indices, DType.INT)
        require_sizes(self.axis, self.size)
        stop = self.axis + indices.rank
        require(
            updates.shape[self.axis : stop] == indices.shape and stop <= updates.rank,
            f"updates with the shape of the indices {list(indices.shape)} at axis {self.axis}",
            updates,
        )
        return (updates.with_shape((*updates.shape[: self.axis], self.size, *updates.shape[stop:])),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        updates, indices = inputs
        return (_scatter(np.add, updates, indices, self.axis, number(self.size)),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        updates, indices = inputs
        return (field.canon(self.evaluate(updates, indices % number(self.size))[0]),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        updates, indices = inputs
        axis, size, width = self.axis, number(self.size), len(indices.shape)
        stop = axis + width
        shape = (*updates.shape[:axis], size, *updates.shape[stop:])
        if indices.constant is not None:
            known = indices.constant

            def put(join: np.ufunc, m: Array) -> Array:
                for i in range(axis, stop):
                    m = expand(m, i, updates.shape[i])
                return _scatter(join, m, known, axis, size)

            return (domain.make(shape, put(domain.join, updates.facts), ~put(np.logical_or, updates.live)),)
        facts = updates.facts
        if size > 1:
            after = (1,) * (len(updates.shape) - stop)
            reads = indices.facts
            reads = reads.reshape((*(1,) * axis, *reads.shape[:-1], *after, domain.words))
            facts = domain.union(facts, mask(updates.live, reads))
        over = list(range(axis, stop))
        joined, zero = join_over(domain, facts, over), all_along(updates.zero, over)

        def fold(m: Array) -> Array:
            return m.reshape((*m.shape[:axis], 1, *m.shape[stop:]))

        return (domain.make(shape, fold(joined), fold(zero)),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        if any(x.spatial for x in inputs):
            raise no_rule(self, "places along an axis of a spatial value")
        if not isinstance(self.size, int) and any(x.cell.constant is not None for x in inputs):
            raise no_rule(self, "known places along a symbolic axis")
        cells = self.bind(TWO).depend(lattice.domain, *(x.cell for x in inputs))
        return (still(results(self, inputs)[0], cells[0], exact(inputs)),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        updates, indices = shapes
        stop = self.axis + len(indices)
        return {
            a: a if a < stop else a - len(indices) + 1
            for a in range(len(updates))
            if not self.axis <= a < stop
        }, {}

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work(rest=inputs[0].size)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        return (None if ct is None else b.emit(Gather(self.axis), ct, inputs[1]), None)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(0, 4), (sample(3, 2), np.array([3, 0, 3]))),
            Example(cls(1, 5), (sample(2, 2, 2, 3), np.array([[1, 4], [1, 0]]))),
            Example(cls(1, 3), (sample(2, 2), np.array(1)[None].repeat(2))),
            Example(cls(1, 3), (sample(2, 3), np.array(2))),
            Example(cls(0, 1), (sample(2), np.array([0, 0]))),
        ]


def _scatter(join: np.ufunc, updates: Array, indices: Array, axis: int, size: int) -> Array:
    """Join updates into zeros at flat positions along an axis."""
    width = indices.ndim
    shape = updates.shape
    flat = updates.reshape((*shape[:axis], indices.size, *shape[axis + width :]))
    out = np.zeros((size, *shape[:axis], *shape[axis + width :]), updates.dtype)
    join.at(out, indices.reshape(-1), np.moveaxis(flat, axis, 0))
    return np.moveaxis(out, 0, axis)


@dataclass(frozen=True)
class ScatterAlong(Free, Summation):
    """y[a, j, b] = Σ updates[a, i, b] over i with indices[a, i, b] = j: the adjoint of `TakeAlong`."""

    name: ClassVar[str] = "scatter_along"
    axis: int
    size: int | Symbolic

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        updates, indices = inputs
        require_dtype(updates, DType.FLOAT, DType.INT)
        require_dtype(indices, DType.INT)
        require_axis(updates, self.axis)
        require_sizes(self.size)
        require(updates.rank == indices.rank, f"indices of rank {updates.rank}", indices)
        shape, axis = broadcast(updates, indices), self.axis
        require(indices.shape[axis] == shape[axis], f"an index for each of {shape[axis]} updates", indices)
        return (updates.with_shape((*shape[:axis], self.size, *shape[axis + 1 :])),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (self._scatter(np.add, *inputs),)

    def _scatter(self, join: np.ufunc, updates: Array, indices: Array) -> Array:
        shape = list(np.broadcast_shapes(updates.shape, indices.shape))
        updates = np.broadcast_to(updates, shape)
        shape[self.axis] = number(self.size)
        out = np.zeros(shape, updates.dtype)
        join.at(out, along_indices(shape, indices, self.axis), updates)
        return out

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        updates, indices = inputs
        return (field.canon(self.evaluate(updates, indices % number(self.size))[0]),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        updates, indices = inputs
        axis, size = self.axis, number(self.size)
        common = np.broadcast_shapes(updates.shape, indices.shape)
        shape = (*common[:axis], size, *common[axis + 1 :])
        if indices.constant is not None:
            known = indices.constant
            facts = self._scatter(domain.join, expand_all(updates.facts, common), known[..., None])
            return (domain.make(shape, facts, ~self._scatter(np.logical_or, updates.live, known)),)
        facts = updates.facts if size == 1 else domain.union(updates.facts, mask(updates.live, indices.facts))
        return (domain.make(shape, join_over(domain, facts, [axis]), all_along(updates.zero, [axis])),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        if any(x.axes[self.axis] is not None for x in inputs):
            raise no_rule(self, "places along a spatial axis")
        return beside(self, lattice, inputs)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return tuple({a: b for a, b in moves.items() if a != self.axis} for moves in aligned(shapes, out))

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        updates, indices = inputs
        if ct is None:
            return None, None
        return unbroadcast(b, b.emit(TakeAlong(self.axis), ct, indices), updates.shape), None

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(1, 4), (sample(2, 3), np.array([[3, 0, 0], [1, 2, 1]]))),
            Example(cls(0, 3), (sample(2, 2), np.array([[2, 0], [2, 1]]))),
            Example(cls(1, 3), (sample(2, 2, 2), np.array([[[1], [0]], [[2], [2]]]))),
            Example(cls(0, 1), (sample(2), np.array([0, 0]))),
        ]
