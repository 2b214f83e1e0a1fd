"""The parts of every value of a program, loops included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mpcompile import ops
from mpcompile.analysis.padding.parts import (
    Parts,
    Size,
)
from mpcompile.analysis.padding.rules import rule_of
from mpcompile.ir import (
    Constant,
    Graph,
    Input,
    Node,
    NoRule,
    Parameter,
    Symbolic,
    Type,
    Value,
    symbol,
    symbols,
)


@dataclass(frozen=True, slots=True)
class Reads:
    """A node that reads what is behind an end, in a loop or not."""

    node: Node


class Walk:
    """The parts of every value of a program; `reads` are the operations that read behind an end."""

    def __init__(self, graph: Graph, counted: Mapping[str, str]) -> None:
        """`counted`: the symbols that have a length, with the input that says it."""
        self.ends = set(counted)
        self.reads: list[Reads] = []
        lengths = {name: symbol(s) for s, name in counted.items()}
        self.known: dict[Value, Parts] = {}
        self.numbers: dict[Value, int] = {}
        for node in graph.nodes():
            if isinstance(node.op, Input):
                found = [Parts(counts=lengths.get(node.op.path))]
            else:
                found = self.node(node, [self.known[v] for v in node.inputs])
            self.known.update(zip(node.outputs, found, strict=True))

    def axes(self, type_: Type) -> list[int]:
        """Axes along which sequences end."""
        return [i for i, s in enumerate(type_.shape) if not isinstance(s, int) and symbols(s) & self.ends]

    def node(self, node: Node, inputs: Sequence[Parts]) -> list[Parts]:
        """Parts of the results of a node."""
        if isinstance(node.op, ops.Scan):
            return self.loop(node, node.op, inputs)
        if isinstance(node.op, Parameter):
            return [Parts()]
        if (
            isinstance(node.op, Constant)
            and node.op.stored.size == 1
            and float(node.op.stored.item()).is_integer()
        ):
            self.numbers[node.outputs[0]] = int(node.op.stored.item())
        found = rule_of(node.op)(self, node, inputs)
        found = replace(found, behind={a: found.behind.get(a) for a in self.axes(node.types[0])})
        if not found.clean and all(x.clean for x in inputs):
            self.reads.append(Reads(node))
        return [found] * len(node.types)

    # --- loops ---

    def loop(self, node: Node, op: ops.Scan, inputs: Sequence[Parts]) -> list[Parts]:
        """Steps before the end, then those behind it; the other way round in reverse.

        Raises `NoRule` for steps along an axis that the batch is merged with.
        """
        carries, scanned, captured = op.split(inputs)
        size = op.trip_count([v.type for v in node.inputs])
        ends = isinstance(size, Symbolic) and bool(symbols(size) & self.ends)
        if ends and "N" in symbols(size):  # the batch is merged with it, and ends recur
            raise NoRule(op, "padding")
        before = [_slice(x, op.axis, behind=False) for x in scanned]
        if not ends:
            carries, ys = self._steps(op, carries, [*before, *captured], None)
            return [*carries, *(_stacked(y, op.axis) for y in ys)]
        behind = [_slice(x, op.axis, behind=True) for x in scanned]
        first, then = (behind, before) if op.reverse else (before, behind)
        carries, ys = self._steps(op, carries, [*first, *captured], size if op.reverse else None)
        carries, others = self._steps(op, carries, [*then, *captured], None if op.reverse else size)
        real, late = (others, ys) if op.reverse else (ys, others)
        if not all(c.clean for c in carries) and all(x.clean for x in inputs) and not self.reads:
            self.reads.append(Reads(node))
        return [*carries, *(_stacked(y, op.axis, z) for y, z in zip(real, late, strict=True))]

    def _steps(
        self, op: ops.Scan, carries: Sequence[Parts], given: Sequence[Parts], behind: Size | None
    ) -> tuple[list[Parts], list[Parts]]:
        """Carries and results after any number of steps; steps `behind` the end of an axis must leave carries alone."""
        state = [replace(c, same=i, steps=None, counts=None) for i, c in enumerate(carries)]
        step = Parts() if behind is None else Parts(steps=(-1, behind, 0))
        while True:
            kept = len(self.reads)
            known = dict(zip(op.body.inputs.values(), [*state, *(replace(g, same=None) for g in given), step],
                             strict=True))  # fmt: skip
            for node in op.body.nodes():
                if not isinstance(node.op, Input):
                    known.update(
                        zip(node.outputs, self.node(node, [known[v] for v in node.inputs]), strict=True)
                    )
            handed, ys = op.divide([known[v] for v in op.body.outputs.values()])
            following = []
            for i, (old, new) in enumerate(zip(state, handed, strict=True)):
                alone = new.same == i
                clean = old.clean and (alone if behind is not None else new.clean)
                real = old.real if alone or old.real == new.real else None
                kinds = {a: k if new.behind.get(a) == k else None for a, k in old.behind.items()}
                following.append(Parts(clean, real, kinds, same=i))
            if following == state:
                return [replace(c, same=None) for c in state], [replace(y, same=None) for y in ys]
            del self.reads[kept:]
            state = following


def _slice(x: Parts, axis: int, behind: bool) -> Parts:
    """One step of a scanned value, before or behind the end of its axis."""
    kinds = {a - (a > axis): k for a, k in x.behind.items() if a != axis}
    if not behind:
        return Parts(x.clean, x.real, kinds)
    kind = x.behind.get(axis)
    return Parts(kind is not None, kind, dict.fromkeys(kinds, kind))


def _stacked(real: Parts, axis: int, behind: Parts | None = None) -> Parts:
    kinds = {a + (a >= axis): k for a, k in real.behind.items()}
    if behind is not None:
        kinds[axis] = behind.real if all(k == behind.real for k in behind.behind.values()) else None
    return Parts(real.clean, real.real, kinds)
