"""Updates that may be written into the buffer itself: those of a buffer that one loop owns and reads no more.

A buffer is a carry of a loop that comes out of every iteration as itself with stretches replaced. In torch a stretch
can be replaced in place when nobody is left to see the old elements. The rule, over the graph of a body:

    - every other reader of the old buffer, or of a view of it, is needed for the update itself, so that it has run;
    - no view of the buffer leaves the iteration, and the buffer leaves it as one carry only.

Emitted text runs in an order in which what is needed comes first, so that the rule holds for it, too. What a loop starts
from is a new tensor, or copied (`owned`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mpcompile.ir import Graph, Node, Value
from mpcompile.outline import Block, Call, Loop, Outline


@dataclass
class InPlace:
    """Found once for the programs that are not differentiated.

    updates  nodes of the first block of each function, and of loops in it, that are written in place
    owned    loop -> numbers of the carries that have such an update
    """

    updates: set[int] = field(default_factory=set)
    owned: dict[int, set[int]] = field(default_factory=dict)

    def written(self, block: Block) -> bool:
        """Whether a block has an update in place, itself or in what it calls."""
        return any(
            (isinstance(item, Loop) and (self.owned.get(id(item)) or self.written(item.body)))
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
                owned, updates = _owned(item) if mutable else ({}, set())
                found.owned[id(item)] = set(owned)
                found.updates |= updates
                visit(item.body, updates, mutable)
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


def _owned(loop: Loop) -> tuple[dict[int, Value], set[int]]:
    """Carries of a loop that are updated in place, and the nodes that do it."""
    graph, body = loop.body.graph, loop.body
    op: Any = loop.node.op
    carries = zip(op.split(body.inputs[:-1]).carries, op.divide(body.outputs)[0], strict=True)
    owned: dict[int, Value] = {}
    updates: set[int] = set()
    for i, (start, end) in enumerate(carries):
        chain: list[Node] = []
        value = end
        while value != start and graph.node(value).op.name == "update_at":
            chain.append(graph.node(value))
            value = chain[-1].inputs[0]
        whole = [start, *(n.outputs[0] for n in reversed(chain))]
        if value != start or not chain or body.outputs.count(end) > 1:
            continue
        if any(_views(graph, v) - {end} & set(body.outputs) for v in whole):
            continue
        if all(_done(graph, n) for n in chain):
            owned[i] = start
            updates |= {n.id for n in chain}
    return owned, updates


def _views(graph: Graph, value: Value) -> set[Value]:
    """A value and all that may share its memory."""
    found, todo = {value}, [value]
    while todo:
        v = todo.pop()
        for user in graph.users(v.node):
            if any(user.op.aliases(i) for i, w in enumerate(user.inputs) if w == v):
                new = set(user.outputs) - found
                found |= new
                todo += new
    return found


def _done(graph: Graph, update: Node) -> bool:
    """Whether all that reads the old buffer is needed for the update."""
    before = graph.ancestors(update.inputs)
    for v in _views(graph, update.inputs[0]):
        readers = [u for u in graph.users(v.node) if v in u.inputs]
        if any(u.id != update.id and u.id not in before for u in readers):
            return False
    return list(update.inputs).count(update.inputs[0]) == 1
