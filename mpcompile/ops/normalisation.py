"""Softmax and its logarithm: as many results as elements, each of which sees all along one axis."""

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
)
from mpcompile.ir.field import Field
from mpcompile.ir.stencils import Lattice, Region, Stencil
from mpcompile.ops._base import (
    Cotangents,
    join_over,
    mask,
    require_axis,
    require_dtype,
    sample,
)
from mpcompile.ops._mapping import mapped_beside
from mpcompile.ops._stencil import absorbed, without
from mpcompile.ops.arithmetic import Mul, Sub
from mpcompile.ops.elementwise import Exp
from mpcompile.ops.reduction import Sum, candidates
from mpcompile.ops.traits import Exponentials, apart


def _one_candidate(x: Stencil) -> bool:
    """Whether a band leaves each place a single element that is not minus infinity."""
    left = [r.where for r in x.regions if not r.cell.neginf.all()]
    return len(left) == 1 and left[0].bits.sum() == 1 and not left[0].bits[[0, -1]].any()


@dataclass(frozen=True)
class Normalisation(Exponentials):
    """Base of softmax and log-softmax: as many results as elements, each of which reads all elements along one axis.

    The shape stays.
    """

    each: ClassVar[int] = 5
    axis: int

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        require_dtype(inputs[0], DType.FLOAT)
        require_axis(inputs[0], self.axis)
        return (inputs[0],)

    def _facts(self, domain: Domain, x: Abstract) -> tuple[Array, Array]:
        """Facts of the results, and where a single candidate leaves nothing to depend on."""
        alone = candidates(x, [self.axis]) == 1
        return mask(~alone, join_over(domain, x.facts, [self.axis])), alone

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        (x,), i = inputs, self.axis
        if x.axes[i] is None:
            y = without(self, lattice, x, [i])
            return (replace(y, regions=y.each(lambda c: self.depend(lattice.domain, c)[0]), known=None),)
        if len(x.regions) > 1 and _one_candidate(x):
            y = replace(x, regions=x.each(lambda c: replace(c, facts=lattice.domain.unknown(c.shape).facts)))
            cell, precise = absorbed(self, lattice, y, i)
        else:
            cell, precise = absorbed(self, lattice, x, i)
        regions = [Region(r.where, self._beside(lattice, r.cell, cell.facts)) for r in x.regions]
        return (replace(x, regions=tuple(regions), exact=precise, known=None),)

    def _beside(self, lattice: Lattice, cell: Abstract, facts: Array) -> Abstract:
        """A result along a spatial axis, from what all that are not minus infinity read."""
        raise NotImplementedError

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return apart(shapes, self.axis)

    def mapped(
        self, at: Sequence[int | None], size: Size, shapes: Sequence[Shape], out: Shape
    ) -> Mapped | None:
        return mapped_beside(self, at)

    @classmethod
    def examples(cls) -> list[Example]:
        return [
            Example(cls(1), (sample(2, 3),)),
            Example(cls(0), (sample(3, 2, 1, seed=1),)),
            Example(cls(1), (sample(2, 2, 3, seed=2),)),
            Example(cls(0), (sample(1, seed=3),)),
        ]


class Softmax(Normalisation):
    """y = e^x / Σ e^x along the axis; zero at minus infinity"""

    name: ClassVar[str] = "softmax"

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        with np.errstate(all="ignore"):
            top = np.max(x, axis=self.axis, keepdims=True)
            e = np.exp(x - np.where(np.isfinite(top), top, x.dtype.type(0)))
            return (e / np.sum(e, axis=self.axis, keepdims=True),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        _, e, total = field.exponentials(inputs[0], self.axis)
        return (field.div(e, total),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        facts, _ = self._facts(domain, x)
        return (domain.make(x.shape, facts, x.neginf),)

    def _beside(self, lattice: Lattice, cell: Abstract, facts: Array) -> Abstract:
        return lattice.domain.make(cell.shape, facts, cell.neginf)

    def sign(self, of: Sequence[Positivity], same: bool) -> Positivity:
        return Positivity.POSITIVE

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        if ct is None:
            return (None,)
        (y,) = outputs
        weighted = b.emit(Mul(), ct, y)
        mean = b.emit(Sum((self.axis,), True), weighted)
        return (b.emit(Sub(), weighted, b.emit(Mul(), y, mean)),)


class LogSoftmax(Normalisation):
    """y = x - ln Σ e^x along the axis"""

    name: ClassVar[str] = "log_softmax"

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        with np.errstate(all="ignore"):
            top = np.max(x, axis=self.axis, keepdims=True)
            shifted = x - np.where(np.isfinite(top), top, x.dtype.type(0))
            return (shifted - np.log(np.sum(np.exp(shifted), axis=self.axis, keepdims=True)),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        away, _, total = field.exponentials(inputs[0], self.axis)
        return (field.canon(away - field.log(total)),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (x,) = inputs
        facts, alone = self._facts(domain, x)
        return (domain.make(x.shape, facts, alone & ~x.neginf, x.neginf),)

    def _beside(self, lattice: Lattice, cell: Abstract, facts: Array) -> Abstract:
        return lattice.domain.make(cell.shape, facts, None, cell.neginf)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        if ct is None:
            return (None,)
        total = b.emit(Sum((self.axis,), True), ct)
        return (b.emit(Sub(), ct, b.emit(Mul(), b.emit(Exp(), outputs[0]), total)),)
