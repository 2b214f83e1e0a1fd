"""Updates that may be written into the buffer itself: those of a buffer that one loop owns and reads no more.

A buffer is a carry of a loop that comes out of every iteration as itself with stretches replaced. In torch a stretch
can be replaced in place when nobody is left to see the old elements. The rule, over the graph of a body:

    - every other reader of the old buffer, or of a view of it, is needed for the update itself, so that it has run;
    - no view of the buffer leaves the iteration, and the buffer leaves it as one carry only.

Emitted text runs in an order in which what is needed comes first, so that the rule holds for it, too. What a loop starts
from is a new tensor, or copied (`owned`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mpcompile.ir import Graph, Node, Value
from mpcompile.ops import Repeat
from mpcompile.outline import Block, Call, Loop, Outline


@dataclass
class InPlace:
    """Found once for the programs that are not differentiated.

    updates  nodes of the first block of each function, and of loops in it, that are written in place
    owned    loop -> numbers of the carries that have such an update
    rows     loop over layers -> its stacked results that are a buffer it scans, each row of which has such an update
    """

    updates: set[int] = field(default_factory=set)
    owned: dict[int, set[int]] = field(default_factory=dict)
    rows: dict[int, dict[int, int]] = field(default_factory=dict)

    def written(self, block: Block) -> bool:
        """Whether a block has an update in place, itself or in what it calls."""
        return any(
            (
                isinstance(item, Loop)
                and (self.owned.get(id(item)) or self.rows.get(id(item)) or self.written(item.body))
            )
            or (isinstance(item, Call) and self.written(item.block))
            for item in block.items
        )


def find_updates(outline: Outline, programs: set[str]) -> InPlace:
    """Find the updates in place, in functions that are called from these programs alone."""
    found = InPlace()
    seen: dict[tuple[int, int], list[tuple[list[int], set[int]]]] = {}  # of a function, for each use of it

    def visit(block: Block, allowed: set[int], mutable: bool) -> None:
        for item in block.items:
            if isinstance(item, Loop):
                owned, updates = _owned(item, found.rows) if mutable else ({}, set())
                found.owned[id(item)] = set(owned)
                found.updates |= updates
                visit(item.body, allowed | updates, mutable)
            elif isinstance(item, Call):
                instance, number = outline.methods[id(item)]
                order = [n.id for n in _updates(item.block)]
                seen.setdefault((id(instance.family), number), []).append((order, allowed))
                visit(item.block, allowed, mutable)

    for method in outline.root.methods:
        visit(method.block, set(), method.role in programs)
    for uses in seen.values():
        for same in zip(*(order for order, _ in uses), strict=True):
            if not all(node in found.updates for node in same):
                found.updates -= set(same)
    return found


def _updates(block: Block) -> Iterator[Node]:
    """Updates of a block and of the loops in it, in order; functions that it calls have their own."""
    for item in block.items:
        if isinstance(item, Loop):
            yield from _updates(item.body)
        elif isinstance(item, Node) and item.op.name == "update_at":
            yield item


def _owned(loop: Loop, rows: dict[int, dict[int, int]]) -> tuple[dict[int, Value], set[int]]:
    """Carries of a loop that are updated in place, and the nodes that do it; notes the `rows` of loops over layers."""
    body = loop.body
    op: Any = loop.node.op
    carries = zip(op.split(body.inputs[:-1]).carries, op.divide(body.outputs)[0], strict=True)
    inner = dict(_regions(body))
    owned: dict[int, Value] = {}
    updates: set[int] = set()
    for i, (start, end) in enumerate(carries):
        found = _chain(body, start, end, inner)
        if found is not None:
            owned[i] = start
            for node, number in found:
                if node.id in inner:
                    within = inner[node.id]
                    region: Any = within.node.op
                    formals = region.split(within.body.inputs[:-1])
                    y = list(region.divide(node.outputs)[1]).index(node.outputs[number])
                    place = list(region.split(node.inputs).scanned).index(_given(node, number, inner))
                    rows.setdefault(id(within), {})[y] = place
                    chain = _chain(
                        within.body, formals.scanned[place], region.divide(within.body.outputs)[1][y], {}
                    )
                    updates |= {n.id for n, _ in chain or ()}
                else:
                    updates.add(node.id)
    return owned, updates


def _chain(body: Block, start: Value, end: Value, inner: Mapping[int, Loop]) -> list[tuple[Node, int]] | None:
    """The updates that make the end of a buffer of its start, each with the number of its result.

    None where they may not be in place.
    """
    graph, value = body.graph, end
    chain: list[tuple[Node, int]] = []
    while value != start:
        node, number = graph.node(value), value.index
        before = _given(node, number, inner)
        if before is None:
            return None
        chain.append((node, number))
        value = before
    whole = [start, *(n.outputs[i] for n, i in reversed(chain))]
    if not chain or body.outputs.count(end) > 1:
        return None
    seen = {
        n.id for n, _ in chain if n.id in inner
    }  # whose other results are no views: that was asked of the body
    if any((_views(graph, v, seen) - {end}) & set(body.outputs) for v in whole):
        return None
    done = (_done(graph, n, v, seen) for (n, _), v in zip(reversed(chain), whole, strict=False))
    return chain if all(done) else None


def _given(node: Node, number: int, inner: Mapping[int, Loop]) -> Value | None:
    """The buffer of which a result is the same with stretches replaced; None for other results."""
    if node.op.name == "update_at":
        return node.inputs[0]
    loop = inner.get(node.id)
    if loop is None:
        return None
    op: Any = loop.node.op
    if number < op.carries:
        return None
    row = op.divide(loop.body.outputs)[1][number - op.carries]
    buffers: list[Value] = op.split(node.inputs).scanned
    pairs = zip(op.split(loop.body.inputs[:-1]).scanned, buffers, strict=True)
    return next((buffer for formal, buffer in pairs if _chain(loop.body, formal, row, {}) is not None), None)


def _regions(block: Block) -> Iterator[tuple[int, Loop]]:
    """Loops over layers of a block and of the functions that it calls, by their nodes."""
    for item in block.items:
        if isinstance(item, Loop) and isinstance(item.node.op, Repeat):
            yield item.node.id, item
        elif isinstance(item, Call):
            yield from _regions(item.block)


def _views(graph: Graph, value: Value, seen: Collection[int] = ()) -> set[Value]:
    """A value and all that may share its memory; results of nodes that were `seen` do not."""
    found, todo = {value}, [value]
    while todo:
        v = todo.pop()
        for user in graph.users(v.node):
            if user.id not in seen and any(user.op.aliases(i) for i, w in enumerate(user.inputs) if w == v):
                new = set(user.outputs) - found
                found |= new
                todo += new
    return found


def _done(graph: Graph, update: Node, buffer: Value, seen: Collection[int]) -> bool:
    """Whether all that reads the old buffer is needed for the update."""
    before = graph.ancestors(update.inputs)
    for v in _views(graph, buffer, seen):
        readers = [u for u in graph.users(v.node) if v in u.inputs]
        if any(u.id != update.id and u.id not in before for u in readers):
            return False
    return list(update.inputs).count(buffer) == 1
