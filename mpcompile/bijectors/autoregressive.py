"""Masked autoregressive bijectors (Kingma et al. 2016; Papamakarios et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.bijectors import conditions
from mpcompile.bijectors.adjacency import Parents
from mpcompile.bijectors.base import CIRCLE, Extent, channels
from mpcompile.bijectors.laws import AFFINE, Law, OfLaw
from mpcompile.ir import Array, Value
from mpcompile.layers.base import Context, Mask, MaskUse
from mpcompile.layers.dense import Dense
from mpcompile.layers.masks import Degrees, ranks
from mpcompile.ops import build as F
from mpcompile.ranges import Order, Seed, Widths


@dataclass(frozen=True)
class Autoregressive(OfLaw):
    """y_i = f(x_i; parameters from the x before x_i in the order): MAF; `inverse(autoregressive(...))` is IAF.

    The parameters come from a MADE with `hidden` units a layer, relu and masks of degrees (Germain et al. 2015), so
    that density takes one pass. The inverse draws element after element; its loop is the reference from which
    `mpcompile.passes.incremental` derives one that computes each unit once. With law = affine this is MAF's eq. 4,
    exp(-alpha) and -mu exp(-alpha) called exp(s) and t. A `condition` enters every layer, unmasked. Of angles the first
    layer reads cosines and sines.

    With `adjacency`, a matrix whose row i has the parents of element i, the parameters of x_i come from these alone: a
    unit has the parents of some element, and is read by units and elements whose parents contain its own. The order is
    topological. A layer needs as many units as there are different sets of parents.
    """

    keyword: ClassVar[str] = "autoregressive"
    function: ClassVar[bool] = True
    takes: ClassVar[Extent] = Extent("a vector: declare the variable flat, or use couplings", 1, 1)
    hidden: Widths
    order: Order = "natural"
    law: Law = AFFINE
    seed: Seed = 0
    condition: Value | None = None
    adjacency: Mask | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for an order beside a graph, which has its own."""
        if self.adjacency is not None and self.order != "natural":
            raise ValueError("with `adjacency` the order is that of the graph: leave out `order`")

    def _ranks(self, ctx: Context, x: Value) -> Array:
        parents = self._parents(ctx, x)
        return ranks(self.order, channels(x), self.seed) if parents is None else parents.ranks

    def _parents(self, ctx: Context, x: Value) -> Parents | None:
        """The graph of the elements. Raises `SpecError` (MP206) for one that does not fit, or has a cycle."""
        if self.adjacency is None:
            return None
        size = channels(x)
        try:
            return Parents.of(self.adjacency.array(MaskUse("adjacency", (size, size))))
        except ValueError as problem:
            raise ctx.fail("MP206", f"the adjacency does not fit: {problem}") from problem

    def _masks(self, ctx: Context, x: Value) -> list[Mask]:
        """The masks of the hidden layers, and of the last one."""
        parents = self._parents(ctx, x)
        if parents is None:
            return [*(Degrees(seed=self.seed) for _ in self.hidden), Degrees(strict=True)]
        if (narrow := min(self.hidden)) < (least := len(parents.sets)):
            said = f"{least} different sets of parents need as many units a layer, and there are {narrow}"
            raise ctx.fail("MP206", said, help="edges would have no unit to go through")
        rows = [None, *(parents.units(width) for width in self.hidden)]
        rows.append(np.tile(parents.matrix, (self.law.count(), 1)))
        return [parents.mask(after, before) for before, after in pairwise(rows) if after is not None]

    def _raw(self, ctx: Context, x: Value, order: Array) -> Value:
        """Parameters of the law of every element, given those before it: [N, count * D]."""
        before, ctx.order = ctx.order, order
        ctx.degrees[ctx.b.here(x)] = order + 1
        given = None if self.condition is None else conditions.features(ctx, self.condition)
        try:
            h, masks = x, self._masks(ctx, x)
            for i, units in enumerate(self.hidden):
                dense = Dense(units, masks[i])
                if i == 0 and self.domain == CIRCLE:
                    h = self._of_angles(ctx, h, given, dense)
                else:
                    h = self._layer(ctx, f"hidden_{i}", h, given, dense)
                h = ctx.b.emit(ops.Relu(), h)
            last = Dense(channels(x) * self.law.count(), masks[-1], init=self.law.start)
            return self._layer(ctx, "project", h, given, last)
        finally:
            ctx.order = before

    def _of_angles(self, ctx: Context, x: Value, given: Value | None, dense: Dense) -> Value:
        """The first layer, of the cosines and sines of x, each with the degree of its angle."""
        parts = []
        for name, op, given_, layer in (
            ("hidden_0", ops.Cos(), given, dense),
            ("hidden_0_sin", ops.Sin(), None, replace(dense, bias=False)),
        ):
            parts.append(self._layer(ctx, name, ctx.b.emit(op, x), given_, layer))
        total = F.add(ctx.b, *parts)
        _same_degrees(ctx, total, parts[0])
        return total

    @property
    def _named_mask(self) -> str:
        return "degrees" if self.adjacency is None else "adjacency"

    def _layer(self, ctx: Context, name: str, h: Value, given: Value | None, dense: Dense) -> Value:
        with ctx.frame(name, f"dense({dense.units}, mask = {self._named_mask})", ctx.span):
            y = dense.forward(ctx, h)
        if given is None:
            return y
        with ctx.frame(f"{name}_condition", f"dense({dense.units})", ctx.span):
            total = F.add(ctx.b, y, Dense(dense.units, bias=False, init=dense.init).forward(ctx, given))
        _same_degrees(ctx, total, y)
        return total

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        raw = self._raw(ctx, seen, self._ranks(ctx, x))
        y, log_slope = self.law.forward(ctx, x, raw, None)
        return y, None if log_slope is None else F.event_sum(ctx.b, log_slope)

    def inverse(self, ctx: Context, y: Value) -> Value:
        order = self._ranks(ctx, y)

        def step(state: list[Value], _: list[Value], t: Value) -> tuple[list[Value], list[Value]]:
            b, (x,) = ctx.b, state
            drawn = self.law.inverse(ctx, b.here(y), self._raw(ctx, x, order), None)
            now = b.emit(ops.Equal(), b.constant(order[None]), t)
            return [b.emit(ops.Where(), now, drawn, x)], []

        (x,), _ = ctx.scan(step, [ctx.zeros(y.shape)], [], length=order.size)
        return x


def _same_degrees(ctx: Context, value: Value, other: Value) -> None:
    """State that the units of a value have the degrees of another one's, if those have some."""
    if other in ctx.degrees:
        ctx.degrees[value] = ctx.degrees[other]
