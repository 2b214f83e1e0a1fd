"""The moment at which each value of a reference sampler's network can be computed, in terms of the loops over
elements.

The elements of a sequence are drawn by one loop, over time; those of an image by two, over rows and columns. At every
level a value may be computed *early*, before the iteration draws its elements, or *late*, after. So there are four
moments for an image, in this order:

    a row, early   what reads rows above only                  (a vertical stack, after its shift)
    a pixel, early what the parameters of this pixel need
    a pixel, late  what reads this pixel                       (its embedding, a key, a value)
    a row, late    what reads this row to its end              (a vertical stack, before its shift)

Where the channels of a pixel are drawn one after the other, a value that reads some of them is computed *between*: before
each channel is drawn, the channel group that is known by then (`channel_groups.py`). A value whose elements become known
along two axes has no channel groups, and is computed again as a whole before each channel.

The moment of a value is the first at which each of its elements is known. It is found by the availability analysis
(tau) in which every element, once its moment is chosen, counts as known at that moment and not before: so delaying it
is accounted for in all that reads it. Elements that are not known in time (scores of later keys) are garbage; they
may be computed as long as nothing live reads them, which the same analysis shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mpcompile import ops
from mpcompile.analysis.dependence import environment_for
from mpcompile.ir import Abstract, Array, Domain, Input, Node, NoRule, Value, availability
from mpcompile.passes.base import Refused
from mpcompile.passes.incremental.channel_groups import ChannelGroups
from mpcompile.passes.incremental.recognise import Reference

#: A fact no moment is as late as.
NEVER = np.int32(1 << 30)

#: For each level of the loops the axis of a value that it runs over, or None.
Axes = tuple[int | None, ...]


@dataclass(frozen=True)
class Placement:
    """The place of a value in the loops.

    axes            the axes of the value that the loops run over
    level           the innermost loop that it is computed in (1 is the outermost)
    moments         `early`, `between` (before each channel of a pixel is drawn), `late`, or the last two
    channel_groups  which of its elements belong to which channel
    """

    axes: Axes
    level: int
    moments: frozenset[str]
    channel_groups: ChannelGroups | None = None

    @property
    def ready(self) -> bool:
        """Whether it is there, as far as it can be, when elements of this iteration are drawn."""
        return self.moments != LATE


EARLY, BETWEEN, LATE = frozenset({"early"}), frozenset({"between"}), frozenset({"late"})


@dataclass(frozen=True)
class Schedule:
    """Placement of every value that depends on the drawn elements, and what is known of all values."""

    levels: Axes  # the axis of x that each loop runs over
    placed: Mapping[Value, Placement]
    nodes: tuple[Node, ...]  # that are computed in the loops, in order
    static: tuple[Node, ...]  # that can be computed before them
    facts: Mapping[Value, Abstract]


def loops(ref: Reference) -> Axes:
    """Return the axes of x over which elements are drawn one by one. Raises `Refused`."""
    if ref.ranks is None or np.array_equal(ref.ranks, np.arange(ref.ranks.size)):
        return (1,)
    if ref.ranks.ndim == 3 and np.array_equal(
        np.moveaxis(ref.ranks, 0, 2).reshape(-1), np.arange(ref.ranks.size)
    ):
        return (2, 3)
    raise Refused(ref.node, "draws its elements in an order that no loops over rows and columns follow")


def schedule(ref: Reference) -> Schedule:
    """Place every value of the network in the loops.

    Raises `Refused`, naming the layer that cannot be run a step at a time.
    """
    levels = loops(ref)
    nodes = ref.body.made_of(ref.drawn, *ref.delays.values())
    width = max((hi - lo for n in nodes for lo, hi in n.reach.values()), default=0)
    env = environment_for(ref.body, max(8, width + 2))
    clock = _Clock(levels, ref.x.type.concrete(env), ref.channels)
    domain = availability()
    facts: dict[Value, Abstract] = {}
    placed: dict[Value, Placement] = {}
    finals: set[Value] = set()  # last carries of recurrences: known when all is drawn
    for node in nodes:
        if isinstance(node.op, Input):
            (value,) = node.outputs
            if value == ref.step:
                raise Refused(ref.node, "uses the number of the step in its network")
            shape = value.type.concrete(env)
            facts[value] = domain.make(shape)
            if value == ref.x:
                drawn = ChannelGroups(1, tuple(range(1, ref.channels + 1))) if ref.channels > 1 else None
                placed[value] = Placement(levels, len(levels), BETWEEN | LATE, drawn)
                facts[value] = domain.make(shape, clock.drawn(shape, 1)[..., None])
            elif value in ref.delays:  # the row above, as the iteration of this row begins
                placed[value] = Placement(levels, 1, EARLY)
                facts[value] = domain.make(shape, clock.early(shape, levels, 1)[..., None])
            continue
        if not finals.isdisjoint(node.inputs):
            raise Refused(node, "reads the last state of a recurrence over what is drawn")
        try:
            results = node.op.bind(env).depend(domain, *(facts[v] for v in node.inputs))
            axes = _axes(node, placed, len(levels))
        except NoRule as missing:
            raise Refused(node, str(missing)) from missing
        for value, fact in zip(node.outputs, results, strict=True):
            if (
                axes is not None
                and isinstance(node.op, ops.Scan)
                and value in node.op.divide(node.outputs)[0]
            ):
                finals.add(value)
            elif axes is not None:
                placed[value], fact = clock.place(node, axes, fact, domain)
            facts[value] = fact
    final, last = placed.get(ref.drawn), ref.body.node(ref.drawn)
    if final is None or final.axes != levels or final.level != len(levels) or not final.ready:
        raise Refused(last, "is not known in time to draw from it")
    given = facts[ref.drawn]
    if (given.full()[..., 0] > clock.drawn(given.shape, 0)).any():
        raise Refused(last, "reads elements that are not drawn yet")
    for above in ref.delays.values():
        known = facts[above].full()[..., 0]
        if placed[above].axes != levels or (known > clock.late(facts[above].shape, levels, 1)).any():
            raise Refused(ref.body.node(above), "is carried from row to row and not known at the end of one")
    inner = [n for n in nodes if not isinstance(n.op, Input)]
    moving = tuple(n for n in inner if n.outputs[-1] in placed)
    static = tuple(n for n in inner if n.outputs[-1] not in placed)
    return Schedule(levels, placed, moving, static, facts)


def _axes(node: Node, placed: Mapping[Value, Placement], count: int) -> Axes | None:
    """Axes of the result that the loops run over; None for a node that does not depend on what is drawn."""
    if not any(v in placed for v in node.inputs):
        return None
    maps, reach = node.along, node.reach
    found: list[int | None] = []
    for level in range(count):
        options = []
        for v, moves in zip(node.inputs, maps, strict=True):
            axis = placed[v].axes[level] if v in placed and placed[v].axes else None
            if axis is not None and (axis in moves or axis in reach):
                options.append(moves.get(axis, axis))
        found.append(min(options, default=None))
    return tuple(found)


@dataclass(frozen=True)
class _Clock:
    """Moments as numbers.

    With n loops and c channels that are drawn one after the other, an iteration of the innermost has

    0 .. n - 1       early, from the outermost loop inwards
    n + 2 s          before channel s is drawn, and n + 2 s + 1 after
    n + 2 c ..       late, from the innermost loop outwards
    """

    levels: Axes
    shape: tuple[int, ...]  # of x
    channels: int

    def _begin(self, shape: tuple[int, ...], axes: Axes, level: int, last: bool) -> Array:
        """Return the moment at which the iteration of each element begins.

        Of the loops further in it is their first iteration, or with `last` their last one.
        """
        place = np.zeros((1,) * len(shape), np.int64)
        for i, (axis, own) in enumerate(zip(self.levels, axes, strict=True)):
            assert axis is not None
            inner = int(np.prod([self.shape[a] for a in self.levels[i + 1 :] if a is not None]))
            if i < level:
                assert own is not None
                index = np.arange(shape[own]).reshape([-1 if a == own else 1 for a in range(len(shape))])
            else:
                index = np.full(place.shape, self.shape[axis] - 1 if last else 0)
            place = place + index * inner
        return place * 2 * (len(self.levels) + self.channels)

    def early(self, shape: tuple[int, ...], axes: Axes, level: int) -> Array:
        return (self._begin(shape, axes, level, False) + level - 1).astype(np.int32)

    def late(self, shape: tuple[int, ...], axes: Axes, level: int) -> Array:
        n = len(self.levels)
        begin = self._begin(shape, axes, level, True)
        return (begin + n + 2 * self.channels + n - level).astype(np.int32)

    def drawn(self, shape: tuple[int, ...], after: int) -> Array:
        """Just before, or after, each element of x is drawn."""
        begin = self._begin(shape, self.levels, len(self.levels), False)
        channel = np.arange(self.channels).reshape(-1, *(1,) * (len(shape) - 2)) if self.channels > 1 else 0
        return (begin + len(self.levels) + 2 * channel + after).astype(np.int32)

    def place(self, node: Node, axes: Axes, fact: Abstract, domain: Domain) -> tuple[Placement, Abstract]:
        """The first moment at which all is known, and the facts as they are from then on."""
        n = len(self.levels)
        if axes[0] is None and isinstance(node.op, ops.Reshape):
            raise Refused(
                node, "joins the axes along which elements are drawn: what it gives has no place in the order"
            )
        if axes[0] is None:
            raise Refused(node, "reads all that is drawn at once: it has no place in the order")
        deepest = next((i for i, a in enumerate(axes) if a is None), n)
        known, shape = fact.facts[..., 0], fact.shape
        in_time = known <= self.late(shape, axes, 1)

        def all_by(limit: Array) -> bool:
            return bool(np.logical_or(known <= limit, ~in_time).all())

        def snapped(limit: Array) -> Abstract:
            facts = np.where(in_time, limit, NEVER)
            return domain.make(shape, facts[..., None], fact.zero, fact.neginf, fact.constant)

        for level in range(1, deepest + 1):
            if all_by(limit := self.early(shape, axes, level)):
                return Placement(axes, level, EARLY), snapped(limit)
        for level in range(deepest, 0, -1):
            if all_by(limit := self.late(shape, axes, level)):
                if level == n and self.channels > 1:
                    return self._between(axes, np.where(in_time, known, NEVER), shape, limit, snapped)
                return Placement(axes, level, LATE), snapped(limit)
        raise AssertionError("what is in time is known at the last moment")

    def _between(
        self,
        axes: Axes,
        known: Array,
        shape: tuple[int, ...],
        late: Array,
        snapped: Callable[[Array], Abstract],
    ) -> tuple[Placement, Abstract]:
        """Each element is known from the first channel on before which it can be computed; those of a group together."""
        n = len(self.levels)
        begin = self._begin(shape, axes, n, False)
        before = np.clip(-(-(known.astype(np.int64) - begin - n) // 2), 0, self.channels)
        before = np.broadcast_to(before, shape)
        groups = _groups(before, {0, *(a for a in axes if a is not None)})
        if groups is not None:
            before = np.asarray(groups.stage_of).reshape(
                [-1 if a == groups.axis else 1 for a in range(len(shape))]
            )
        moments = np.where(before < self.channels, begin + n + 2 * before, late).astype(np.int32)
        when = (BETWEEN if (before < self.channels).any() else frozenset()) | (
            LATE if (before >= self.channels).any() else frozenset()
        )
        return Placement(axes, n, when, groups), snapped(moments)


def _groups(before: Array, same: set[int]) -> ChannelGroups | None:
    """Elements by the channel before which they are known, at any place along the axes `same`; None where that differs
    along several other axes."""
    others = [a for a in range(before.ndim) if a not in same]
    latest = before.max(tuple(same), keepdims=True)
    moving = [a for a in others if (latest != latest.take([0], a)).any()]
    if len(moving) > 1 or not others:
        return None
    axis = (moving or others)[0]
    along = latest.max(tuple(a for a in range(before.ndim) if a != axis))
    return ChannelGroups(axis, tuple(int(w) for w in along))
