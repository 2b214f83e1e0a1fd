"""The subject of a law, and the parameters of the law in the subject's shape, from values of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import Field, Shape, Symbolic, Value, broadcast_shapes
from mpcompile.layers.activations import channel_axis
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
        """A parameter in the shape of the variable; [N, 1] and [N, D] are read as [N] and images of D elements.

        Raises `SpecError` (MP207) for a value of another size.
        """
        field = self.field
        if field is None or value.shape == field.type.shape:
            return value
        if value.type.size == field.type.size:
            return F.reshape(ctx.b, value, field.type.shape)
        raise self.fail(
            "MP207",
            f"the parameter has shape {list(value.shape[1:])}, {field.name} has {list(field.type.shape[1:])}",
            help=ending(value.shape, field.type.shape),
        )

    def spreads(self, value: Value) -> bool:
        """Whether an elementwise operation repeats the value to the shape of the variable."""
        if self.field is None:
            return True
        shape = self.field.type.shape
        try:
            return broadcast_shapes(value.shape, shape) == shape
        except ValueError:
            return False

    def parts(self, ctx: Context, law: str, made: Value, names: Sequence[str]) -> list[Value]:
        """Parameters of these names from a net that gives them all, one after the other along the channels.

        Raises `SpecError` (MP207) where the channels are not as many times those of the variable.
        """
        axis, field, count = channel_axis(made), self.field, len(names)
        size = made.shape[axis] if made.type.rank > 1 else 1
        each = field.type.shape[axis] if field is not None and field.type.rank == made.type.rank else None
        if (
            isinstance(size, int)
            and size % count == 0
            and (not isinstance(each, int) or size == count * each)
        ):
            return F.split(ctx.b, made, axis, count) if count > 1 else [made]
        ends = f"end the network with {count * each} of them, or " if isinstance(each, int) else ""
        raise self.fail(
            "MP207",
            f"{law}(net) cuts the net's output into {' and '.join(names)}, and it has {size} channels",
            help=f"{ends}state each: {law}({', '.join(f'{n} = ...' for n in names)})",
        )


def ending(found: Shape, wanted: Shape) -> str:
    """Return, as help, how a network gets from the shape that it has to the one that is wanted."""
    shape = f"an output of shape {list(wanted[1:])}"
    if len(found) == len(wanted) + 1 == 3 and isinstance(found[1], Symbolic):
        return f"`last` takes the last step of a sequence: end the network with {shape}"
    if len(found) > len(wanted) == 2:
        return f"`flatten` or `global_avgpool` makes a vector: end the network with {shape}"
    return f"end the network with {shape}"


__all__ = ["Subject", "ending"]
