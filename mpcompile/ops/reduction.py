"""Primitives that combine elements along axes."""

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
    DType,
    Example,
    Mapped,
    Positivity,
    Reach,
    Shape,
    Size,
    Type,
    Value,
    Work,
    numbers,
)
from mpcompile.ir.field import Field
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import Lattice, Stencil
from mpcompile.ops._base import (
    Cotangents,
    Operation,
    drop,
    expand,
    join_over,
    keep_axes,
    mask,
    require,
    require_axis,
    require_dtype,
    sample,
    squeeze,
)
from mpcompile.ops._mapping import mapped_beside, mapped_reduction
from mpcompile.ops._stencil import no_rule, unmerged, unsure, without
from mpcompile.ops.arithmetic import Div, Mul, Sub
from mpcompile.ops.elementwise import Exp
from mpcompile.ops.identity import Cast
from mpcompile.ops.structure import BroadcastTo
from mpcompile.ops.traits import Exact, Exponentials, Fresh, Monotone, apart
from mpcompile.ops.truth import Equal


def _any(array: Array, axes: Sequence[int]) -> Array:
    return np.asarray(np.any(array, axis=tuple(axes), keepdims=True))


def _all(array: Array, axes: Sequence[int]) -> Array:
    return np.asarray(np.all(array, axis=tuple(axes), keepdims=True))


def candidates(x: Abstract, axes: Sequence[int]) -> Array:
    """Count the elements along the axes that may be above minus infinity.

    These axes are kept, others stay compressed.
    """
    count = np.count_nonzero(~x.neginf, axis=tuple(axes), keepdims=True)
    for axis in axes:
        if x.neginf.shape[axis] != x.shape[axis]:
            count = count * x.shape[axis]
    return np.asarray(count)


def _lines(x: Array, axes: Sequence[int]) -> tuple[Array, tuple[int, ...]]:
    """The elements along some axes as a last axis of their own, and the shape of one result for each line (kept)."""
    rest = [a for a in range(x.ndim) if a not in axes]
    lines = x.transpose(*rest, *axes).reshape([*(x.shape[a] for a in rest), prod(x.shape[a] for a in axes)])
    return lines, tuple(1 if a in axes else n for a, n in enumerate(x.shape))


@dataclass(frozen=True)
class Reduction(Operation):
    """One result for all elements along some axes.

    x[*S] gives y without the axes, or with length one along them if `keepdims`.
    """

    axes: tuple[int, ...]
    keepdims: bool = False
    allowed: ClassVar[tuple[DType, ...]] = (DType.FLOAT,)

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        (x,) = inputs
        require_dtype(x, *self.allowed)
        for axis in self.axes:
            require_axis(x, axis)
        require(len(set(self.axes)) == len(self.axes), "axes that differ", list(self.axes))
        return (x.with_shape(drop(x.shape, self.axes, self.keepdims)),)

    def _result(self, domain: Domain, x: Abstract, facts: Array, zero: Array, neginf: Array) -> Abstract:
        """An abstract value from maps in which the axes are kept."""
        shape = numbers(drop(x.shape, self.axes, self.keepdims))
        return domain.make(shape, *(squeeze(m, self.axes, self.keepdims) for m in (facts, zero, neginf)))

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        return (_reduced(self, lattice, inputs[0], self.axes, self.keepdims),)

    def _wide(self, b: Builder, value: Value, shape: Shape) -> Value:
        """A result with its axes back, of length one."""
        return keep_axes(b, value, shape, self.axes)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        kept = [a for a in range(len(shapes[0])) if a not in self.axes]
        return ({a: a if self.keepdims else i for i, a in enumerate(kept)},)

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        return mapped_reduction(self, at, self.axes, self.keepdims)

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work(rest=inputs[0].size)

    def aliases(self, operand: int) -> bool:
        return not self.axes

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls((1,)), (sample(2, 3),)),
            Example(cls((0, 2), True), (sample(2, 3, 4, seed=1),)),
            Example(cls((1, 2)), (sample(2, 1, 3, seed=2),)),
            Example(cls((0,)), (sample(1, seed=3),)),
            Example(cls((1,), True), (sample(2, 1, seed=4),)),
            Example(cls(()), (sample(2, 2, seed=5),)),
        ]


class Sum(Monotone, Reduction, Exact):
    """y = Σ x over the axes"""

    name: ClassVar[str] = "sum"
    allowed: ClassVar[tuple[DType, ...]] = (DType.FLOAT, DType.INT)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.asarray(np.sum(inputs[0], axis=self.axes, keepdims=self.keepdims)),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        facts = join_over(domain, x.facts, self.axes)
        return (self._result(domain, x, facts, _all(x.zero, self.axes), _any(x.neginf, self.axes)),)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return of[0]

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        if ct is None:
            return (None,)
        shape = inputs[0].shape
        return (b.emit(BroadcastTo(shape), self._wide(b, ct, shape)),)


class Max(Reduction):
    """y = max x over the axes; elements known to be minus infinity do not matter. Ties share the gradient."""

    absent: ClassVar[float | None] = -np.inf
    name: ClassVar[str] = "max"
    allowed: ClassVar[tuple[DType, ...]] = (DType.FLOAT, DType.INT)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.asarray(np.max(inputs[0], axis=self.axes, keepdims=self.keepdims)),)

    def magnitude(self, results: Sequence[Array], *inputs: Array) -> tuple[Array, ...]:
        return (np.zeros(results[0].shape),)  # it is one of the elements, as that is

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        if x.dtype.kind != "f":
            return self.evaluate(x)
        for axis in self.axes:
            x = field.largest(x, axis)
        return (squeeze(x, self.axes, self.keepdims),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        known = _all(x.zero | x.neginf, self.axes)
        zero, neginf = known & _any(x.zero, self.axes), _all(x.neginf, self.axes)
        return (self._result(domain, x, join_over(domain, x.facts, self.axes), zero, neginf),)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return of[0]

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        (x,) = inputs
        if ct is None or x.dtype is not DType.FLOAT:
            return (None,)
        best = b.emit(Cast(DType.FLOAT), b.emit(Equal(), x, self._wide(b, outputs[0], x.shape)))
        share = b.emit(Div(), self._wide(b, ct, x.shape), b.emit(Sum(self.axes, True), best))
        return (b.emit(Mul(), best, share),)


class LogSumExp(Reduction, Exponentials):
    """y = ln Σ e^x over the axes; elements known to be minus infinity do not matter."""

    name: ClassVar[str] = "log_sum_exp"

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        with np.errstate(all="ignore"):
            top = np.max(x, axis=self.axes, keepdims=True)
            top = np.where(np.isfinite(top), top, x.dtype.type(0))
            y = np.log(np.sum(np.exp(x - top), axis=self.axes, keepdims=True)) + top
        return (squeeze(y, self.axes, self.keepdims),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        """The reference plus the logarithm of the sum of the exponentials of differences to it."""
        (x,) = inputs
        lines, shape = _lines(x, self.axes)
        _, _, total = field.exponentials(lines, -1)
        y = field.canon(field.reference(lines, -1) + field.log(total))
        y = np.where(np.isneginf(lines).all(-1, keepdims=True), -np.inf, y)
        return (squeeze(y.reshape(shape), self.axes, self.keepdims),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        neginf = _all(x.neginf, self.axes)
        zero = (candidates(x, self.axes) == 1) & _all(x.zero | x.neginf, self.axes)
        return (self._result(domain, x, join_over(domain, x.facts, self.axes), zero, neginf),)

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Exponentials.cost(self, inputs, outputs)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        (x,) = inputs
        if ct is None:
            return (None,)
        weights = b.emit(Exp(), b.emit(Sub(), x, self._wide(b, outputs[0], x.shape)))
        return (b.emit(Mul(), weights, self._wide(b, ct, x.shape)),)


def _reduced(op: Operation, lattice: Lattice, x: Stencil, over: Sequence[int], keepdims: bool) -> Stencil:
    """The offset sets of a reduction: along a spatial axis everything is joined."""
    (type,) = op.infer(x.type)
    y = without(op, lattice, x, over)
    axes = tuple(a for i, a in enumerate(y.axes) if keepdims or i not in over)
    regions = y.each(lambda c: op.depend(lattice.domain, c)[0])
    return replace(y, type=type, axes=axes, regions=regions, known=None)


@dataclass(frozen=True)
class CumSum(Monotone, Exact):
    """y_i = Σ x_j over j ≤ i (j < i when exclusive; j ≥ i, j > i when reversed) along the axis.

    The shape stays.
    """

    name: ClassVar[str] = "cum_sum"
    axis: int
    exclusive: bool = False
    reverse: bool = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        require_dtype(inputs[0], DType.FLOAT, DType.INT)
        require_axis(inputs[0], self.axis)
        return (inputs[0],)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (self._accumulate(np.add, inputs[0]),)

    def _accumulate(self, join: np.ufunc, x: Array) -> Array:
        """Running joins in the direction of the sum."""
        x = np.flip(x, self.axis) if self.reverse else x
        y = join.accumulate(x, axis=self.axis)
        if self.exclusive:
            first = np.zeros_like(y.take([0], self.axis))
            y = np.concatenate([first, y[(*(slice(None),) * self.axis, slice(0, -1))]], self.axis)
        return np.flip(y, self.axis) if self.reverse else y

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs

        def run(join: np.ufunc, m: Array) -> Array:
            if m.shape[self.axis] == 1 and (not self.exclusive or not m.any()):
                return m
            return self._accumulate(join, expand(m, self.axis, x.shape[self.axis]))

        live, neginf = run(np.logical_or, x.live), run(np.logical_or, x.neginf)
        return (domain.make(x.shape, run(domain.join, x.facts), ~live, neginf),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        (x,), i = inputs, self.axis
        axis = x.axes[i]
        if axis is None:
            if not isinstance(
                x.shape[i], int
            ):  # sums of elements that are alike, none of which is known but all zeros
                return (replace(unsure(x, 0.0), known=None, exact=x.exact and not self.exclusive),)
            return (replace(x, regions=x.each(lambda c: self.depend(lattice.domain, c)[0]), known=None),)
        unmerged(self, x, i)
        if (axis.own, axis.step) != (1, 1) or x.band is not None:
            raise no_rule(self, "a running sum along a strided axis")
        past = Offsets.up_to(-1 if self.exclusive else 0)
        along = past.mirror() if self.reverse else past
        regions = x.each(
            lambda c: replace(c, facts=lattice.absorb(c.facts, axis, axis.slot, along), constant=None)
        )
        return (replace(x, regions=regions, known=None),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return apart(shapes, self.axis)

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        return mapped_beside(self, at)

    def reach(self, shapes: Sequence[Shape]) -> Reach:
        return {} if self.reverse else {self.axis: (0, 0)}

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work(rest=inputs[0].size)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        if ct is None:
            return (None,)
        return (b.emit(CumSum(self.axis, self.exclusive, not self.reverse), ct),)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(1), (sample(2, 4),)),
            Example(cls(0, exclusive=True), (sample(3, 2, seed=1),)),
            Example(cls(1, reverse=True), (sample(2, 3, 2, seed=2),)),
            Example(cls(1, True, True), (sample(1, 3, seed=3),)),
            Example(cls(0, True), (sample(1, seed=4),)),
        ]


@dataclass(frozen=True)
class ArgMax(Fresh, Operation):
    """The first position of the largest element along the axis. No gradient, but it depends on them all.

    x[*S] gives whole numbers without the axis, or with length one along it if `keepdims`.
    """

    steps: ClassVar[bool] = True
    absent: ClassVar[float | None] = -np.inf
    name: ClassVar[str] = "arg_max"
    axis: int
    keepdims: bool = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        (x,) = inputs
        require_dtype(x, DType.FLOAT, DType.INT)
        require_axis(x, self.axis)
        return (Type(DType.INT, drop(x.shape, [self.axis], self.keepdims)),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.asarray(np.argmax(inputs[0], axis=self.axis, keepdims=self.keepdims)),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        if x.dtype.kind != "f":
            return self.evaluate(x)
        along = np.moveaxis(x, self.axis, 0)
        best, index = along[0], np.zeros(along.shape[1:], np.int64)
        for i, other in enumerate(along[1:], 1):
            ahead = field.order(best, other) < 0
            best, index = np.where(ahead, other, best), np.where(ahead, i, index)
        return (np.expand_dims(index, self.axis) if self.keepdims else index,)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        choice = candidates(x, [self.axis]) > 1
        facts = mask(choice, join_over(domain, x.facts, [self.axis]))
        shape = numbers(drop(x.shape, [self.axis], self.keepdims))
        return (domain.make(shape, squeeze(facts, [self.axis], self.keepdims)),)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        return (_reduced(self, lattice, inputs[0], (self.axis,), self.keepdims),)

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        kept = [a for a in range(len(shapes[0])) if a != self.axis]
        return ({a: a if self.keepdims else i for i, a in enumerate(kept)},)

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        return mapped_reduction(self, at, (self.axis,), self.keepdims)

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        return Work(rest=inputs[0].size)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        return (None,)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(1), (sample(2, 3),), False),
            Example(cls(0, True), (sample(3, 2, 2, seed=1),), False),
            Example(cls(0), (np.array([1.0, 2.0, 2.0]),), False),
            Example(cls(1), (sample(2, 1, seed=2),), False),
        ]
