"""Resolve names of axes to positions where a value comes to a layer, and bring them back to its result.

A layer says which parts of a value it acts on, in the order in which its `forward` has them. Each part is found by name
or role, and never by rank, size or place. Axes that a layer does not act on go with the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from mpcompile import ops
from mpcompile.diagnostics import SpecError
from mpcompile.ir import Shape, Symbolic, Value, product, symbol
from mpcompile.ir.axes import CHANNEL, SPACES, Axes, Role, TwoReadings, role, shown
from mpcompile.layers.context import Context
from mpcompile.ops import build as F


class Part(Enum):
    """A part of the axes of a value.

    CHANNEL  the axis of channels, of size 1 where a value has none
    ORDERED  the ordered axis
    PLACES   any one axis but channels and classes; several that `over =` names are one, in that order
    SPACE    all axes of space
    POOLED   all axes of space, or where there are none the ordered axes; none at all for a vector
    REST     all others, where the layer has them by themselves; without this part they go with the batch
    """

    CHANNEL = auto()
    ORDERED = auto()
    PLACES = auto()
    SPACE = auto()
    POOLED = auto()
    REST = auto()


_SPACES = (*SPACES[3], *SPACES[1])
_LEADS = (Part.ORDERED, Part.PLACES, Part.SPACE, Part.POOLED)


@dataclass(frozen=True)
class Acts:
    """The parts that a layer acts on.

    parts   in the order in which `forward` has them, behind the batch; none for a layer that acts on single elements or
            names its result itself
    gives   those of the result, in its order
    inside  whether the value comes as it is, and the layer asks where its parts are (`position`)
    spaces  fewest and most axes of space
    sized   whether the sizes of space must be numbers
    """

    parts: tuple[Part, ...] = ()
    gives: tuple[Part, ...] | None = None
    inside: bool = False
    spaces: tuple[int, int] = (1, 3)
    sized: bool = False

    @property
    def result(self) -> tuple[Part, ...]:
        return self.parts if self.gives is None else self.gives

    @property
    def lead(self) -> Part | None:
        """The part that `over =` names; None where that is the axis of channels."""
        return next((p for p in self.parts if p in _LEADS), None)


#: What layers act on, in the order of the axes of their arguments.
ELEMENTS = Acts()
CHANNELS = Acts((Part.CHANNEL,), inside=True)
POOLED = Acts((Part.CHANNEL, Part.POOLED), inside=True)
LAST = Acts((Part.REST, Part.CHANNEL))
SEQUENCE = Acts((Part.ORDERED, Part.CHANNEL))
TOKENS = Acts((Part.PLACES, Part.CHANNEL))
STEPS = Acts((Part.ORDERED, Part.REST))
SPACE = Acts((Part.CHANNEL, Part.SPACE))
IMAGE = Acts((Part.CHANNEL, Part.SPACE), spaces=(2, 2), sized=True)


def described(ctx: Context, x: Value) -> str:
    """Return the axes of a value as messages print them."""
    return shown(ctx.axes_of(x), ctx.sizes_of(x))


def two_readings(two: TwoReadings, sizes: Sequence[int | Symbolic]) -> str:
    """Return what is wrong with sizes that can be read in two ways."""
    shapes = " or ".join(shown(axes, sizes) for axes in two.readings if axes)
    return f"[{', '.join(map(str, sizes))}] has " + (
        f"two readings: {shapes}" if shapes else "no usual names of axes"
    )


def two_readings_help(two: TwoReadings, sizes: Sequence[int | Symbolic]) -> str:
    """Return help for sizes that can be read in two ways."""
    readings = [shown(axes, sizes) for axes in two.readings if axes]
    return f"name the axes: {' or '.join(readings)}" if readings else "name the axes: [name: size, ...]"


# --- which axes ---


@dataclass(frozen=True)
class Picked:
    """The axes of a value by what a layer does to them; `channel` is None where the value has no such axis."""

    axes: Axes
    lead: Axes
    channel: str | None
    rest: Axes

    def of(self, part: Part) -> Axes:
        """The names of a part."""
        if part is Part.CHANNEL:
            return (self.channel or CHANNEL,)
        return self.rest if part is Part.REST else self.lead


def pick(ctx: Context, who: str, acts: Acts, x: Value, over: Axes | None) -> Picked:
    """Find the axes that a layer acts on. Raises MP213 where there is no such axis, or none is named of several."""
    axes, sizes = ctx.axes_of(x), dict(zip(ctx.axes_of(x), ctx.sizes_of(x), strict=True))
    for name in over or ():
        if name not in axes:
            raise ctx.fail("MP213", f"{who} is over `{name}`, and {described(ctx, x)} has no such axis",
                           help=f"its axes: {', '.join(axes) or 'none'}")  # fmt: skip
    roles = {name: role(name, size) for name, size in sizes.items()}
    lead: Axes = ()
    if acts.lead is not None:
        lead = over or _candidates(ctx, who, acts, x, roles)
    if over and len(over) > 1 and not acts.inside and acts.lead not in (Part.PLACES, Part.SPACE):
        raise ctx.fail("MP213", f"{who} is over one axis, and `over` names {len(over)}",
                       help="`merge` makes one axis of several")  # fmt: skip
    channel = next((n for n in axes if roles[n] is Role.CHANNEL and n not in lead), None)
    if acts.lead is None and over:
        channel = over[0]
    if channel is None and CHANNEL in lead and Part.CHANNEL in acts.parts:
        raise over_channel(ctx, who)
    kept = (*lead, *(over or ()), *((channel,) if Part.CHANNEL in acts.parts else ()))
    picked = Picked(axes, lead, channel, tuple(n for n in axes if n not in kept))
    numbers = [n for n in (channel, *(lead if acts.sized else ())) if n is not None]
    if Part.CHANNEL in acts.parts and (open_ := [n for n in numbers if not isinstance(sizes[n], int)]):
        raise ctx.fail("MP201", f"{who} needs a fixed size of `{open_[0]}`, got {described(ctx, x)}")
    return picked


def over_channel(ctx: Context, who: str) -> SpecError:
    """Return the error for a layer over the axis whose elements it takes together at each place, ready to raise."""
    return ctx.fail("MP213", f"{who} reads all of `channel` at each place, and is over `channel`",
                    help="`rename(channel = place)` makes places of the channels")  # fmt: skip


def _candidates(ctx: Context, who: str, acts: Acts, x: Value, roles: Mapping[str, Role]) -> Axes:
    match acts.lead:
        case Part.ORDERED:
            found, what = [n for n, r in roles.items() if r is Role.ORDERED], "an ordered axis"
        case Part.POOLED:
            by_role = ([n for n, r in roles.items() if r is kind] for kind in (Role.SPACE, Role.ORDERED))
            return tuple(next(filter(None, by_role), ()))
        case Part.SPACE:
            found, what = [n for n, r in roles.items() if r is Role.SPACE], _of_space(acts)
            if (
                acts.spaces[0] <= len(found) <= acts.spaces[1]
            ):  # a kernel is [depth, height, width], however declared
                return tuple(sorted(found, key=_SPACES.index))
        case _:
            aside = (Role.CHANNEL, Role.CLASS)
            found, what = [n for n, r in roles.items() if r not in aside], "an axis besides `channel`"
    if len(found) == 1 and acts.lead is not Part.SPACE:
        return (found[0],)
    others = [n for n, r in roles.items() if r is not Role.CHANNEL]
    named = found or others
    has = f"several: {', '.join(found)}" if len(found) > 1 else f"only {found[0]}" if found else "none"
    raise ctx.fail("MP213", f"{who} acts on {what}, and {described(ctx, x)} has {has}",
                   help=f"name it: {_with_over(ctx, who, named)}" if named else "")  # fmt: skip


def _of_space(acts: Acts) -> str:
    fewest, most = acts.spaces
    return f"{fewest} axes of space" if fewest == most else "axes of space (height, width, depth, place)"


def _with_over(ctx: Context, who: str, names: Sequence[str]) -> str:
    """The layer as a spec writes it, with the axes that it is over."""
    label = ctx.b.scope[-1].label if ctx.b.scope else who
    if not label.startswith(who) or label.endswith("..."):
        label = who
    over = f"over = {names[0]}"
    return f"{label[:-1]}, {over})" if label.endswith(")") else f"{label}({over})"


# --- into the order of a layer, and back ---


def ordered(ctx: Context, x: Value, axes: Axes) -> Value:
    """Transpose a value to an order of its axes, and add those that it has not, of size 1; return it named."""
    own, sizes, b = ctx.axes_of(x), dict(zip(ctx.axes_of(x), ctx.sizes_of(x), strict=True)), ctx.b
    batch = x.type.rank - len(own)
    order = [own.index(n) for n in axes if n in own]
    assert len(order) == len(own), f"{own} is not within {axes}"
    if order != sorted(order):
        x = F.transpose(b, x, *range(batch), *(batch + i for i in order))
    x = F.reshape(b, x, (*x.shape[:batch], *(sizes.get(n, 1) for n in axes)))
    return ctx.name_axes(x, axes)


def with_batch(ctx: Context, x: Value) -> Value:
    """Return a value of every example: a weight or a number is the same for all."""
    axes = ctx.axes_of(x)
    if x.type.rank > len(axes):
        return x
    return ctx.name_axes(ctx.b.emit(ops.BroadcastTo((symbol("N"), *x.shape)), x), axes)


@dataclass(frozen=True)
class Lift:
    """A value on its way through a layer.

    picked  its axes by what the layer does to them, and `sizes` of each
    value   as `forward` takes it
    merged  axes that have gone with the batch
    batch   sizes of the batch and of those
    """

    ctx: Context
    who: str
    acts: Acts
    picked: Picked
    sizes: Mapping[str, int | Symbolic]
    value: Value
    merged: Axes = ()
    batch: Shape = ()

    @staticmethod
    def of(ctx: Context, who: str, acts: Acts, x: Value, over: Axes | None) -> Lift:
        """Bring a value to a layer. Raises MP213, and MP201 for a size that must be a number."""
        x = with_batch(ctx, x)
        picked = pick(ctx, who, acts, x, over)
        sizes = dict(zip(picked.axes, ctx.sizes_of(x), strict=True))
        if acts.inside:
            if picked.channel is None:
                x = ordered(ctx, x, (*picked.axes, CHANNEL))
            return Lift(ctx, who, acts, picked, sizes, x)
        merged = picked.rest if Part.REST not in acts.parts else ()
        value, batch = _arranged(ctx, acts, picked, merged, x)
        return Lift(ctx, who, acts, picked, sizes, value, merged, batch)

    def beside(self, acts: Acts, x: Value, over: Axes | None = None) -> Value:
        """Another value that the layer reads, in the order of `acts`, with the same axes beside the batch.

        Raises MP214 where those differ.
        """
        ctx, x = self.ctx, with_batch(self.ctx, x)
        if over is None and acts.lead is Part.PLACES:
            left = [n for n in ctx.axes_of(x) if n not in (*self.merged, CHANNEL)]
            over = (left[0],) if len(left) == 1 else None
        picked = pick(ctx, self.who, acts, x, over)
        sizes = dict(zip(picked.axes, ctx.sizes_of(x), strict=True))
        if set(picked.rest) != set(self.merged) or any(sizes[n] != self.sizes[n] for n in self.merged):
            own = shown(tuple(self.sizes), list(self.sizes.values()))
            raise ctx.fail(
                "MP214", f"{self.who} reads {described(ctx, x)} beside {own}, whose other axes differ",
                help=f"`spread({', '.join(self.merged)})` repeats a value along an axis" if self.merged else "",
            )  # fmt: skip
        return _arranged(ctx, acts, picked, self.merged, x)[0]

    def result(self, y: Value, gives: tuple[Part, ...]) -> Value:
        """Give a layer's result its names, in the order of the value that it is made of."""
        ctx, b, picked = self.ctx, self.ctx.b, self.picked
        if self.acts.inside:
            return ctx.name_axes(y, picked.axes if picked.channel is not None else (*picked.axes, CHANNEL))
        names: Axes = (*self.merged, *(n for part in gives for n in picked.of(part)))
        inner = list(y.shape[1:])
        if Part.PLACES in gives:
            at = sum(len(picked.of(p)) for p in gives[: gives.index(Part.PLACES)])
            inner[at : at + 1] = [self.sizes[n] for n in picked.lead]
        y = ctx.name_axes(F.reshape(b, y, (*self.batch, *inner)), names)
        return ordered(ctx, y, self._order(names))

    def _order(self, names: Axes) -> Axes:
        """The names of a result in the order of the value; a new axis of channels stands before space, or last."""
        order = [n for n in self.picked.axes if n in names]
        for new in (n for n in names if n not in order):
            space = (
                [i for i, n in enumerate(order) if n in self.picked.lead]
                if self.acts.lead is Part.SPACE
                else []
            )
            order.insert(space[0] if space else len(order), new)
        return tuple(order)


def _arranged(ctx: Context, acts: Acts, picked: Picked, merged: Axes, x: Value) -> tuple[Value, Shape]:
    """Return a value in the order of a layer, its merged axes and the batch as one; and the sizes of those."""
    x = ordered(ctx, x, (*merged, *(n for part in acts.parts for n in picked.of(part))))
    batch, inner = x.shape[: 1 + len(merged)], list(x.shape[1 + len(merged) :])
    if acts.lead is Part.PLACES:
        at = sum(len(picked.of(p)) for p in acts.parts[: acts.parts.index(Part.PLACES)])
        inner[at : at + len(picked.lead)] = [product(inner[at : at + len(picked.lead)])]
    if not merged and len(inner) == x.type.rank - 1:
        return x, batch
    names = [n for part in acts.parts for n in picked.of(part)]
    if len(picked.lead) > 1 and acts.lead is Part.PLACES:
        names = [
            "_".join(picked.lead) if n == picked.lead[0] else n for n in names if n not in picked.lead[1:]
        ]
    return ctx.name_axes(F.reshape(ctx.b, x, (product(batch), *inner)), tuple(names)), batch


# --- values of one operation ---


def aligned(ctx: Context, who: str, values: Sequence[Value]) -> tuple[list[Value], Axes]:
    """Bring the operands of an element-wise operation together by the names of their axes; return the result's axes.

    Axes of one name are one axis. The largest operand has all axes, and gives their order. Raises MP214 for others: a
    size of 1 is not stretched.
    """
    largest = max(values, key=lambda v: len(ctx.axes_of(v)))
    axes, sizes = ctx.axes_of(largest), dict(zip(ctx.axes_of(largest), ctx.sizes_of(largest), strict=True))
    results = []
    for v in values:
        own = dict(zip(ctx.axes_of(v), ctx.sizes_of(v), strict=True))
        if any(name not in sizes or sizes[name] != size for name, size in own.items()):
            raise _apart(ctx, who, v, largest)
        results.append(beside(ctx, v, axes))
    return results, axes


def beside(ctx: Context, x: Value, axes: Axes) -> Value:
    """Bring a value to the order of axes, of which it has some: those that it has not are of size 1, and broadcast."""
    own = dict(zip(ctx.axes_of(x), ctx.sizes_of(x), strict=True))
    if own:
        x = ordered(ctx, x, tuple(n for n in axes if n in own))
    if len(own) == len(axes) or x.type.rank == 0:
        return x
    alone = x.type.rank == len(own)  # without a batch broadcasting adds what stands before the first axis
    start = next(i for i, n in enumerate(axes) if n in own) if alone else 0
    return F.reshape(ctx.b, x, (*(() if alone else x.shape[:1]), *[own.get(n, 1) for n in axes][start:]))


def _apart(ctx: Context, who: str, v: Value, largest: Value) -> SpecError:
    """The finding for operands that have no common axes or sizes."""
    own = dict(zip(ctx.axes_of(v), ctx.sizes_of(v), strict=True))
    sizes = dict(zip(ctx.axes_of(largest), ctx.sizes_of(largest), strict=True))
    both = f"{who} joins {described(ctx, largest)} and {described(ctx, v)}"
    if alone := [n for n in own if n not in sizes]:
        return ctx.fail("MP214", f"{both}, and `{alone[0]}` is an axis of the second alone",
                        help=f"spread({', '.join(alone)}, like = ...) repeats the first along it")  # fmt: skip
    name = next(n for n in own if sizes[n] != own[n])
    stretch = f"a size of 1 is not stretched: without the axis `{name}` a value is repeated along it"
    return ctx.fail("MP214", f"{both}, whose axis `{name}` has two sizes",
                    help=stretch if 1 in (own[name], sizes[name]) else "")  # fmt: skip


__all__ = [
    "CHANNELS", "ELEMENTS", "IMAGE", "LAST", "POOLED", "SEQUENCE", "SPACE", "STEPS", "TOKENS", "Acts", "Lift", "Part",
    "aligned", "beside", "described", "ordered", "over_channel", "pick", "two_readings", "two_readings_help",
    "with_batch",
]  # fmt: skip
