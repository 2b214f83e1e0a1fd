"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
    Shape,
    Size,
    Type,
    TypeMismatch,
    Value,
    Work,
    broadcast_shapes,
    product,
)
from mpcompile.ir.stencils import Lattice, Region, Stencil, whole
from mpcompile.ops._base import (
    Cotangents,
    expand,
    lift,
    mismatch,
    require,
    require_dtype,
    sample,
    unbroadcast,
)
from mpcompile.ops._mapping import mapped_broadcasting
from mpcompile.ops._stencil import absorbed, align, exact, pointwise, refine, results
from mpcompile.ops.structure import Reshape, Transpose
from mpcompile.ops.traits import Product, aligned


class MatMul(Product):
    """z[.., i, j] = Σ_k x[.., i, k] y[.., k, j]; leading axes broadcast."""

    name: ClassVar[str] = "mat_mul"
    mixes: ClassVar[str] = "pairs an example with another"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        x, y = inputs
        for t in inputs:
            require_dtype(t, DType.FLOAT)
            require(t.rank >= 2, "at least two axes", t)
        if x.shape[-1] != y.shape[-2]:
            raise mismatch(f"{x.shape[-1]} rows to multiply {x} by", y)
        try:
            lead = broadcast_shapes(x.shape[:-2], y.shape[:-2])
        except ValueError:
            raise TypeMismatch(f"expected leading axes that broadcast, found {x} and {y}") from None
        return (x.with_shape((*lead, x.shape[-2], y.shape[-1])),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.matmul(*inputs),)

    def products(self, *inputs: Array) -> int:
        return int(inputs[0].shape[-1])

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        x, y = inputs
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        shape = (*lead, x.shape[-2], y.shape[-1])
        rank = len(shape)
        x_live, y_live = lift(x.live, rank), lift(y.live, rank)
        x_facts, y_facts = lift(x.facts, rank + 1), lift(y.facts, rank + 1)
        from_x = domain.contract(x_facts, y_live[..., None, :, :])
        flipped = domain.contract(np.swapaxes(y_facts, -3, -2), np.swapaxes(x_live, -1, -2)[..., None, :, :])
        from_y = np.swapaxes(flipped, -3, -2)
        live = _live_product(x_live, y_live, x.shape[-1])
        return (domain.make(shape, domain.union(from_x, from_y), ~live),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        """Rows, columns and the inner axis may each be spatial; along a spatial inner axis everything is joined."""
        x, y = inputs
        if not (x.spatial or y.spatial):
            if not isinstance(
                x.shape[-1], int
            ):  # no constant: a sum over a number of elements that is not known
                x, y = (replace(v, regions=v.each(lambda c: replace(c, constant=None))) for v in inputs)
            return pointwise(self, lattice, (x, y))
        (type,) = results(self, inputs)
        if not y.spatial and len(y.shape) == 2 and x.axes[-1] is None:
            regions = x.each(lambda c: self.depend(lattice.domain, c, y.cell)[0])
            return (
                replace(
                    x, type=type, axes=(*x.axes[:-1], None), regions=regions, known=None, exact=exact(inputs)
                ),
            )
        # Over [.., i, k, j] both broadcast, which tells apart the axes that must not meet.
        full = (*type.shape[:-1], x.shape[-1], type.shape[-1])
        (wide_x, wide_y), axes = align(self, lattice, (_insert(x, -1), _insert(y, -3)), full)
        inner = axes[-2]
        outer = (*axes[:-2], axes[-1])
        made = []
        for where, (cx, cy) in refine(self, (_drop(wide_x, -1), _drop(wide_y, -3))):
            made.append(Region(where, self.depend(lattice.domain, cx, cy)[0]))
        band = wide_x.band if wide_x.band is not None else wide_y.band
        out = Stencil(type, outer, tuple(made), band, exact=exact(inputs))
        if inner is None:
            return (out,)
        # The products' facts move with the inner axis as well: give it back, and join along it.
        shape = (*type.shape, x.shape[-1])
        regions = out.each(lambda c: _with_axis(c, inner.own))
        out = replace(out, type=type.with_shape(shape), axes=(*outer, inner), regions=regions)
        cell, precise = absorbed(self, lattice, out, len(outer))
        drop = tuple(
            m[..., 0, :] if m is cell.facts else m[..., 0] for m in (cell.facts, cell.zero, cell.neginf)
        )
        cell = lattice.domain.make(cell.shape[:-1], *drop)
        return (Stencil(type, outer, whole(cell), None, exact=precise),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        left, right = shapes
        lead = aligned([s[:-2] for s in shapes], out[:-2])
        return {**lead[0], len(left) - 2: len(out) - 2}, {**lead[1], len(right) - 1: len(out) - 1}

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        """Map the rows of x where one matrix serves all places; else the axis is a leading one."""
        (x, y), rank = at, len(out)
        if y is None and len(shapes[1]) == 2 and x is not None and x < len(shapes[0]):
            return Mapped(self, (x, None), x + rank - len(shapes[0]))
        found = mapped_broadcasting(self, at, shapes, out)
        return found if found is not None and found.out <= rank - 2 else None

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work(products=outputs[0].size * inputs[0].shape[-1] * 2)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        x, y = inputs
        if ct is None:
            return None, None
        dx = unbroadcast(b, b.emit(MatMul(), ct, _swap(b, y)), x.shape)
        if len(y.shape) == 2 and len(x.shape) > 2:  # one product over all rows, not one for each batch
            rows = product(x.shape[:-1])
            x = b.emit(Reshape((rows, x.shape[-1])), x)
            ct = b.emit(Reshape((rows, ct.shape[-1])), ct)
        return dx, unbroadcast(b, b.emit(MatMul(), _swap(b, x), ct), y.shape)

    @classmethod
    def examples(cls) -> list[Example]:
        shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
            ((2, 3), (3, 4)),
            ((1, 1), (1, 2)),
            ((2, 3, 4), (4, 2)),
            ((2, 2, 3), (2, 3, 1)),
            ((2, 1, 2, 3), (4, 3, 2)),
            ((3, 2), (2, 2, 1)),
        ]
        return [
            Example(cls(), (sample(*s, seed=i), sample(*t, seed=i + 9))) for i, (s, t) in enumerate(shapes)
        ]


def _insert(x: Stencil, at: int) -> Stencil:
    """x with an axis of length one before the one counted from the end, which is -1 for a last axis."""
    at += len(x.axes) + 1

    def widen(cell: Abstract) -> Abstract:
        maps = (np.expand_dims(m, at) for m in (cell.facts, cell.zero, cell.neginf))
        return Abstract((*cell.shape[:at], 1, *cell.shape[at:]), *maps)

    shape, axes = (*x.shape[:at], 1, *x.shape[at:]), (*x.axes[:at], None, *x.axes[at:])
    return replace(x, type=x.type.with_shape(shape), axes=axes, regions=x.each(widen), known=None)


def _drop(x: Stencil, at: int) -> Stencil:
    """The inverse of `_insert`."""
    at += len(x.axes)

    def narrow(cell: Abstract) -> Abstract:
        maps = (np.squeeze(m, at) for m in (cell.facts, cell.zero, cell.neginf))
        return Abstract((*cell.shape[:at], *cell.shape[at + 1 :]), *maps)

    shape, axes = (*x.shape[:at], *x.shape[at + 1 :]), (*x.axes[:at], *x.axes[at + 1 :])
    return replace(x, type=x.type.with_shape(shape), axes=axes, regions=x.each(narrow))


def _with_axis(cell: Abstract, length: int) -> Abstract:
    """A cell with one more axis at its end, along which it is uniform."""
    return Abstract(
        (*cell.shape, length), cell.facts[..., None, :], cell.zero[..., None], cell.neginf[..., None]
    )


def _live_product(x: Array, y: Array, inner: int) -> Array:
    """Return which elements of a matrix product have a term that is not known to be zero."""
    if x.all():
        return np.asarray(y.any(-2, keepdims=True)) if inner else np.zeros((1,) * x.ndim, bool)
    if y.all():
        return np.asarray(x.any(-1, keepdims=True))
    size = max(x.shape[-1], y.shape[-2])
    x, y = expand(x, x.ndim - 1, size), expand(y, y.ndim - 2, size)
    return np.asarray(np.matmul(x.astype(np.float32), y.astype(np.float32)) > 0)


def _swap(b: Builder, value: Value) -> Value:
    """Transpose the last two axes."""
    rank = len(value.shape)
    return b.emit(Transpose((*range(rank - 2), rank - 1, rank - 2)), value)
