"""Convolution, its adjoint, and the gradient of its kernel: three loops over the taps of the kernel.

Every rule here is written tap by tap: output position p reads input position
p * stride + tap * dilation - padding.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    Example,
    Reach,
    Shape,
    Symbolic,
    Type,
    Value,
    Work,
    numbers,
    product,
)
from mpcompile.ir.stencils import Lattice, Stencil, uniform, whole
from mpcompile.ops._base import Cotangents, as_int, expand, require, sample
from mpcompile.ops._stencil import exact, no_rule, results
from mpcompile.ops._stencil_windows import join_windows, read_windows, spread_windows
from mpcompile.ops._taps import (
    LIVE,
    backward,
    forward,
    grouped_matmul,
    kernel_facts,
    kernel_facts_backward,
    matrix_of,
    merge_groups,
    tap_index,
)
from mpcompile.ops._windows import Box, Index, Padding, Strided, Windows, boxes, window_count


class Conv(Strided):
    """y[n, o, p] = Σ_{i, t} w[o, i, t] x[n, i, p * stride + t * dilation - padding], zero outside of x.

    x[N, C, *S], w[O, C / groups, *K]; one to three spatial axes, no bias.
    """

    name: ClassVar[str] = "conv"
    mixes: ClassVar[str] = "slides over the examples"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        x, w = inputs
        self._check(x, w, w.shape[0])
        require(
            w.shape[1] * self.groups == x.shape[1], f"{x.shape[1]} input channels in {self.groups} groups", w
        )
        kernel = [as_int(k, "the kernel's size") for k in w.shape[2:]]
        spatial = tuple(
            window_count(s, k, t, p, d)
            for s, k, t, p, d in zip(
                x.shape[2:], kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return (x.with_shape((x.shape[0], w.shape[0], *spatial)),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        x, w = inputs
        g, win = self.groups, self._windows(x.shape[2:], w.shape[2:])
        n, o, i, count = x.shape[0], w.shape[0] // g, w.shape[1], win.count
        padded = win.pad(x, 2)
        y = np.zeros((n, g, o, prod(count)), np.result_type(x, w))
        for tap, index in win.taps():
            kernel = matrix_of(w, tap).reshape(g, o, i)
            y += grouped_matmul(kernel, win.read_full(padded, index).reshape(n, g, i, prod(count)))
        return (y.reshape(n, g * o, *count),)

    def products(self, *inputs: Array) -> int:
        return int(np.prod(inputs[1].shape[1:]))

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        x, w = inputs
        g, win, out = self.groups, self._windows(x.shape[2:], w.shape[2:]), w.shape[0]
        facts = forward(domain, win, g, x.facts, _kernel_live(w, g), out)
        if w.facts.any():
            facts = domain.union(
                facts, merge_groups(kernel_facts(domain, win, g, w.facts, x.live), g, out // g, 1)
            )
        live = forward(LIVE, win, g, x.live[..., None], _kernel_live(w, g), out)
        return (domain.make((x.shape[0], out, *win.count), facts, ~live[..., 0]),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        x, w = inputs
        if w.spatial or x.axes[1] is not None or len(x.regions) > 1:
            raise no_rule(self, "a kernel or channels from place to place")
        kernel = [as_int(k, "the kernel's size") for k in w.shape[2:]]
        at = [a for a in range(len(kernel)) if (axis := x.axes[2 + a]) is not None and axis.own == 1]
        live, alike = w.cell.live, [a for a in at if uniform(w.cell, 2 + a)]
        cut = boxes(live, [2 + a for a in at]) if len(alike) < len(at) and not w.cell.facts.any() else None
        if cut is None:  # along other axes than those of taps that are alike, tap by tap
            at, cut = alike, [(((0, 1),) * len(alike), live)]
        none = ((0, 1),) * len(at), np.zeros((1,) * live.ndim, bool)
        made = [self._box(lattice, x, w.cell, at, box, one) for box, one in cut or [none]]
        cells = [y.cell for y in made]
        facts = lattice.domain.union(*(c.facts for c in cells))
        zero = np.logical_and.reduce(np.broadcast_arrays(*(c.zero for c in cells)))
        cell = lattice.domain.make(cells[0].shape, facts, zero)
        return (replace(made[0], type=results(self, inputs)[0], regions=whole(cell), exact=exact(inputs)),)

    def _box(
        self, lattice: Lattice, x: Stencil, w: Abstract, along: Sequence[int], box: Box, live: Array
    ) -> Stencil:
        """Return the contribution of a box of taps along some axes, all of which are `live` alike."""
        kernel, strides = list(w.shape[2:]), list(self.stride)
        pads, dilations = list(self.padding), list(self.dilation)
        for a, (start, many) in zip(along, box, strict=True):
            many = kernel[a] if live.shape[2 + a] == w.zero.shape[2 + a] == 1 else many
            low = pads[a][0] - start * dilations[a]
            x = join_windows(self, lattice, x, 2 + a, many, strides[a], low, dilations[a])
            kernel[a], strides[a], pads[a], dilations[a] = 1, 1, (0, 0), 1
        taps = replace(w, shape=(*w.shape[:2], *kernel), zero=~live, constant=None)
        y, (stride, padding, dilation) = read_windows(
            self, lattice, x, kernel, strides, tuple(pads), dilations
        )
        op = Conv(stride, padding, dilation, self.groups)
        return replace(y, regions=y.each(lambda c: op.depend(lattice.domain, c, taps)[0]))

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        """Channels of the result run along with those of the kernel where they are one group."""
        return {0: 0}, {0: 1} if self.groups == 1 else {}

    def reach(self, shapes: Sequence[Shape]) -> Reach:
        taps = zip(self.padding, self.dilation, self.stride, shapes[1][2:], strict=True)
        return {
            2 + i: (-lo, (size - 1) * d - lo)
            for i, ((lo, _), d, stride, size) in enumerate(taps)
            if isinstance(size, int) and stride == 1
        }

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        """Each output reads a window of every channel of its group; padding is counted as if it were data."""
        return Work(products=outputs[0].size * product(inputs[1].shape[1:]) * 2)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        x, w = inputs
        if ct is None:
            return None, None
        dx = b.emit(_adjoint(self, x.shape, w.shape, ct.shape), ct, w)
        kernel = tuple(as_int(k, "the kernel's size") for k in w.shape[2:])
        dw = b.emit(ConvWeightGrad(self.stride, self.padding, self.dilation, self.groups, kernel), x, ct)
        return dx, dw

    @classmethod
    def examples(cls) -> list[Example]:
        def case(
            s: tuple[int, ...], w: tuple[int, ...], stride: tuple[int, ...], padding: Padding,
            dilation: tuple[int, ...], groups: int = 1,
        ) -> Example:  # fmt: skip
            return Example(cls(stride, padding, dilation, groups), (sample(*s), sample(*w, seed=1)))

        return [
            case((2, 3, 5), (4, 3, 2), (1,), ((1, 0),), (1,)),
            case((1, 2, 7), (2, 2, 3), (2,), ((2, 1),), (2,)),
            case((1, 2, 4, 5), (3, 2, 3, 2), (1, 1), ((1, 1), (1, 0)), (1, 1)),
            case((2, 4, 5, 4), (6, 2, 2, 3), (2, 1), ((0, 1), (2, 0)), (1, 2), 2),
            case((1, 3, 4, 3), (3, 1, 3, 3), (1, 2), ((1, 1), (1, 1)), (1, 1), 3),
            case((1, 1, 1, 2), (2, 1, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)),
            case((1, 2, 3, 2, 4), (2, 2, 2, 1, 3), (1, 1, 2), ((1, 0), (0, 0), (1, 1)), (1, 1, 1)),
        ]


def _kernel_live(w: Abstract, groups: int) -> Array:
    """Live entries of a kernel; its first axis is kept whole when it must be split into groups."""
    live = w.live
    return live if groups == 1 or live.shape[0] == 1 else expand(live, 0, w.shape[0])


def _adjoint(op: Strided, x: Shape, w: Shape, y: Shape) -> ConvTranspose:
    """The transposed convolution that takes a result of shape y back to shape x."""
    extra = []
    for s, k, n, t, (lo, hi), d in zip(x[2:], w[2:], y[2:], op.stride, op.padding, op.dilation, strict=True):
        reach = (n - 1) * t + d * (as_int(k, "the kernel's size") - 1) + 1 - lo - hi
        extra.append(as_int(s - reach, "the output padding"))
    return ConvTranspose(op.stride, op.padding, op.dilation, op.groups, tuple(extra))


@dataclass(frozen=True)
class ConvTranspose(Strided):
    """The adjoint of `Conv`: y[n, o, p * stride + t * dilation - padding] += w[i, o, t] x[n, i, p].

    x[N, C, *S], w[C, O / groups, *K]; the spatial sizes of y are
    (S - 1) * stride - padding + dilation * (K - 1) + 1 + output_padding.
    """

    name: ClassVar[str] = "conv_transpose"
    mixes: ClassVar[str] = "slides over the examples"
    output_padding: tuple[int, ...] = ()

    def _spatial(self, spatial: Shape, kernel: Shape) -> Shape:
        extra = self.output_padding or (0,) * len(spatial)
        return tuple(
            (s - 1) * t - lo - hi + d * (as_int(k, "the kernel's size") - 1) + 1 + e
            for s, k, t, (lo, hi), d, e in zip(
                spatial, kernel, self.stride, self.padding, self.dilation, extra, strict=True
            )
        )

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        x, w = inputs
        n = self._check(x, w, w.shape[0])
        require(w.shape[0] == x.shape[1], f"a kernel for {x.shape[1]} input channels", w)
        require(
            len(self.output_padding) in (0, n), f"output padding for {n} spatial axes", self.output_padding
        )
        require(
            all(0 <= e < t for e, t in zip(self.output_padding, self.stride, strict=False)),
            f"output padding below the stride {self.stride}",
            self.output_padding,
        )
        spatial = self._spatial(x.shape[2:], w.shape[2:])
        require(
            all(isinstance(s, Symbolic) or s > 0 for s in spatial),
            "a result of at least one element",
            spatial,
        )
        return (x.with_shape((x.shape[0], w.shape[1] * self.groups, *spatial)),)

    def _onto(self, x: tuple[int, ...], w: tuple[int, ...]) -> Windows:
        """The windows of the convolution that this is the adjoint of."""
        spatial = self._spatial(x[2:], w[2:])
        return self._windows(numbers(spatial), w[2:])

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        x, w = inputs
        g, win = self.groups, self._onto(x.shape, w.shape)
        n, i, o = x.shape[0], w.shape[0] // g, w.shape[1]
        flat = x.reshape(n, g, i, prod(x.shape[2:]))
        canvas = np.zeros((n, g * o, *win.canvas()), np.result_type(x, w))
        for tap, index in win.taps():
            kernel = matrix_of(w, tap).reshape(g, i, o)
            part = grouped_matmul(np.swapaxes(kernel, 1, 2), flat)
            canvas[(slice(None), slice(None), *index)] += part.reshape(n, g * o, *x.shape[2:])
        return (win.crop(canvas, 2),)

    def products(self, *inputs: Array) -> int:
        w = inputs[1].shape
        return int(w[0] // self.groups * np.prod(w[2:]))

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        x, w = inputs
        g, win, out = self.groups, self._onto(x.shape, w.shape), w.shape[1] * self.groups
        facts = backward(domain, win, g, x.facts, _kernel_live(w, g), out)
        if w.facts.any():
            from_w = kernel_facts_backward(domain, win, g, w.facts, x.live)
            facts = domain.union(facts, merge_groups(from_w, g, out // g, 1))
        live = backward(LIVE, win, g, x.live[..., None], _kernel_live(w, g), out)
        return (domain.make((x.shape[0], out, *win.spatial), facts, ~live[..., 0]),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        x, w = inputs
        if w.spatial or x.axes[1] is not None or len(x.regions) > 1:
            raise no_rule(self, "a kernel or channels from place to place")
        kernel = tuple(as_int(k, "the kernel's size") for k in w.shape[2:])

        def flow(cell: Abstract, padding: Padding, extra: tuple[int, ...]) -> Abstract:
            op = ConvTranspose(self.stride, padding, self.dilation, self.groups, extra)
            return op.depend(lattice.domain, cell, w.cell)[0]

        fields = (self.stride, self.padding, self.dilation, self.output_padding or (0,) * len(kernel))
        y = spread_windows(self, lattice, x, kernel, *fields, flow)
        return (replace(y, type=results(self, inputs)[0], exact=y.exact and exact(inputs)),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return {0: 0}, {1: 1} if self.groups == 1 else {}

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        """Each input is spread over a window of every channel of its group."""
        return Work(products=inputs[0].size * product(inputs[1].shape[1:]) * 2)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        x, w = inputs
        if ct is None:
            return None, None
        dx = b.emit(Conv(self.stride, self.padding, self.dilation, self.groups), ct, w)
        kernel = tuple(as_int(k, "the kernel's size") for k in w.shape[2:])
        dw = b.emit(ConvWeightGrad(self.stride, self.padding, self.dilation, self.groups, kernel), ct, x)
        return dx, dw

    @classmethod
    def examples(cls) -> list[Example]:
        def case(
            s: tuple[int, ...], w: tuple[int, ...], stride: tuple[int, ...], padding: Padding,
            dilation: tuple[int, ...], groups: int, extra: tuple[int, ...],
        ) -> Example:  # fmt: skip
            return Example(cls(stride, padding, dilation, groups, extra), (sample(*s), sample(*w, seed=1)))

        return [
            case((2, 3, 4), (3, 2, 2), (1,), ((0, 0),), (1,), 1, (0,)),
            case((1, 2, 3), (2, 2, 3), (2,), ((1, 0),), (2,), 1, (1,)),
            case((1, 2, 2, 3), (2, 3, 3, 2), (2, 1), ((1, 1), (0, 1)), (1, 1), 1, (1, 0)),
            case((2, 4, 2, 3), (4, 3, 2, 2), (1, 2), ((0, 0), (1, 1)), (1, 2), 2, (0, 0)),
            case((1, 2, 1, 2), (2, 1, 1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1), 2, (1, 2)),
            case(
                (1, 2, 2, 1, 2), (2, 1, 2, 2, 1), (1, 2, 1), ((0, 0), (1, 0), (0, 0)), (1, 1, 1), 1, (0, 1, 0)
            ),
        ]


@dataclass(frozen=True)
class ConvWeightGrad(Strided):
    """The gradient of `Conv` for its kernel, from x[N, C, *S] and dy[N, O, *P].

    w[o, i, t] = Σ_{n, p} dy[n, o, p] x[n, i, p * stride + t * dilation - padding]
    """

    name: ClassVar[str] = "conv_weight_grad"
    kernel: tuple[int, ...] = ()

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        x, dy = inputs
        n = self._check(x, dy, x.shape[1])
        require(len(self.kernel) == n, f"a kernel of {n} spatial axes", self.kernel)
        spatial = tuple(
            window_count(s, k, t, p, d)
            for s, k, t, p, d in zip(
                x.shape[2:], self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )
        require(
            dy.shape[0] == x.shape[0] and dy.shape[2:] == spatial, f"a cotangent over {list(spatial)}", dy
        )
        o = as_int(dy.shape[1], "the channels")
        require(o % self.groups == 0, f"a number of channels that {self.groups} groups divide", dy)
        return (x.with_shape((o, as_int(x.shape[1], "the channels") // self.groups, *self.kernel)),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        x, dy = inputs
        g, win = self.groups, self._windows(x.shape[2:], self.kernel)
        n, i, o = x.shape[0], x.shape[1] // g, dy.shape[1] // g
        padded = win.pad(x, 2)
        places = prod(dy.shape[2:])
        rows = np.moveaxis(dy.reshape(n, g, o, places), 0, 2).reshape(g, o, n * places)
        w = np.zeros((g * o, i, *self.kernel), np.result_type(x, dy))
        for tap, index in win.taps():
            read = np.moveaxis(win.read_full(padded, index).reshape(n, g, i, places), 0, 2)
            columns = np.swapaxes(read.reshape(g, i, n * places), 1, 2)
            w[tap_index(tap)] = np.matmul(rows, columns).reshape(g * o, i)
        return (w,)

    def products(self, *inputs: Array) -> int:
        dy = inputs[1].shape
        return int(dy[0] * np.prod(dy[2:]))

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        x, dy = inputs
        facts = self._each_tap(domain, x, dy, x.full(), np.broadcast_to(dy.live, dy.shape), False)
        if dy.facts.any():
            from_dy = self._each_tap(domain, x, dy, dy.full(), np.broadcast_to(x.live, x.shape), True)
            facts = domain.union(facts, from_dy)
        x_live = np.broadcast_to(x.live, x.shape)[..., None]
        live = self._each_tap(LIVE, x, dy, x_live, np.broadcast_to(dy.live, dy.shape), False)[..., 0]
        return (domain.make(live.shape, facts, ~live),)

    def _each_tap(
        self, domain: Domain, x: Abstract, dy: Abstract, facts: Array, live: Array, swapped: bool
    ) -> Array:
        """Facts [o, i, *k, w] that x brings where dy is live, or (swapped) that dy brings where x is."""
        g, win = self.groups, self._windows(x.shape[2:], self.kernel)
        n, o = x.shape[0], dy.shape[1]

        def flat(m: Array, index: Index | None) -> Array:
            """[g, channels, n * windows, *words]"""
            if index is not None:
                m = win.pad(m, 2)[(slice(None), slice(None), *index)]
            tail = m.shape[2 + len(win.kernel) :]
            m = m.reshape((n, g, m.shape[1] // g, int(np.prod(win.count)), *tail))
            return np.moveaxis(m, 0, 2).reshape((g, m.shape[2], -1, *tail))

        out = np.zeros((o, x.shape[1] // g, *self.kernel, domain.words), domain.dtype)
        for tap, index in win.taps():
            f, alive = flat(facts, None if swapped else index), flat(live, index if swapped else None)
            joined = domain.contract(f, np.swapaxes(alive, 1, 2)[:, None])  # [g, of facts, of live, w]
            joined = joined if swapped else np.swapaxes(joined, 1, 2)
            each = (g, o // g, x.shape[1] // g, domain.words)
            out[tap_index(tap)] = np.broadcast_to(joined, each).reshape(o, -1, domain.words)
        return out

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return ({1: 1}, {1: 0}) if self.groups == 1 else ({}, {})

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work(products=inputs[1].size * product(outputs[0].shape[1:]) * 2)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        x, dy = inputs
        if ct is None:
            return None, None
        dx = b.emit(_adjoint(self, x.shape, ct.shape, dy.shape), dy, ct)
        return dx, b.emit(Conv(self.stride, self.padding, self.dilation, self.groups), x, ct)

    @classmethod
    def examples(cls) -> list[Example]:
        out = []
        for e in Conv.examples():
            assert isinstance(e.op, Conv)
            x, w = e.inputs
            (y,) = e.op.evaluate(x, w)
            op = cls(e.op.stride, e.op.padding, e.op.dilation, e.op.groups, w.shape[2:])
            out.append(Example(op, (x, sample(*y.shape, seed=7))))
        return out
