"""Emit the loops over time, or over rows and columns: each value computed once, at its moment, from the loops' state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from mpcompile import ops
from mpcompile.ir import Builder, Node, Primitive, Range, Shape, Type, Value, product
from mpcompile.ir.walk import inline
from mpcompile.ops import LoopBuilder
from mpcompile.ops import build as F
from mpcompile.passes.base import Refused
from mpcompile.passes.incremental.buffers import Carry, Ring, Rows, Size, resized, zeros
from mpcompile.passes.incremental.channel_groups import Elements, join
from mpcompile.passes.incremental.loop import close, hoist, open_loop, part_of
from mpcompile.passes.incremental.offsets import offsets
from mpcompile.passes.incremental.recognise import Reference
from mpcompile.passes.incremental.regions import Regions
from mpcompile.passes.incremental.schedule import Placement, Schedule
from mpcompile.passes.incremental.state import State


class LoopNest:
    """Builds the loops of one reference sampler into the graph of `outer`.

    static  value of the body that does not depend on what is drawn -> the same value in the outer graph
    step_values   value of the body -> what of it was computed in this iteration, with length one along the loops' axes
    loops     the graph around the loops, and the body of each
    builders  the same, but for the body of a region in place of that of its loop, while that is emitted
    still     the graph in which a step reads weights
    parts   value whose elements come in groups -> those of each stage (before a channel of the pixel, after the last)
    """

    def __init__(self, ref: Reference, plan: Schedule, outer: Builder, static: dict[Value, Value]) -> None:
        self.ref, self.plan, self.static = ref, plan, static
        self.builders = [outer]
        self.loops = [outer]
        self.still = outer
        self.regions = Regions(self)
        self.steps: list[Value] = []
        self.step_values: dict[Value, Value] = {}
        self.parts: dict[Value, dict[int, Value]] = {}
        self.stage = 0
        self.stores: dict[Value, Ring | Rows] = {}
        self.states: dict[Value, Carry] = {}
        self._parts: dict[tuple[Value, tuple[int | None, ...], int], Value] = {}
        self._slots: dict[tuple[int, int], Value] = {}
        self._taken: dict[tuple[Value, int, Elements], Value] = {}
        self._empty: dict[Type, Value] = {}

    # --- the graph around the loops ---

    def run(self) -> Value:
        """The drawn elements."""
        for node in self.plan.static:
            hoist(self.builders[0], node, self.static)
        self.regions.prepare()
        kept = State.of(self.ref, self.plan, self.static, self._slot)
        self.stores, self.states = kept.stores, kept.states
        return self._time() if len(self.plan.levels) == 1 else self._image()

    def _slot(self, length: int | None, lag: int) -> Value:
        """(step - lag) modulo length."""
        if length is None:
            return self.steps[0]
        if (length, lag) not in self._slots:
            outside, b = self.builders[0], self.loops[1]
            with b.within(outside.scope, outside.span):  # it belongs to no layer: many of them read it
                later = F.add(b, self.steps[0], b.constant(length - lag))
                slot = b.emit(ops.Modulo(length), later) if length > 1 else b.constant(0)
                self._slots[length, lag] = slot
        return self._slots[length, lag]

    # --- loops ---

    def _time(self) -> Value:
        x = self.ref.x
        kept = {v: s.carry for v, s in self.stores.items() if isinstance(s, Ring)} | self.states
        carries = self.regions.carries(kept)
        with self._inside(carries, 1, x.shape[1]) as loop:
            b = loop.body
            self._compute(1, "early")
            drawn = self._draw(b)
            self._compute(1, "late")
            y = F.reshape(b, drawn, (x.shape[0], *x.shape[2:]))
        return close(loop, carries, [y])[0]

    def _image(self) -> Value:
        x = self.ref.x
        rows = [s for s in self.stores.values() if isinstance(s, Rows)]
        kept = [s.past for s in rows if s.past is not None] + [*self.states.values()]
        inner = [s for v, s in self.stores.items() if isinstance(s, Rows) and self.plan.placed[v].level == 2]
        with self._inside(kept, 2, x.shape[2]) as over_rows:
            b = over_rows.body
            for s in inner:
                s.begin(b)
            for row, above in self.ref.delays.items():
                store = self.stores[above]
                assert isinstance(store, Rows)
                self.made(row, store.rows(b, -1, -1))
            self._compute(1, "early")
            current = [s.current for s in inner]
            with self._inside(current, 2, x.shape[3]) as over_pixels:
                c = over_pixels.body
                self._compute(2, "early")
                drawn = self._draw(c)
                self._compute(2, "late")
                y = F.reshape(c, drawn, x.shape[:2])
            (line,) = close(over_pixels, current, [y])
            self._compute(1, "late")
            for s in rows:
                s.end(b)
        return close(over_rows, kept, [line])[0]

    @contextmanager
    def _inside(self, carries: Sequence[Carry], axis: int, length: Size) -> Iterator[LoopBuilder]:
        with open_loop(self.builders[-1], carries, axis, length) as loop:
            self.builders.append(loop.body)
            self.loops.append(loop.body)
            self.steps.append(loop.step)
            yield loop
            self.builders.pop()
            self.loops.pop()
            self.steps.pop()

    def _draw(self, b: Builder) -> Value:
        """The elements of this iteration: at once, or channel by channel, with what reads some of them in between."""
        x, level = self.ref.x, len(self.plan.levels)
        if self.ref.channels == 1:
            self._compute(level, "between")
            self.made(x, self.step_values[self.ref.drawn])
            return self.step_values[x]
        for channel in range(self.ref.channels):
            self.stage = channel
            self._compute(level, "between")
            drawn = self._elements(b, self.ref.drawn, 1, (channel,))
            self.stage = channel + 1
            self.made(x, drawn)
        return self._step_value(x)

    def _compute(self, level: int, moment: str) -> None:
        """Compute every value that has its moment now."""
        for node in self.plan.nodes:
            own = self.plan.placed[node.outputs[-1]]
            if own.level != level or moment not in own.moments:
                continue
            elements = own.channel_groups.elements(self.stage) if own.channel_groups else None
            if elements == ():
                continue
            self.run_node(node, own, elements)

    def run_node(self, node: Node, own: Placement, elements: Elements | None = None) -> None:
        """Compute the results of a node, or some elements of them, in the loop of its level."""
        b = self.builders[own.level]
        role = "step" if len(self.plan.levels) == 1 else ("row", "pixel")[own.level - 1]
        with b.within(part_of(node.scope, role), node.span):
            for value, step_value in zip(node.outputs, self._node(b, node, own, elements), strict=True):
                if value in self.plan.placed:
                    self.made(value, step_value)

    def made(self, value: Value, step_value: Value) -> None:
        at = self.plan.placed[value]
        self.step_values[value] = step_value
        if at.channel_groups is not None:
            self.parts.setdefault(value, {})[self.stage] = step_value
            del self.step_values[value]
        store, level = self.stores.get(value), at.level
        b = self.builders[level]
        if isinstance(store, Ring):
            store.write(b, step_value)
        elif isinstance(store, Rows) and level == 1:
            store.write_row(b, step_value)
        elif isinstance(store, Rows):
            store.write_pixel(b, self._step_value(value), self.steps[1])

    def _step_value(self, v: Value) -> Value:
        """Return the step value of a value, with zeros for the channel groups that are still to come."""
        if v not in self.step_values:
            at, parts = self.plan.placed[v], dict(self.parts.get(v, {}))
            assert at.channel_groups is not None
            for stage in at.channel_groups.stages:
                if stage not in parts:
                    shape = resized(v.shape, at.channel_groups.axis, len(at.channel_groups.elements(stage)))
                    parts[stage] = self._zeros(v.type.with_shape(self._at_one(shape, at)))
            self.step_values[v] = join(self.builders[at.level], at.channel_groups, parts)
        return self.step_values[v]

    def _zeros(self, type: Type) -> Value:
        if type not in self._empty:
            self._empty[type] = zeros(self.builders[0], type)
        return self._empty[type]

    @staticmethod
    def _at_one(shape: Shape, at: Placement) -> Shape:
        """Return the shape of a step value: one place along the axes of the loops that it is computed in."""
        return tuple(1 if a in at.axes[: at.level] else s for a, s in enumerate(shape))

    def _elements(self, b: Builder, v: Value, axis: int, elements: Elements) -> Value:
        """Some elements of what was computed of a value in this iteration."""
        groups = self.plan.placed[v].channel_groups
        if groups is not None and groups.axis == axis:
            for stage, part in self.parts.get(v, {}).items():
                if groups.elements(stage) == elements:
                    return part
        return F.take(b, self._step_value(v), axis, np.asarray(elements))

    # --- one primitive ---

    def _node(self, b: Builder, node: Node, own: Placement, elements: Elements | None) -> Sequence[Value]:
        """The results of a primitive in this iteration, or some elements of them."""
        op = node.op
        match op:
            case ops.Repeat():
                return self.regions.run(b, node, own)
            case ops.Scan():
                return self._recurrence(b, node, own)
            case ops.CumSum() if op.axis == own.axes[0]:
                return self._running_sum(b, node, own)
            case ops.Conv():
                return self._conv(b, node, own, elements)
            case ops.Slice() if op.axis not in own.axes:
                pass
            case ops.Pad() | ops.Slice():
                return self._some(b, self._moved(b, node, own), own, elements)
        maps = [{out: a for a, out in moves.items()} for moves in node.along]
        if (
            elements is None
            or own.channel_groups is None
            or all(own.channel_groups.axis not in m for m in maps)
        ):
            inputs = [self._input(node, v, m, own, None) for v, m in zip(node.inputs, maps, strict=True)]
            return self._some(b, b.emit_all(self._shrunk(op, own), *inputs), own, elements)
        inputs = [self._input(node, v, m, own, elements) for v, m in zip(node.inputs, maps, strict=True)]
        return b.emit_all(self._shrunk(op, own, elements), *inputs)

    def _some(
        self, b: Builder, whole: Sequence[Value], own: Placement, elements: Elements | None
    ) -> Sequence[Value]:
        if elements is None or own.channel_groups is None:
            return whole
        return [F.take(b, v, own.channel_groups.axis, np.asarray(elements)) for v in whole]

    def _shrunk(self, op: Primitive, own: Placement, elements: Elements | None = None) -> Primitive:
        """The same primitive on a step value, or on some elements of it."""
        for axis in own.axes[: own.level]:
            op = op if axis is None else op.with_length(axis, 1)
        if elements is not None and own.channel_groups is not None:
            op = op.with_length(own.channel_groups.axis, len(elements))
        return op

    def _input(
        self, node: Node, v: Value, back: dict[int, int], own: Placement, elements: Elements | None
    ) -> Value:
        """Return what a primitive reads of an input; `back` gives its axis for an axis of the result."""
        axes = tuple(back.get(a) if a is not None else None for a in own.axes[: own.level])
        axis = (
            back.get(own.channel_groups.axis)
            if own.channel_groups is not None and elements is not None
            else None
        )
        if v not in self.plan.placed:
            return self._part(self._static(self.static[v], axis, elements), axes, own.level)
        if self.plan.placed[v].axes[: own.level] == axes:
            whole = self.own_place(node, v, own)
            if axis is None or elements is None:
                return whole
            b = self.builders[own.level]
            return (
                self._elements(b, v, axis, elements)
                if v in self.parts
                else F.take(b, whole, axis, np.asarray(elements))
            )
        store = self.stores[v]
        assert isinstance(store, Ring)
        return store.carry.value

    def _static(self, value: Value, axis: int | None, elements: Elements | None) -> Value:
        """Some elements of a static value, taken before the loops; all where it is the same for all."""
        if axis is None or elements is None or value.shape[axis] == 1:
            return value
        key = value, axis, elements
        if key not in self._taken:
            self._taken[key] = F.take(self.builders[0], value, axis, np.asarray(elements))
        return self._taken[key]

    def _part(self, value: Value, axes: tuple[int | None, ...], level: int) -> Value:
        """Return the part of a static value at this place."""
        for depth in range(1, level + 1):
            axis = axes[depth - 1]
            if axis is None or value.shape[axis] == 1:
                continue
            key = (value, axes, depth)
            if key not in self._parts or not self._there(self._parts[key], depth):
                b = self.builders[depth]
                b = b if value in b.graph else self.loops[depth]  # of all iterations of a region, once
                self._parts[key] = b.emit(ops.SliceAt(axis, 1), value, self.steps[depth - 1])
            value = self._parts[key]
        return value

    def _there(self, value: Value, depth: int) -> bool:
        return value in self.builders[depth].graph or value in self.loops[depth].graph

    def own_place(self, node: Node, v: Value, own: Placement) -> Value:
        """An input at the place of the result."""
        at = self.plan.placed[v]
        if at.level > own.level:
            store = self.stores[v]
            assert isinstance(store, Rows)
            return store.rows(self.builders[own.level], 0, 0)
        if (v not in self.step_values and at.channel_groups is None) or (own.ready and not at.ready):
            raise Refused(node, "reads its own place before it is drawn")
        step_value = self._step_value(v)
        return self._part(step_value, (None, at.axes[1]), own.level) if at.level < own.level else step_value

    def _at(self, b: Builder, node: Node, v: Value, ranges: Sequence[Range], own: Placement) -> Value:
        """An input at a stretch of places around that of the result."""
        store = self.stores.get(v)
        if all(r == (0, 0) for r in ranges) and not isinstance(store, Rows):
            return self.own_place(node, v, own)
        if isinstance(store, Ring):
            if store.length is None:
                raise Refused(node, "reads beside its place what another layer reads as a whole")
            first, last = ranges[0]
            return F.concat(
                b, [self._lag(b, node, v, store, -o, own) for o in range(first, last + 1)], store.axis
            )
        assert isinstance(store, Rows)
        if own.level == 1:
            return store.rows(b, *ranges[0])
        if all(r == (0, 0) for r in ranges):
            return self.own_place(node, v, own)
        return store.window(b, ranges[0], ranges[1], self.steps[1])

    def _lag(self, b: Builder, node: Node, v: Value, store: Ring, lag: int, own: Placement) -> Value:
        return self.own_place(node, v, own) if lag == 0 else store.read(b, lag)

    def _moved(self, b: Builder, node: Node, own: Placement) -> Sequence[Value]:
        """Padding and slicing: one element at an offset along the loops' axes, the primitive itself along others."""
        (v,), op, reach = node.inputs, node.op, offsets(node, self.plan.facts)
        axes = own.axes[: own.level]
        x = self._at(b, node, v, [reach.get(a, (0, 0)) for a in axes if a is not None], own)
        if isinstance(op, ops.Slice):
            return (x,) if op.axis in axes else b.emit_all(op, x)
        assert isinstance(op, ops.Pad)
        before, after = (
            tuple(0 if a in axes else n for a, n in enumerate(ns)) for ns in (op.before, op.after)
        )
        return b.emit_all(replace(op, before=before, after=after), x) if any((*before, *after)) else (x,)

    def _conv(self, b: Builder, node: Node, own: Placement, elements: Elements | None) -> Sequence[Value]:
        """A convolution at one place: its live taps, as a matrix product where there are no groups."""
        op, (v, w) = node.op, node.inputs
        assert isinstance(op, ops.Conv)
        if w in self.plan.placed or set(own.axes) != {2 + i for i in range(len(own.axes))}:
            raise Refused(node, "has a kernel that is drawn")
        reach, weight, outer = offsets(node, self.plan.facts), self.static[w], self.still
        padding, ranges = list(op.padding), []
        for level in range(own.level):
            (first, last), low, d = reach[2 + level], op.padding[level][0], op.dilation[level]
            start, stop = (first + low) // d, (last + low) // d + 1
            if stop - start != w.shape[2 + level]:
                weight = F.slice_axis(outer, weight, 2 + level, start, stop)
            padding[level] = (0, 0)
            ranges.append((first, last))
        if (
            elements is not None
            and own.channel_groups is not None
            and own.channel_groups.axis == 1
            and op.groups == 1
        ):
            weight, elements = self._static(weight, 0, elements), None
        store, dilated = self.stores.get(v), any(d > 1 for d in op.dilation)
        if isinstance(store, Ring) and op.groups == 1:  # only the taps themselves, however far apart
            steps = range(ranges[0][0], ranges[0][1] + 1, op.dilation[0])
            x = F.concat(b, [self._lag(b, node, v, store, -o, own) for o in steps], 2)
        else:
            x = self._at(b, node, v, ranges, own)
            if op.groups > 1 or own.level < len(op.padding) or dilated:
                results = b.emit_all(replace(op, padding=tuple(padding)), x, weight)
                return self._some(b, results, own, elements)
        matrix = F.transpose(outer, _flat(outer, weight), 1, 0)
        y = b.emit(ops.MatMul(), _flat(b, x), matrix)
        y = F.reshape(b, y, (x.shape[0], weight.shape[0], *(1,) * len(op.padding)))
        return self._some(b, [y], own, elements)

    def _running_sum(self, b: Builder, node: Node, own: Placement) -> Sequence[Value]:
        op, state = node.op, self.states[node.outputs[0]]
        assert isinstance(op, ops.CumSum)
        before = state.value
        state.now = F.add(b, before, self.own_place(node, node.inputs[0], own))
        return (before if op.exclusive else state.value,)

    def _recurrence(self, b: Builder, node: Node, own: Placement) -> Sequence[Value]:
        """One step of a recurrence, its body in place."""
        op = node.op
        assert isinstance(op, ops.Scan)
        states = [self.states[v] for v in op.divide(node.outputs)[0]]
        formals, (_, scanned, captured) = op.formals, op.split(node.inputs)
        moved = {h: s.value for h, s in zip(formals.carries.values(), states, strict=True)}
        for x, v in zip(formals.scanned.values(), scanned, strict=True):
            drawn = v in self.plan.placed
            part = self.own_place(node, v, own) if drawn else self._part(self.static[v], (op.axis,), 1)
            moved[x] = F.reshape(b, part, x.shape)
        moved |= {f: self.static[v] for f, v in zip(formals.captured.values(), captured, strict=True)}
        moved[formals.step] = self.steps[0]
        role = b.scope[-1].role if b.scope else "step"
        moved = inline(b, op.body, moved, lambda scope: part_of(scope, role))
        following, ys = op.divide([moved[v] for v in op.body.outputs.values()])
        for s, v in zip(states, following, strict=True):
            s.now = v
        types = op.divide(node.types)[1]
        steps = [F.reshape(b, y, resized(t.shape, op.axis, 1)) for y, t in zip(ys, types, strict=True)]
        return [*following, *steps]


def _flat(b: Builder, x: Value) -> Value:
    """[A, ...] as a matrix."""
    return F.reshape(b, x, (x.shape[0], product(x.shape[1:])))
