"""Masks between the places of two axes: which keys a query may see.

The axes have as many places. Where sizes are numbers a relation is an array, known when the program is lowered; along a
length it is a formula of places. `before` and `upto` compare the ranks of the density's order, so that a network may run
in any order and is proven in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Symbolic, Value, numbers, product
from mpcompile.ir.axes import Axes
from mpcompile.layers.base import MAX_MASK, Context
from mpcompile.ops import build as F
from mpcompile.ranges import AnyName, Window


@dataclass(frozen=True)
class Places:
    """The places of queries: the axes that they lie along, and their sizes. Keys have as many."""

    axes: Axes
    sizes: tuple[int | Symbolic, ...]

    @property
    def count(self) -> int | Symbolic:
        return product(self.sizes)


@dataclass(frozen=True)
class Relation:
    """The keys that a query may see. Its fields, in order, are its arguments in a spec.

    `query` names the axis of the queries where nothing else says it: softmax(x, over = key, mask = causal(time)).
    """

    keyword: ClassVar[str]
    query: Annotated[str, AnyName()] | None = None

    @property
    def sees_itself(self) -> bool:
        """Whether every query sees itself at least, so that none sees nothing."""
        return True

    @property
    def sees_first(self) -> bool:
        """Whether every query sees the first place as well, which is no padding."""
        return False

    @property
    def names(self) -> tuple[str, ...]:
        """The axes of queries that it names."""
        return () if self.query is None else (self.query,)

    def array(self, ctx: Context, places: Places) -> Array | None:
        """Bool [queries, keys], or [members, queries, keys]; None where a size is a length, or data decide.

        Raises `SpecError` (MP206) where it does not fit.
        """
        if not isinstance(places.count, int):
            return None
        i = np.arange(places.count)
        return self.compared(i[:, None], i[None, :])

    def compared(self, i: Array, j: Array) -> Array:
        """The relation of the places i and j of a query and a key, in numpy."""
        raise NotImplementedError

    def formula(self, ctx: Context, places: Places) -> Value:
        """The same as a value, bool [queries, keys] or [N, queries, keys]."""
        raise NotImplementedError


class Causal(Relation):
    """A query sees the places up to its own."""

    keyword: ClassVar[str] = "causal"

    @property
    def sees_first(self) -> bool:
        return True

    def compared(self, i: Array, j: Array) -> Array:
        return np.asarray(j <= i)

    def formula(self, ctx: Context, places: Places) -> Value:
        i, j = _places(ctx, places)
        return ctx.b.emit(ops.LessEqual(), j, i)


@dataclass(frozen=True)
class _Ranked(Relation):
    """A comparison of the ranks of the density's order; of places where no density says one."""

    def array(self, ctx: Context, places: Places) -> Array | None:
        if ctx.order is None or not isinstance(places.count, int):
            return super().array(ctx, places)
        return self.ranked(*_ranks(ctx, places))

    def ranked(self, low: Array, high: Array) -> Array:
        """The relation of places whose elements have ranks from `low` to `high`, [..., places]."""
        raise NotImplementedError


class Before(_Ranked):
    """A query sees the places all of whose elements come before its own in the order; the first sees nothing."""

    keyword: ClassVar[str] = "before"

    @property
    def sees_itself(self) -> bool:
        return False

    def compared(self, i: Array, j: Array) -> Array:
        return np.asarray(j < i)

    def ranked(self, low: Array, high: Array) -> Array:
        return np.asarray(high[..., None, :] < low[..., :, None])

    def formula(self, ctx: Context, places: Places) -> Value:
        i, j = _places(ctx, places)
        return ctx.b.emit(ops.Less(), j, i)


class Upto(_Ranked):
    """A query sees its own place and those before it in the order."""

    keyword: ClassVar[str] = "upto"

    def compared(self, i: Array, j: Array) -> Array:
        return np.asarray(j <= i)

    def ranked(self, low: Array, high: Array) -> Array:
        own = np.eye(low.shape[-1], dtype=bool)
        return np.asarray((high[..., None, :] < low[..., :, None]) | own)

    def formula(self, ctx: Context, places: Places) -> Value:
        i, j = _places(ctx, places)
        return ctx.b.emit(ops.LessEqual(), j, i)


@dataclass(frozen=True)
class Near(Relation):
    """A query sees the places at a distance below `width`: itself, and `width` - 1 on both sides."""

    keyword: ClassVar[str] = "window"
    query: Annotated[str, AnyName()] | None = field(default=None, kw_only=True)
    width: Window

    def compared(self, i: Array, j: Array) -> Array:
        return np.asarray(abs(i - j) < self.width)

    def formula(self, ctx: Context, places: Places) -> Value:
        b, (i, j) = ctx.b, _places(ctx, places)
        width = b.constant(np.asarray(self.width))
        near = b.emit(ops.Less(), b.emit(ops.Sub(), i, width), j)
        return b.emit(ops.LogicalAnd(), near, b.emit(ops.Less(), b.emit(ops.Sub(), j, width), i))


@dataclass(frozen=True)
class Same(Relation):
    """A query sees the places that have its own value of `segment`: same(document)."""

    keyword: ClassVar[str] = "same"
    query: Annotated[str, AnyName()] | None = field(default=None, kw_only=True)
    segment: Value

    def array(self, ctx: Context, places: Places) -> Array | None:
        return None

    def formula(self, ctx: Context, places: Places) -> Value:
        """The same as a value. Raises `SpecError` (MP206) for a segment that is not one of each place."""
        b, own = ctx.b, ctx.axes_of(self.segment)
        if own != places.axes or ctx.sizes_of(self.segment) != places.sizes:
            raise ctx.fail("MP206", f"`same` needs a value for each place of {', '.join(places.axes)}, and this has "
                           f"{', '.join(own) or 'no axis'}")  # fmt: skip
        flat = F.reshape(b, self.segment, (self.segment.shape[0], places.count))
        n, count = flat.shape
        return b.emit(ops.Equal(), F.reshape(b, flat, (n, count, 1)), F.reshape(b, flat, (n, 1, count)))


@dataclass(frozen=True)
class Everything(Relation):
    """A query sees every place."""

    keyword: ClassVar[str] = "none"

    @property
    def sees_first(self) -> bool:
        return True

    def compared(self, i: Array, j: Array) -> Array:
        return np.asarray(np.ones(np.broadcast_shapes(i.shape, j.shape), bool))

    def formula(self, ctx: Context, places: Places) -> Value:
        i, j = _places(ctx, places)
        return ctx.b.emit(ops.LogicalOr(), ctx.b.emit(ops.LessEqual(), j, i), ctx.b.emit(ops.Less(), i, j))


@dataclass(frozen=True)
class Written(Relation):
    """A matrix of the spec or of a file: a query sees the places of its row that are not 0."""

    keyword: ClassVar[str] = "file"
    matrix: Array | None = field(default=None, kw_only=True)

    @property
    def sees_itself(self) -> bool:
        return self.matrix is not None and bool(self.matrix.diagonal().all())

    def array(self, ctx: Context, places: Places) -> Array | None:
        assert self.matrix is not None
        if self.matrix.shape != (places.count, places.count):
            raise ctx.fail("MP206", f"a mask of shape {list(self.matrix.shape)} for {places.count} places")
        return np.asarray(self.matrix != 0)


@dataclass(frozen=True)
class Combined(Relation):
    """Two relations joined by `&` or `|`, or one negated by `~`."""

    keyword: ClassVar[str] = "combined"
    operator: Annotated[str, AnyName()] = field(default="&", kw_only=True)
    parts: tuple[Relation, ...] = field(default=(), kw_only=True)

    @property
    def sees_itself(self) -> bool:
        return self._of_parts([part.sees_itself for part in self.parts])

    @property
    def sees_first(self) -> bool:
        return self._of_parts([part.sees_first for part in self.parts])

    def _of_parts(self, each: Sequence[bool]) -> bool:
        """Return whether each query has a property in the whole, from whether it has it in the parts."""
        return self.operator != "~" and (all(each) if self.operator == "&" else any(each))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n for part in self.parts for n in part.names))

    def array(self, ctx: Context, places: Places) -> Array | None:
        arrays = [part.array(ctx, places) for part in self.parts]
        known = [a for a in arrays if a is not None]
        if len(known) < len(arrays):
            return None
        if self.operator == "~":
            return np.asarray(~known[0])
        return np.asarray(known[0] & known[1] if self.operator == "&" else known[0] | known[1])

    def formula(self, ctx: Context, places: Places) -> Value:
        values = [visible(ctx, part, places) for part in self.parts]
        op = {"~": ops.LogicalNot(), "&": ops.LogicalAnd(), "|": ops.LogicalOr()}[self.operator]
        return ctx.b.emit(op, *values)


def visible(ctx: Context, relation: Relation, places: Places) -> Value:
    """Emit a relation: bool [queries, keys], or with the batch before them.

    Of several orders it is that of the program's member. Raises `SpecError`: MP112 for more places than a mask may have,
    MP206 where it does not fit.
    """
    count = places.count
    if isinstance(count, int) and count * count > MAX_MASK:
        raise ctx.fail("MP112", f"a mask of {count} x {count} elements is larger than {MAX_MASK}")
    array = relation.array(ctx, places)
    if array is None:
        return relation.formula(ctx, places)
    if array.ndim == 2:
        return ctx.b.constant(array)
    assert ctx.member is not None
    return ctx.b.emit(ops.Gather(0), ctx.b.constant(array), ctx.b.here(ctx.member))


def attended(ctx: Context, scores: Value, seen: Value, at: int, *, always: bool) -> Value:
    """Emit the softmax along an axis of the scores that are seen; zeros for a query that sees nothing.

    `seen` broadcasts with the scores; `always` says that no query sees nothing. Hidden scores are minus infinity, so that
    their weights are exactly zero. Otherwise the softmax is written out, e^(s - max s) / sum(e^(s - max s)): each of its
    parts reads what the query sees, and a rule about minus infinity is not asked which queries see nothing.
    """
    b = ctx.b
    hidden = F.where(b, seen, scores, float("-inf"))
    if always:
        return b.emit(ops.Softmax(at), hidden)
    top = b.emit(ops.StopGradient(), b.emit(ops.Max((at,), True), hidden))
    some = F.less(b, float("-inf"), top)
    shares = b.emit(ops.Exp(), F.sub(b, hidden, F.where(b, some, top, 0.0)))
    return F.div(b, shares, F.where(b, some, F.sum_axes(b, shares, (at,), keepdims=True), 1.0))


def _places(ctx: Context, places: Places) -> tuple[Value, Value]:
    """The places of queries and keys, [queries, keys] each."""
    shape = (places.count, places.count)
    return ctx.b.emit(ops.Iota(shape, 0)), ctx.b.emit(ops.Iota(shape, 1))


def _ranks(ctx: Context, places: Places) -> tuple[Array, Array]:
    """The lowest and the highest rank of the elements at each place, [places] or [members, places]."""
    order, (axes, sizes) = ctx.order, ctx.ordered
    assert order is not None
    known = dict(zip(axes, sizes, strict=True))
    if any(known.get(n) != s for n, s in zip(places.axes, places.sizes, strict=True)):
        raise ctx.fail(
            "MP206", f"the order is one of {', '.join(axes)}, and the places lie along {', '.join(places.axes)}",
            help="`causal` compares the places themselves",
        )  # fmt: skip
    wide = order.reshape(*order.shape[:-1], *numbers(sizes))
    lead = order.ndim - 1
    at = [lead + axes.index(n) for n in places.axes]
    wide = np.moveaxis(wide, at, range(lead, lead + len(at)))
    flat = wide.reshape(*order.shape[:-1], *numbers((places.count,)), -1)
    return np.asarray(flat.min(-1)), np.asarray(flat.max(-1))


EVERYTHING = Everything()
#: Relations that a spec names.
RELATIONS: dict[str, type[Relation]] = {c.keyword: c for c in (Everything, Causal, Before, Upto, Near, Same)}

__all__ = [
    "EVERYTHING", "RELATIONS", "Before", "Causal", "Combined", "Everything", "Places", "Relation", "Upto", "Written",
    "attended", "visible",
]  # fmt: skip
