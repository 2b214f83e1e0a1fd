"""Names of axes, and the roles that layers act on.

Names are those of a spec's declarations. They live beside values while a spec is lowered (`layers/axes.py`), and on
declared variables (`Field.axes`); programs are positional. The batch has no name, so that nothing can act on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from mpcompile.ir.size import Symbolic, symbols

#: Names of the axes of a value, in order, without the batch.
Axes = tuple[str, ...]
Sizes = Sequence[int | Symbolic]

CHANNEL, TIME, CLASS = "channel", "time", "class"
#: Names of axes of space, by how many of them there are.
SPACES: dict[int, Axes] = {1: ("place",), 2: ("height", "width"), 3: ("depth", "height", "width")}
#: Names that a spec may not give to an axis: they are those of the batch.
BATCH_NAMES = ("N", "batch")


class Role(Enum):
    """The purpose of an axis. Layers act on roles; a plain axis is acted on where `over =` names it."""

    CHANNEL = "channel"
    ORDERED = "ordered"
    SPACE = "space"
    CLASS = "class"
    PLAIN = "plain"


_ROLES = {
    CHANNEL: Role.CHANNEL, TIME: Role.ORDERED, CLASS: Role.CLASS,
    "place": Role.SPACE, "height": Role.SPACE, "width": Role.SPACE, "depth": Role.SPACE,
}  # fmt: skip


def role(name: str, size: int | Symbolic) -> Role:
    """Return the role of an axis: by its name; a length that its axis is named after is an order, as `[words: words]`."""
    if name in _ROLES:
        return _ROLES[name]
    return Role.ORDERED if isinstance(size, Symbolic) and name in symbols(size) else Role.PLAIN


class TwoReadings(ValueError):
    """Sizes without names that can be read in two ways: `readings` are the names of each, () where none are usual."""

    def __init__(self, readings: Sequence[Axes]) -> None:
        super().__init__("two readings")
        self.readings = tuple(readings)


def default_axes(names: Sequence[str | None], sizes: Sizes, categories: bool = False) -> Axes:
    """Return the names of all axes of a declaration; None among `names` is an axis without one.

    Lengths are named after themselves. One fixed axis of numbers is that of channels; of three or four the first one is,
    and the rest is space. Fixed axes of categories are space, where there are two, or one beside named ones or lengths.
    Raises `TwoReadings` for others.
    """
    found = [_length(size) if name is None else name for name, size in zip(names, sizes, strict=True)]
    rest = found.count(None)
    given = [name for name in found if name is not None]
    readings = _readings(rest, given, categories)
    if len(readings) > 1:
        raise TwoReadings([_filled(found, r) if r else () for r in readings])
    return _filled(found, readings[0])


def _length(size: int | Symbolic) -> str | None:
    named = sorted(symbols(size)) if isinstance(size, Symbolic) else []
    return named[0] if len(named) == 1 else None


def _filled(names: Sequence[str | None], rest: Sequence[str]) -> Axes:
    left = iter(rest)
    return tuple(next(left) if name is None else name for name in names)


def _readings(rest: int, given: Sequence[str], categories: bool) -> list[Axes]:
    """The names that so many fixed axes without names can have, beside given ones."""
    channels: Axes = () if categories or CHANNEL in given else (CHANNEL,)
    inner = rest - len(channels)
    if rest == 0:
        return [()]
    if categories:
        if rest == 1:
            return [("place",)] if given else [(TIME,), ("place",)]
        return [SPACES[2]] if rest == 2 else [(CHANNEL, *SPACES[2]), SPACES[3]] if rest == 3 else [(), ()]
    if inner == 1 and channels:
        first = TIME if TIME not in given and not given else "token"
        return [(first, CHANNEL), (CHANNEL, "place")]
    return [(*channels, *SPACES[inner])] if inner in SPACES else [channels] if inner == 0 else [(), ()]


def usual_axes(sizes: Sizes) -> Axes:
    """Return names for the axes of a value of which nothing else is known: of two readings channels first, or numbers."""
    try:
        return default_axes([None] * len(sizes), sizes)
    except TwoReadings as two:
        return two.readings[-1] or tuple(f"axis_{i}" for i in range(len(sizes)))


def shown(axes: Axes, sizes: Sizes) -> str:
    """Return the axes of a value as messages print them: `[time: 12, channel: 16]`, `[time, channel: 16]`."""
    if not axes:
        return "one number"
    parts = (name if str(size) == name else f"{name}: {size}" for name, size in zip(axes, sizes, strict=True))
    return f"[{', '.join(parts)}]"


__all__ = [
    "BATCH_NAMES", "CHANNEL", "CLASS", "SPACES", "TIME", "Axes", "Role", "TwoReadings", "default_axes", "role", "shown",
    "usual_axes",
]  # fmt: skip
