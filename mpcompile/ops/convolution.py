"""Convolution, its adjoint, and the gradient of its kernel: three loops over the taps of the kernel.

Every rule here is written tap by tap: output position p reads input position
p * stride + tap * dilation - padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product as cartesian
from typing import Any, ClassVar

import numpy as np

from mpcompile.budget import tick
from mpcompile.ir import Abstract, Array, Builder, Domain, DType, Example, Shape, Symbolic, Type, Value
from mpcompile.ir.stencils import Lattice, Stencil, uniform
from mpcompile.ops._base import (
    Cotangents,
    Exact,
    as_int,
    expand,
    floor_div,
    numbers,
    require,
    require_dtype,
)
from mpcompile.ops._stencil import exact, join_windows, no_rule, read_windows, results, spread_windows

Padding = tuple[tuple[int, int], ...]
Index = tuple[slice, ...]

#: "Is not known to be zero", as a domain, so that one tap loop serves facts and zeros.
LIVE = Domain(np.logical_or, np.dtype(np.bool_), 1)


def _sample(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(0.3, 1.9, shape)


def window_count(
    size: int | Symbolic, kernel: int, stride: int, padding: tuple[int, int], dilation: int = 1
) -> int | Symbolic:
    """How many windows fit along an axis."""
    span = size + sum(padding) - dilation * (kernel - 1) - 1
    require(not isinstance(span, int) or span >= 0, f"at least {dilation * (kernel - 1) + 1} positions", size)
    return floor_div(span, stride) + 1


@dataclass(frozen=True, slots=True)
class Windows:
    """Where windows over spatial axes lie, in numbers."""

    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding
    dilation: tuple[int, ...]

    @property
    def count(self) -> tuple[int, ...]:
        return tuple(
            (s + lo + hi - d * (k - 1) - 1) // t + 1
            for s, k, t, (lo, hi), d in zip(
                self.spatial, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )

    def taps(self) -> Iterator[tuple[tuple[int, ...], Index]]:
        """Every tap, with what it reads of the padded input, window by window."""
        for tap in cartesian(*(range(k) for k in self.kernel)):
            tick()
            yield (
                tap,
                tuple(
                    slice(i * d, i * d + (n - 1) * t + 1, t)
                    for i, d, n, t in zip(tap, self.dilation, self.count, self.stride, strict=True)
                ),
            )

    def pad(self, array: Array, first: int, value: float | bool = 0) -> Array:
        """Pad the spatial axes, which start at `first`."""
        if not any(map(any, self.padding)):
            return array
        rest = array.ndim - first - len(self.padding)
        return np.pad(array, [(0, 0)] * first + list(self.padding) + [(0, 0)] * rest, constant_values=value)

    def spread(self, array: Array, first: int) -> Array:
        """Undo the compression of those spatial axes on which positions differ: the padded ones."""
        for i, (size, pad) in enumerate(zip(self.spatial, self.padding, strict=True)):
            if any(pad):
                array = expand(array, first + i, size)
        return array

    def read(self, array: Array, index: Index, first: int) -> Array:
        """What one tap reads of a padded map; compressed axes stay compressed."""
        chosen = [s if array.shape[first + i] > 1 else slice(None) for i, s in enumerate(index)]
        return array[(*(slice(None),) * first, *chosen)]

    def read_full(self, array: Array, index: Index) -> Array:
        """What one tap reads of padded values [n, c, *s]."""
        return array[(slice(None), slice(None), *index)]

    def join(self, join: np.ufunc, padded: Array, alike: Sequence[int]) -> tuple[Array, Windows]:
        """A map of padded values [n, c, *s, ...] with whole windows joined along axes all of whose taps are `alike`.

        Gives them and the windows that are left, over what is padded already.
        """
        spatial, kernel, stride, dilation = map(
            list, (self.canvas(), self.kernel, self.stride, self.dilation)
        )
        for a in alike:
            padded = _joined(join, padded, 2 + a, kernel[a], stride[a], dilation[a], self.count[a])
            spatial[a], kernel[a], stride[a], dilation[a] = self.count[a], 1, 1, 1
        none = ((0, 0),) * len(kernel)
        return padded, Windows(tuple(spatial), tuple(kernel), tuple(stride), none, tuple(dilation))

    def crop(self, array: Array, first: int) -> Array:
        """The adjoint of `pad`."""
        inner = [slice(lo, lo + s) for (lo, _), s in zip(self.padding, self.spatial, strict=True)]
        return array[(*(slice(None),) * first, *inner)]

    def canvas(self) -> tuple[int, ...]:
        """Lengths of the padded input."""
        return tuple(s + lo + hi for s, (lo, hi) in zip(self.spatial, self.padding, strict=True))


def _joined(
    join: np.ufunc, x: Array, axis: int, kernel: int, stride: int, dilation: int, count: int
) -> Array:
    """Join of each window along one axis: tap by tap where windows are few, else of widths that double.

    A sum, which must take each element once, goes tap by tap.
    """
    before = (slice(None),) * axis
    if x.shape[axis] == 1:  # all along it alike
        return x * kernel if join is np.add else x
    if join is np.add or kernel * count <= kernel.bit_length() * x.shape[axis]:
        slices = [slice(i * dilation, i * dilation + (count - 1) * stride + 1, stride) for i in range(kernel)]
        total: Array = x[(*before, slices[0])]
        for s in slices[1:]:
            tick()
            total = join(total, x[(*before, s)])
        return total
    width = 1
    while width < kernel:
        tick()
        step = min(width, kernel - width)
        by = step * dilation
        x = join(x[(*before, slice(None, -by))], x[(*before, slice(by, None))])
        width += step
    return x[(*before, slice(0, (count - 1) * stride + 1, stride))]


@dataclass(frozen=True)
class _Strided(Exact):
    """What the three have in common."""

    stride: tuple[int, ...]
    padding: Padding
    dilation: tuple[int, ...]
    groups: int = 1

    def _check(self, x: Type, w: Type, channels: int | Symbolic) -> int:
        """Check both operands and give the number of spatial axes."""
        n = x.rank - 2
        for t in (x, w):
            require_dtype(t, DType.FLOAT)
        require(1 <= n <= 3, "one to three spatial axes after batch and channels", x)
        require(w.rank == x.rank, f"a kernel of rank {x.rank}", w)
        self._check_fields(n)
        require(
            isinstance(channels, int) and channels % self.groups == 0,
            f"a number of channels that {self.groups} groups divide",
            channels,
        )
        return n

    def _check_fields(self, n: int) -> None:
        for field, value in (("stride", self.stride), ("padding", self.padding), ("dilation", self.dilation)):
            require(len(value) == n, f"{field} for {n} spatial axes", value)
        require(min((*self.stride, *self.dilation)) >= 1, "stride and dilation of at least 1", self)
        require(all(lo >= 0 and hi >= 0 for lo, hi in self.padding), "padding of at least 0", self.padding)

    def _windows(self, spatial: Sequence[int], kernel: Sequence[int]) -> Windows:
        return Windows(tuple(spatial), tuple(kernel), self.stride, self.padding, self.dilation)


def _at(kernel: Array, tap: Sequence[int]) -> Array:
    """The [O, I] matrix of one tap, with any words; compressed axes have one tap for all."""
    chosen: Any = (slice(None), slice(None))
    chosen += tuple(t if kernel.shape[2 + a] > 1 else 0 for a, t in enumerate(tap))
    return np.asarray(kernel[chosen])


def _tap(tap: Sequence[int]) -> Any:
    """The index of one tap of a kernel."""
    return (slice(None), slice(None), *tap)


def _split(array: Array, groups: int, axis: int) -> Array:
    """Split a channel axis into (groups, channels of one); a compressed axis stays compressed."""
    size = array.shape[axis]
    pair = (1, 1) if size == 1 else (groups, size // groups)
    return array.reshape((*array.shape[:axis], *pair, *array.shape[axis + 1 :]))


def _merge(array: Array, groups: int, each: int, axis: int) -> Array:
    """The inverse of `_split` for (groups, each)."""
    if array.shape[axis] == array.shape[axis + 1] == 1:
        return array.reshape((*array.shape[:axis], 1, *array.shape[axis + 2 :]))
    array = expand(expand(array, axis, groups), axis + 1, each)
    return array.reshape((*array.shape[:axis], groups * each, *array.shape[axis + 2 :]))


def _classes(live: Array, axis: int) -> tuple[Array, Array] | None:
    """Representatives and class of each row (axis 0) or column (axis 1) of a mask, when there are few."""
    lines = np.ascontiguousarray(np.packbits(np.moveaxis(live, axis, 0), axis=1))
    keys = lines.view([("", lines.dtype)] * lines.shape[1])[:, 0]
    _, first, of = np.unique(keys, return_index=True, return_inverse=True)
    return (first, of.reshape(-1)) if len(first) * 2 <= len(keys) else None


def contract_by_class(domain: Domain, facts: Array, live: Array) -> Array:
    """`domain.contract` for one mask [k, j]: rows that are equal, and columns that are, are merged first."""
    if live.ndim != 2 or live.shape[0] == 1 or live.all() or facts.shape[-2] == 1 or not facts.any():
        return domain.contract(facts, live)
    by_row, by_column = _classes(live, 0), _classes(live, 1)
    if by_row is not None:
        first, of = by_row
        groups = [domain.join.reduce(facts[..., of == c, :], axis=-2) for c in range(len(first))]
        facts, live = np.stack(groups, -2), live[first]
    if by_column is None:
        return domain.contract(facts, live)
    first, of = by_column
    out = domain.contract(facts, live[:, first])
    return out if out.shape[-2] == 1 else out.take(of, -2)


def _inside(win: Windows, live: Array) -> tuple[Windows, Array]:
    """Windows and kernel without the outer taps that meet nothing but padding."""
    kernel, padding, chosen = list(win.kernel), list(win.padding), [slice(None), slice(None)]
    for a, (k, (lo, hi), d, t, n) in enumerate(
        zip(win.kernel, win.padding, win.dilation, win.stride, win.count, strict=True)
    ):
        end = lo + win.spatial[a]
        meets = [i for i in range(k) if i * d < end and i * d + (n - 1) * t >= lo]
        first = min(meets[0] if meets else 0, lo // d)
        behind = min(k - 1 - meets[-1] if meets else 0, hi // d)
        kernel[a], padding[a] = k - first - behind, (lo - first * d, hi - behind * d)
        chosen.append(slice(first, k - behind) if live.shape[2 + a] > 1 else slice(None))
    inner = Windows(win.spatial, tuple(kernel), win.stride, tuple(padding), win.dilation)
    return inner, live[tuple(chosen)]


def _forward(domain: Domain, win: Windows, groups: int, x: Array, live: Array, out: int) -> Array:
    """Facts of a convolution from facts x[n, c, *s, w] where the kernel live[o, i, *k] may be nonzero."""
    axes = len(win.kernel)
    win, live = _inside(win, live)
    if not x.any():
        return np.zeros((*(1,) * (axes + 2), domain.words), domain.dtype)
    x = win.pad(win.spread(x, 2), 2)
    if x.shape[1] > 1 and all(live.shape[i] == 1 for i in (0, 1)) and groups == 1:
        x = domain.join.reduce(x, axis=1, keepdims=True)  # every tap reads all channels or none
    x, win = win.join(domain.join, x, [a for a in range(axes) if live.shape[2 + a] == 1])
    x = np.moveaxis(_split(x, groups, 1), (1, 2), (axes + 1, axes + 2))  # [n, *s, g, i, w]
    total: Array | None = None
    for tap, index in win.taps():
        mask = _at(live, tap)
        if not mask.any():
            continue
        part = win.read(x, index, 1)
        kernel = np.swapaxes(_split(mask, groups, 0), -1, -2)  # [g, i, o]
        part = contract_by_class(domain, part, kernel[0]) if groups == 1 else domain.contract(part, kernel)
        total = part if total is None else domain.join(total, part)
    if total is None:
        return np.zeros((*(1,) * (axes + 2), domain.words), domain.dtype)
    return _merge(np.moveaxis(total, (axes + 1, axes + 2), (1, 2)), groups, out // groups, 1)


def _backward(domain: Domain, win: Windows, groups: int, x: Array, live: Array, out: int) -> Array:
    """Facts of the adjoint: x[n, c, *windows, w] through live[c, o, *k] onto the spatial axes of `win`."""
    axes = len(win.kernel)
    win, live = _inside(win, live)
    if not x.any():
        return np.zeros((*(1,) * (axes + 2), domain.words), domain.dtype)
    for axis, size in enumerate(win.count):
        x = expand(x, 2 + axis, size)
    x = np.moveaxis(_split(x, groups, 1), (1, 2), (axes + 1, axes + 2))  # [n, *p, g, i, w]
    parts = []
    for tap, index in win.taps():
        mask = _at(live, tap)
        if mask.any():
            kernel = _split(mask, groups, 0)  # [g, i, o]
            grouped = contract_by_class(domain, x, kernel[0]) if groups == 1 else domain.contract(x, kernel)
            parts.append((index, grouped))
    if not parts:
        return np.zeros((*(1,) * (axes + 2), domain.words), domain.dtype)
    channels = np.broadcast_shapes(*(p.shape[axes + 1 :] for _, p in parts))
    canvas = np.zeros((parts[0][1].shape[0], *win.canvas(), *channels), domain.dtype)
    for index, part in parts:
        view = canvas[(slice(None), *index)]
        domain.join(view, part, out=view)
    canvas = np.moveaxis(win.crop(canvas, 1), (axes + 1, axes + 2), (1, 2))
    return _merge(canvas, groups, out // groups, 1)


def _kernel_facts(domain: Domain, win: Windows, groups: int, w: Array, live: Array) -> Array:
    """Facts of a convolution that its kernel w[o, i, *k, w] brings, where x is live[n, c, *s]."""
    axes = len(win.kernel)
    win, w = _inside(win, w)
    live = win.pad(win.spread(live, 2), 2)
    live = np.moveaxis(_split(live, groups, 1), (1, 2), (0, 1))  # [g, i, n, *s]
    total: Array | None = None
    for tap, index in win.taps():
        facts = _at(w, tap)
        if not facts.any():
            continue
        facts = _split(facts, groups, 0)  # [g, o, i, w]
        read = win.read(live, index, 3)
        part = domain.contract(facts, read.reshape((*read.shape[:2], -1))[:, None])  # [g, o, n * p, w]
        part = expand(part, 2, int(np.prod(read.shape[2:]))).reshape((*part.shape[:2], *read.shape[2:], -1))
        total = part if total is None else domain.join(total, part)
    if total is None:
        return np.zeros((*(1,) * (axes + 2), domain.words), domain.dtype)
    return np.moveaxis(total, (0, 1), (1, 2))  # [n, g, o, *p, w]


def _kernel_facts_backward(domain: Domain, win: Windows, groups: int, w: Array, live: Array) -> Array:
    """The same for the adjoint: w[c, o, *k, w] where x is live[n, c, *windows]."""
    axes = len(win.kernel)
    win, w = _inside(win, w)
    for axis, size in enumerate(win.count):
        live = expand(live, 2 + axis, size)
    live = np.moveaxis(_split(live, groups, 1), (1, 2), (0, 1))  # [g, i, n, *p]
    parts = []
    for tap, index in win.taps():
        facts = _at(w, tap)
        if facts.any():
            facts = np.swapaxes(_split(facts, groups, 0), 1, 2)  # [g, o, i, w]
            part = domain.contract(facts, live.reshape((*live.shape[:2], -1))[:, None])
            part = expand(part, 2, int(np.prod(live.shape[2:]))).reshape(
                (*part.shape[:2], *live.shape[2:], -1)
            )
            parts.append((index, part))
    if not parts:
        return np.zeros((*(1,) * (axes + 3), domain.words), domain.dtype)
    lead = np.broadcast_shapes(*(p.shape[:3] for _, p in parts))
    canvas = np.zeros((*lead, *win.canvas(), domain.words), domain.dtype)
    for index, part in parts:
        view = canvas[(slice(None),) * 3 + index]
        domain.join(view, part, out=view)
    return np.moveaxis(win.crop(canvas, 3), (0, 1), (1, 2))  # [n, g, o, *s, w]


def _grouped_matmul(w: Array, x: Array) -> Array:
    """w[g, o, i] times x[n, g, i, p]; depthwise kernels need no matrix product."""
    if w.shape[1] == w.shape[2] == 1:
        return np.asarray(w * x)
    return np.asarray(np.matmul(np.ascontiguousarray(w), x))  # strides as of a tap would miss BLAS


class Conv(_Strided):
    """y[n, o, p] = Σ_{i, t} w[o, i, t] x[n, i, p * stride + t * dilation - padding], zero outside of x.

    x[N, C, *S], w[O, C / groups, *K]; one to three spatial axes, no bias.
    """

    name: ClassVar[str] = "conv"

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
        y = np.zeros((n, g, o, int(np.prod(count))), np.result_type(x, w))
        for tap, index in win.taps():
            kernel = _at(w, tap).reshape(g, o, i)
            y += _grouped_matmul(kernel, win.read_full(padded, index).reshape(n, g, i, -1))
        return (y.reshape(n, g * o, *count),)

    def products(self, *inputs: Array) -> int:
        return int(np.prod(inputs[1].shape[1:]))

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        x, w = inputs
        g, win, out = self.groups, self._windows(x.shape[2:], w.shape[2:]), w.shape[0]
        facts = _forward(domain, win, g, x.facts, _kernel_live(w, g), out)
        if w.facts.any():
            facts = domain.union(
                facts, _merge(_kernel_facts(domain, win, g, w.facts, x.live), g, out // g, 1)
            )
        live = _forward(LIVE, win, g, x.live[..., None], _kernel_live(w, g), out)
        return (domain.make((x.shape[0], out, *win.count), facts, ~live[..., 0]),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        x, w = inputs
        if w.spatial or x.axes[1] is not None or len(x.regions) > 1:
            raise no_rule(self, "a kernel or channels from place to place")
        kernel = [as_int(k, "the kernel's size") for k in w.shape[2:]]
        strides, pads, dilations = list(self.stride), list(self.padding), list(self.dilation)
        for a, k in enumerate(kernel):
            axis = x.axes[2 + a]
            if axis is not None and axis.own == 1 and uniform(w.cell, 2 + a):
                x = join_windows(self, lattice, x, 2 + a, k, strides[a], pads[a][0], dilations[a])
                kernel[a], strides[a], pads[a], dilations[a] = 1, 1, (0, 0), 1
        taps = replace(w.cell, shape=(*w.cell.shape[:2], *kernel), constant=None)
        y, (stride, padding, dilation) = read_windows(
            self, lattice, x, kernel, strides, tuple(pads), dilations
        )
        op = Conv(stride, padding, dilation, self.groups)
        regions = y.each(lambda c: op.depend(lattice.domain, c, taps)[0])
        return (replace(y, type=results(self, inputs)[0], regions=regions, exact=exact(inputs)),)

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
            return Example(cls(stride, padding, dilation, groups), (_sample(*s), _sample(*w, seed=1)))

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


def _adjoint(op: _Strided, x: Shape, w: Shape, y: Shape) -> ConvTranspose:
    """The transposed convolution that takes a result of shape y back to shape x."""
    extra = []
    for s, k, n, t, (lo, hi), d in zip(x[2:], w[2:], y[2:], op.stride, op.padding, op.dilation, strict=True):
        reach = (n - 1) * t + d * (as_int(k, "the kernel's size") - 1) + 1 - lo - hi
        extra.append(as_int(s - reach, "the output padding"))
    return ConvTranspose(op.stride, op.padding, op.dilation, op.groups, tuple(extra))


@dataclass(frozen=True)
class ConvTranspose(_Strided):
    """The adjoint of `Conv`: y[n, o, p * stride + t * dilation - padding] += w[i, o, t] x[n, i, p].

    x[N, C, *S], w[C, O / groups, *K]; the spatial sizes of y are
    (S - 1) * stride - padding + dilation * (K - 1) + 1 + output_padding.
    """

    name: ClassVar[str] = "conv_transpose"
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
        flat = x.reshape(n, g, i, -1)
        canvas = np.zeros((n, g * o, *win.canvas()), np.result_type(x, w))
        for tap, index in win.taps():
            kernel = _at(w, tap).reshape(g, i, o)
            part = _grouped_matmul(np.swapaxes(kernel, 1, 2), flat)
            canvas[(slice(None), slice(None), *index)] += part.reshape(n, g * o, *x.shape[2:])
        return (win.crop(canvas, 2),)

    def products(self, *inputs: Array) -> int:
        w = inputs[1].shape
        return int(w[0] // self.groups * np.prod(w[2:]))

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        x, w = inputs
        g, win, out = self.groups, self._onto(x.shape, w.shape), w.shape[1] * self.groups
        facts = _backward(domain, win, g, x.facts, _kernel_live(w, g), out)
        if w.facts.any():
            from_w = _kernel_facts_backward(domain, win, g, w.facts, x.live)
            facts = domain.union(facts, _merge(from_w, g, out // g, 1))
        live = _backward(LIVE, win, g, x.live[..., None], _kernel_live(w, g), out)
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
            return Example(cls(stride, padding, dilation, groups, extra), (_sample(*s), _sample(*w, seed=1)))

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
class ConvWeightGrad(_Strided):
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
        rows = np.moveaxis(dy.reshape(n, g, o, -1), 0, 2).reshape(g, o, -1)
        w = np.zeros((g * o, i, *self.kernel), np.result_type(x, dy))
        for tap, index in win.taps():
            read = np.moveaxis(win.read_full(padded, index).reshape(n, g, i, -1), 0, 2).reshape(g, i, -1)
            w[_tap(tap)] = np.matmul(rows, np.swapaxes(read, 1, 2)).reshape(g * o, i)
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
            out[_tap(tap)] = np.broadcast_to(joined, each).reshape(o, -1, domain.words)
        return out

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
            out.append(Example(op, (x, _sample(*y.shape, seed=7))))
        return out
