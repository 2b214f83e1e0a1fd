"""Pooling over windows of spatial axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
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
    Positivity,
    Shape,
    Type,
    Value,
    Work,
    number,
    numbers,
    product,
)
from mpcompile.ir.field import Field
from mpcompile.ir.stencils import Lattice, Places, Stencil, whole
from mpcompile.ops._base import (
    Cotangents,
    Operation,
    full,
    mask,
    require,
    require_dtype,
    require_sizes,
    sample,
)
from mpcompile.ops._stencil import align, exact, no_rule, results
from mpcompile.ops._stencil_windows import read_windows, spread_windows
from mpcompile.ops._windows import Padding, Windows, window_count
from mpcompile.ops.arithmetic import Div
from mpcompile.ops.convolution import ConvTranspose
from mpcompile.ops.indexing import TakeAlong
from mpcompile.ops.scattering import ScatterAlong
from mpcompile.ops.structure import Reshape
from mpcompile.ops.traits import Fresh, Monotone, Summation


@dataclass(frozen=True)
class Pool(Fresh, Operation):
    """One result for each window of each channel: x[N, C, *S] gives y[N, C, *P]."""

    mixes: ClassVar[str] = "slides over the examples"

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding

    def _shape(self, x: Type) -> Shape:
        require_dtype(x, DType.FLOAT)
        n = x.rank - 2
        require(1 <= n <= 3, "one to three spatial axes after batch and channels", x)
        for field, value in (("kernel", self.kernel), ("stride", self.stride), ("padding", self.padding)):
            require(len(value) == n, f"{field} for {n} spatial axes", value)
        require(min((*self.kernel, *self.stride)) >= 1, "kernel and stride of at least 1", self)
        require(
            all(0 <= lo < k and 0 <= hi < k for (lo, hi), k in zip(self.padding, self.kernel, strict=True)),
            "padding that is not negative and smaller than the kernel",
            self.padding,
        )
        spatial = zip(x.shape[2:], self.kernel, self.stride, self.padding, strict=True)
        return (*x.shape[:2], *(window_count(*axis) for axis in spatial))

    def _windows(self, shape: Sequence[int]) -> Windows:
        ones = (1,) * len(self.kernel)
        return Windows(tuple(shape[2:]), self.kernel, self.stride, self.padding, ones)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        (x,) = inputs
        if x.axes[1] is not None or len(x.regions) > 1:
            raise no_rule(self, "channels from place to place")
        y, (stride, padding, _) = read_windows(
            self, lattice, x, self.kernel, self.stride, self.padding, (1,) * len(self.kernel)
        )
        op = replace(self, stride=stride, padding=padding)
        made = op.depend(lattice.domain, y.cell)
        types = results(self, inputs)
        outs = [replace(y, type=t, regions=whole(c)) for t, c in zip(types, made, strict=True)]
        if len(outs) == 2:
            outs[1] = replace(outs[1], known=Places(self.kernel, self.stride, self.padding))
        return tuple(outs)

    def _over(self, join: np.ufunc, win: Windows, array: Array) -> Array:
        """Join of a map over each window; outside is bottom."""
        if not array.any():
            return np.zeros((1,) * (2 + len(win.kernel)) + array.shape[2 + len(win.kernel) :], array.dtype)
        padded = win.pad(win.spread(array, 2), 2)
        return win.join(join, padded, range(len(win.kernel)))[0]

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return ({0: 0, 1: 1},)

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work(rest=outputs[0].size * prod(self.kernel))


class MaxPool(Pool):
    """The largest element of each window, and its place among all spatial positions of x (first of ties).

    Outside of x is minus infinity, and is never chosen.
    """

    steps: ClassVar[bool] = True
    absent: ClassVar[float | None] = -np.inf
    name: ClassVar[str] = "max_pool"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        shape = self._shape(inputs[0])
        return Type(DType.FLOAT, shape), Type(DType.INT, shape)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        def choose(best: Array, value: Array) -> tuple[Array, Array]:
            return np.where(value > best, value, best), value > best

        return self._choose(choose, *inputs)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        def choose(best: Array, value: Array) -> tuple[Array, Array]:
            return field.maximum(best, value), field.order(best, value) < 0

        return self._choose(choose, *inputs)

    def _choose(self, choose: Callable[[Array, Array], tuple[Array, Array]], x: Array) -> tuple[Array, Array]:
        """Tap by tap: the larger of the best so far and a tap's element, and where the tap's is."""
        win = self._windows(x.shape)
        padded = win.pad(x, 2, -np.inf)
        here = win.pad(np.arange(int(np.prod(x.shape[2:]))).reshape(1, 1, *x.shape[2:]), 2, -1)
        best = np.full((*x.shape[:2], *win.count), -np.inf, x.dtype)
        position = np.full(best.shape, -1)
        for _, index in win.taps():
            value, place = win.read_full(padded, index), win.read_full(here, index)
            larger, ahead = choose(best, value)
            best = np.where(place >= 0, np.where(position < 0, value, larger), best)
            position = np.where((place >= 0) & (ahead | (position < 0)), place, position)
        return best, position

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        win = self._windows(x.shape)
        shape = (*x.shape[:2], *win.count)
        facts = self._over(domain.join, win, x.facts)
        candidates = self._over(np.add, win, (~x.neginf).astype(np.int64))
        generic = self._over(np.logical_or, win, x.live & ~x.neginf)
        zero = self._over(np.logical_or, win, x.zero) & ~generic
        values = domain.make(shape, facts, zero, candidates == 0)
        return values, domain.make(shape, mask(candidates > 1, facts))

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return of[0]

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        ct = cotangents[0]
        return (None if ct is None else b.emit(MaxPoolGrad(inputs[0].shape[2:]), ct, outputs[1]),)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls((2,), (2,), ((0, 0),)), (sample(2, 3, 5),)),
            Example(cls((3,), (1,), ((1, 2),)), (sample(1, 2, 4, seed=1),)),
            Example(cls((2, 3), (2, 1), ((1, 0), (0, 1))), (sample(2, 2, 4, 5, seed=2),)),
            Example(cls((1, 1), (1, 1), ((0, 0), (0, 0))), (sample(1, 1, 1, 2, seed=3),)),
            Example(cls((2, 1, 2), (1, 1, 2), ((0, 1), (0, 0), (0, 0))), (sample(1, 2, 2, 1, 4, seed=4),)),
        ]


@dataclass(frozen=True)
class MaxPoolGrad(Fresh, Operation):
    """Adds dy[n, c, *p] into zeros [n, c, *spatial] at the flat positions of `MaxPool` (max-unpooling)."""

    name: ClassVar[str] = "max_pool_grad"
    mixes: ClassVar[str] = "slides over the examples"
    spatial: Shape

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        dy, indices = inputs
        require_dtype(dy, DType.FLOAT)
        require_dtype(indices, DType.INT)
        require(dy.rank >= 3 and indices.shape == dy.shape, f"indices of shape {list(dy.shape)}", indices)
        require(len(self.spatial) == dy.rank - 2, f"{dy.rank - 2} spatial sizes", list(self.spatial))
        require_sizes(*self.spatial)
        return (dy.with_shape((*dy.shape[:2], *self.spatial)),)

    def _flat(self) -> tuple[ScatterAlong, tuple[int, ...]]:
        spatial = numbers(self.spatial)
        return ScatterAlong(2, int(np.prod(spatial))), spatial

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        scatter, spatial = self._flat()
        lead, places = inputs[0].shape[:2], prod(inputs[0].shape[2:])
        (out,) = scatter.evaluate(*(x.reshape((*lead, places)) for x in inputs))
        return (out.reshape((*lead, *spatial)),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        return (field.canon(self.evaluate(*inputs)[0]),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        scatter, spatial = self._flat()
        dy = inputs[0]
        flat = Reshape((*dy.shape[:2], int(np.prod(dy.shape[2:]))))
        (out,) = scatter.depend(domain, *(flat.depend(domain, x)[0] for x in inputs))
        return Reshape((*dy.shape[:2], *spatial)).depend(domain, out)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        """Follow indices of a `MaxPool`, which lie within its windows. Raises `NoRule` for other indices."""
        dy, indices = inputs
        places = indices.known
        if not isinstance(places, Places) or len(dy.regions) > 1:
            raise no_rule(self, "indices that are not a max-pooling's")
        (dy, indices), axes = align(self, lattice, inputs, dy.shape)
        facts = lattice.domain.union(dy.cell.facts, indices.cell.facts)
        cell = lattice.domain.make(dy.cell.shape, facts, dy.cell.zero)
        x = replace(dy, axes=axes, regions=whole(cell), known=None)
        n, channels = len(places.kernel), cell.shape[1]
        w = lattice.domain.unknown((channels, 1, *places.kernel))

        def flow(cell: Abstract, padding: Padding, extra: tuple[int, ...]) -> Abstract:
            op = ConvTranspose(places.stride, padding, (1,) * n, channels, extra)
            return op.depend(lattice.domain, cell, w)[0]

        y = spread_windows(
            self, lattice, x, places.kernel, places.stride, places.padding, (1,) * n, (0,) * n, flow
        )
        return (replace(y, type=results(self, inputs)[0], exact=y.exact and exact(inputs)),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return {0: 0, 1: 1}, {0: 0, 1: 1}

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work(rest=inputs[0].size)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        dy, indices = inputs
        if ct is None:
            return None, None
        lead = dy.shape[:2]
        wide = b.emit(Reshape((*lead, product(self.spatial))), ct)
        flat = b.emit(Reshape((*lead, product(dy.shape[2:]))), indices)
        return b.emit(Reshape(dy.shape), b.emit(TakeAlong(2), wide, flat)), None

    @classmethod
    def examples(cls) -> list[Example]:
        out = []
        for e in MaxPool.examples():
            y, indices = e.op.evaluate(*e.inputs)
            out.append(Example(cls(e.inputs[0].shape[2:]), (sample(*y.shape, seed=8), indices)))
        return out


@dataclass(frozen=True)
class AvgPool(Monotone, Summation, Pool):
    """The mean of each window; the padding counts as zeros, or (`count_padding` false) not at all."""

    name: ClassVar[str] = "avg_pool"
    absent: ClassVar[float | None] = None
    count_padding: bool = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return (inputs[0].with_shape(self._shape(inputs[0])),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        total, count = self._totals(inputs[0])
        return (total / count,)

    def _totals(self, x: Array) -> tuple[Array, Array]:
        """The sum of each window, and how many elements it counts."""
        win = self._windows(x.shape)
        count = np.asarray(np.prod(self.kernel), x.dtype)
        if not self.count_padding:
            count = np.asarray(self._over(np.add, win, np.ones((1, 1, *x.shape[2:]), x.dtype)))
        padded = win.pad(x, 2)
        total = np.zeros((*x.shape[:2], *win.count), x.dtype)
        for _, index in win.taps():
            total += win.read_full(padded, index)
        return total, count

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        total, count = self._totals(inputs[0])
        return (field.div(field.canon(total), field.canon(count.astype(np.float64))),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        win = self._windows(x.shape)
        facts, live = self._over(domain.join, win, x.facts), self._over(np.logical_or, win, x.live)
        neginf = self._over(np.logical_or, win, x.neginf)
        return (domain.make((*x.shape[:2], *win.count), facts, ~live, neginf),)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        (x,) = inputs
        if ct is None:
            return (None,)
        if not self.count_padding:
            inside = AvgPool(self.kernel, self.stride, self.padding)
            ct = b.emit(Div(), ct, b.emit(inside, full(b, 1.0, (1, 1, *x.shape[2:]))))
        # One channel at a time, as a batch: the adjoint of a convolution with a constant kernel.
        lead = product(x.shape[:2])
        flat = b.emit(Reshape((lead, 1, *ct.shape[2:])), ct)
        kernel = b.constant(np.full((1, 1, *self.kernel), 1 / float(np.prod(self.kernel))))
        extra = []
        for s, n, k, t, (lo, hi) in zip(
            x.shape[2:], ct.shape[2:], self.kernel, self.stride, self.padding, strict=True
        ):
            extra.append(number(s - ((n - 1) * t + k - lo - hi)))
        ones = (1,) * len(self.kernel)
        back = b.emit(ConvTranspose(self.stride, self.padding, ones, 1, tuple(extra)), flat, kernel)
        return (b.emit(Reshape(x.shape), back),)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls((2,), (2,), ((0, 0),)), (sample(2, 3, 5),)),
            Example(cls((3,), (1,), ((1, 2),), False), (sample(1, 2, 4, seed=1),)),
            Example(cls((2, 3), (2, 1), ((1, 0), (1, 1))), (sample(2, 2, 4, 5, seed=2),)),
            Example(cls((3, 2), (2, 2), ((1, 1), (0, 1)), False), (sample(1, 2, 5, 4, seed=2),)),
            Example(cls((1, 1), (1, 1), ((0, 0), (0, 0))), (sample(1, 1, 1, 2, seed=3),)),
            Example(cls((2, 1, 2), (1, 1, 2), ((0, 1), (0, 0), (0, 0))), (sample(1, 2, 2, 1, 4, seed=4),)),
        ]
