"""`product(a, b, over = channel)`: the sum over named axes of a b. Transposes follow from names.

How it lowers decides whether proofs survive. A product of matrices has at most one axis of `a` and one of `b` as rows and
columns, the ordered ones first, then those of space. All other axes become leading ones, of size 1 where an operand lacks
them. Merging them with rows or columns would be one larger product, whose facts join all steps of a sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.functions.base import Function, OverAxes, real_only
from mpcompile.ir import Symbolic, Value, product
from mpcompile.ir.axes import Axes, Role, role
from mpcompile.layers.axes import described, ordered
from mpcompile.layers.context import Context
from mpcompile.ops import build as F

Sizes = Mapping[str, int | Symbolic]


@dataclass(frozen=True)
class Product(OverAxes):
    """The sum over axes of a b: axes of one name are one axis, and the others of both stay."""

    keyword: ClassVar[str] = "product"
    takes: ClassVar[tuple[str, ...]] = ("a", "b")

    def forward(self, ctx: Context, *values: Value) -> Value:
        a, c = values
        sizes = self._sizes(ctx, a, c)
        a = real_only(ctx, a, self.places(ctx, a), 0.0)
        left, right = ctx.axes_of(a), ctx.axes_of(c)
        inner = self._inner(sizes)
        summed = tuple(n for n in self.over if n not in inner)
        rows = _best([n for n in left if n not in right], sizes)
        columns = _best([n for n in right if n not in left], sizes)
        lead = tuple(n for n in dict.fromkeys((*left, *right)) if n not in (*inner, *rows, *columns))
        y = self._multiplied(ctx, (a, c), lead, (rows, inner, columns), sizes)
        made = (*lead, *rows, *columns)
        at = [y.type.rank - len(made) + made.index(n) for n in summed]
        y = ctx.name_axes(F.sum_axes(ctx.b, y, at), tuple(n for n in made if n not in summed))
        order = [n for n in dict.fromkeys((*left, *right)) if n not in self.over]
        return ordered(ctx, y, tuple(order))

    def _sizes(self, ctx: Context, a: Value, c: Value) -> dict[str, int | Symbolic]:
        """The size of every axis. Raises `SpecError`: MP213 for an axis that one operand lacks, MP214 for two sizes."""
        for x in (a, c):
            self.places(ctx, x)
        first, second = (dict(zip(ctx.axes_of(x), ctx.sizes_of(x), strict=True)) for x in (a, c))
        for name in first.keys() & second.keys():
            if first[name] != second[name]:
                both = f"{described(ctx, a)} and {described(ctx, c)}"
                raise ctx.fail("MP214", f"product joins {both}, whose axis `{name}` has two sizes",
                               help=f"rename({name} = other) of one of them, where they are two axes")  # fmt: skip
        return first | second

    def _inner(self, sizes: Sizes) -> Axes:
        """The axes that the product of matrices sums over: one that is ordered or of space alone, else all of them."""
        placed = [n for n in self.over if role(n, sizes[n]) in (Role.ORDERED, Role.SPACE) or _open(sizes[n])]
        return (placed[0],) if placed else self.over

    def _multiplied(
        self,
        ctx: Context,
        operands: tuple[Value, Value],
        lead: Axes,
        sides: tuple[Axes, Axes, Axes],
        sizes: Sizes,
    ) -> Value:
        """[N, lead, rows, columns] of [N, lead, rows, inner] and [N, lead, inner, columns]."""
        rows, inner, columns = sides
        a = _matrices(ctx, operands[0], lead, (rows, inner), sizes)
        c = _matrices(ctx, operands[1], lead, (inner, columns), sizes)
        y = ctx.b.emit(ops.MatMul(), a, c)
        batch = y.shape[: y.type.rank - 2 - len(lead)]
        own = tuple(sizes[n] for n in (*lead, *rows, *columns))
        return F.reshape(ctx.b, y, (*batch, *own))


def _matrices(ctx: Context, x: Value, lead: Axes, ends: tuple[Axes, Axes], sizes: Sizes) -> Value:
    """A value as matrices: leading axes, of size 1 where it lacks them, then the two ends as one axis each.

    A value without a batch that has none of the leading axes is one matrix.
    """
    own = ctx.axes_of(x)
    batch = x.shape[: x.type.rank - len(own)]
    x = ordered(ctx, x, (*(n for n in lead if n in own), *ends[0], *ends[1]))
    shape = tuple(sizes[n] if n in own else 1 for n in lead)
    matrix = tuple(product([sizes[n] for n in side]) for side in ends)
    plain = not batch and not any(n in own for n in lead)
    return F.reshape(ctx.b, x, (*batch, *(() if plain else shape), *matrix))


def _best(names: Sequence[str], sizes: Sizes) -> Axes:
    """The axis of an operand that makes rows or columns: an ordered one, else one of space, else the last one."""
    for kind in (Role.ORDERED, Role.SPACE):
        found = [n for n in names if role(n, sizes[n]) is kind]
        if found:
            return (found[0],)
    found = [n for n in names if _open(sizes[n])]
    return (found[0],) if found else tuple(names[-1:])


def _open(size: int | Symbolic) -> bool:
    return isinstance(size, Symbolic)


CONTRACTIONS: tuple[type[Function], ...] = (Product,)

__all__ = ["CONTRACTIONS"]
