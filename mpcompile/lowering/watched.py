"""The axes of the values that expressions of a spec stand for, for whoever watches lowering: an editor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from mpcompile.diagnostics import Span
from mpcompile.ir import DType, Value
from mpcompile.ir.axes import Axes, Sizes
from mpcompile.layers import Context
from mpcompile.layers.named import known_axes


@dataclass(frozen=True, slots=True)
class Seen:
    """One value of an expression: names and sizes of its axes but the batch, and the kind of its elements."""

    axes: Axes
    sizes: Sizes
    dtype: DType


#: The values that were seen, by the place of their expression: of each use in the first program that has it.
Places = dict[Span, list[Seen]]

_PLACES: ContextVar[Places | None] = ContextVar("places", default=None)


@contextmanager
def watched() -> Iterator[Places]:
    """Collect what is lowered inside, also before an error."""
    places: Places = {}
    token = _PLACES.set(places)
    try:
        yield places
    finally:
        _PLACES.reset(token)


def seen(ctx: Context, span: Span, values: Sequence[Value]) -> tuple[Value, ...]:
    """Note the values of an expression where lowering is watched, and return them."""
    places = _PLACES.get()
    if places is not None:
        for value in values:
            axes = () if value.type.rank == 0 else known_axes(ctx.axes, ctx.b, value)
            if axes is None:
                continue  # a list of numbers, whose axis has no name
            note = Seen(axes, value.shape[value.type.rank - len(axes) :], value.dtype)
            if note not in places.setdefault(span, []):
                places[span].append(note)
    return tuple(values)


__all__ = ["Places", "Seen", "seen", "watched"]
