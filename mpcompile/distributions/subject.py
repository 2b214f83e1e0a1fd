"""The subject of a law, and the parameters of the law in the subject's shape, from values of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import Field, Symbolic, Value
from mpcompile.ir.axes import CHANNEL, Axes, Role, role, shown
from mpcompile.layers.axes import beside, described, ordered, with_batch
from mpcompile.layers.base import Context
from mpcompile.ops import build as F


@dataclass(frozen=True)
class Subject:
    """The variable that a law is stated of.

    field  the variable; None for a latent and its posterior, whose shape follows from the parameters
    span   the law in the spec
    """

    field: Field | None
    span: Span

    def fail(self, code: str, message: str, **rest: Any) -> SpecError:
        """An error located at the law, ready to raise."""
        return error(code, message, self.span, **rest)

    def fit(self, ctx: Context, value: Value) -> Value:
        """A parameter with the axes of the variable, by name; one channel and none are the same.

        A vector of as many elements is the variable in its order. Raises `SpecError` (MP207) for another value.
        """
        field = self.field
        if field is None:
            return value
        value = with_batch(ctx, value)
        own, sizes = ctx.axes_of(value), ctx.sizes_of(value)
        wanted = dict(zip(field.axes, field.type.shape[1:], strict=True))
        if dict(zip(own, sizes, strict=True)) == wanted:
            return ordered(ctx, value, field.axes)
        if self._without_channel(own, sizes) == self._without_channel(field.axes, field.type.shape[1:]):
            places = tuple(n for n in field.axes if n != CHANNEL)
            return F.reshape(
                ctx.b, ordered(ctx, value, places if own == places else (*places, CHANNEL)), field.type.shape
            )
        if own == (CHANNEL,) and value.type.size == field.type.size:
            return F.reshape(ctx.b, value, field.type.shape)
        raise self.fail(
            "MP207", f"the parameter has the axes {described(ctx, value)}, {field.name} has {axes_of(field)}",
            help=ending(ctx, value, field.axes, field.type.shape[1:]),
        )  # fmt: skip

    def beside(self, ctx: Context, value: Value, first: Value) -> Value:
        """A parameter in a shape that broadcasts along the variable, or along the `first` parameter of a latent.

        Raises `SpecError` (MP207) for a value with other axes.
        """
        axes, sizes = ctx.axes_of(first), ctx.sizes_of(first)
        if self.field is not None:
            axes, sizes = self.field.axes, self.field.type.shape[1:]
        all_ = dict(zip(axes, sizes, strict=True))
        own = dict(zip(ctx.axes_of(value), ctx.sizes_of(value), strict=True))
        if own.items() <= all_.items():
            return beside(ctx, value, axes)
        if self.field is not None:
            return self.fit(ctx, value)
        raise self.fail(
            "MP214", f"the parameters have the axes {described(ctx, first)} and {described(ctx, value)}",
            help=ending(ctx, value, axes, sizes),
        )  # fmt: skip

    def fits(self, ctx: Context, value: Value) -> bool:
        """Whether a value has an element for each of the variable's."""
        return self.field is not None and with_batch(ctx, value).type.size == self.field.type.size

    @staticmethod
    def _without_channel(axes: Axes, sizes: Sequence[int | Symbolic]) -> dict[str, int | Symbolic]:
        return {n: s for n, s in zip(axes, sizes, strict=True) if (n, s) != (CHANNEL, 1)}

    def parts(self, ctx: Context, law: str, made: Value, names: Sequence[str]) -> list[Value]:
        """Parameters of these names from a net that gives them all, one after the other along the channels.

        Raises `SpecError` (MP207) where the channels are not as many times those of the variable.
        """
        made = with_batch(ctx, made)
        if CHANNEL not in ctx.axes_of(made):
            made = ordered(ctx, made, (*ctx.axes_of(made), CHANNEL))
        axes, axis, field, count = ctx.axes_of(made), ctx.axis(made, CHANNEL), self.field, len(names)
        size, each = made.shape[axis], None
        if field is not None and {*field.axes, CHANNEL} == set(axes):
            each = dict(zip(field.axes, field.type.shape[1:], strict=True)).get(CHANNEL, 1)
        if (
            isinstance(size, int)
            and size % count == 0
            and (not isinstance(each, int) or size == count * each)
        ):
            cut = F.split(ctx.b, made, axis, count) if count > 1 else [made]
            return [ctx.name_axes(part, axes) for part in cut]
        ends = f"end the network with {count * each} of them, or " if isinstance(each, int) else ""
        raise self.fail(
            "MP207",
            f"{law}(net) cuts the net's output into {' and '.join(names)}, and it has {size} channels",
            help=f"{ends}state each: {law}({', '.join(f'{n} = ...' for n in names)})",
        )


def axes_of(field: Field) -> str:
    """Return the axes of a variable as messages print them."""
    return shown(field.axes, field.type.shape[1:])


def ending(ctx: Context, found: Value, axes: Axes, sizes: Sequence[int | Symbolic]) -> str:
    """Return, as help, how a network gets from the axes that it has to those that are wanted."""
    own = dict(zip(ctx.axes_of(found), ctx.sizes_of(found), strict=True))
    shape = f"an output of {shown(axes, sizes)}"
    extra = [role(n, s) for n, s in own.items() if n not in axes]
    if Role.ORDERED in extra:
        return f"`last` takes the last step of a sequence: end the network with {shape}"
    if len(own) > len(axes) and Role.SPACE in extra:
        return f"`flatten` or `global_avgpool` makes a vector: end the network with {shape}"
    return f"end the network with {shape}"


__all__ = ["Subject", "axes_of", "ending"]
