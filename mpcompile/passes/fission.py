"""Loop fission: what no later step needs is computed behind the loop, for all steps at once; what no earlier one gives
is computed before it.

    for t: h = gru(x[t], h); y[t] = law(h)      becomes      for t: h = gru(x[t], h); hs[t] = h
                                                             ys = law(hs)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mpcompile import ops
from mpcompile.ir import Builder, Graph, Input, Mapped, Node, Size, Type, Value, product, symbol
from mpcompile.ops.traits import Free, Product
from mpcompile.passes.base import Pass, PassResult, rewrite_bodies

EXAMPLES = symbol("N")

#: Values that are known outside of the loop -> the axis of the steps; None for one that is the same in every step.
Places = dict[Value, int | None]


@dataclass(frozen=True)
class Fission(Pass):
    """Graph to graph: what no carry of a loop needs is computed behind it, for all steps at once.

    Products of what is scanned are computed before the loop.

    Does     leave a loop its carries, and what they are made of. Values that nodes behind it read are stacked. Arithmetic
             on captured values alone is done once.
    Only     primitives with a rule to run over one more axis (`mapped`), where some of them is a product: one product
             over all steps is what is won. Loops until a fixed point, and regions of layers, stay.
    Keeps    every value, up to the order in which a product sums.
    Refuses  a value that would grow memory: one of a step is stacked only where its elements for an example are at most
             `most` times all that the loop carries, scans and stacks for it, and their number is known.
    Remarks  for each loop how many nodes left it.
    """

    name: ClassVar[str] = "fission"
    most: int = 16

    def call(self, graph: Graph) -> PassResult:
        done: list[str] = []

        def inside(body: Graph) -> Graph:
            result = self.call(body)
            done.extend(result.done)
            return result.graph

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            op = rewrite_bodies(node.op, inside)
            split = _split(op, [v.type for v in inputs], self.most)
            if split is not None:
                done.append(f"{len(split.ahead)} nodes before a loop, {len(split.behind)} behind it")
                return split.emit(b, inputs)
            return None if op is node.op else b.emit_all(op, *inputs)

        if not any(n.op.bodies() for n in graph.nodes()):
            return PassResult(graph, False)
        rebuilt = graph.rebuild(rewrite)
        return PassResult(rebuilt, True, tuple(done)) if done else PassResult(graph, False)


@dataclass
class _Loop:
    """A loop, and what its analysis asks."""

    op: ops.Scan
    length: Size
    most: int
    body: Graph = field(init=False)
    places: Places = field(init=False)

    def __post_init__(self) -> None:
        self.body = self.op.body.live()
        formals = self.op.formals
        self.places = dict.fromkeys(formals.captured.values())
        self.places |= dict.fromkeys(formals.scanned.values(), self.op.axis)
        kept = [*formals.carries.values(), *formals.scanned.values(), *self.body.outputs.values()]
        self.most *= sum(w for v in kept if (w := _width(v.type)) is not None)

    def stacks(self, type_: Type) -> bool:
        """Whether values of all steps may be kept."""
        width = _width(type_)
        return width is not None and width <= self.most

    def mapped(self, node: Node, places: Places) -> Mapped | None:
        """The primitive that makes the values of all steps; None where there is none, or it would lay an operand anew."""
        if len(node.outputs) != 1 or not self.stacks(node.types[0]):
            return None
        at = [places[v] for v in node.inputs]
        found = node.op.mapped(at, self.length, node.shapes, node.types[0].shape)
        if found is None or any(a is not None and a != b for a, b in zip(at, found.at, strict=True)):
            return None
        return found

    def place(self, node: Node, places: Places) -> bool:
        """Note where the results of a node have the steps; False where it has to stay in the loop."""
        if node.op.bodies():
            return False
        if all(places[v] is None for v in node.inputs):
            places.update(dict.fromkeys(node.outputs))
            return True
        found = self.mapped(node, places)
        if found is not None:
            places[node.outputs[0]] = found.out
        return found is not None

    def apart(self) -> list[Node]:
        """Note the places of all nodes that read no carry, which could be computed before the loop, and return them."""
        return [
            n
            for n in self.body.nodes()
            if not isinstance(n.op, Input)
            and all(v in self.places for v in n.inputs)
            and self.place(n, self.places)
        ]

    def behind(self) -> tuple[list[Node], Places]:
        """Return the nodes that read carries and that no carry needs, as far as a rule maps them, and places outside."""
        following, ys = self.op.divide(list(self.body.outputs.values()))
        stay = {v.node for v in following}
        while True:
            left = set[int]()
            for n in reversed(self.body.nodes()):
                moves = not isinstance(n.op, Input) and n.id not in stay and n.outputs[0] not in self.places
                if moves and all(u.id in left for u in self.body.users(n.id)):
                    left.add(n.id)
            found, places = [n for n in self.body.nodes() if n.id in left], dict(self.places)
            failed = set[int]()
            for n in found:
                inside = [v for v in n.inputs if v not in places]
                stacked = all(v.type.rank >= self.op.axis and self.stacks(v.type) for v in inside)
                places.update(dict.fromkeys(inside, self.op.axis))
                if not stacked or not self.place(n, places):
                    failed.add(n.id)
                    places.update(dict.fromkeys(n.outputs, self.op.axis))
            failed |= {y.node for y in ys if y.node in left and places[y] != self.op.axis}
            if not failed:
                return found, places
            stay |= failed


def _width(type_: Type) -> int | None:
    """Elements of a value for one example; None where their number is not known."""
    size = product(s for s in type_.shape if s != EXAMPLES)
    return size if isinstance(size, int) else None


@dataclass
class _Split:
    """A loop in three parts.

    ahead   nodes of the body that are computed before the loop, in order
    behind  nodes of the body that are computed behind it
    places  where their values have the axis of the steps
    given   values of `ahead` that the loop reads
    """

    loop: _Loop
    ahead: list[Node]
    behind: list[Node]
    places: Places
    given: set[Value]

    def emit(self, b: Builder, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        op, formals = self.loop.op, self.loop.op.formals
        starts, scanned, captured = op.split(inputs)
        outer = dict(zip(formals.scanned.values(), scanned, strict=True))
        outer |= dict(zip(formals.captured.values(), captured, strict=True))
        for node in self.ahead:
            self._outside(b, node, outer)
        last, stacked = self._remaining(b, starts, outer)
        outer = stacked | outer
        for node in self.behind:
            self._outside(b, node, outer)
        _, ys = op.divide(list(self.loop.body.outputs.values()))
        return (*last, *(stacked[y] if y in stacked else outer[y] for y in ys))

    def _outside(self, b: Builder, node: Node, outer: dict[Value, Value]) -> None:
        """Emit a node for all steps, or the same for all."""
        with b.within(node.scope, node.span):
            if all(self.places[v] is None for v in node.inputs):
                results = b.emit_all(node.op, *(outer[v] for v in node.inputs))
                outer.update(zip(node.outputs, results, strict=True))
                return
            found = self.loop.mapped(node, self.places)
            assert found is not None, "it has a place"
            operands = [
                self._widened(b, v, outer[v], a, found) for v, a in zip(node.inputs, found.at, strict=True)
            ]
            outer[node.outputs[0]] = b.emit(found.op, *operands)

    def _widened(self, b: Builder, inside: Value, value: Value, at: int | None, found: Mapped) -> Value:
        """Give an operand that is the same in every step the axis of the steps, where its primitive asks for it."""
        if at is None or self.places[inside] is not None:
            return value
        shape = (*value.shape[:at], 1, *value.shape[at:])
        value = b.emit(ops.Reshape(shape), value)
        if not found.full:
            return value
        return b.emit(ops.BroadcastTo((*shape[:at], self.loop.length, *shape[at + 1 :])), value)

    def _remaining(
        self, b: Builder, starts: list[Value], outer: Mapping[Value, Value]
    ) -> tuple[list[Value], dict[Value, Value]]:
        """Emit the loop of what is left, and return the last carries, and the stacked values that are read behind it."""
        op, body, formals = self.loop.op, self.loop.body, self.loop.op.formals
        following, ys = op.divide(list(body.outputs.values()))
        left = {v for n in self.behind for v in n.outputs}
        read_behind = [v for n in self.behind for v in n.inputs if v not in outer]
        inside = [y for y in ys if y not in outer or self.places[y] is None]
        # in the order of the body, whatever reads them: programs share the loop
        order = {node.id: i for i, node in enumerate(body.nodes())}
        wanted = {v for v in (*read_behind, *inside) if v not in left}
        stacked = dict.fromkeys(sorted(wanted, key=lambda v: (order[v.node], v.index)))
        if not following and not stacked:
            return [], {}
        loop = ops.LoopBuilder(b, axis=op.axis, reverse=op.reverse, length=self.loop.length, name=body.name)
        moved = {v: loop.carry(n, x) for (n, v), x in zip(formals.carries.items(), starts, strict=True)}
        kept = body.made_of(*following, *stacked, known=self.given)
        read = {v for n in kept for v in n.inputs} | {*following, *stacked}
        for name, v in formals.scanned.items():
            if v in read:
                moved[v] = loop.scan(name, outer[v])
        names = _Names({*body.inputs, *body.outputs})
        given = [v for node in self.ahead for v in node.outputs if v in self.given & read]
        for v in given:
            if self.places[v] is not None:
                moved[v] = loop.scan(names.of(body, v), outer[v])
        for name, v in formals.captured.items():
            if v in read:
                moved[v] = loop.capture(name, outer[v])
        moved |= {v: loop.body.here(outer[v]) for v in given if v not in moved}
        moved[formals.step] = loop.step
        for node in kept:
            if isinstance(node.op, Input) or node.outputs[0] in moved:
                continue
            with loop.body.within(node.scope, node.span):
                made = loop.body.graph.copy(node, tuple(moved[v] for v in node.inputs)).outputs
            moved.update(zip(node.outputs, made, strict=True))
        own = {v: name for name, v in body.outputs.items() if v in ys}
        named = {own.get(v) or names.of(body, v): v for v in stacked}
        last, rows = loop.close([moved[v] for v in following], {n: moved[v] for n, v in named.items()})
        return last, dict(zip(named.values(), rows, strict=True))


@dataclass
class _Names:
    """New names of values, after the layers that make them."""

    taken: set[str]

    def of(self, body: Graph, value: Value) -> str:
        node = body.node(value)
        stem = next((n for n, v in body.inputs.items() if v == value), "") or (
            node.scope[-1].name if node.scope else node.op.name
        )
        name, count = stem, 1
        while name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        return name


def _split(op: object, inputs: list[Type], most: int) -> _Split | None:
    """Return the parts of a loop, or None where all of it stays."""
    if not isinstance(op, ops.Scan) or isinstance(op, ops.Repeat) or op.until_fixed_point:
        return None
    loop = _Loop(op, op.trip_count(inputs), most)
    apart = loop.apart()
    behind, places = loop.behind()
    if not _multiplies(behind, places):
        behind, places = [], loop.places
    body = loop.body
    needed = body.ancestors([v for n in behind for v in n.inputs if v in loop.places])
    wanted = _worth(body, apart, places, needed)
    given = {v for n in wanted for v in n.outputs if places[v] in (None, op.axis)}
    following, ys = op.divide(list(body.outputs.values()))
    left = {v for n in behind for v in n.outputs}
    crossing = [v for n in behind for v in n.inputs if v not in loop.places and v not in left]
    done = {y for y in ys if y in given and places[y] is not None}
    ends = [*following, *crossing, *(y for y in ys if y not in left | done)]
    kept = body.made_of(*ends, known=given)
    goal = body.ancestors(v for v in (*(v for n in kept for v in n.inputs), *ends, *done) if v in given)
    if not behind and not goal:
        return None
    ahead = [n for n in apart if n.id in goal]
    later = {n.id for n in behind} | (needed - goal)
    return _Split(
        loop, ahead, [n for n in body.nodes() if n.id in later and not isinstance(n.op, Input)], places, given
    )


def _multiplies(nodes: Iterable[Node], places: Places) -> bool:
    """Whether some node is a product of values that differ from step to step."""
    return any(isinstance(n.op, Product) and places[n.outputs[0]] is not None for n in nodes)


def _worth(body: Graph, apart: list[Node], places: Places, needed: set[int]) -> list[Node]:
    """Nodes that are worth computing before the loop, or needed behind it, in order.

    Of those that differ from step to step: products, and all between them. Of the others: arithmetic.
    """
    products = [n for n in apart if _multiplies([n], places)]
    before = body.ancestors([v for n in products for v in n.outputs])
    found: dict[int, Node] = {}
    for n in apart:
        if places[n.outputs[0]] is None:
            moves = bool(n.inputs) and not isinstance(n.op, Free) and not n.view
        else:
            moves = (
                n.id in before
                or n.id in needed
                or any(v.node in found and places[v] is not None for v in n.inputs)
            )
        if moves:
            found[n.id] = n
    for n in reversed(apart):  # a view at the border is taken in the loop
        users = body.users(n.id)
        if n.id in found and n.id not in needed and n.view and not any(u.id in found for u in users):
            del found[n.id]
    return list(found.values())


__all__ = ["Fission"]
