"""The vocabulary in which fields declare the ranges of a spec's arguments.

A field of a layer, distribution, bijector, mask, optimiser, schedule or of the `train` section has one of these types.
`lowering/binding.py` enforces them for what a spec states, `runner/settings.py` for what a command line states, and
`reference/schema.py` writes them into the JSON Schema. `slots` reads them; a field that declares none is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from mpcompile.diagnostics.nearest import nearest

#: The largest number of units, channels or classes.
MAX_SIZE = 1 << 24
#: The largest kernel, stride, dilation, padding or upsampling factor.
MAX_WINDOW = 1 << 10
#: The longest delay, and the most steps that one vector is repeated for.
MAX_STEPS = 1 << 16
#: The largest whole number that the arithmetic of a spec gives.
MAX_WHOLE = 10**18
#: Numbers of a graph lie within these sizes, so that they are neither infinite nor zero in single precision.
TINY, HUGE = 1e-30, 1e30
#: The logarithm of HUGE, rounded down.
LOG_HUGE = 69.0
#: More axes than this are no shape.
MAX_AXES = 7


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `least` to `most`; the ends belong to it unless `above` or `below` say that they do not."""

    least: float
    most: float
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        low = value > self.least if self.above else value >= self.least
        return low and (value < self.most if self.below else value <= self.most)

    def beyond(self, value: float) -> bool:
        """Whether a value is larger than anything sensible, rather than outside of what has a meaning."""
        return value > self.most >= MAX_WINDOW

    def wanted(self, value: float) -> str:
        """Return what a value outside must be instead: for a value of the right sign only the end that it misses."""
        if value > self.most == HUGE:
            return f"at most {HUGE:g}"
        if 0 < value < self.least == TINY:
            return f"at least {TINY:g}"
        return f"at least {-HUGE:g}" if value < self.least == -HUGE else str(self)

    def __str__(self) -> str:
        if self.least == -HUGE and self.most == HUGE:
            return "finite"
        if self.most in (HUGE, MAX_WHOLE) and self.least in (0, 1, TINY):
            return "positive" if self.least == TINY else f"at least {self.least:g}"
        low = f"above {self.least:g}" if self.above else f"at least {self.least:g}"
        return f"{low} and {'below' if self.below else 'at most'} {_plain(self.most)}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these names."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.names[:-1]) + " or " + self.names[-1] if len(self.names) > 1 else self.names[0]


@dataclass(frozen=True, slots=True)
class AnyName:
    """A name that the place of use looks up: a length, a data set."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list of `least` to `most` entries, each within the field's range."""

    least: int
    most: int


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


# --- whole numbers ---

Width = Annotated[int, Range(1, MAX_SIZE)]
Window = Annotated[int, Range(1, MAX_WINDOW)]
Depth = Annotated[int, Range(1, 64)]
Blocks = Annotated[int, Range(0, 512)]
Steps = Annotated[int, Range(0, MAX_STEPS)]
Seed = Annotated[int, Range(0, MAX_WHOLE)]
Offset = Annotated[int, Range(-MAX_SIZE, MAX_SIZE)]
Components = Annotated[int, Range(1, 4096)]
Members = Annotated[int, Range(1, 256)]
Classes = Annotated[int, Range(2, 1 << 20)]
Bins = Annotated[int, Range(2, 256)]
Count = Annotated[int, Range(1, MAX_WHOLE)]
CountOrNone = Annotated[int, Range(0, MAX_WHOLE)]
FewTimes = Annotated[int, Range(1, 20)]

# --- real numbers ---

Real = Annotated[float, Range(-HUGE, HUGE)]
Positive = Annotated[float, Range(TINY, HUGE)]
NonNegative = Annotated[float, Range(0, HUGE)]
Fraction = Annotated[float, Range(0, 1, below=True)]
Momentum = Annotated[float, Range(0, 1, above=True)]
Unit = Annotated[float, Range(0, 1)]
Inner = Annotated[float, Range(0, 1, above=True, below=True)]

# --- one number for every spatial axis, or a list with one for each ---

Sizes = Annotated[int | tuple[int, ...], Range(1, MAX_WINDOW), Items(1, 3)]
Extra = Annotated[int | tuple[int, ...], Range(0, MAX_WINDOW), Items(1, 3)]
#: A name; elements before and after every spatial axis; or a pair of them for each (one pair: for all).
Pad = Annotated[
    str | int | tuple[tuple[int, int], ...],
    Choice(("valid", "same", "causal")), Range(0, MAX_WINDOW), Items(1, 3),
]  # fmt: skip
PadAlong = Annotated[str | int, Choice(("causal", "valid", "same")), Range(0, MAX_WINDOW)]
Shape = Annotated[tuple[int, ...], Range(1, MAX_SIZE), Items(1, MAX_AXES)]
#: Axes by name, each with its size: all arguments by name that a layer does not know.
NamedSizes = Annotated[tuple[tuple[str, int], ...], Range(1, MAX_SIZE), Items(1, MAX_AXES)]
Widths = Annotated[tuple[int, ...], Range(1, MAX_SIZE), Items(1, 64)]

# --- names ---

Renames = Annotated[tuple[tuple[str, str], ...], AnyName(), Items(1, MAX_AXES)]
Names = Annotated[tuple[str, ...], AnyName(), Items(1, MAX_AXES)]
Flag = bool
Length = Annotated[str | int, AnyName(), Range(1, MAX_STEPS)]
DataName = Annotated[str, AnyName()]
Order = Annotated[str, Choice(("natural", "reverse", "random"))]


@dataclass(frozen=True, slots=True)
class Slot:
    """A field as an argument: its type, what its annotation declares, whether it must be given, and whether by place."""

    name: str
    type: Any
    rules: tuple[Any, ...]
    required: bool
    by_place: bool = True

    @property
    def range(self) -> Range | None:
        return next((r for r in self.rules if isinstance(r, Range)), None)

    @property
    def choice(self) -> Choice | None:
        return next((r for r in self.rules if isinstance(r, Choice)), None)

    @property
    def items(self) -> Items | None:
        return next((r for r in self.rules if isinstance(r, Items)), None)

    def fault(self, value: Any) -> str:
        """Return what this value must be instead, as the end of a sentence; nothing for a value within the range."""
        if isinstance(value, tuple):
            items = self.items
            if items is not None and not items.least <= len(value) <= items.most:
                return f"a list of {items.least} to {items.most} entries, got {len(value)}"
            return next((found for v in value if (found := self.fault(v))), "")
        if isinstance(value, bool):
            return ""
        if isinstance(value, str):
            choice = self.choice
            return f"{choice}, got '{value}'" if choice is not None and value not in choice.names else ""
        if self.range is None or not isinstance(value, int | float):
            return ""
        if isfinite(value) and self.range.holds(value):
            return ""
        return (
            f"{self.range.wanted(value)}, got {value:g}"
            if isinstance(value, float)
            else f"{self.range}, got {value}"
        )


@cache
def slots(cls: type) -> tuple[Slot, ...]:
    """Return the arguments of a dataclass in order. Raises `TypeError` for a number or name without a declared range."""
    hints = get_type_hints(cls, include_extras=True)
    out = []
    for f in sorted(fields(cls), key=lambda f: f.kw_only is True):
        if not f.init or f.metadata.get("argument") is False:
            continue
        hint, rules = _unwrapped(hints[f.name])
        bare = hint in (int, float, str, int | str, str | int, str | float) or (
            get_origin(hint) is tuple and int in get_args(hint)
        )
        if bare and not rules:
            raise TypeError(f"{cls.__name__}.{f.name} declares no range")
        required = f.default is MISSING and f.default_factory is MISSING
        out.append(Slot(f.name, hint, rules, required, f.kw_only is not True))
    return tuple(out)


def named(name: str, known: Iterable[str]) -> str:
    """Return help for an unknown name: the nearest of the known names, or all of them."""
    names = list(known)
    near = nearest(name, names)
    return f"did you mean `{near}`?" if near else f"known: {', '.join(names)}"


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type behind `Annotated` and `| None`, and what is declared with it."""
    if get_origin(hint) in (Union, UnionType):
        rest = [a for a in get_args(hint) if a is not NoneType]
        if len(rest) == 1 and len(rest) != len(get_args(hint)):
            return _unwrapped(rest[0])
    if get_origin(hint) is Annotated:
        inner, *rules = get_args(hint)
        return inner, tuple(rules)
    return hint, ()


__all__ = [
    "MAX_SIZE", "MAX_STEPS", "MAX_WINDOW", "AnyName", "Bins", "Blocks", "Choice", "Classes", "Components",
    "Count", "CountOrNone", "DataName", "Depth", "Extra", "Flag", "Fraction", "Inner", "Items", "Length", "Members",
    "Momentum", "NamedSizes", "Names", "NonNegative", "Offset", "Order", "Pad", "PadAlong", "Positive", "Range", "Real",
    "Renames", "Seed", "Shape", "Sizes", "Slot", "Steps", "Unit", "Width", "Widths", "Window", "slots",
]  # fmt: skip
