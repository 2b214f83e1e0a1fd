"""The base class of functions: they have no weights, take values first and options by name, and act on axes by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from mpcompile.ir import DType, Shape, Value
from mpcompile.ir.axes import Axes
from mpcompile.layers.axes import described
from mpcompile.layers.classes import check_not_relaxed
from mpcompile.layers.context import Context
from mpcompile.layers.takes import NOUNS
from mpcompile.ops import build as F
from mpcompile.ranges import Names


@dataclass(frozen=True)
class Function:
    """A function of values. Its fields, in order, are its options in a spec."""

    #: How it is written in a spec.
    keyword: ClassVar[str]
    #: The values that it takes, by the names that its description has for them.
    takes: ClassVar[tuple[str, ...]] = ("x",)
    #: How many of them may be left out, from the end.
    optional: ClassVar[int] = 0
    #: The kind of their elements; None for any.
    kind: ClassVar[DType | None] = DType.FLOAT

    #: Whether it reads a relaxed category by the shares of its classes.
    by_shares: ClassVar[bool] = False
    #: Whether it is of two laws (`between`), which stand in the place of values.
    of_laws: ClassVar[bool] = False
    #: Whether it compares the examples of a batch, which a term of the loss alone may.
    whole_batch: ClassVar[bool] = False

    def __call__(self, ctx: Context, *values: Value) -> Value:
        """The function at values whose axes have names.

        Raises `SpecError`: MP208 for another number of values, MP204 for another kind, MP411 for a relaxed category of
        which it would read the class, and that of `forward`.
        """
        if not len(self.takes) - self.optional <= len(values) <= len(self.takes):
            wanted = "one value" if len(self.takes) == 1 else f"{len(self.takes)} values"
            raise ctx.fail("MP208", f"`{self.keyword}` takes {wanted} and gets {len(values) or 'none'}",
                           help=self.usage())  # fmt: skip
        for value in values:
            if self.kind is not None and value.dtype != self.kind:
                how = "declare x: category(k)" if self.kind is DType.INT else "onehot(k), or embedding(dim)"
                needs = f"{self.keyword} needs {NOUNS[self.kind]} and got {NOUNS[value.dtype]}"
                raise ctx.fail("MP204", needs, help=how)
        if not self.by_shares:
            check_not_relaxed(ctx, self.keyword, values)
        return self.forward(ctx, *values)

    def forward(self, ctx: Context, *values: Value) -> Value:
        """Build the function at its values, and name the axes of the result. Raises `SpecError`."""
        raise NotImplementedError

    @classmethod
    def usage(cls) -> str:
        """The function as a spec writes it, with the names of its values."""
        return f"{cls.keyword}({', '.join(cls.takes)})"


@dataclass(frozen=True)
class OverAxes(Function):
    """A function over named axes; which ones must be said."""

    over: Names = field(kw_only=True)

    def places(self, ctx: Context, x: Value) -> tuple[int, ...]:
        """The places of the axes in a value, the batch counted. Raises `SpecError` (MP213) for an axis that it lacks."""
        return tuple(place(ctx, self.keyword, x, name) for name in self.over)

    def one(self, ctx: Context, x: Value) -> int:
        """The place of the only axis. Raises `SpecError` (MP213) for several."""
        if len(self.over) != 1:
            raise ctx.fail("MP213", f"{self.keyword} is over one axis, and `over` names {len(self.over)}",
                           help="`merge` makes one axis of several")  # fmt: skip
        return self.places(ctx, x)[0]


def place(ctx: Context, who: str, x: Value, name: str) -> int:
    """Return the place of an axis of a value. Raises `SpecError` (MP213) where the value lacks it."""
    axes = ctx.axes_of(x)
    if name not in axes:
        raise ctx.fail("MP213", f"{who} is over `{name}`, and {described(ctx, x)} has no such axis",
                       help=f"its axes: {', '.join(axes) or 'none'}")  # fmt: skip
    return ctx.axis(x, name)


def without(axes: Axes, names: Sequence[str]) -> Axes:
    """Return axes without some of them."""
    return tuple(n for n in axes if n not in names)


def real_only(ctx: Context, x: Value, at: Sequence[int], instead: float) -> Value:
    """Put a number in the place of what lies behind the end of a sequence, along the axes at some places."""
    b = ctx.b
    for axis in at if len(ctx.axes_of(x)) < x.type.rank else ():
        present = ctx.present_along(x.shape[axis])
        if present is not None:
            shape: Shape = tuple(s if i in (0, axis) else 1 for i, s in enumerate(x.shape))
            axes = ctx.axes_of(x)
            x = ctx.name_axes(F.where(b, F.reshape(b, present, shape), x, instead), axes)
    return x


def count(ctx: Context, x: Value, at: Sequence[int]) -> Value | float:
    """Return how many elements lie along some axes, those behind the end of a sequence left out.

    A number, or a value [N, 1, ...] that broadcasts with x of which these axes are kept with size 1.
    """
    b = ctx.b
    total: Value | float = 1.0
    for axis in at:
        size = x.shape[axis]
        length = ctx.length_along(size)
        if length is not None:
            each: Value | float = F.reshape(
                b, F.to_float(b, length), (length.shape[0], *(1,) * (x.type.rank - 1))
            )
        elif isinstance(size, int):
            each = float(size)
        else:
            ones = ctx.zeros((size,))
            each = F.sum_axes(b, F.add(b, ones, 1.0), [0])
        if isinstance(total, Value):
            total = F.mul(b, total, each)
        else:
            total = F.mul(b, each, total) if isinstance(each, Value) else each * total
    return total


__all__ = ["Function", "OverAxes", "count", "place", "real_only", "without"]
