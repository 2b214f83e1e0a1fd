"""An operation that has no rule: what it gave when it was recorded, and a bound of what it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from mpcompile.ir import Abstract, Array, Constant, Domain, Example, Primitive, Type, numbers
from mpcompile.ir.stencils import Axis, Lattice, Region, Stencil, extent, reaxis, still
from mpcompile.ops._base import join_over, lift
from mpcompile.ops._stencil import align, forget, joined, no_rule, refine, without


@dataclass(frozen=True)
class Observed(Primitive):
    """`of` stands for an operation that no primitive means; `results` are those of the one call that was recorded.

    `types` are theirs. Of an operation at every length there are no results. `again` runs it on other operands.

    An element of a result depends on the elements at its own place of all operands, which broadcast to it, joined over
    `joined` axes of the result, and over what comes before it along the axis `running` (behind it if `reverse`); with
    `joined` None on every element of every operand. This bounds any operation whose results have
    such a reach, so the primitive is declared conservative.
    """

    name: ClassVar[str] = "observed"
    conservative: ClassVar[bool] = True
    of: str
    types: tuple[Type, ...]
    results: tuple[Constant, ...] = ()
    joined: tuple[int, ...] | None = None
    running: int | None = None
    reverse: bool = False
    again: Callable[..., Sequence[Array]] | None = field(default=None, compare=False, repr=False)

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return self.types

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Run the operation again where there is a way to; else return what was recorded, whatever the inputs are.

        Only a check of the recording itself may ask. Raises `ValueError` where nothing was recorded, and where
        results have other shapes than those recorded, as of `nonzero`.
        """
        if len(self.results) < len(self.types):
            raise ValueError(f"{self.of} was not recorded at this length")
        stored = tuple(r.stored for r in self.results)
        found = tuple(self.again(*inputs)) if self.again is not None else stored
        if [x.shape for x in found] != [x.shape for x in stored]:
            raise ValueError(f"{self.of} gives results of other shapes")
        return found

    def depend(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        return tuple(self._bound(domain, numbers(t.shape), inputs) for t in self.types)

    def stencil(self, lattice: Lattice, *inputs: Stencil) -> tuple[Stencil, ...]:
        """The same bound at every length: all along the axes that are joined. Raises `NoRule` for a running one."""
        if self.joined is None:
            parts = [forget(lattice, x) for x in inputs]
            words = [join_over(lattice.domain, p.cell.facts, range(p.cell.facts.ndim - 1)) for p in parts]
            facts = lattice.domain.union(*(w.reshape(-1) for w in words)) if words else None
            return tuple(
                still(t, lattice.domain.make(cell, _like(facts, cell)), exact=False)
                for t in self.types
                for cell in [[extent(s) for s in t.shape]]
            )
        if self.running is not None:
            raise no_rule(self, "a running join")
        found = []
        for t in self.types:
            ones = [self._one(lattice, x, t.rank) for x in inputs]
            operands, axes = ones, tuple[Axis | None, ...]((None,) * t.rank)
            if any(x.spatial for x in ones):
                operands, axes = align(self, lattice, ones, t.shape)
            cell = tuple(extent(s) if a is None else a.own for s, a in zip(t.shape, axes, strict=True))
            band = next((x.band for x in operands if x.band is not None), None)
            regions = tuple(
                Region(where, self._bound(lattice.domain, cell, cells))
                for where, cells in refine(self, operands)
            )
            found.append(Stencil(t, axes, regions, band, exact=False))
        return tuple(found)

    def _one(self, lattice: Lattice, x: Stencil, rank: int) -> Stencil:
        """An operand of a result of some rank, joined to one element along the axes that are joined."""
        for axis in self.joined or ():
            i = axis - rank + len(x.axes)
            if i < 0:
                continue
            x = without(self, lattice, x, [i])
            regions = x.each(lambda c, i=i: reaxis(joined(lattice, replace(c, constant=None), i), i, 1))  # type: ignore[misc]
            x = replace(
                x, type=x.type.with_shape((*x.shape[:i], 1, *x.shape[i + 1 :])), regions=regions, known=None
            )
        return x

    def _bound(self, domain: Domain, shape: tuple[int, ...], inputs: Sequence[Abstract]) -> Abstract:
        if self.joined is None:
            words = [join_over(domain, x.facts, range(x.facts.ndim - 1)).reshape(-1) for x in inputs]
            whole = domain.union(*words) if words else np.zeros(domain.words, domain.dtype)
            return domain.make(shape, whole.reshape((1,) * len(shape) + (-1,)))
        rank = len(shape)
        parts = [join_over(domain, lift(x.facts, rank + 1), self.joined) for x in inputs]
        whole = domain.union(*parts)
        if self.running is not None and whole.shape[self.running] > 1:
            turn = (slice(None),) * self.running + (slice(None, None, -1 if self.reverse else 1),)
            whole = domain.join.accumulate(whole[turn], axis=self.running)[turn]
        return domain.make(shape, whole)

    @classmethod
    def examples(cls) -> list[Example]:
        return []


def fits(given: Sequence[int], made: Sequence[int], joined: Sequence[int]) -> bool:
    """Return whether an operand of a shape broadcasts to a result, but for axes of the result that are joined."""
    if len(given) > len(made) or any(axis >= len(made) for axis in joined):
        return False
    axes = range(len(made) - len(given), len(made))
    return all(a in joined or s in (1, made[a]) for a, s in zip(axes, given, strict=True))


def _like(facts: Array | None, shape: Sequence[int]) -> Array | None:
    return None if facts is None else facts.reshape((1,) * len(shape) + (-1,))
