"""Plan the state of the loops: values that are read beside their own place, and states of recurrences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mpcompile import ops
from mpcompile.ir import Node, Range, Value
from mpcompile.passes.base import Refused
from mpcompile.passes.incremental.buffers import Carry, Ring, Rows, resized
from mpcompile.passes.incremental.loop import named
from mpcompile.passes.incremental.offsets import offsets
from mpcompile.passes.incremental.recognise import Reference
from mpcompile.passes.incremental.schedule import EARLY, Placement, Schedule


@dataclass
class State:
    """Stores by the value that they keep, and carries by the result of the recurrence whose state they are."""

    ref: Reference
    plan: Schedule
    static: Mapping[Value, Value]
    slot: Callable[[int | None, int], Value]
    stores: dict[Value, Ring | Rows] = field(default_factory=dict)
    states: dict[Value, Carry] = field(default_factory=dict)

    @staticmethod
    def of(
        ref: Reference,
        plan: Schedule,
        static: Mapping[Value, Value],
        slot: Callable[[int | None, int], Value],
    ) -> State:
        """Plan the state for everything that the nodes of a schedule read.

        Raises `Refused` where a value cannot be kept.
        """
        kept = State(ref, plan, static, slot)
        for node in plan.nodes:
            for inner in plan.regions[node.id].nodes if node.id in plan.regions else (node,):
                kept.reserve(inner)
        for above in ref.delays.values():
            kept._keep_rows(above, Placement(plan.levels, 1, EARLY), [(-1, -1)])
        return kept

    def reserve(self, node: Node) -> None:
        """Stores for what a node reads beside its own place."""
        own = self.plan.placed[node.outputs[-1]]
        reach = offsets(node, self.plan.facts)
        for i, v in enumerate(node.inputs):
            if v not in self.plan.placed:
                continue
            ranges = self._ranges(node, i, v, own, reach)
            if ranges is None:
                self._keep_all(node, v)
            elif len(own.axes) == 1:
                self._keep_ring(node, v, ranges[0])
            else:
                self._keep_rows(v, own, ranges)
        if isinstance(node.op, ops.Scan | ops.CumSum) and node.op.axis == own.axes[0]:
            self._keep_state(node, own)

    def _ranges(
        self, node: Node, i: int, v: Value, own: Placement, reach: dict[int, Range]
    ) -> list[Range] | None:
        """Offsets at which input i is read, for each loop; None when it is read along its whole axis."""
        moves, found = node.along[i], []
        for level in range(own.level):
            axis, out = self.plan.placed[v].axes[level], own.axes[level]
            if axis is not None and moves.get(axis) == out:
                found.append((0, 0))
            elif i == 0 and axis is not None and axis == out and axis in reach:
                found.append(reach[axis])
            elif isinstance(node.op, ops.Scan) and axis == node.op.axis:
                found.append((0, 0))
            else:
                return None
        return found

    def _name(self, v: Value) -> str:
        if v == self.ref.x:
            return "x"
        bodies = (self.ref.body, *(region.body for region in self.plan.regions.values()))
        return named(next(body.node(v) for body in bodies if v in body))

    def _keep_all(self, node: Node, v: Value) -> None:
        if len(self.plan.levels) > 1:
            raise Refused(node, "reads all of an image at once")
        axis = self.plan.placed[v].axes[0]
        assert axis is not None
        self.stores[v] = Ring(Carry(v.type, name=self._name(v)), axis, None, self.slot)

    def _keep_ring(self, node: Node, v: Value, span: Range) -> None:
        first, last = span
        if last > 0:
            raise Refused(node, f"reads {last} steps ahead of its own place")
        axis, known = self.plan.placed[v].axes[0], self.stores.get(v)
        assert axis is not None
        if first == 0 or (isinstance(known, Ring) and known.length is None):
            return
        length = max(1 - first, (known.length or 0) if isinstance(known, Ring) else 0)
        kept = Carry(v.type.with_shape(resized(v.shape, axis, length)), name=self._name(v))
        self.stores[v] = Ring(kept, axis, length, self.slot)

    def _keep_rows(self, v: Value, own: Placement, ranges: list[Range]) -> None:
        at = self.plan.placed[v]
        upwards = at.level > own.level  # a row that is read whole, after it was computed pixel by pixel
        if not upwards and all(r == (0, 0) for r in ranges):
            return
        known = self.stores.get(v)
        left, right = known.margins if isinstance(known, Rows) else (0, 0)
        count = max(known.count if isinstance(known, Rows) else 0, -ranges[0][0])
        if own.level == 2:
            left, right = max(left, -ranges[1][0]), max(right, ranges[1][1])
        row, column = at.axes
        width = v.shape[column] if column is not None else None
        if row is None or column is None or not isinstance(width, int):
            raise Refused(self.ref.body.node(v), "has no rows of a fixed length")
        wide = resized(v.shape, column, width + left + right)
        name = self._name(v)
        current = Carry(v.type.with_shape(resized(wide, row, 1)), name=f"{name}_row")
        past = Carry(v.type.with_shape(resized(wide, row, count)), name=f"{name}_above") if count else None
        self.stores[v] = Rows(current, past, count, (row, column), (left, right), width)

    def _keep_state(self, node: Node, own: Placement) -> None:
        if own.level != 1:
            raise Refused(node, "is a recurrence inside of a row")
        if isinstance(node.op, ops.CumSum):
            shape = resized(node.types[0].shape, node.op.axis, 1)
            self.states[node.outputs[0]] = Carry(node.types[0].with_shape(shape), name="total")
            return
        assert isinstance(node.op, ops.Scan)
        starts, _, captured = node.op.split(node.inputs)
        if any(v in self.plan.placed for v in (*starts, *captured)):
            raise Refused(node, "starts from, or uses in every step, what is drawn")
        for v, start in zip(node.outputs, starts, strict=False):
            self.states[v] = Carry(v.type, self.static[start], name=f"{named(node)}_state")
