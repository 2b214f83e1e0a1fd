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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mpcompile import ops
from mpcompile.analysis.dependence import environment_for
from mpcompile.ir import Abstract, Array, Domain, Graph, Input, Node, NoRule, Value, availability
from mpcompile.ir.facts import same
from mpcompile.ops.control import position
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
class Region:
    """The nodes of an iteration of a region by when they are computed, each in order.

    nodes      in the loops
    alike      before them, and the same in every iteration
    prepared   before them, from the weights of an iteration
    views      of weights and of what is prepared, which cost nothing in the loops
    """

    body: Graph
    nodes: tuple[Node, ...]
    alike: tuple[Node, ...]
    prepared: tuple[Node, ...]
    views: tuple[Node, ...]

    @staticmethod
    def of(op: ops.Repeat, placed: Mapping[Value, Placement], nodes: Sequence[Node]) -> Region:
        """Sort the nodes of a body of which some are placed."""
        static = [n for n in nodes if n.outputs[-1] not in placed]
        own = set(op.formals.scanned.values())
        alike, prepared = list[Node](), list[Node]()
        for n in static:
            (alike if own.isdisjoint(n.inputs) else prepared).append(n)
            if not own.isdisjoint(n.inputs):
                own.update(n.outputs)
        # a view that nothing prepared reads is taken where it is needed
        views, read = list[Node](), set[Value]()
        for n in reversed(prepared):
            if n.view and read.isdisjoint(n.outputs):
                views.insert(0, n)
            else:
                read.update(n.inputs)
        rest = tuple(n for n in prepared if n not in views)
        return Region(
            op.body, tuple(n for n in nodes if n.outputs[-1] in placed), tuple(alike), rest, tuple(views)
        )


@dataclass(frozen=True)
class Schedule:
    """Placement of every value that depends on the drawn elements, and what is known of all values."""

    levels: Axes  # the axis of x that each loop runs over
    placed: Mapping[Value, Placement]
    nodes: tuple[Node, ...]  # that are computed in the loops, in order
    static: tuple[Node, ...]  # that can be computed before them
    facts: Mapping[Value, Abstract]
    regions: Mapping[int, Region] = field(default_factory=dict)  # by their nodes


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
    widths = [hi - lo for n in _all(nodes) for lo, hi in n.reach.values()]
    env = environment_for(ref.body, max(8, max(widths, default=0) + 2))
    clock = _Clock(levels, ref.x.type.concrete(env), ref.channels)
    found = _Scheduler(ref, levels, clock, env)
    found.visit(nodes)
    placed, facts = found.placed, found.facts
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
    return Schedule(levels, placed, moving, static, facts, found.regions)


def _all(nodes: Iterable[Node]) -> Iterator[Node]:
    """Nodes, and in place of a region those of its body."""
    for node in nodes:
        if isinstance(node.op, ops.Repeat):
            yield from _all(node.op.body.nodes())
        else:
            yield node


class _Scheduler:
    """Finds what is known of values, and places those that depend on the drawn elements, node after node."""

    def __init__(self, ref: Reference, levels: Axes, clock: _Clock, env: Mapping[str, int]) -> None:
        self.ref, self.levels, self.clock, self.env = ref, levels, clock, env
        self.domain = availability()
        self.facts: dict[Value, Abstract] = {}
        self.placed: dict[Value, Placement] = {}
        self.regions: dict[int, Region] = {}
        self.finals: set[Value] = set()  # last carries of recurrences: known when all is drawn

    def visit(self, nodes: Iterable[Node]) -> None:
        """Place the results of nodes. Raises `Refused`."""
        for node in nodes:
            if isinstance(node.op, Input):
                self._input(node)
            elif isinstance(node.op, ops.Repeat) and any(v in self.placed for v in node.inputs):
                self._region(node, node.op)
            else:
                self._node(node)

    def _input(self, node: Node) -> None:
        ref, domain, levels = self.ref, self.domain, self.levels
        (value,) = node.outputs
        if value == ref.step:
            raise Refused(ref.node, "uses the number of the step in its network")
        shape = value.type.concrete(self.env)
        self.facts[value] = domain.make(shape)
        if value == ref.x:
            drawn = ChannelGroups(1, tuple(range(1, ref.channels + 1))) if ref.channels > 1 else None
            self.placed[value] = Placement(levels, len(levels), BETWEEN | LATE, drawn)
            self.facts[value] = domain.make(shape, self.clock.drawn(shape, 1)[..., None])
        elif value in ref.delays:  # the row above, as the iteration of this row begins
            self.placed[value] = Placement(levels, 1, EARLY)
            self.facts[value] = domain.make(shape, self.clock.early(shape, levels, 1)[..., None])

    def _node(self, node: Node) -> None:
        facts, placed = self.facts, self.placed
        if not self.finals.isdisjoint(node.inputs):
            raise Refused(node, "reads the last state of a recurrence over what is drawn")
        try:
            results = node.op.bind(self.env).depend(self.domain, *(facts[v] for v in node.inputs))
            axes = _axes(node, placed, len(self.levels))
        except NoRule as missing:
            raise Refused(node, str(missing)) from missing
        for value, fact in zip(node.outputs, results, strict=True):
            if (
                axes is not None
                and isinstance(node.op, ops.Scan)
                and value in node.op.divide(node.outputs)[0]
            ):
                self.finals.add(value)
            elif axes is not None:
                placed[value], fact = self.clock.place(node, axes, fact, self.domain)
            facts[value] = fact

    def _region(self, node: Node, op: ops.Repeat) -> None:
        """Place the values of an iteration, which stand for those of all of them.

        Facts of the last iteration that is looked at are those of all later ones, as it leaves them as it found them. A
        region stays one where each iteration finds values of the same place, and computes all at one moment.
        """
        starts, scanned, captured = op.split(node.inputs)
        formals, body, facts = op.formals, op.body, self.facts
        if op.divide(node.outputs)[1] or any(v in self.placed for v in scanned):
            raise Refused(node, "gives or takes values of each iteration")
        if any(n.op.bodies() for n in body.nodes()):
            raise Refused(node, "repeats a loop")
        for f, v in zip(formals.scanned.values(), scanned, strict=True):
            facts[f] = position(self.domain, facts[v], 0, 0)
        for f, v in zip(formals.captured.values(), captured, strict=True):
            facts[f] = facts[v]
            if v in self.placed:
                self.placed[f] = self.placed[v]
        known = {*formals.scanned.values(), *formals.captured.values(), formals.step}
        carries, given = list(formals.carries.values()), starts
        nodes = [n for n in body.nodes() if n.outputs[0] not in known | set(carries)]
        places: dict[Value, Placement] | None = None
        for _ in range(op.iterations([v.type for v in node.inputs])):
            if not all(v in self.placed for v in given):
                raise Refused(node, "carries what does not depend on drawn elements")
            before = [facts[v] for v in given]
            for f, v in zip(carries, given, strict=True):
                facts[f], self.placed[f] = facts[v], self.placed[v]
            self.visit(nodes)
            found = {v: self.placed[v] for n in nodes for v in n.outputs if v in self.placed}
            found |= {f: self.placed[f] for f in carries}
            if places is not None and places != found:
                raise Refused(node, "has iterations at several moments")
            places, given = found, list(body.outputs.values())
            if all(same(a, facts[v]) for a, v in zip(before, given, strict=True)):
                break
        own = self.placed[given[0]]
        if len(self.levels) > 1 or any(self.placed[n.outputs[-1]].moments != own.moments for n in nodes
                                       if n.outputs[-1] in self.placed):  # fmt: skip
            raise Refused(node, "has iterations at several moments")
        for value, made in zip(node.outputs, given, strict=True):
            self.placed[value], facts[value] = self.placed[made], facts[made]
        self.regions[node.id] = Region.of(op, self.placed, nodes)


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
